"""A user's own array, in the forms that arrays come in, as traces: understood as the readers' files are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Request, real, understood
from dfp.data.readers.table import without_clocks
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
    allow_nan: bool = False,
    source: str = "x",
) -> Traces:
    """Traces of an array of T frames of N cells, in memory; no file is touched.

    Args:
        x: ``(T, N)``, or ``(T,)`` for one cell: anything that NumPy takes, a tensor, a pandas DataFrame (a
            column a cell; a column ``time`` in seconds gives the frame rate), an xarray DataArray; axes that
            are named (``time`` or ``frame``, ``cell`` or ``roi``, …) may come in either order. Or traces
            already.
        frame_rate: Hz; needed where ``x`` does not tell it.
        names: of the cells; otherwise those of the columns, else ``cell0``, ``cell1``, …
        orientation: ``"time_first"`` or ``"cells_first"``; otherwise what the axes' names say, else rows are
            frames, and more cells than frames are refused as looking transposed.
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
    request = Request(orientation=orientation, frame_rate=frame_rate, allow_nan=allow_nan)
    return replace(understood(where, part, values, request), source=None)


def _part(x: Any, orientation: Orientation | None, source: Path) -> Part:
    """The numbers as they lie, and what the array itself says of them."""
    if isinstance(x, Traces):
        return Part(x.x, names=x.names, orientation="time_first", frame_rate=x.frame_rate)
    axes: Sequence[Hashable] = ()
    labels: Sequence[Any] = ()
    if hasattr(x, "columns") and hasattr(x, "index"):  # a DataFrame, or what looks like one
        labels = (x.index, x.columns)
        axes = [getattr(label, "name", None) for label in labels]
    elif hasattr(x, "dims") and hasattr(x, "coords"):  # xarray
        axes, labels = x.dims, [x.coords[axis].values if axis in x.coords else None for axis in x.dims]
    elif hasattr(x, "index") and getattr(x, "name", None) is not None:  # a Series of one cell
        return Part(np.asarray(x), names=[str(x.name)])
    if hasattr(x, "detach"):  # a tensor
        x = x.detach().cpu()
    try:
        values = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: not an array of numbers ({error})") from None
    if values.ndim != 2 or len(axes) != 2:
        return Part(values, orientation=orientation if values.ndim == 2 else None)
    how = _orientation_of([str(axis).lower() for axis in axes]) or orientation
    cells = labels[0 if how == "cells_first" else 1]
    found = None if cells is None else [str(name) for name in cells]
    if found is not None and how != "cells_first":
        part = without_clocks(source, real(source, values), found)
        return replace(part, orientation=how)
    return Part(values, names=found, orientation=how)


def _orientation_of(axes: Sequence[str]) -> Orientation | None:
    if axes[0] in FRAMES or axes[1] in CELLS:
        return "time_first"
    return "cells_first" if axes[0] in CELLS or axes[1] in FRAMES else None
