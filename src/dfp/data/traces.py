"""Traces as they were understood, and the refusal of what inference could not make sense of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest

Orientation = Literal["time_first", "cells_first"]

#: a cell with a larger share of missing frames is doubted
MOST_MISSING = 0.5


@dataclass(frozen=True, eq=False)
class Traces:
    """Fluorescence of N cells in T frames, and what was understood of them.

    Attributes:
        x: ``(T, N)`` float32; dF/F, or whatever the file held. NaN marks a missing frame.
        frame_rate: Hz.
        names: N cell names, no two the same.
        rate_from: where the frame rate came from: ``"given"`` by the user, or what the file holds it in.
        times: ``(T,)`` seconds of the frames by the file's own clock; None where it has none.
        notes: sentences on what was left out, chosen or computed.
        source: the file or folder.
        epochs: first frame of each stretch that was recorded without a break, and the frame after its last;
            none where the file tells of no breaks.
        unusable: cells whose file has no trace that could be used, NaN here, and why.
    """

    x: NDArray[np.float32]
    frame_rate: float
    names: tuple[str, ...]
    rate_from: str = "given"
    times: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    source: Path | None = None
    epochs: tuple[tuple[int, int], ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)


def times_of(traces: Traces) -> NDArray[np.float64]:
    """``(T,)`` seconds of the frames: the file's own, else from the first one on."""
    if traces.times is not None:
        return np.asarray(traces.times, dtype=np.float64)
    return np.arange(len(traces.x)) / traces.frame_rate


def check_traces(
    x: NDArray[Any],
    source: str,
    *,
    orientation: Orientation | None = None,
    allow_nan: bool = False,
    names: Sequence[str] | None = None,
) -> None:
    """Refuse traces that inference could not make sense of as a whole.

    What is wrong with single cells (constant, infinite, mostly missing) is left to ``dfp.data.doubts``, so
    that one of them does not refuse the others.

    Args:
        x: ``(T, N)``.
        source: the file, named in every message.
        orientation: given by the user, it silences the check for a transposed array.
        allow_nan: accept NaN frames.
        names: of the cells.

    Raises:
        UserError: for a wrong number of dimensions, fewer than two frames, more cells than frames, two cells
            of one name, or NaN in cells that have numbers in half of their frames or more (where first, in
            which cell, how many).
    """
    values = np.asarray(x)
    if values.ndim != 2:
        raise UserError(
            f"{source}: an array of shape {values.shape}, expected two dimensions, frames × cells"
        )
    frames, cells = values.shape
    if frames == 1 and cells >= 10 and orientation is None:
        raise UserError(
            f"{source}: 1 frames × {cells} cells looks transposed, expected more frames than cells; set "
            "orientation to 'cells_first' (--orientation cells_first) if the row is a cell"
        )
    if frames < 2 or cells < 1:
        raise UserError(f"{source}: {frames} frames × {cells} cells, expected at least 2 frames and 1 cell")
    if cells > frames and orientation is None:
        raise UserError(
            f"{source}: {frames} frames × {cells} cells looks transposed, expected more frames than cells; "
            "set orientation (--orientation) to 'cells_first' if rows are cells, or to 'time_first' if there "
            "really are fewer frames"
        )
    labels = cell_names(names, cells, source)
    missing = np.isnan(values)
    missing &= missing.mean(axis=0) <= MOST_MISSING
    if missing.any() and not allow_nan:
        frame, cell = np.argwhere(missing)[0]
        raise UserError(
            f"{source}: {int(missing.sum())} NaN values in {int(missing.any(axis=0).sum())} of {cells} "
            f"cells, first at frame {frame} of {labels[cell]}, expected none; set allow_nan (--allow-nan) to "
            "treat them as missing frames"
        )


def chosen_cells(names: Sequence[str], wanted: Sequence[str] | None, source: str) -> list[int]:
    """The numbers of the cells that are wanted by name, in the traces' order; all where none are named.

    Raises:
        UserError: for a name that no cell has.
    """
    if not wanted:
        return list(range(len(names)))
    for name in wanted:
        if name not in names:
            some = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
            raise UserError(
                f"{source}: --cells: no cell '{name}'{suggest(name, names)}, expected names of its "
                f"{len(names)} cells ({some})"
            )
    return [n for n, name in enumerate(names) if name in set(wanted)]


def cell_names(names: Sequence[str] | None, cells: int, source: str) -> tuple[str, ...]:
    """``names``, or ``cell0``, ``cell1``, … where there are none.

    Raises:
        UserError: for more or fewer names than cells, and for two cells of one name.
    """
    if names is None:
        return tuple(f"cell{n}" for n in range(cells))
    if len(names) != cells:
        raise UserError(f"{source}: {len(names)} names for {cells} cells, expected one for each")
    counted: set[str] = set()
    for name in names:
        if name in counted:
            raise UserError(f"{source}: two cells are named '{name}', expected every cell to have its own")
        counted.add(name)
    return tuple(names)
