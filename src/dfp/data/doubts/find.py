"""What is doubtful of a recording before anything is trained or inferred.

``doubts_of`` finds; ``admit`` decides what stops a run. Thresholds, false alarms and power: docs/doubts.md.
"""

from __future__ import annotations

import numpy as np

from dfp.data.doubts.base import Cell, Doubt, Expected, enough, named
from dfp.data.doubts.cells import dead, duplicates, levels, light, sign, steps, still
from dfp.data.doubts.recording import clock, looks_like, rate, short, unit
from dfp.data.traces import Traces


def doubts_of(traces: Traces, expected: Expected = Expected()) -> list[Doubt]:
    """Everything doubtful of traces ``(T, N)``: stops first, then notes.

    A doubt about single cells that is true of half of them or more is one about the recording.

    Args:
        traces: as they are read; NaN marks a missing frame.
        expected: narrows what is doubted: an amplitude says the unit, a decay how fast light may fall.

    Example:
        >>> from dfp.data.arrays import array_traces
        >>> x = 5 * np.random.default_rng(0).normal(size=(900, 2))
        >>> [doubt.name for doubt in doubts_of(array_traces(x, 30))]
        ['unit']
    """
    cells = [Cell(n, name, np.asarray(y, dtype=float)) for n, (name, y) in enumerate(named(traces))]
    lost = {cell.number: _unusable(traces, cell) or dead(cell) for cell in cells}
    found = [doubt for doubt in lost.values() if doubt is not None]
    alive = [cell for cell in cells if lost[cell.number] is None]
    found += [*clock(traces), *rate(traces, alive), *short(traces)]
    if alive:
        lit = [*still(traces, alive), *light(traces, alive, expected)]
        clear = [_without(cell, lit) for cell in alive]  # light is no sign, nor a step
        found += [*unit(traces, alive, expected), *sign(traces, clear), *steps(traces, clear)]
        found += [*lit, *duplicates(alive)]
        found += levels(traces, clear, {doubt.name for doubt in found})
    return sorted(found, key=lambda doubt: (doubt.severity != "stop", doubt.cell is not None))


def unit_of(traces: Traces) -> str:
    """The unit that the numbers look like: ``dF/F``, ``percent``, ``counts``, ``z-score`` or ``0 to 1``."""
    cells = [Cell(n, name, y) for n, (name, y) in enumerate(named(traces)) if enough(y)]
    return looks_like(cells, traces.frame_rate) if cells else "unknown"


def _unusable(traces: Traces, cell: Cell) -> Doubt | None:
    why = traces.unusable.get(cell.name)
    return None if why is None else Doubt("unusable", "stop", cell.name, why)


def _without(cell: Cell, doubts: list[Doubt]) -> Cell:
    """The cell without the frames that are doubted, unless hardly any would be left."""
    marked = [t for one in doubts if cell.name in (one.cell, *one.cells) for t in one.frames]
    y = cell.y.copy()
    y[marked] = np.nan
    return Cell(cell.number, cell.name, y) if enough(y) else cell
