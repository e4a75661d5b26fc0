"""Spikes counted in a window around every frame, and their interval over samples, by a moving histogram."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: the interval is that of the middle 90%
LOW, HIGH = 0.05, 0.95


def per_frame(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean number of spikes in each frame, and the share of samples with at least one there.

    Args:
        counts: ``(S, T)`` spikes in each frame, unsigned.

    Returns:
        Two arrays ``(T,)``.
    """
    total, any_spike = _per_frame(np.ascontiguousarray(counts))
    return total / len(counts), any_spike / len(counts)


def windowed(
    counts: NDArray[Any], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and central 90% interval of the number of spikes within ``width`` frames around each frame.

    The window of frame t holds the frames from ``t − ⌊width / 2⌋`` to ``t − ⌊width / 2⌋ + width − 1`` that
    there are. Quantiles are those of NumPy (linear between samples), to the bit, in a time that grows with
    S · T and not with S log S · T: the samples' counts are kept as a histogram that changes where a spike
    enters or leaves.

    Args:
        counts: ``(S, T)`` spikes in each frame, unsigned.
        width: frames, at least 1.

    Returns:
        Mean, lower and upper end, ``(T,)`` each.
    """
    held = np.ascontiguousarray(counts)
    most = int(held.max(initial=0)) * min(width, held.shape[1]) + 1
    total, low, high = _windowed(held, width, most, LOW, HIGH)
    return total / len(held), low, high


@njit(cache=True, nogil=True)
def _per_frame(counts: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    samples, frames = counts.shape
    total, some = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
    for s in range(samples):
        for t in range(frames):
            total[t] += counts[s, t]
            some[t] += counts[s, t] > 0
    return total, some


@njit(cache=True, nogil=True)
def _at(held: NDArray[Any], place: Any, below: Any, rank: int) -> tuple[Any, Any]:
    """The value of rank ``rank`` from 0 in a histogram, from a value near it; samples below that value."""
    while below > rank:
        place -= 1
        below -= held[place]
    while below + held[place] <= rank:
        below += held[place]
        place += 1
    return place, below


@njit(cache=True, nogil=True)
def _between(held: NDArray[Any], place: Any, below: Any, rank: int, samples: int, part: float) -> Any:
    """The value of rank ``rank + part``; ``place`` has rank ``rank``."""
    after = place
    if below + held[place] <= rank + 1 < samples:
        after += 1
        while held[after] == 0:
            after += 1
    # the way round that NumPy takes, so that the last bit is the same
    return place + (after - place) * part if part < 0.5 else after - (after - place) * (1.0 - part)


@njit(cache=True, nogil=True)
def _windowed(
    counts: NDArray[Any], width: int, most: int, q_low: float, q_high: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    samples, frames = counts.shape
    within, held = np.zeros(samples, np.int64), np.zeros(most + 1, np.int64)
    held[0] = samples
    first, second = int((samples - 1) * q_low), int((samples - 1) * q_high)
    part, other = (samples - 1) * q_low - first, (samples - 1) * q_high - second
    place = below = upper = under = 0
    total = np.zeros(frames, np.int64)
    low, high = np.zeros(frames), np.zeros(frames)
    sum_now = entered = 0
    for t in range(frames):
        last, gone = min(t - width // 2 + width, frames), t - width // 2 - 1
        while entered < last or gone >= 0:
            adds, takes = entered < last, gone >= 0
            for s in range(samples):
                change: Any = 0
                if adds:
                    change += np.int64(counts[s, entered])
                if takes:
                    change -= np.int64(counts[s, gone])
                if change != 0:
                    old, new = within[s], within[s] + change
                    within[s] = new
                    sum_now += change
                    held[old] -= 1
                    held[new] += 1
                    below += (new < place) - (old < place)
                    under += (new < upper) - (old < upper)
            entered += adds
            gone = -1
        place, below = _at(held, place, below, first)
        upper, under = _at(held, upper, under, second)
        total[t] = sum_now
        low[t] = _between(held, place, below, first, samples, part)
        high[t] = _between(held, upper, under, second, samples, other)
    return total, low, high
