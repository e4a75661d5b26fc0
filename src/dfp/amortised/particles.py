"""A particle filter of the law of a cell: the evidence of a trace, and spikes that are right in the limit.

    p̂(x) = Π_t 1/N Σ_i w_t^i,     w_t^i = p(n_t^i | past) / g(n_t^i) · p(x_t | n_{1..t}^i, x_{<t})

Particles carry the response, the firing (its log rate, bursts, refractory time) and the counts; the slow part
and the drift of the baseline are summed out by a Kalman filter each (Rao-Blackwellised, Doucet et al. 2000).
A guide g, the chance of a spike in each frame as the amortised posterior has it, makes spikes be tried
where they are likely; what it changes the weights put right. p̂ is unbiased, so that draws of independent
filters, accepted by their p̂, have the exact posterior (Andrieu, Doucet & Holenstein 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dfp.amortised.counts import LARGEST
from dfp.amortised.simulate import Cell, substeps, warm_up

Array = NDArray[np.float64]

#: the guide has a spike tried this often in every frame, and nowhere more often than that (our choice)
RARELY, OFTEN = 0.01, 0.9


@dataclass(frozen=True, eq=False)
class Filtered:
    """What a run of the filter gives.

    Attributes:
        log_evidence: log p̂(x), nats.
        counts: ``(M, T)`` spikes in each frame, M paths among those that were left at the end.
    """

    log_evidence: float
    counts: NDArray[np.uint8]


def filtered(
    x: Array,
    bin_seconds: float,
    cell: Cell,
    particles: int,
    seed: int,
    guide: Array | None = None,
    paths: int = 1,
    offset_sd: float = 0.0,
) -> Filtered:
    """Run the filter once on a trace ``(T,)``; NaN marks a missing frame.

    Args:
        cell: the law, all of it known; its ``offset`` is the mean of the trace's.
        particles: N.
        guide: ``(T,)`` chances of a spike in each frame.
        paths: M.
        offset_sd: what is not known of the offset.

    Example:
        >>> from dfp.amortised.particles import filtered
        >>> from dfp.amortised.simulate import Cell, simulate_cell
        >>> cell = Cell(amplitude=0.3, decay=0.5, rise=0.05)
        >>> x, counts = simulate_cell(cell, 300, 1 / 30, seed=0)
        >>> filtered(x, 1 / 30, cell, particles=64, seed=0).counts.shape
        (1, 300)
    """
    x = np.asarray(x, dtype=np.float64) - cell.offset
    chances = np.full(len(x), RARELY) if guide is None else _spread(guide)
    steps = substeps(bin_seconds)
    evidence, counts = _filter(
        x, bin_seconds, steps, warm_up(cell, bin_seconds / steps), chances, particles, seed, paths,
        cell.rate_hz, cell.modulation, cell.modulation_seconds,
        cell.burst_share, cell.burst_size, cell.burst_interval, cell.refractory,
        cell.amplitude, cell.decay * cell.power, cell.rise, cell.power, cell.saturation,
        cell.exposed, cell.instant, cell.noise, cell.shot, cell.tail, cell.slow, cell.slow_seconds,
        cell.drift, offset_sd,
    )  # fmt: skip
    return Filtered(evidence, np.minimum(counts, LARGEST))


def _spread(guide: Array) -> Array:
    """A spike is tried in the frames beside too: the posterior may be off by one."""
    beside = np.pad(np.asarray(guide, dtype=np.float64), 1)
    wide = np.maximum(guide, 0.5 * np.maximum(beside[:-2], beside[2:]))
    return np.asarray(np.clip(wide, RARELY, OFTEN))


@njit(cache=True, nogil=True)
def _filter(
    x: Array, bin_seconds: float, steps: int, before: int, chances: Array, N: int, seed: int, paths: int,
    rate: float, modulation: float, modulation_seconds: float,
    burst_share: float, burst_size: float, burst_interval: float, refractory: float,
    amplitude: float, decay: float, rise: float, power: float, saturation: float,
    exposed: bool, instant: float, noise: float, shot: float, tail: int, slow: float, slow_seconds: float,
    drift: float, offset_sd: float,
) -> tuple[Any, Any]:  # fmt: skip
    np.random.seed(seed)
    T = len(x)
    step = bin_seconds / steps
    falls, rises = np.exp(-step / decay), np.exp(-step / rise)
    top = np.log(decay / rise) * decay * rise / (decay - rise)
    peak = np.exp(-top / decay) - np.exp(-top / rise)
    keeps = np.exp(-4 * step / modulation_seconds)
    fresh = modulation * np.sqrt(1 - keeps * keeps)
    base = rate * np.exp(-0.5 * modulation * modulation) / (1 + burst_share * burst_size)
    at = min(int(instant * steps), steps - 1)
    # of each particle: falling, rising, log rate, wait, dead, wave, walk, their variances and covariance
    state, other = np.zeros((N, 10)), np.zeros((N, 10))
    left, moved = np.zeros(N, np.int64), np.zeros(N, np.int64)
    for i in range(N):
        state[i, 2] = np.random.randn() * modulation
        state[i, 7], state[i, 8] = slow * slow, offset_sd * offset_sd
    weights, logs = np.full(N, 1.0 / N), np.zeros(N)
    counts, parents = np.zeros((T, N), np.uint8), np.zeros((T, N), np.int32)
    still = np.exp(-bin_seconds / slow_seconds)
    evidence = 0.0
    clock = -before
    for t in range(-1, T):
        if t >= 0:
            total = (weights * weights).sum()
            if total * N > 2.0:
                u, c, j = np.random.random() / N, weights[0], 0
                for i in range(N):
                    while c < u and j < N - 1:
                        j += 1
                        c += weights[j]
                    parents[t, i] = j
                    other[i] = state[j]
                    moved[i] = left[j]
                    u += 1.0 / N
                state, other = other, state
                left, moved = moved, left
                weights[:] = 1.0 / N
            else:
                for i in range(N):
                    parents[t, i] = i
        many = before if t < 0 else steps
        tried = 0.0 if t < 0 else 1 - (1 - chances[t]) ** (1.0 / steps)
        best = -np.inf
        for i in range(N):
            s = state[i]
            gain, f, spikes = 0.0, 0.0, 0
            for k in range(many):
                if (clock + k) % 4 == 0:
                    s[2] = keeps * s[2] + fresh * np.random.randn()
                new = 0
                if left[i] > 0:
                    s[3] -= step
                    while left[i] > 0 and s[3] <= 0:
                        new += 1
                        left[i] -= 1
                        s[3] += refractory + np.random.exponential(burst_interval)
                elif s[4] > 0:
                    s[4] -= step
                else:
                    p = 1 - np.exp(-base * np.exp(s[2]) * step)
                    q = max(p, tried)
                    if np.random.random() < q:
                        if q > p:
                            gain += np.log(p / q)
                        new = 1
                        s[4] = refractory
                        if np.random.random() < burst_share:
                            left[i] = 1 + int(np.random.exponential(burst_size - 1 + 1e-9) + 0.5)
                            s[3] = refractory + np.random.exponential(burst_interval)
                    elif q > p:
                        gain += np.log((1 - p) / (1 - q))
                s[0] *= falls
                s[1] *= rises
                for _ in range(new):
                    u = np.random.random()
                    s[0] += falls**u
                    s[1] += rises**u
                if t >= 0:
                    spikes += new
                    if exposed or k == at:
                        response = max((s[0] - s[1]) / peak, 0.0)
                        if power != 1.0:
                            response = response**power
                        response *= amplitude * (1 + saturation) / (1 + saturation * response)
                        f += response / steps if exposed else response
            if t < 0:
                continue
            counts[t, i] = min(spikes, 255)
            # slow part and drift: one step, then what the frame says of them
            s[5] *= still
            s[7] = still * still * s[7] + slow * slow * (1 - still * still)
            s[9] *= still
            s[8] += drift * drift * bin_seconds
            if np.isfinite(x[t]):
                spread = noise * noise * (1 + shot * max(f, 0.0))
                if tail > 0:
                    spread /= np.random.gamma(0.5 * tail) / (0.5 * tail)
                a, b = s[7] + s[9], s[8] + s[9]
                variance = a + b + spread
                error = x[t] - f - s[5] - s[6]
                gain += -0.5 * (np.log(2 * np.pi * variance) + error * error / variance)
                s[5] += a / variance * error
                s[6] += b / variance * error
                s[7] -= a * a / variance
                s[8] -= b * b / variance
                s[9] -= a * b / variance
            logs[i] = gain
            best = max(best, gain)
        clock += many
        if t < 0:
            continue
        total = 0.0
        for i in range(N):
            weights[i] *= np.exp(logs[i] - best)
            total += weights[i]
        evidence += np.log(total) + best
        weights /= total
    drawn = np.zeros((paths, T), np.uint8)
    u, c, j = np.random.random() / paths, weights[0], 0
    for m in range(paths):
        while c < u and j < N - 1:
            j += 1
            c += weights[j]
        u += 1.0 / paths
        i = j
        for t in range(T - 1, -1, -1):
            drawn[m, t] = counts[t, i]
            i = parents[t, i]
    return evidence, drawn
