"""One recording with ground truth, and the same at a lower frame rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.preprocess import average_frames, noise_level

# Rates this close are taken as equal: 30.048 Hz is left alone when 30 Hz is asked for.
_RATE_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Recording:
    """One uninterrupted recording of one cell.

    Attributes:
        name: e.g. ``DS09_c00_s01``: data set, cell, segment. All segments of a cell share what is before
            ``_s``.
        indicator: the calcium indicator, as in the name of the data set (``GCaMP6f``).
        dff: ``(T,)`` float32 dF/F as a fraction; NaN marks a missing frame.
        frame_rate: Hz.
        spike_times: ``(K,)`` seconds from the beginning of the first frame; frame n covers [n, n + 1) /
            frame_rate.
        spike_counts: ``(T,)`` int spikes in each frame; more than one is common.
        source: the file it came from.
    """

    name: str
    indicator: str
    dff: NDArray[np.float32]
    frame_rate: float
    spike_times: NDArray[np.float64]
    spike_counts: NDArray[np.int64]
    source: str

    @property
    def cell(self) -> str:
        """The name without its segment: the unit of every statistic."""
        return self.name.rsplit("_s", 1)[0]

    @property
    def original(self) -> str:
        """The cell by its public file, ``DS09_Chen2013_GC6f_cell1B_full``: the same in every layout."""
        return f"{self.name.split('_')[0]}_{cell_label(Path(self.source).name)}"

    @property
    def spikes(self) -> NDArray[np.int8]:
        """``(T,)``, 1 where a frame holds at least one spike. ``saturation`` says how much that loses."""
        return (self.spike_counts > 0).astype(np.int8)

    @property
    def saturation(self) -> float:
        """The fraction of the spikes that is lost where a bin, one a frame, holds at most one spike."""
        total = int(self.spike_counts.sum())
        return 1.0 - float(self.spikes.sum()) / total if total else 0.0

    @property
    def nan_fraction(self) -> float:
        """The fraction of the frames that are NaN."""
        return float(np.isnan(self.dff).mean())

    @property
    def noise_level(self) -> float:
        """The noise level ν in % / √Hz, see ``preprocess.noise_level``."""
        return noise_level(self.dff, self.frame_rate)

    def counts(self, bins_per_frame: int = 1) -> NDArray[np.int64]:
        """``(T · bins_per_frame,)`` spikes in each of several equal bins a frame."""
        edges = np.arange(len(self.dff) * bins_per_frame + 1) / (self.frame_rate * bins_per_frame)
        return np.histogram(self.spike_times, edges)[0].astype(np.int64)


def counted(
    name: str,
    indicator: str,
    dff: NDArray[np.float32],
    frame_rate: float,
    spike_times: NDArray[np.float64],
    source: str,
) -> Recording:
    """Count the spikes into frames; times outside the imaging are dropped."""
    end = len(dff) / frame_rate
    inside = np.sort(spike_times[(spike_times >= 0) & (spike_times < end)])
    counts = np.histogram(inside, np.arange(len(dff) + 1) / frame_rate)[0].astype(np.int64)
    return Recording(name, indicator, dff, frame_rate, inside, counts, source)


def resample_recording(recording: Recording, frame_rate: float) -> Recording:
    """Average the frames to ``frame_rate`` Hz and count the spikes anew; within 2% nothing is changed.

    Raises:
        UserError: when the recording's own frame rate is lower.
    """
    if abs(recording.frame_rate / frame_rate - 1) <= _RATE_TOLERANCE:
        return recording
    if recording.frame_rate < frame_rate:
        raise UserError(
            f"{recording.name}: imaged at {recording.frame_rate:.4g} Hz and {frame_rate:.4g} Hz was asked "
            "for, expected a "
            "rate that is not higher (averaging frames cannot add any)"
        )
    dff = average_frames(recording.dff, recording.frame_rate, frame_rate).astype(np.float32)
    return counted(
        recording.name, recording.indicator, dff, frame_rate, recording.spike_times, recording.source
    )


def cell_label(file: str) -> str:
    """What tells a cell in the name of its file in the public repository."""
    return file.removesuffix(".mat").removeprefix("CAttached_").removesuffix("_mini")
