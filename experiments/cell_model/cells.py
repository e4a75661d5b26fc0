"""Cells out of recordings: all segments of a cell, at one frame rate, cut into a first and a second part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dfp.amortised.ground_truth import rebinned
from dfp.amortised.indicators import named
from dfp.data.recording import Recording

from .law import Segment

#: seconds that a segment is to have
SHORTEST = 5.0


@dataclass(frozen=True, eq=False)
class Measured:
    """One cell: ``indicator`` as the package names it, None for another one."""

    name: str
    dataset: str
    indicator: str | None
    segments: tuple[Segment, ...]

    @property
    def spikes(self) -> int:
        """Of all segments."""
        return sum(len(one.spikes) for one in self.segments)

    @property
    def seconds(self) -> float:
        """Of all segments."""
        return sum(len(one.trace) * one.frame for one in self.segments)


def cells_of(
    recordings: Sequence[Recording], rate_hz: float, seconds: float, fewest: int
) -> Iterator[Measured]:
    """The cells with ``fewest`` spikes in each half, in the order of their names.

    Frames are averaged to ``rate_hz`` where they come faster; of each cell the first ``seconds`` are taken (0
    takes all). The first part ends with the frame of the spike that makes half of the cell's.
    """
    by_cell: dict[str, list[Recording]] = {}
    for one in recordings:
        by_cell.setdefault(one.cell, []).append(one)
    for name, own in sorted(by_cell.items()):
        segments = _segments(own, rate_hz, seconds)
        if sum(len(one.spikes) for one in segments) >= 2 * fewest:
            yield Measured(name, name.split("_")[0], named(own[0].indicator), tuple(_halved(segments)))


def _segments(recordings: Sequence[Recording], rate_hz: float, seconds: float) -> list[Segment]:
    found, left = [], seconds or np.inf
    for one in recordings:
        trace, _, rate = rebinned(one, min(rate_hz, one.frame_rate))
        trace = trace[: int(min(left * rate, len(trace)))]
        if len(trace) < SHORTEST * rate or np.isfinite(trace).sum() < SHORTEST * rate:
            continue
        left -= len(trace) / rate
        spikes = np.sort(one.spike_times[one.spike_times < len(trace) / rate]).astype(float)
        found.append(Segment(trace, spikes, 1 / rate, np.ones(len(trace), bool)))
    return found


def _halved(segments: Sequence[Segment]) -> Iterator[Segment]:
    before, half = 0, sum(len(one.spikes) for one in segments) / 2
    for one in segments:
        counts = np.histogram(one.spikes, np.arange(len(one.trace) + 1) * one.frame)[0]
        first = before + counts.cumsum() - counts < half
        before += len(one.spikes)
        yield Segment(one.trace, one.spikes, one.frame, first)
