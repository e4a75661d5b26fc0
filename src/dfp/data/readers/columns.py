"""What the columns of a table are: cells, clocks, counters, trials, the names of cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part
from dfp.data.readers.clock import (
    PLAUSIBLE_HZ,
    Rows,
    are_whole,
    by_clock,
    by_counter,
    dates,
    names_counter,
    names_time,
    names_trial,
    names_unit,
    rises,
    seconds_per_unit,
    steps_of_one,
    words_of,
)

Array = NDArray[np.float64]

_THINGS = {
    "cell",
    "cells",
    "roi",
    "rois",
    "neuron",
    "neurons",
    "unit",
    "units",
    "component",
    "components",
    "soma",
}
_LABELS = {"id", "ids", "name", "label", "number", "num", "no", "index", "idx", "key"}
#: rows below which a column that rises may still be fluorescence
LEAST_ROWS = 10


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table.

    Attributes:
        name: empty where it has none.
        data: ``(rows,)`` numbers, NaN where a field is empty; text where some field is no number.
        where: of the first field that is no number, for messages.
    """

    name: str
    data: NDArray[Any]
    where: str = ""

    @property
    def is_text(self) -> bool:
        return self.data.dtype.kind not in "fiub"

    def called(self) -> str:
        """What messages call it."""
        return f"the column '{self.name}'" if self.name else "a column without a name"


def names_cell(name: str) -> bool:
    """Whether a column of this name says which cell a row is of: ``unit_id``, ``roi``, ``Cell Name``."""
    words = words_of(name)
    things = [word for word in words if word in _THINGS or word.rstrip("s").removesuffix("id") in _THINGS]
    labels = [word for word in words if word in _LABELS]
    joined = re.fullmatch(
        r"(cell|roi|neuron|unit|component)(id|idx|name|number|num|index|label)", "".join(words)
    )
    return (
        bool(words) and not re.search(r"\d", name) and bool(joined or len(things) + len(labels) == len(words))
    )


def wide(source: Path, columns: Sequence[Column], named: bool = True) -> Part:
    """The array of a table with a column a cell; see ``parts_of`` in ``long_table.py``."""
    rows, cells, notes = rows_of(source, columns)
    for column in cells:
        if column.is_text:
            raise UserError(f"{source}: {column.where}, expected a number")
    if not cells:
        raise UserError(f"{source}: no column but clocks and counters, expected a column a cell")
    values = np.column_stack([column.data for column in cells])
    part = Part(values, names=[column.name for column in cells] if named else None, notes=tuple(notes))
    return placed(part, rows)


def placed(part: Part, rows: Rows) -> Part:
    """An array whose rows lie in time as ``rows`` says."""
    if rows.frame_rate is not None:
        part = replace(part, frame_rate=rows.frame_rate, rate_from=rows.told_by)
    times = part.times if rows.times is None else rows.times
    return replace(
        part, times=times, frames=rows.frames, starts=rows.starts, notes=(*part.notes, *rows.notes)
    )


def rows_of(source: Path, columns: Sequence[Column]) -> tuple[Rows, list[Column], list[str]]:
    """How the rows lie in time, the columns that are cells, and what is to be said of the others."""
    clock: tuple[Column, Array, str] | None = None
    counter: Column | None = None
    trial: NDArray[np.int64] | None = None
    cells, notes = [], []
    risen = [column for column in columns if not column.is_text and _risen(column.data)]
    for column in columns:
        kind, seconds, more = _kind(source, column, len(risen) < len(columns) or len(columns) == 1)
        if kind == "clock" and clock is None and seconds is not None:
            clock = column, seconds, more
            notes.append(f"{column.called()} tells the time{more}")
        elif kind == "counter" and counter is None:
            counter = column
            notes.append(f"{column.called()} numbers the frames")
        elif kind == "trial" and trial is None:
            trial = (
                np.flatnonzero(pd.Series(column.data).ne(pd.Series(column.data).shift()).to_numpy()[1:]) + 1
            )
            notes.append(f"{column.called()} tells the trials: {len(trial) + 1}")
        elif kind == "cell":
            cells.append(column)
        elif kind == "rising":
            notes.append(f"{column.called()} is left out: it rises throughout, as clocks and counters do")
        else:
            notes.append(f"{column.called()} is left out: there is another {kind}")
    starts = () if trial is None else tuple(int(row) for row in trial)
    if counter is not None and (clock is None or not steps_of_one(counter.data)):
        times = None if clock is None else clock[1]
        return by_counter(source, counter.data, counter.called(), times, starts), cells, notes
    if clock is not None:
        return by_clock(source, clock[1], clock[0].called(), starts), cells, notes
    return Rows(starts=starts), cells, notes


def _kind(source: Path, column: Column, others: bool) -> tuple[str, Array | None, str]:
    """``clock`` with its seconds, ``counter``, ``rising``, ``trial`` or ``cell``, and how that is known.

    Args:
        others: whether there is a column that could be a cell besides those that rise.
    """
    name, values = column.name, column.data
    if column.is_text:
        seconds = dates(values)
        if seconds is not None:
            return "clock", seconds, ""
        return ("trial" if names_trial(name) else "cell"), None, ""
    unit = seconds_per_unit(name)
    if unit is not None:
        seconds = values.astype(float) * unit
        if not names_unit(name):
            return "clock", *_unsaid(seconds)
        return "clock", seconds, ""
    if names_time(name):
        raise UserError(
            f"{source}: column '{name}' tells the time in a unit that is not known, expected 'time' in "
            "seconds or 'time_ms'"
        )
    known = values[np.isfinite(values)]
    whole = len(known) == len(values) > 1 and are_whole(values)
    if whole and names_counter(name):
        steps = np.diff(values)
        if (steps >= 1).all() or ((steps == 1).mean() > 0.5 and not (steps == 0).any()):
            return "counter", None, ""
    if whole and names_trial(name) and (np.diff(values) == 0).any():
        return "trial", None, ""
    if not (others and _risen(values)):
        return "cell", None, ""
    if whole and np.diff(values).min() == 1:
        return "counter", None, ""
    seconds, more = _unsaid(values.astype(float))
    rate = 1 / float(np.median(np.diff(seconds[np.isfinite(seconds)])))
    if not name and PLAUSIBLE_HZ[0] <= rate <= PLAUSIBLE_HZ[1] and not (whole and not more):
        return "clock", seconds, more or " (it rises throughout, and is taken for seconds)"
    return "rising", None, ""


def _risen(values: NDArray[Any]) -> bool:
    return len(values) >= LEAST_ROWS and rises(values.astype(float))


def _unsaid(seconds: Array) -> tuple[Array, str]:
    """Times whose unit is not said: seconds, unless only milliseconds make sense."""
    steps = np.diff(seconds[np.isfinite(seconds)])
    steps = steps[steps > 0]
    rate = 1 / float(np.median(steps)) if len(steps) >= LEAST_ROWS else 1.0
    if rate < PLAUSIBLE_HZ[0] <= 1000 * rate <= PLAUSIBLE_HZ[1]:
        return seconds / 1000, " (in milliseconds: in seconds it would be less than a frame in two)"
    return seconds, ""
