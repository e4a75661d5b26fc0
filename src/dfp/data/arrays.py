"""A user's own array, in the forms that arrays come in, as traces: understood as the readers' files are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Request, real, understood
from dfp.data.readers.table import rate_of, seconds_of, without_clocks
from dfp.data.traces import Orientation, Traces

#: names of an axis of frames, and of one of cells
FRAMES = frozenset({"frame", "frames", "time", "times", "t", "sample", "samples"})
CELLS = frozenset({"cell", "cells", "roi", "rois", "neuron", "neurons", "unit", "units", "component"})


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
    part = _part(x, orientation, where)
    if names is not None:
        part = replace(part, names=[str(name) for name in names])
    values = real(where, np.asarray(part.values))
    request = Request(orientation=orientation, frame_rate=frame_rate, allow_nan=allow_nan, cells=cells)
    return replace(understood(where, part, values, request), source=None)


def _part(x: Any, orientation: Orientation | None, source: Path) -> Part:
    """The numbers as they lie, and what the array itself says of them."""
    if isinstance(x, Traces):
        return Part(x.x, names=x.names, orientation="time_first", frame_rate=x.frame_rate)
    axes: Sequence[Hashable] = ()
    labels: Sequence[Any] = ()
    if hasattr(x, "columns"):  # a DataFrame; one of polars has no index
        labels = (getattr(x, "index", None), x.columns)
        axes = [getattr(label, "name", None) for label in labels]
    elif hasattr(x, "dims") and hasattr(x, "coords"):  # xarray
        axes, labels = x.dims, [x.coords.get(axis) for axis in x.dims]
    elif hasattr(x, "name") and hasattr(x, "index") and not callable(x.index):  # a Series of one cell
        axes, labels = [x.index.name], [x.index]
    if hasattr(x, "detach"):  # a tensor
        x = x.detach().cpu()
    try:
        if isinstance(x, np.ma.MaskedArray):  # what is masked was not observed
            x = np.ma.filled(x.astype(np.result_type(x.dtype, np.float32)), np.nan)
        values = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: not an array of numbers ({error})") from None
    if values.ndim != len(axes) or values.ndim not in (1, 2):
        return Part(values, orientation=orientation if values.ndim == 2 else None)
    marks = [_marks(label) for label in labels]
    how = (_orientation_of([str(axis).lower() for axis in axes]) or orientation) if len(axes) == 2 else None
    turned = how == "cells_first"
    cells, frames = marks[0 if turned else -1], 1 if turned else 0
    if len(axes) == 1:
        own = getattr(x, "name", None)
        part = Part(values, names=None if own is None else [str(own)])
    elif cells is None:
        part = Part(values, orientation=how)
    else:
        named = without_clocks(source, real(source, values.T if turned else values), [str(n) for n in cells])
        part = replace(named, values=named.values.T if turned else named.values, orientation=how)
    return part if part.frame_rate else _timed(part, axes[frames], labels[frames], marks[frames], source)


def _marks(label: Any) -> NDArray[Any] | None:
    """The labels along an axis as an array; dates without their time zone, in UTC."""
    if getattr(label, "tz", None) is not None:
        label = label.tz_convert(None)
    return None if label is None else np.asarray(getattr(label, "values", label))


def _timed(part: Part, axis: Hashable, label: Any, marks: NDArray[Any] | None, source: Path) -> Part:
    """The part with the frame rate that the labels of its frames tell, where they clearly are times."""
    unit = getattr(label, "attrs", {}).get("units")
    seconds = None if marks is None else seconds_of(f"{axis} ({unit})" if unit else str(axis), marks)
    if seconds is None:
        return part
    what = "the time of its rows" if axis is None else f"the axis '{axis}'"
    return replace(part, frame_rate=rate_of(source, seconds, what), rate_from=what, times=seconds)


def _orientation_of(axes: Sequence[str]) -> Orientation | None:
    if axes[0] in FRAMES or axes[1] in CELLS:
        return "time_first"
    return "cells_first" if axes[0] in CELLS or axes[1] in FRAMES else None
