"""How a cell fires: an intensity with bursts and waves or without, and what the next spikes say of it.

    λ(t) = base + Σ_{t_i < t} Σ_j a_j e^{−(t − t_i)/τ_j} / τ_j,

a self-exciting process (Hawkes 1971): a short τ makes bursts, a long one waves of activity. a_j is the number
of spikes that one spike brings; with none it is a Poisson process. ∫λ is known in closed form, so that the
log likelihood log p = Σ_i log λ(t_i) − ∫λ is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import minimize

from .law import Array, Segment

#: bounds of the short and the long time constant in seconds (our choice)
SHORT, LONG = (0.002, 0.05), (0.2, 20.0)
#: an interval shorter than this is within a burst
BURST_SECONDS = 0.03
#: which of the two excitations a kind of firing has
KINDS = {"poisson": (False, False), "bursts": (True, False), "waves": (False, True), "both": (True, True)}


@njit(cache=True, nogil=True)
def _log_likelihood(
    spikes: Array, begin: float, end: float, base: float, gains: Array, times: Array
) -> float:
    """Of the spikes in [begin, end), given all before."""
    total = -base * (end - begin)
    level = np.zeros(2)
    last = 0.0
    for spike in spikes:
        if spike >= end:
            break
        level *= np.exp(-(spike - last) / times)
        if spike >= begin:
            total += np.log(base + level.sum())
        level += gains / times
        last = spike
        for j in range(2):  # the part of this spike's kernel within the window
            after = max(begin - spike, 0.0)
            total -= gains[j] * (np.exp(-after / times[j]) - np.exp(-(end - spike) / times[j]))
    return total


def halves(segment: Segment) -> tuple[float, float]:
    """Where the first part of a segment ends and where the segment ends, in seconds."""
    return float(segment.first.sum() * segment.frame), len(segment.trace) * segment.frame


def log_likelihood(segments: Sequence[Segment], x: NDArray[np.float64], first: bool) -> float:
    """Of the spikes of the first part or of the other; x: logs of base, two gains and two time constants."""
    base, gains, times = np.exp(x[0]), np.exp(x[1:3]), np.exp(x[3:5])
    total = 0.0
    for one in segments:
        middle, end = halves(one)
        begin, stop = (0.0, middle) if first else (middle, end)
        if stop > begin:
            total += _log_likelihood(one.spikes, begin, stop, base, gains, times)
    return total


def firing(segments: Sequence[Segment]) -> dict[str, float]:
    """Held-out log likelihood of each kind in nats a spike, learned from the first part of the cell."""
    inside = sum(float(np.sum(one.spikes < halves(one)[0])) for one in segments)
    outside = sum(len(one.spikes) for one in segments) - inside
    seconds = sum(halves(one)[0] for one in segments)
    found = {}
    for kind, parts in KINDS.items():
        free = [0, *(place for j in range(2) if parts[j] for place in (1 + j, 3 + j))]
        start = np.array([np.log(inside / seconds), -np.inf, -np.inf, np.log(0.01), np.log(2.0)])
        for j in range(2):
            if parts[j]:
                start[1 + j], start[0] = np.log(0.2), start[0] + np.log(0.8)
        limits = [(-8.0, 4.0), (-7.0, 0.0), (-7.0, 0.0), tuple(np.log(SHORT)), tuple(np.log(LONG))]

        def loss(values: NDArray[np.float64], free: list[int] = free, start: Array = start) -> float:
            x = start.copy()
            x[free] = values
            return -log_likelihood(segments, x, first=True)

        best = minimize(loss, start[free], method="L-BFGS-B", bounds=[limits[place] for place in free])
        x = start.copy()
        x[free] = best.x
        found[kind] = log_likelihood(segments, x, first=False) / outside
    return found


def statistics(segments: Sequence[Segment]) -> dict[str, float]:
    """``rate_hz``; the shares of intervals within a burst and of spikes that share their frame."""
    intervals = np.concatenate([np.diff(one.spikes) for one in segments])
    shared, spikes, seconds = 0.0, 0, 0.0
    for one in segments:
        counts = np.histogram(one.spikes, np.arange(len(one.trace) + 1) * one.frame)[0]
        shared += counts[counts > 1].sum()
        spikes, seconds = spikes + len(one.spikes), seconds + len(one.trace) * one.frame
    return {
        "rate_hz": spikes / seconds,
        "burst_share": float((intervals < BURST_SECONDS).mean()) if len(intervals) else 0.0,
        "shared_frames": shared / spikes,
    }
