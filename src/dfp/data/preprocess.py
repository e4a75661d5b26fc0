"""What is done to one fluorescence trace before inference: noise level, baseline, frame rate, first guesses.

Traces are ``(T,)`` arrays of dF/F as a fraction (0.1 = 10%), frames at a constant rate in Hz. NaN marks a
missing frame: it is left out of every estimate and stays NaN in every result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError

Array = NDArray[np.float64]


#: For a Gaussian, sd = 1.4826 × the median absolute deviation, and median|a − b| = 0.9539 sd for two
#: independent draws.
MAD_TO_SD = 1.4826022185056018
_MEDIAN_ABS_DIFFERENCE = np.sqrt(2) / MAD_TO_SD


@dataclass(frozen=True)
class TraceEstimates:
    """First guesses for inference from one trace, in the units of the trace.

    Attributes:
        baseline: fluorescence at rest.
        noise: sd of the noise of a frame.
        amplitude: rise of the trace for one spike.
    """

    baseline: float
    noise: float
    amplitude: float


def noise_level(dff: NDArray[Any], frame_rate: float) -> float:
    """ν = 100 · median|dF/F[t + 1] − dF/F[t]| / √(frame rate), in % / √Hz.

    Rupprecht et al. 2021, Nat. Neurosci. 24:1324. It compares recordings of different frame rates, since
    averaging frames leaves the ν of white noise as it was.
    """
    steps = np.abs(np.diff(np.asarray(dff, dtype=float)))
    steps = steps[np.isfinite(steps)]
    return float(100 * np.median(steps) / np.sqrt(frame_rate)) if steps.size else float("nan")


def add_noise_to_level(
    dff: NDArray[Any], nu: float, frame_rate: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Add white Gaussian noise until ``noise_level`` is ``nu`` (within 0.5%).

    The sd starts where noise variances add up and is bisected on one fixed noise, as transients take part in
    the median too.

    Raises:
        UserError: when the trace is noisier than ``nu`` already (by more than 0.5%).
    """
    x = np.asarray(dff, dtype=float)
    start = noise_level(x, frame_rate)
    if not start <= 1.005 * nu:
        raise UserError(
            f"add_noise_to_level: the trace has a noise level of {start:.3g} %/√Hz, expected at most the "
            f"level wanted, {nu:.3g}"
        )
    unit = generator.standard_normal(x.shape)
    high = max(nu * np.sqrt(frame_rate) / (100 * _MEDIAN_ABS_DIFFERENCE), 1e-12)
    low, sd = 0.0, float(np.sqrt(max(nu**2 - start**2, 0.0)) / nu * high) if nu > 0 else 0.0
    while noise_level(x + high * unit, frame_rate) < nu:
        high *= 2
    for _ in range(40):
        level = noise_level(x + sd * unit, frame_rate)
        if abs(level - nu) <= 0.005 * nu:
            break
        low, high = (sd, high) if level < nu else (low, sd)
        sd = 0.5 * (low + high)
    return (x + sd * unit).astype(np.float32)


def average_frames(values: NDArray[Any], frame_rate: float, target_rate: float) -> Array:
    """Average frames to a lower rate: frame k is the mean of those centred in [k, k + 1) / target_rate.

    Time starts at the beginning of the first frame, so frame n is centred at (n + ½) / frame_rate. An
    incomplete last target frame is dropped. A target frame is NaN if one of its frames is.

    Args:
        values: ``(T,)`` or ``(T, N)``.

    Raises:
        UserError: when ``target_rate`` is above ``frame_rate``: averaging cannot add frames.
    """
    if not 0 < target_rate <= frame_rate:
        raise UserError(
            f"average_frames: the frames come at {frame_rate:.4g} Hz and {target_rate:.4g} Hz was asked for, "
            "expected a positive rate that is not higher"
        )
    x = np.asarray(values, dtype=float)
    count = int(np.floor(len(x) * target_rate / frame_rate + 1e-9))
    if count == 0:
        raise UserError(
            f"average_frames: {len(x)} frames at {frame_rate:.4g} Hz are shorter than one at "
            f"{target_rate:.4g} Hz"
        )
    bounds = np.searchsorted(np.arange(len(x)) + 0.5, np.arange(count + 1) * frame_rate / target_rate - 1e-9)
    sums = np.add.reduceat(x[: bounds[-1]], bounds[:-1], axis=0)
    sizes = np.diff(bounds).astype(float)
    return np.asarray(sums / (sizes if x.ndim == 1 else sizes[:, None]))


def rolling_percentile(
    values: NDArray[Any], frame_rate: float, percentile: float = 20.0, window_seconds: float = 60.0
) -> Array:
    """A slow baseline: the percentile of the frames within half a window on either side, NaN left out.

    It is computed ten times a window and joined by straight lines, which a baseline that moves on the scale
    of the window cannot tell from the percentile at every frame. A low percentile of noisy frames lies below
    the resting level (by 0.84 sd at 20%).

    Args:
        values: ``(T,)``.
        window_seconds: full width; a window with no finite frame takes its value from its neighbours.

    Raises:
        UserError: for a percentile outside [0, 100], a window that is not positive, or a trace of NaN alone.
    """
    x = np.asarray(values, dtype=float)
    if not 0 <= percentile <= 100 or not window_seconds > 0:
        raise UserError(
            f"rolling_percentile: percentile is {percentile} and window {window_seconds} s, expected 0 to "
            "100 and a "
            "positive time"
        )
    if not np.isfinite(x).any():
        raise UserError("rolling_percentile: every frame is NaN, expected some finite frames")
    half = max(1, round(0.5 * window_seconds * frame_rate))
    centres = np.unique(np.append(np.arange(0, len(x), max(1, half // 5)), len(x) - 1))
    knots = np.full(len(centres), np.nan)
    for k, centre in enumerate(centres):
        near = x[max(0, centre - half) : centre + half + 1]
        near = near[np.isfinite(near)]
        if near.size:
            knots[k] = np.percentile(near, percentile)
    known = np.isfinite(knots)
    return np.interp(np.arange(len(x)), centres[known], knots[known])


def correct_baseline(
    dff: NDArray[Any], frame_rate: float, percentile: float = 20.0, window_seconds: float = 60.0
) -> NDArray[np.float32]:
    """Take away a drifting baseline: ``dff − rolling_percentile(dff) + median of that percentile``.

    Adding the median back keeps the resting level where it was; ``initial_estimates`` finds it.
    """
    slow = rolling_percentile(dff, frame_rate, percentile, window_seconds)
    return (np.asarray(dff, dtype=float) - slow + np.median(slow)).astype(np.float32)


def noise_sd(dff: NDArray[Any]) -> float:
    """Sd of white noise from neighbouring frames: 1.4826 · MAD(x[t + 1] − x[t]) / √2.

    Calcium moves little between frames and transients are rare, so the median hardly sees them. Where more
    than half of the differences are equal (a coarsely digitised trace) the sd of the differences takes the
    place of the MAD.
    """
    steps = np.diff(np.asarray(dff, dtype=float))
    steps = steps[np.isfinite(steps)]
    if steps.size == 0:
        return float("nan")
    spread = MAD_TO_SD * np.median(np.abs(steps - np.median(steps)))
    return float((spread if spread > 0 else steps.std()) / np.sqrt(2))


def initial_estimates(dff: NDArray[Any], frame_rate: float) -> TraceEstimates:
    """Robust first guesses from one trace: where inference starts, not where it should end.

    * noise: ``noise_sd``.
    * baseline: the mode of the frames near the floor: from the 20th percentile, repeat the mean of the frames
      within ±1.5 noise sd.
    * amplitude: rises of x over 0.1 s that are local maxima and above 4 sd of such a rise under noise alone;
      their lower quartile, as several spikes often fall together. Without any such rise, 3 noise sds.

    Raises:
        UserError: with fewer than 10 finite frames.
    """
    x = np.asarray(dff, dtype=float)
    finite = x[np.isfinite(x)]
    if finite.size < 10:
        raise UserError(f"initial_estimates: the trace has {finite.size} finite frames, expected at least 10")
    noise = noise_sd(x)
    if not noise > 0:
        noise = max(float(finite.std()), 1e-12)
    baseline = float(np.percentile(finite, 20))
    for _ in range(50):
        near = finite[np.abs(finite - baseline) <= 1.5 * noise]
        moved = float(near.mean()) if near.size else baseline
        if abs(moved - baseline) < 1e-4 * noise:
            break
        baseline = moved
    lag = max(1, round(0.1 * frame_rate))
    rise = x[lag:] - x[:-lag]
    rise = np.where(np.isfinite(rise), rise, -np.inf)
    tops = np.array([])
    if rise.size:
        reach = np.lib.stride_tricks.sliding_window_view(
            np.pad(rise, lag, constant_values=-np.inf), 2 * lag + 1
        )
        tops = rise[(rise == reach.max(axis=1)) & (rise > 4 * np.sqrt(2) * noise)]
    amplitude = float(np.percentile(tops, 25)) if tops.size else 3 * noise
    return TraceEstimates(baseline=baseline, noise=noise, amplitude=amplitude)
