"""A table as arrays: wide, with a column a cell, or long, with the cells one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import UNNAMED, Part
from dfp.data.readers.clock import are_whole, dates, names_counter, names_trial, seconds_per_unit
from dfp.data.readers.columns import Column, names_cell, placed, rows_of, wide

Array = NDArray[np.float64]


def parts_of(source: Path, columns: Sequence[Column], named: bool = True) -> dict[str, Part]:
    """The arrays of a table by name: a single one where it is wide, one a column of values where it is long.

    A column that rises throughout is never a cell: it is a clock or counts the rows. What a clock or a
    counter leaves out are missing frames; where trials change, epochs begin.

    Args:
        named: whether the columns have names.

    Raises:
        UserError: for text that is neither time nor a name of cells or trials, a clock in an unknown unit,
            and a long table that lacks values or has a cell's frame twice.
    """
    ids = [column for column in columns if _is_id(column)]
    if ids and (long := _long(source, columns, ids)):
        return long
    return {UNNAMED: wide(source, columns, named)}


def _is_id(column: Column) -> bool:
    """Whether a column names the cell of each row: several rows of each."""
    if not column.is_text:
        whole = are_whole(column.data)
        if not (whole and names_cell(column.name)):
            return False
    elif names_trial(column.name) or dates(column.data) is not None:
        return False
    return len(column.data) >= 2 * len(pd.unique(pd.Series(column.data)))


def _long(source: Path, columns: Sequence[Column], ids: Sequence[Column]) -> dict[str, Part]:
    """The arrays of a table that has the cells one below the other; nothing where it has not."""
    ids = [one for one in ids if names_cell(one.name)] or list(ids)
    others = [column for column in columns if all(column is not one for one in ids)]
    labels = _labels(ids)
    clocks = [
        c for c in others if seconds_per_unit(c.name) is not None or (c.is_text and dates(c.data) is not None)
    ]
    counters = [c for c in others if not c.is_text and names_counter(c.name) and c.name and c not in clocks]
    if not clocks + counters and not all(names_cell(one.name) for one in ids):
        return {}
    cells = pd.unique(pd.Series(labels))
    at, axis = _axis(source, labels, clocks, counters)
    taken = {id(one) for one in (*ids, *clocks, *counters)}
    values = [
        c for c in others if id(c) not in taken and not c.is_text and not _is_constant_by(c.data, labels)
    ]
    for column in others:
        if column.is_text and id(column) not in taken and not values:
            raise UserError(f"{source}: {column.where}, expected a number")
    if not values:
        raise UserError(
            f"{source}: a long table of {len(cells)} cells without a column of numbers beside cells and "
            "time, expected their fluorescence"
        )
    table = pd.DataFrame({"cell": labels, "at": at})
    twice = table[table.duplicated()]
    if len(twice):
        first = twice.iloc[0]
        raise UserError(
            f"{source}: cell {first['cell']} has two rows at {axis.name or 'frame'} {first['at']:g}, "
            f"expected one: two cells are named '{first['cell']}'?"
        )
    parts, single = {}, len(values) == 1
    for column in values:
        series = pd.Series(column.data, index=pd.MultiIndex.from_frame(table))
        turned = series.unstack("cell")[cells]  # noqa: PD010
        rows, _, notes = rows_of(source, [Column(axis.name, turned.index.to_numpy())] if axis.name else [])
        lacking = int(turned.isna().to_numpy().sum() - np.isnan(column.data.astype(float)).sum())
        said = [
            f"a long table: {len(cells)} cells one below the other, by {', '.join(c.called() for c in ids)}",
            *notes,
            *[f"{lacking} frames that single cells lack are missing"] * (lacking > 0),
        ]
        part = Part(
            turned.to_numpy(float),
            names=[str(one) for one in cells],
            orientation="time_first",
            notes=tuple(said),
        )
        parts[UNNAMED if single else column.name] = placed(part, rows)
    return parts


def _labels(ids: Sequence[Column]) -> NDArray[Any]:
    """The name of each row's cell: of several columns those that differ, joined."""
    texts = []
    for one in ids:
        values = [str(v) if one.is_text else f"{v:g}" for v in one.data]
        if len(set(values)) > 1:
            texts.append(values)
    if not texts:
        texts = [[str(v) if ids[0].is_text else f"{v:g}" for v in ids[0].data]]
    return np.array(["_".join(some) for some in zip(*texts, strict=True)], dtype=object)


def _axis(
    source: Path, labels: NDArray[Any], clocks: Sequence[Column], counters: Sequence[Column]
) -> tuple[Array, Column]:
    """The time or the number of each row's frame, and the column that tells it."""
    for column in (*clocks, *counters):
        seconds = dates(column.data) if column.is_text else column.data.astype(float)
        if seconds is None:
            continue
        return seconds, Column("time_s" if column.is_text else column.name, seconds)
    order = np.asarray(pd.Series(labels).groupby(labels).cumcount(), dtype=float)
    counts = pd.Series(labels).value_counts()
    if counts.min() < counts.max():
        raise UserError(
            f"{source}: a long table whose cells have {counts.min()} to {counts.max()} rows and that has no "
            "column of time or frames, expected one ('time' or 'frame')"
        )
    return order, Column("", order)


def _is_constant_by(values: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Whether each cell has one value throughout: a place, an area, a quality."""
    first = pd.Series(values).groupby(labels).transform("first").to_numpy()
    return bool((first == values).all() and (values != values[0]).any())
