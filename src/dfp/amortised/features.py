"""What the network sees of a trace: a few channels a frame and a few numbers a trace.

Everything is relative to the noise of the trace or to a fixed fluorescence, and times are given in seconds,
so that one network serves every frame rate, noise level and amplitude. NaN frames are 0 in every channel but
the one that says which frames were observed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfp.amortised.indicators import NAMES as INDICATORS
from dfp.amortised.indicators import place
from dfp.amortised.told import Told
from dfp.data.preprocess import noise_sd

#: channels a frame
CHANNELS = 7
#: the channel that is 1 in an observed frame
OBSERVED = 5
#: percentiles of the trace among the numbers a trace
PERCENTILES = (5, 50, 90, 98, 99.7)
#: numbers a trace
NUMBERS = 4 + 2 * (len(PERCENTILES) + 1) + 6 + len(INDICATORS)
#: the fluorescence at which a channel goes from linear to logarithmic (dF/F)
UNIT = 0.1
#: seconds of a block whose 20th percentile follows the slow baseline
BLOCK_SECONDS = 8.0
#: as if there were no noise at all
FLOOR = 1e-6

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Seen:
    """Attributes: ``frames (CHANNELS, T)`` and ``numbers (NUMBERS,)``, float32; ``noise``, sd of a frame."""

    frames: Array
    numbers: Array
    noise: float


def see(trace: NDArray[np.floating], bin_seconds: float, told: Told = Told()) -> Seen:
    """The features of one trace ``(T,)`` in dF/F, with at least two finite frames."""
    x = np.asarray(trace, dtype=np.float64)
    observed = np.isfinite(x)
    noise = noise_sd(x)
    noise = max(noise if np.isfinite(noise) else float(x[observed].std()), FLOOR)
    level = float(np.percentile(x[observed], 20))
    above = np.where(observed, x - level, 0.0)
    slow = _slow(np.where(observed, x - level, np.nan), bin_seconds)
    scaled = np.zeros_like(above) if told.amplitude is None else np.arcsinh(above / told.amplitude)
    frames = np.stack(
        [
            np.arcsinh(above / noise),
            np.clip(above / noise, -20, 100) / 8,
            np.log1p(np.maximum(above, 0) / UNIT),
            np.arcsinh(np.where(observed, above - slow, 0.0) / noise),
            np.arcsinh(slow / noise),
            observed,
            scaled,
        ]
    ).astype(np.float32)
    return Seen(frames, _numbers(x[observed] - level, noise, len(x), bin_seconds, told), noise)


def _slow(above: NDArray[np.float64], bin_seconds: float) -> NDArray[np.float64]:
    """The 20th percentile of blocks, joined by straight lines; one without frames takes its neighbours'."""
    count = max(1, len(above) // max(3, round(BLOCK_SECONDS / bin_seconds)))
    blocks = np.array_split(above, count)
    finite = [one[np.isfinite(one)] for one in blocks]
    knots = np.array([np.percentile(one, 20) if one.size else np.nan for one in finite])
    centres = (np.arange(count) + 0.5) * len(above) / count
    known = np.isfinite(knots)
    return np.interp(np.arange(len(above)), centres[known], knots[known])


def _numbers(above: NDArray[np.float64], noise: float, frames: int, bin_seconds: float, told: Told) -> Array:
    high = np.append(np.percentile(above, PERCENTILES), above.max())
    constants = np.zeros(6)
    for i, (value, centre) in enumerate(zip(told.constants(), (-1.5, -1.0, -3.0), strict=True)):
        if value is not None:
            constants[i], constants[3 + i] = np.log(value) - centre, 1.0
    indicator = np.zeros(len(INDICATORS))
    indicator[place(told.indicator)] = 1.0
    scales = [bin_seconds * 30, noise * 10, noise * np.sqrt(bin_seconds) * 100, frames * bin_seconds / 60]
    numbers = [
        np.log(scales) / 2,
        np.arcsinh(high / noise) / 3,
        np.arcsinh(high / UNIT) / 3,
        constants,
        indicator,
    ]
    return np.concatenate(numbers).astype(np.float32)
