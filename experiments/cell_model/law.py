"""The law of a cell given its spikes: the response, and the density of each frame given those before it.

    c(t) = Σ_i k(t − t_i),   f(t) = A g(c(t)),   g(c) = c^p (1 + s) / (1 + s c^p),
    y_n = f_n + b + o_n + σ √(1 + shot · f_n) ε_n,

as in ``dfp.amortised.simulate``: k a difference of exponentials of peak 1, o an Ornstein-Uhlenbeck process
(the slow part of the baseline), ε Student's t or Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: the finest step of a response in seconds (our choice)
STEP_SECONDS = 0.008
#: degrees of freedom from which on Student's t is taken as Gaussian
GAUSSIAN_FROM = 1e6

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Segment:
    """One uninterrupted piece: trace ``(T,)`` in dF/F with NaN for missing frames, and its true spikes.

    Attributes:
        spikes: ``(K,)`` seconds from the beginning of the first frame, in order.
        frame: seconds a frame.
        first: ``(T,)`` whether a frame belongs to the part of the cell that constants are learned from.
    """

    trace: Array
    spikes: Array
    frame: float
    first: NDArray[np.bool_]


def response(segment: Segment, decay: float, rise: float, power: float, saturation: float) -> Array:
    """g(c) averaged over each frame, ``(T,)``: 1 at the peak of the response to one spike.

    ``decay`` is that of the response to one spike (that of c is ``power`` times as long), ``rise`` is taken
    as at most 0.7 of it.
    """
    steps = max(1, int(np.ceil(segment.frame / STEP_SECONDS)))
    slow, fast = decay * power, min(rise, 0.7 * decay)
    return np.asarray(
        _response(segment.spikes, len(segment.trace), segment.frame, steps, slow, fast, power, saturation)
    )


@njit(cache=True, nogil=True)
def _response(
    spikes: Array, bins: int, frame: float, steps: int, slow: float, fast: float, power: float, bend: float
) -> Array:
    step = frame / steps
    falls, rises = np.exp(-step / slow), np.exp(-step / fast)
    top = np.log(slow / fast) * slow * fast / (slow - fast)
    peak = np.exp(-top / slow) - np.exp(-top / fast)
    out = np.zeros(bins)
    falling, rising, next_spike = 0.0, 0.0, 0
    for i in range(bins * steps):
        falling *= falls
        rising *= rises
        now = (i + 0.5) * step  # the middle of a step stands for it
        while next_spike < len(spikes) and spikes[next_spike] < now:
            age = now - spikes[next_spike]
            falling += np.exp(-age / slow)
            rising += np.exp(-age / fast)
            next_spike += 1
        level = max((falling - rising) / peak, 0.0)
        if level > 1e-6:
            if power != 1.0:
                level **= power
            out[i // steps] += level * (1 + bend) / (1 + bend * level) / steps
    return out


def log_densities(
    residual: Array, fluorescence: Array, frame: float, noise: float, slow: float, slow_seconds: float,
    tail: float, shot: float,
) -> Array:  # fmt: skip
    """``log p(y_n | y_1 … y_{n−1}, spikes)`` of each frame, ``(T,)``; 0 where it is missing.

    For Gaussian noise it is the Kalman filter's. For Student's t of ``tail`` degrees of freedom the density
    of a frame is Student's t of the filter's variance, and the filter takes a frame for noisier by
    (tail + e²/S) / (tail + 1), the mean precision of its noise given it: a density in any case, so that
    held-out scores of all variants can be compared.

    Args:
        residual: y − f − b, ``(T,)``.
        fluorescence: f, ``(T,)``.
        noise: σ; slow: sd of the slow part, 0 for none; slow_seconds: its correlation time; tail: from 10⁶ on
            Gaussian; shot: what the variance grows by per dF/F, relative to σ².
    """
    gaussian = tail >= GAUSSIAN_FROM
    constant = -0.5 * float(np.log(2 * np.pi))
    if not gaussian:
        constant = lgamma((tail + 1) / 2) - lgamma(tail / 2) - 0.5 * float(np.log(tail * np.pi))
    keeps = float(np.exp(-frame / slow_seconds))
    return np.asarray(
        _filter(residual, fluorescence, noise**2, slow**2, keeps, tail, gaussian, shot, constant)
    )


@njit(cache=True, nogil=True)
def _filter(
    residual: Array, fluorescence: Array, white: float, slow: float, keeps: float, tail: float,
    gaussian: bool, shot: float, constant: float,
) -> Array:  # fmt: skip
    out = np.zeros(len(residual))
    mean, variance = 0.0, slow
    for n in range(len(residual)):
        if np.isfinite(residual[n]):
            noise = white * (1 + shot * max(fluorescence[n], 0.0))
            total = variance + noise
            error = residual[n] - mean
            square = error * error / total
            if gaussian:
                out[n] = constant - 0.5 * np.log(total) - 0.5 * square
            else:
                out[n] = constant - 0.5 * np.log(total) - 0.5 * (tail + 1) * np.log1p(square / tail)
                noise *= (tail + square) / (tail + 1)
            gain = variance / (variance + noise)
            mean += gain * error
            variance *= 1 - gain
        mean *= keeps
        variance = keeps * keeps * variance + (1 - keeps * keeps) * slow
    return out
