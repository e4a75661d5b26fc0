"""What can be doubted of a cell once its spikes are inferred: what they leave of its trace unexplained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.data.doubts.base import Cell
from dfp.data.doubts.cells import levels
from dfp.data.doubts.signs import averaged, coarse, drift, outliers
from dfp.data.preprocess import noise_sd, rolling_percentile
from dfp.data.traces import Traces

Array = NDArray[np.float64]

#: doubts after inference: what each is about
AFTER = {
    "silent": "transients in which hardly a spike was found",
    "residual": "spikes that leave most of the trace unexplained",
}
#: residual noise over the noise between frames from which on it is doubted
UNEXPLAINED = 3.0
#: and residual sd over that of the trace: a large response fits worse than noise without being wrong
SHARE = 0.7
#: height of a large transient in sd of noise at 15 Hz
LARGE = 8.0


@dataclass(frozen=True)
class Quality:
    """How far a cell's result may be trusted.

    Attributes:
        noise: sd of a frame, from neighbouring frames.
        noise_residual: sd of what spikes and baseline leave, over ``noise``; 1 where all is explained.
        drift: how far the floor moves, in sd of noise.
        outliers: frames that jump and are gone faster than any indicator decays.
        snr: amplitude of a spike over ``noise``.
        doubts: names and sentences.
    """

    noise: float
    noise_residual: float
    drift: float
    outliers: int
    snr: float
    doubts: tuple[tuple[str, str], ...]

    def columns(self) -> dict[str, float | int | str]:
        """For a row of ``cells.csv``; ``doubts`` are names."""
        told = {"noise": self.noise, "noise_residual": self.noise_residual, "drift": self.drift}
        names = ", ".join(dict.fromkeys(name for name, _ in self.doubts))
        return {**told, "outliers": self.outliers, "snr": self.snr, "doubts": names}


def quality(
    y: NDArray[Any],
    frame_rate: float,
    expected_counts: NDArray[Any],
    amplitude: float,
    decay: float,
    rise: float = 0.0,
) -> Quality:
    """Hold inferred spikes against the trace.

    With c = counts ∗ k, k the response with a peak of 1, the reconstruction is g c + h c², g and h as
    they fit the trace best (a response that is not linear is no fault of the spikes); what is left, without
    its slow baseline (rolling median of 20 s), has the residual noise. Large transients are runs above 5 sd,
    with a peak above 8, of the trace at 15 Hz; where they hold less than a quarter of a spike each, the cell
    is told to be silent.

    Args:
        y: ``(T,)`` the trace, NaN where a frame is missing.
        expected_counts: ``(T,)`` mean of the spikes of each frame.
        amplitude: of the peak of the response to one spike, in the unit of the trace.
        decay, rise: seconds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = 0.1 * rng.normal(size=3000)
        >>> y[1000:1100] += 2 * np.exp(-np.arange(100) / 12)
        >>> quality(y, 30.0, np.zeros(3000), 0.2, 0.4).columns()["doubts"]
        'silent'
    """
    x, counts = np.asarray(y, dtype=float), np.asarray(expected_counts, dtype=float)
    sd = noise_sd(x)
    made = response(counts, frame_rate, decay, rise)
    left = _left(x, made, frame_rate)
    ratio = float(np.nanstd(left) / sd) if sd > 0 else float("nan")
    whole = x - rolling_percentile(x, frame_rate, 50.0, 20.0)
    found = []
    number, spikes, tallest = missed(x, frame_rate, counts)
    if number and spikes < 0.25 * number:
        text = (
            f"{number} transients of up to {tallest:.0f} noise sd hold {spikes:.2g} spikes in all, expected"
        )
        found.append(("silent", f"{text} one each at least; say --amplitude or --indicator"))
    elif ratio > UNEXPLAINED and np.nanstd(left) > SHARE * np.nanstd(whole):
        text = (
            f"the spikes leave {ratio:.1f} times the noise between frames, expected near 1; its response is "
        )
        found.append(("residual", f"{text}not the one assumed, or the trace holds more than calcium"))
    lit = outliers(x, frame_rate, decay)
    if len(lit):
        text = f"{len(lit)} frames jump and are gone faster than any indicator decays"
        found.append(("outliers", f"{text}, expected none; take them as missing (--blank outliers)"))
    alone = Traces(x[:, None].astype(np.float32), frame_rate, ("cell",))
    found += [(doubt.name, doubt.sentence) for doubt in levels(alone, [Cell(0, "cell", x)], ())]
    return Quality(
        sd,
        ratio,
        drift(x, frame_rate)[0],
        len(lit),
        float(amplitude / sd) if sd > 0 else float("nan"),
        tuple(found),
    )


def response(counts: Array, frame_rate: float, decay: float, rise: float = 0.0) -> Array:
    """``counts ∗ (e^(−t/decay) − e^(−t/rise)) / peak`` at the ends of frames; peak 1 for one spike."""
    from scipy.signal import lfilter

    falls = np.exp(-1.0 / (frame_rate * decay))
    if not 0 < rise < decay:
        return np.asarray(lfilter([1.0], [1.0, -falls], counts))
    rises = np.exp(-1.0 / (frame_rate * rise))
    top = np.log(decay / rise) * decay * rise / (decay - rise)
    peak = np.exp(-top / decay) - np.exp(-top / rise)
    slow, fast = (lfilter([factor], [1.0, -factor], counts) for factor in (falls, rises))
    return np.asarray((slow - fast) / peak)


def missed(y: Array, frame_rate: float, counts: Array) -> tuple[int, float, float]:
    """Large transients: how many, the spikes expected in all of them, and the tallest in sd of noise."""
    per = coarse(frame_rate)
    x = averaged(y, per)
    rate, sd = frame_rate / per, noise_sd(x)
    if not sd > 0 or len(x) < 10:
        return 0, 0.0, 0.0
    height = (x - rolling_percentile(x, rate, 20.0, 30.0)) / sd
    above = np.concatenate([[0], (height > 5).astype(int), [0]])
    firsts, ends = np.flatnonzero(np.diff(above) > 0), np.flatnonzero(np.diff(above) < 0)
    number, spikes, tallest = 0, 0.0, 0.0
    total = np.concatenate([[0.0], np.cumsum(counts)])
    reach, seen = round(0.3 * frame_rate), 0
    for first, end in zip(firsts, ends, strict=True):
        top = float(height[first:end].max())
        if end - first < 2 or top < LARGE:
            continue
        start, stop = max(seen, int(first) * per - reach), min(int(end) * per, len(counts))
        seen = stop
        number, spikes, tallest = (
            number + 1,
            spikes + total[stop] - total[min(start, stop)],
            max(tallest, top),
        )
    return number, float(spikes), tallest


def _left(x: Array, made: Array, frame_rate: float) -> Array:
    """What the reconstruction, its square at the heights that fit best, and a slow baseline leave."""
    known = np.isfinite(x)
    terms = np.stack([made, made**2, np.ones_like(made)], 1)
    heights = np.linalg.lstsq(terms[known], x[known], rcond=None)[0]
    left = x - terms[:, :2] @ heights[:2]
    return left - rolling_percentile(left, frame_rate, 50.0, 20.0)
