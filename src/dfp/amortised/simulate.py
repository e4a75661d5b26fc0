"""Cells of the prior and their traces: the law that the amortised posterior is trained on.

    c(t) = Σ_i k(t − t_i),  k a difference of exponentials of peak 1 (decay p τ_decay, rise τ_rise),
    f(t) = A g(c(t)),       g(c) = c^p (1 + s) / (1 + s c^p),
    y_n  = f averaged over frame n, or at one time in it, + slow part + drift + σ √(1 + shot · f) ε_n.

p > 1 is a supralinear response, s > 0 a saturating one; g(1) = 1, so A is the peak of the response to one
spike, and the factor p in the decay makes that response fall with τ_decay. ε is standard normal or Student's
t. Spikes come at the cell's own rate, which fluctuates (log-normal, correlated in time), singly or in
bursts, with a refractory time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dfp.amortised.counts import LARGEST
from dfp.amortised.priors import Prior

#: the finest step of a simulation (seconds), and how many steps a frame may have
STEP_SECONDS = 0.004
MOST_STEPS = 60
#: median|y_{n+1} − y_n| of white noise of sd 1
ABS_DIFFERENCE = 0.9539

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One cell and how it is recorded; times in seconds, fluorescence in dF/F.

    Attributes:
        amplitude, decay, rise, power: as in ``constants``.
        rate_hz: spikes a second but for what refractory times and steps cost: about what a quiet cell fires
        at; one
            that fires fast, in bursts or in waves comes out lower (0.92 at 15 Hz, 0.8 with modulation 2).
        saturation: s; 0 for none.
        modulation, modulation_seconds: sd and correlation time of the log rate.
        burst_share, burst_size, burst_interval: share of events that are bursts, mean spikes beyond the
        first,
            mean interval within.
        refractory: shortest interval.
        exposed: whether a frame is the mean over its duration, or the value at one time within it.
        instant: that time, as a share of the frame.
        noise: sd of a frame's white noise; shot: what its variance grows by per dF/F.
        tail: degrees of freedom of Student's t; 0 for a Gaussian.
        slow, slow_seconds: sd and correlation time of the slow part; drift: sd of a random walk after 1 s.
        offset: of the whole trace.
    """

    amplitude: float
    decay: float
    rise: float
    power: float = 1.0
    rate_hz: float = 1.0
    saturation: float = 0.0
    modulation: float = 0.0
    modulation_seconds: float = 1.0
    burst_share: float = 0.0
    burst_size: float = 1.0
    burst_interval: float = 0.01
    refractory: float = 0.003
    exposed: bool = True
    instant: float = 0.5
    noise: float = 0.05
    shot: float = 0.0
    tail: int = 0
    slow: float = 0.0
    slow_seconds: float = 1.0
    drift: float = 0.0
    offset: float = 0.0

    def constants(self, rate_hz: float) -> dict[str, float]:
        """θ, by the names of ``constants.NAMES``, where the cell fired at ``rate_hz``."""
        response = {name: getattr(self, name) for name in ("amplitude", "decay", "rise", "power")}
        return {"rate_hz": rate_hz, **response}


def simulate_cell(cell: Cell, bins: int, bin_seconds: float, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """A trace ``(T,)`` and its spikes' counts ``(T,)``, both a bin of ``bin_seconds``."""
    steps = substeps(bin_seconds)
    trace, counts = _simulate(
        seed, bins, bin_seconds, steps, warm_up(cell, bin_seconds / steps),
        cell.rate_hz, cell.modulation, cell.modulation_seconds,
        cell.burst_share, cell.burst_size, cell.burst_interval, cell.refractory,
        cell.amplitude, cell.decay * cell.power, cell.rise, cell.power, cell.saturation,
        cell.exposed, cell.instant, cell.noise, cell.shot, cell.tail, cell.slow, cell.slow_seconds,
        cell.drift,
    )  # fmt: skip
    return trace + cell.offset, np.minimum(counts, LARGEST)


def substeps(bin_seconds: float) -> int:
    """Steps of a simulation in a frame."""
    return min(MOST_STEPS, max(1, int(np.ceil(bin_seconds / STEP_SECONDS))))


def warm_up(cell: Cell, step: float) -> int:
    """Steps before the first frame, whose spikes still glow in it."""
    return int(min(4 * max(cell.decay * cell.power, 0.3), 12.0) / step)


def draw_cell(prior: Prior, bin_seconds: float, rng: np.random.Generator) -> Cell:
    """A cell of the prior, recorded at one bin a ``bin_seconds`` (the ranges are our choice)."""
    response = prior.draw(rng)
    amplitude = response.amplitude
    wide = rng.random() < 0.5
    rate = _log_uniform(rng, 0.03, 8.0) if wide else float(0.7 * np.exp(rng.standard_normal()))
    if rng.random() < 0.3:  # every signal to noise ratio, whatever the amplitude
        level = 100 * amplitude * np.sqrt(bin_seconds) / _log_uniform(rng, 0.7, 15.0)
    elif rng.random() < 0.6:
        level = _log_uniform(rng, 0.3, 9.0)
    else:  # most recordings
        level = 2.0 * np.exp(0.3 * rng.standard_normal())
    noise = level / np.sqrt(bin_seconds) / 100 / ABS_DIFFERENCE
    return Cell(
        **asdict(response),
        rate_hz=min(rate, 15.0),
        modulation=float(rng.choice([0.0, 0.5, 1.0, 1.5, 2.0])),
        modulation_seconds=_log_uniform(rng, 0.15, 8.0),
        burst_share=float(rng.choice([0.0, 0.0, 0.2, 0.5])),
        burst_size=rng.uniform(1, 4),
        burst_interval=rng.uniform(0.003, 0.02),
        refractory=rng.uniform(0.002, 0.005),
        exposed=bool(rng.random() < 0.6),
        instant=rng.random(),
        noise=noise,
        shot=0.0 if rng.random() < 0.6 else 0.2 * rng.uniform(0, 1) / max(amplitude, 0.05),
        tail=0 if rng.random() < 0.7 else int(rng.integers(3, 10)),
        slow=0.0 if rng.random() < 0.4 else 2 * amplitude * _log_uniform(rng, 0.005, 0.3),
        slow_seconds=_log_uniform(rng, 0.3, 20.0),
        drift=0.0 if rng.random() < 0.5 else amplitude * _log_uniform(rng, 0.003, 0.1),
        offset=0.0 if rng.random() < 0.7 else 0.5 * amplitude * rng.standard_normal(),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@njit(cache=True, nogil=True)
def _simulate(
    seed: int, bins: int, bin_seconds: float, steps: int, before: int,
    rate: float, modulation: float, modulation_seconds: float,
    burst_share: float, burst_size: float, burst_interval: float, refractory: float,
    amplitude: float, decay: float, rise: float, power: float, saturation: float,
    exposed: bool, instant: float, noise: float, shot: float, tail: int, slow: float, slow_seconds: float,
    drift: float,
) -> tuple[Any, Any]:  # fmt: skip
    np.random.seed(seed)
    step = bin_seconds / steps
    trace, counts = np.zeros(bins), np.zeros(bins, np.int64)
    falls, rises = np.exp(-step / decay), np.exp(-step / rise)
    top = np.log(decay / rise) * decay * rise / (decay - rise)
    peak = np.exp(-top / decay) - np.exp(-top / rise)
    falling, rising = 0.0, 0.0
    keeps = np.exp(-4 * step / modulation_seconds)
    log_rate = np.random.randn() * modulation
    left, wait, dead = 0, 0.0, 0.0
    base = rate * np.exp(-0.5 * modulation * modulation) / (1 + burst_share * burst_size)
    for i in range(-before, bins * steps):
        if i % 4 == 0:
            log_rate = keeps * log_rate + modulation * np.sqrt(1 - keeps * keeps) * np.random.randn()
        new = 0
        if left > 0:
            wait -= step
            while left > 0 and wait <= 0:
                new += 1
                left -= 1
                wait += refractory + np.random.exponential(burst_interval)
        elif dead > 0:
            dead -= step
        elif np.random.random() < 1 - np.exp(-base * np.exp(log_rate) * step):
            new = 1
            dead = refractory
            if np.random.random() < burst_share:
                left = 1 + int(np.random.exponential(burst_size - 1 + 1e-9) + 0.5)
                wait = refractory + np.random.exponential(burst_interval)
        falling *= falls
        rising *= rises
        for _ in range(new):  # anywhere in the step
            u = np.random.random()
            falling += falls**u
            rising += rises**u
        if i >= 0:
            counts[i // steps] += new
            response = max((falling - rising) / peak, 0.0) ** power
            response *= amplitude * (1 + saturation) / (1 + saturation * response)
            if exposed:
                trace[i // steps] += response / steps
            elif i % steps == min(int(instant * steps), steps - 1):
                trace[i // steps] = response
    keeps = np.exp(-bin_seconds / slow_seconds)
    wave, walk = np.random.randn() * slow, 0.0
    for n in range(bins):
        e = np.random.randn()
        if tail > 0:
            square = 0.0
            for _ in range(tail):
                square += np.random.randn() ** 2
            e /= np.sqrt(square / tail)
        wave = keeps * wave + slow * np.sqrt(1 - keeps * keeps) * np.random.randn()
        walk += drift * np.sqrt(bin_seconds) * np.random.randn()
        trace[n] += wave + walk + noise * np.sqrt(1 + shot * max(trace[n], 0.0)) * e
    return trace, counts
