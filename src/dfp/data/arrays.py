"""A user's own array, in the forms that arrays come in, as traces: shape, names and frame rate, checked."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.traces import Orientation, Traces, check_traces

#: names of an axis of frames, and of one of cells
FRAMES = frozenset({"frame", "frames", "time", "times", "t", "sample", "samples"})
CELLS = frozenset({"cell", "cells", "roi", "rois", "neuron", "neurons", "unit", "units", "component"})
#: a column of this name counts frames or tells their time: it is no cell
_CLOCK = re.compile(r"(t|times?|timestamps?|frames?|index)\b|time_", re.IGNORECASE)


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
            column a cell), an xarray DataArray; axes that are named (``time`` or ``frame``, ``cell`` or
            ``roi``, …) may come in either order. Or traces already.
        frame_rate: Hz; needed unless ``x`` is ``Traces``.
        names: of the cells; otherwise those of the columns, else ``cell0``, ``cell1``, …
        orientation: ``"time_first"`` or ``"cells_first"``; otherwise what the axes' names say, else rows are
            frames, and more cells than frames are refused as looking transposed.
        allow_nan: as in ``check_traces``.
        source: what messages call the array.

    Raises:
        UserError: for what are not numbers of two dimensions, a missing frame rate, names that do not fit or
            come twice, a column that tells the time, or what ``check_traces`` refuses.
    """
    if isinstance(x, Traces):
        if frame_rate is not None and abs(frame_rate / x.frame_rate - 1) > 0.01:
            raise UserError(
                f"{source}: found traces of {x.frame_rate:g} Hz, but frame_rate is given as {frame_rate:g} Hz"
            )
        x, frame_rate, names = x.x, x.frame_rate, names or x.names
        orientation = "time_first"
    if orientation not in (None, "time_first", "cells_first"):
        raise UserError(f"orientation: found {orientation!r}, expected 'time_first' or 'cells_first'")
    values, found, how = _taken(x, orientation, source)
    if values.dtype.kind not in "fiub":
        raise UserError(f"{source}: values of type {values.dtype}, expected real numbers")
    if values.ndim == 1:
        values, how = values[:, None], "time_first"
    elif how == "cells_first" and values.ndim == 2:
        values, how = values.T, "time_first"
    wide = np.ascontiguousarray(values, dtype=np.float32)
    labels = _labels(names if names is not None else found, wide, source)
    check_traces(wide, source, orientation=how, allow_nan=allow_nan, names=labels)
    return Traces(wide, _rate(frame_rate, source), labels)


def _taken(
    x: Any, orientation: Orientation | None, source: str
) -> tuple[NDArray[Any], Sequence[str] | None, Orientation | None]:
    """The numbers as they lie, the cells' names where the array tells them, and its orientation likewise."""
    axes: Sequence[Hashable] = ()
    if hasattr(x, "columns") and hasattr(x, "index"):  # a DataFrame, or what looks like one
        labels: Sequence[Any] = (x.index, x.columns)
        axes = [getattr(label, "name", None) for label in labels]
    elif hasattr(x, "dims") and hasattr(x, "coords"):  # xarray
        axes, labels = x.dims, [x.coords[axis].values if axis in x.coords else None for axis in x.dims]
    elif hasattr(x, "index") and hasattr(x, "values") and getattr(x, "name", None) is not None:  # a Series
        return np.asarray(x), [str(x.name)], None
    if hasattr(x, "detach"):  # a tensor
        x = x.detach().cpu()
    try:
        values = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: not an array of numbers ({error})") from None
    if len(axes) != 2 or values.ndim != 2:
        return values, None, orientation
    said = _orientation_of([str(axis).lower() for axis in axes])
    if None not in (said, orientation) and said != orientation:
        raise UserError(
            f"{source}: its axes are named {axes[0]!r} and {axes[1]!r}, but orientation is given as "
            f"'{orientation}'; leave it out"
        )
    how = said or orientation
    of_cells = labels[0 if how == "cells_first" else 1]
    if of_cells is None:
        return values, None, how
    found = [str(name) for name in of_cells]
    clock = next((name for name in found if _CLOCK.match(name)), None)
    if clock is not None:
        raise UserError(
            f"{source}: the column '{clock}' looks like the frames' time or number, expected cells alone; "
            f"leave it out (x.drop(columns='{clock}')) and give frame_rate"
        )
    return values, found, how


def _orientation_of(axes: Sequence[str]) -> Orientation | None:
    if axes[0] in FRAMES or axes[1] in CELLS:
        return "time_first"
    return "cells_first" if axes[0] in CELLS or axes[1] in FRAMES else None


def _labels(names: Sequence[str] | None, x: NDArray[Any], source: str) -> tuple[str, ...]:
    cells = x.shape[1] if x.ndim == 2 else 0
    if names is None or not cells:
        return tuple(f"cell{n}" for n in range(cells))
    labels = tuple(str(name) for name in names)
    if len(labels) != cells:
        raise UserError(f"{source}: {len(labels)} names for {cells} cells, expected one for each")
    twice = next((name for name in labels if labels.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{source}: two cells are named '{twice}', expected every cell to have its own name")
    return labels


def _rate(frame_rate: float | None, source: str) -> float:
    if frame_rate is None:
        raise UserError(f"{source}: found no frame rate, expected frame_rate in Hz (frame_rate=30)")
    try:
        rate = float(frame_rate)
    except (TypeError, ValueError):
        raise UserError(f"frame_rate: found {frame_rate!r}, expected a number of Hz") from None
    if not (np.isfinite(rate) and rate > 0):
        raise UserError(f"frame_rate: found {rate:g}, expected a number of Hz above 0")
    return rate
