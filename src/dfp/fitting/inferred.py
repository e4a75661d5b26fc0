"""What is inferred of a recording by a posterior that was trained once for all cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.data.traces import Traces, times_of
from dfp.fitting.cell import Asked, Cell, draw_cell, infer_cell
from dfp.fitting.folder import Record, totals_interval, write_folder
from dfp.fitting.side_by_side import one_thread, over_cells
from dfp.results.formats.base import KEYS, SpikeArrays
from dfp.results.formats.registry import chosen


@dataclass(frozen=True, eq=False, repr=False)
class Inferred:
    """Spikes and constants of the cells of a recording: what ``dfp.infer`` returns for an array.

    Attributes:
        spikes: arrays of T frames × N cells: ``probability`` (of at least one spike in the frame),
            ``expected_count`` (of spikes in the frame), ``expected_count_1s``, ``low_1s`` and ``high_1s``
            (mean and central 90% interval of the spikes in the second around the frame), ``observed`` (false
            where the trace has no number).
        cells: a row a cell: ``cell``, ``rate_hz`` (of the frames that were measured), ``spikes`` (of all
            frames), ``amplitude`` (of one spike, the traces' unit), ``rise_s``, ``decay_s`` and what other
            constants the posterior knows, each with the ends of its 90% interval, ``…_low`` and ``…_high``;
            ``noise`` (sd of a frame), ``missing_frames``, ``doubts``.
        time_s: ``(T,)`` seconds of the frames' beginnings.
        frame_rate: Hz.
        doubts: sentences.
        record: what it was made of.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 2))
        >>> inferred = dfp.infer(x, frame_rate=30, indicator="GCaMP6f", samples=20)
        >>> isinstance(inferred, dfp.Inferred), inferred.spikes["expected_count"].shape
        (True, (300, 2))
        >>> inferred.samples("cell1").shape
        (20, 300)
    """

    spikes: Mapping[str, NDArray[Any]]
    cells: pd.DataFrame
    time_s: NDArray[np.float64]
    frame_rate: float
    doubts: tuple[str, ...]
    record: Record
    asked: Asked
    traces: Traces

    def samples(self, cell: str | int) -> NDArray[np.unsignedinteger[Any]]:
        """Joint samples ``(S, T)`` of a cell's spikes in each frame, drawn anew: the same every time.

        Args:
            cell: its name or its number.

        Raises:
            UserError: for a cell that there is not.
        """
        return np.asarray(draw(self.asked, self.traces, number_of(self.traces, cell)).counts)

    def save(self, folder: str | PathLike[str], format: str = "npz", keep_samples: bool = False) -> None:
        """Write the folder that the command ``dfp infer`` writes, byte for byte.

        Args:
            format: ``npz``, ``csv``, ``csv-wide``, ``hdf5`` or ``nwb``.
            keep_samples: write ``posterior_samples.npz`` too; the samples are drawn anew.

        Raises:
            UserError: for an unknown format, or a folder that holds something else.
        """
        writer, single = chosen(format, Path(folder))
        if single:
            raise UserError(f"{folder}: found the name of a file, expected that of a folder")
        writer.ready()
        arrays, kept = self.arrays(), None
        if keep_samples:
            kept = SpikeArrays(arrays.cells, arrays.time_s, self.frame_rate, self._with_samples)
        write_folder(Path(folder), writer, arrays, self.cells, self.record, kept)

    def arrays(self) -> SpikeArrays:
        """The arrays as the writers take them."""
        return SpikeArrays(
            self.traces.names,
            self.time_s,
            self.frame_rate,
            lambda n: {key: self.spikes[key][:, n] for key in KEYS},
        )

    def _with_samples(self, n: int) -> Mapping[str, NDArray[Any]]:
        with one_thread():
            return infer_cell(self.asked, self.traces, n, keep_samples=True).held()

    def __repr__(self) -> str:
        frames, number = len(self.time_s), len(self.cells)
        rates = self.cells["rate_hz"]
        span = f"{rates.min():.2g}" if number == 1 else f"{rates.min():.2g} to {rates.max():.2g}"
        mean, low, high = self.record.spikes
        names = f"{', '.join(map(str, self.cells['cell'][:5]))}{', …' * (number > 5)}"
        return (
            f"Inferred of {number} cell{'s' * (number != 1)}, {frames} frames at {self.frame_rate:g} Hz\n"
            f"  spikes: {mean:.4g} expected, {low:.4g} to {high:.4g} with 90%\n"
            f"  cells: {names}; {span} Hz\n"
            f"  doubts: {len(self.doubts) or 'none'}"
        )


def infer_recording(
    asked: Asked, traces: Traces, jobs: int = 1, progress: Callable[[], object] = lambda: None
) -> Inferred:
    """All cells of a recording, in memory: 21 bytes a frame and cell.

    Args:
        jobs: processes.
        progress: called after every cell.
    """
    frames, number = traces.x.shape
    spikes = {key: np.empty((frames, number), kind, order="F") for key, (kind, _) in KEYS.items()}
    rows: list[Any] = [None] * number
    doubts: list[tuple[str, ...]] = [()] * number
    totals = np.zeros(asked.samples, dtype=np.int64)
    for n, cell in over_cells(_Work(asked, traces), range(number), jobs):
        for key, values in cell.arrays.items():
            spikes[key][:, n] = values
        rows[n], doubts[n] = cell.row, cell.doubts
        totals += cell.totals
        progress()
    said = tuple(sentence for some in doubts for sentence in some)
    return Inferred(
        spikes=spikes,
        cells=pd.DataFrame(rows),
        time_s=times_of(traces),
        frame_rate=traces.frame_rate,
        doubts=said,
        record=Record.of(asked, traces, totals_interval(totals), said),
        asked=asked,
        traces=traces,
    )


@dataclass(frozen=True, eq=False)
class _Work:
    asked: Asked
    traces: Traces

    def __call__(self, n: int) -> tuple[int, Cell]:
        return n, infer_cell(self.asked, self.traces, n)


def draw(asked: Asked, traces: Traces, n: int) -> Any:
    """The samples of cell n, on one thread as everywhere."""
    with one_thread():
        return draw_cell(asked, traces, n)


def number_of(traces: Traces, cell: str | int) -> int:
    """The number of a cell by its name or number. Raises ``UserError`` where there is no such cell."""
    known: Sequence[str] = traces.names
    if isinstance(cell, str):
        if cell in known:
            return known.index(cell)
        raise UserError(
            f"cell: found '{cell}'{suggest(cell, known)}, expected one of {len(known)} cells' names"
        )
    if not 0 <= cell < len(known):
        raise UserError(f"cell: found {cell}, expected 0 to {len(known) - 1}, or a name")
    return int(cell)
