"""A user's own array, in the forms that arrays come in, as traces: understood as the readers' files are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Request, real, understood
from dfp.data.readers.clock import (
    by_clock,
    by_counter,
    dates,
    names_counter,
    rises,
    seconds_per_unit,
    steps_of_one,
)
from dfp.data.readers.columns import Column, placed
from dfp.data.readers.long_table import parts_of
from dfp.data.traces import Orientation, Traces

#: names of an axis of frames, and of one of cells
FRAMES = frozenset({"frame", "frames", "time", "times", "t", "sample", "samples"})
CELLS = frozenset({"cell", "cells", "roi", "rois", "neuron", "neurons", "unit", "units", "component"})
CELLS |= {"unit_id", "cell_id", "roi_id", "neuron_id", "cellid", "components"}


def array_traces(
    x: Any,
    frame_rate: float | None = None,
    *,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    cells: Sequence[str] | None = None,
    allow_nan: bool = False,
    source: str = "x",
) -> Traces:
    """Traces of an array of T frames of N cells, in memory; no file is touched.

    Args:
        x: ``(T, N)``, or ``(T,)`` for one cell: anything that NumPy takes, a tensor, a DataFrame (a column
            a cell; a column or an index ``time`` in seconds, or one of dates, gives the frame rate), an
            xarray DataArray (the same of its coordinate); axes that are named (``time`` or ``frame``,
            ``cell`` or ``roi``, …) may come in either order. What is masked is NaN. Or traces already.
        frame_rate: Hz; needed where ``x`` does not tell it, and refused where it contradicts that.
        names: of the cells; otherwise those of the columns, else ``cell0``, ``cell1``, …
        orientation: ``"time_first"`` or ``"cells_first"``; otherwise what the axes' names say, else rows are
            frames, and more cells than frames are refused as looking transposed.
        cells: names of those to take; all where none are named.
        allow_nan: take NaN frames as not observed.
        source: what messages call the array.

    Raises:
        UserError: for what are not numbers of two dimensions, an unknown frame rate, names that do not fit or
            come twice, or what ``check_traces`` refuses.
    """
    if orientation not in (None, "time_first", "cells_first"):
        raise UserError(f"orientation: found {orientation!r}, expected 'time_first' or 'cells_first'")
    if frame_rate is not None and not isinstance(frame_rate, int | float | np.number):
        raise UserError(f"frame_rate: found {frame_rate!r}, expected a number of Hz")
    where = Path(source)
    part = part_of(x, orientation, where)
    if names is not None:
        part = replace(part, names=[str(name) for name in names])
    values = real(where, np.asarray(part.values))
    request = Request(orientation=orientation, frame_rate=frame_rate, allow_nan=allow_nan, cells=cells)
    return replace(understood(where, part, values, request), source=None)


def part_of(x: Any, orientation: Orientation | None, source: Path) -> Part:
    """The numbers of an array as they lie, and what it says of them itself by names and labels of its axes.

    Raises:
        UserError: for what are not numbers, or labels of time that contradict themselves.
    """
    if isinstance(x, Traces):
        return Part(x.x, names=x.names, orientation="time_first", frame_rate=x.frame_rate)
    axes: Sequence[Hashable] = ()
    labels: Sequence[Any] = ()
    if hasattr(getattr(x, "index", None), "levels"):  # one below the other, as xarray and minian leave them
        x = x.reset_index()
    if hasattr(x, "columns"):  # a DataFrame; one of polars has no index
        labels = (getattr(x, "index", None), x.columns)
        axes = [getattr(label, "name", None) for label in labels]
    elif hasattr(x, "dims") and hasattr(x, "coords"):  # xarray
        axes, labels = x.dims, [x.coords.get(axis) for axis in x.dims]
    elif hasattr(x, "name") and hasattr(x, "index") and not callable(x.index):  # a Series of one cell
        axes, labels = [x.index.name], [x.index]
    if hasattr(x, "detach"):  # a tensor
        x = x.detach().cpu()
    how = (_orientation_of([str(axis).lower() for axis in axes]) or orientation) if len(axes) == 2 else None
    if hasattr(x, "columns") and how != "cells_first":
        return replace(_table(x, labels, source), orientation=how)
    try:
        if isinstance(x, np.ma.MaskedArray):  # what is masked was not observed
            x = np.ma.filled(x.astype(np.result_type(x.dtype, np.float32)), np.nan)
        values = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: not an array of numbers ({error})") from None
    if values.ndim != len(axes) or values.ndim not in (1, 2):
        return Part(values, orientation=orientation if values.ndim == 2 else None)
    marks = [_marks(label) for label in labels]
    turned = how == "cells_first"
    cells, frames = marks[0 if turned else -1], 1 if turned else 0
    if len(axes) == 1:
        own = getattr(x, "name", None)
        part = Part(values, names=None if own is None else [str(own)])
    else:
        part = Part(values, names=None if cells is None else [str(n) for n in cells], orientation=how)
        if cells is not None:  # the labels may name a clock among the cells
            named = zip(cells, real(source, values if turned else values.T), strict=True)
            part = _only(source, parts_of(source, [Column(str(name), column) for name, column in named]))
            part = replace(part, values=part.values.T if turned else part.values, orientation=how)
    told = part.frame_rate is not None or part.frames is not None
    return part if told else _timed(part, axes[frames], labels[frames], marks[frames], source)


def _table(x: Any, labels: Sequence[Any], source: Path) -> Part:
    """A DataFrame as a table: its index, where it is more than the numbers of the rows, is a column too."""
    columns = []
    for place, name in enumerate(x.columns):
        values = _numbers(x.iloc[:, place] if hasattr(x, "iloc") else np.asarray(x)[:, place])
        where = "" if values.dtype.kind != "O" else f"the column '{name}' holds '{values[0]}'"
        columns.append(Column(str(name), values, where))
    marks = _marks(labels[0])
    name = "" if getattr(labels[0], "name", None) is None else str(labels[0].name)
    if marks is not None and not np.array_equal(marks, np.arange(len(marks))) and _tells_time(name, marks):
        columns.insert(0, Column(name, marks))
    return _only(source, parts_of(source, columns))


def _tells_time(name: str, marks: NDArray[Any]) -> bool:
    """Whether an index is one of frames: dates, what rises, or what is named after time."""
    if marks.dtype.kind in "mM":
        return True
    named = seconds_per_unit(name) is not None or (bool(name) and names_counter(name))
    return marks.dtype.kind in "iuf" and (named or rises(marks))


def _numbers(column: Any) -> NDArray[Any]:
    """A column of a DataFrame: numbers where all are, else text or dates."""
    values = np.asarray(_marks(column))
    if values.dtype.kind in "fiubmM":
        return values
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        return np.array([str(value) for value in values], dtype=object)


def _only(source: Path, parts: Mapping[str, Part]) -> Part:
    if len(parts) > 1:
        raise UserError(
            f"{source}: found a long table with several columns of values ({', '.join(parts)}), expected one "
            "beside cells and time"
        )
    return next(iter(parts.values()))


def _marks(label: Any) -> NDArray[Any] | None:
    """The labels along an axis as an array; dates without their time zone, in UTC."""
    if getattr(label, "tz", None) is not None:
        label = label.tz_convert(None)
    return None if label is None else np.asarray(getattr(label, "values", label))


def _timed(part: Part, axis: Hashable, label: Any, marks: NDArray[Any] | None, source: Path) -> Part:
    """The part with the frame rate that the labels of its frames tell, where they clearly are times."""
    if marks is None or marks.dtype.kind not in "fiumM":
        return part
    unit, what = getattr(label, "attrs", {}).get("units"), f"the axis '{axis}'"
    if marks.dtype.kind in "mM":
        seconds = dates(marks)
    else:
        scale = seconds_per_unit(f"{axis} ({unit})" if unit else str(axis))
        clear = scale is not None and rises(marks) and not steps_of_one(marks)
        seconds = marks * float(scale) if clear and scale is not None else None
        if seconds is None and names_counter(str(axis)) and rises(marks) and not steps_of_one(marks):
            return placed(part, by_counter(source, marks.astype(float), what, None))
    if seconds is None:
        return part
    return placed(part, by_clock(source, seconds, "the time of its rows" if axis is None else what))


def _orientation_of(axes: Sequence[str]) -> Orientation | None:
    if axes[0] in FRAMES or axes[1] in CELLS:
        return "time_first"
    return "cells_first" if axes[0] in CELLS or axes[1] in FRAMES else None
