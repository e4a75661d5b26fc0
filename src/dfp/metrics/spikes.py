"""How near inferred spikes come to recorded ones: correlation, error, bias and calibration.

``p`` is what was inferred in each frame: a spike probability, an expected count, or a deconvolved trace in
its own units. ``g`` is the true number of spikes in each frame. Both are ``(T,)``, frames at a constant rate
in Hz. Frames in which either is NaN are left out. A *cell* is the unit of every statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError

Array = NDArray[np.float64]

#: Width of a bin in the spikefinder challenge (Berens et al. 2018, PLoS Comput. Biol. 14:e1006157), s.
SPIKEFINDER_BIN = 0.040
#: Sd of the Gaussian that CASCADE smooths the true spikes with at 30 Hz (Rupprecht et al. 2021), s.
CASCADE_SMOOTHING = 0.025
#: Probabilities are kept this far from 0 and 1 in the log score, so that one sure mistake costs 16 nats and
#: not infinity.
PROBABILITY_FLOOR = 1e-7


def correlation(p: NDArray[Any], g: NDArray[Any]) -> float:
    """Pearson's r over the frames where both are finite.

    NaN when either is constant, or when fewer than two frames are left.
    """
    a, b = _pair(p, g)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def rebin(values: NDArray[Any], frame_rate: float, width: float) -> Array:
    """Sum frames into bins of ``width`` seconds; a frame across a border is shared in proportion to its time.

    Returns:
        The whole bins only, ``(⌊T / (width · frame_rate)⌋,)``; a bin that touches a NaN frame is NaN.
    """
    x = np.asarray(values, dtype=float)
    size = width * frame_rate
    count = int(np.floor(len(x) / size + 1e-9))
    edges = np.minimum(np.arange(count + 1) * size, len(x))
    frames = np.arange(len(x) + 1)

    def binned(mass: Array) -> Array:
        return np.diff(np.interp(edges, frames, np.concatenate([[0.0], np.cumsum(mass)])))

    missing = np.isnan(x)
    sums = binned(np.where(missing, 0.0, x))
    return np.where(binned(missing.astype(float)) > 1e-9, np.nan, sums) if missing.any() else sums


def smooth(values: NDArray[Any], frame_rate: float, sd: float = CASCADE_SMOOTHING) -> Array:
    """Gaussian smoothing with an sd in seconds; NaN frames stay NaN and weigh nothing in their neighbours.

    Beyond the ends of the trace (and of gaps) values are taken by reflection (and left out).
    """
    x = np.asarray(values, dtype=float)
    if sd == 0:
        return x.copy()
    from scipy.ndimage import gaussian_filter1d  # 0.2 s to import

    known = np.isfinite(x)
    if known.all():
        return np.asarray(gaussian_filter1d(x, sd * frame_rate))
    mass = gaussian_filter1d(np.where(known, x, 0.0), sd * frame_rate)
    weight = gaussian_filter1d(known.astype(float), sd * frame_rate)
    return np.where(known, mass / np.where(known, weight, 1.0), np.nan)


def shift(values: NDArray[Any], lag: int) -> Array:
    """``out[t] = values[t − lag]``: a positive lag moves the trace later, a negative one earlier.

    What has no value is NaN.
    """
    x = np.asarray(values, dtype=float)
    out = np.full(x.shape, np.nan)
    if lag >= 0:
        out[lag:] = x[: len(x) - lag]
    else:
        out[:lag] = x[-lag:]
    return out


def correlation_binned(
    p: NDArray[Any], g: NDArray[Any], frame_rate: float, width: float = SPIKEFINDER_BIN
) -> float:
    """r of sums in bins of ``width`` seconds: 0.04 is spikefinder's measure, 1.0 tells if the rate is right.

    Bins narrower than a frame cannot be scored and give NaN.
    """
    if width * frame_rate < 1 - 1e-9:
        return float("nan")
    return correlation(rebin(p, frame_rate, width), rebin(g, frame_rate, width))


def correlation_smoothed(
    p: NDArray[Any],
    g: NDArray[Any],
    frame_rate: float,
    sd: float = CASCADE_SMOOTHING,
    lag: int = 0,
    smooth_inferred: bool = True,
) -> float:
    """CASCADE's measure: r with the true spikes smoothed by a Gaussian, at a fixed lag in frames.

    Args:
        lag: ``p`` is moved by so many frames first, later if positive (OASIS prefers −1 to −3).
        smooth_inferred: smooth ``p`` alike; False for a method that was trained to give smoothed rates.
    """
    moved = shift(p, lag) if lag else np.asarray(p, dtype=float)
    return correlation(smooth(moved, frame_rate, sd) if smooth_inferred else moved, smooth(g, frame_rate, sd))


def best_lag(
    inferred: Sequence[NDArray[Any]],
    true: Sequence[NDArray[Any]],
    frame_rates: Sequence[float],
    lags: Sequence[int] = tuple(range(-5, 6)),
    sd: float = CASCADE_SMOOTHING,
) -> int:
    """The lag (frames) with the largest mean ``correlation_smoothed`` over cells; of equals the smallest.

    Give it *other* cells than those that are then scored with it, one indicator and one method at a time.

    Raises:
        UserError: when no cell has a defined correlation.
    """
    scores = {}
    for lag in sorted(lags, key=abs):
        values = [
            correlation_smoothed(p, g, rate, sd, lag)
            for p, g, rate in zip(inferred, true, frame_rates, strict=True)
        ]
        known = [value for value in values if np.isfinite(value)]
        scores[lag] = float(np.mean(known)) if known else -np.inf
    if not scores or max(scores.values()) == -np.inf:
        raise UserError(
            "best_lag: no cell has both spikes and inferred activity, expected at least one to choose a "
            "lag on"
        )
    return max(scores, key=lambda lag: scores[lag])


def relative_error(p: NDArray[Any], g: NDArray[Any]) -> float:
    """Σ|p − g| / Σg; NaN without spikes. CASCADE takes it of smoothed rates."""
    difference, total = _difference(p, g)
    return float(np.abs(difference).sum() / total) if total > 0 else float("nan")


def relative_bias(p: NDArray[Any], g: NDArray[Any]) -> float:
    """Σ(p − g) / Σg, positive when too many spikes are inferred; NaN without spikes."""
    difference, total = _difference(p, g)
    return float(difference.sum() / total) if total > 0 else float("nan")


def count_ratio(p: NDArray[Any], g: NDArray[Any]) -> float:
    """Σp / Σg, 1 when the number of spikes is right; NaN without spikes."""
    return 1.0 + relative_bias(p, g)


def log_score(probability: NDArray[Any], spike: NDArray[Any]) -> float:
    """Mean over frames of z ln p + (1 − z) ln(1 − p), in nats a frame; higher is better, 0 is perfect.

    Args:
        probability: P(at least one spike) in each frame, in [0, 1].
        spike: 0 or 1 in each frame; counts above 1 are taken as 1.

    Raises:
        UserError: for a value outside [0, 1] in ``probability``.
    """
    p, z = _probabilities(probability, spike)
    p = np.clip(p, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return float(np.mean(z * np.log(p) + (1 - z) * np.log1p(-p))) if p.size else float("nan")


def base_log_score(spike: NDArray[Any]) -> float:
    """The log score of knowing the mean rate and nothing else: what ``log_score`` has to beat."""
    z = np.asarray(spike, dtype=float)
    z = np.minimum(z[np.isfinite(z)], 1.0)
    return log_score(np.full(z.shape, z.mean()), z) if z.size else float("nan")


def reliability(probability: NDArray[Any], spike: NDArray[Any], bins: int = 10) -> dict[str, Array]:
    """A reliability diagram in bins of equal width: what was said against what happened.

    Returns:
        ``lower``, ``upper`` (borders), ``count`` (frames), ``said`` (mean probability) and ``happened``
        (fraction with a spike), each ``(bins,)``; the last two are NaN in empty bins.
    """
    p, z = _probabilities(probability, spike)
    index = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        said = np.bincount(index, weights=p, minlength=bins) / count
        happened = np.bincount(index, weights=z, minlength=bins) / count
    edges = np.linspace(0, 1, bins + 1)
    return {"lower": edges[:-1], "upper": edges[1:], "count": count, "said": said, "happened": happened}


def expected_calibration_error(probability: NDArray[Any], spike: NDArray[Any], bins: int = 10) -> float:
    """Σ_b (n_b / n) |happened_b − said_b| over bins of equal width of P(spike); 0 is perfect.

    Guo et al. 2017, ICML. Spikes are rare, so most frames are in the lowest bin and the number is small for
    any method: read it with the diagram.
    """
    table = reliability(probability, spike, bins)
    used = table["count"] > 0
    if not used.any():
        return float("nan")
    gap = np.abs(table["happened"][used] - table["said"][used])
    return float(np.average(gap, weights=table["count"][used]))


def cell_scores(
    p: NDArray[Any], g: NDArray[Any], frame_rate: float, lag: int = 0, smooth_inferred: bool = True
) -> dict[str, float]:
    """Every measure of one cell that needs no probabilities.

    ``r_40ms``, ``r_25ms`` and ``r_1s`` are correlations; then ``error``, ``bias`` and ``count_ratio``.

    ``error`` and ``bias`` are of rates smoothed by 25 ms. ``lag`` (frames) acts on all of them.
    """
    moved = shift(p, lag) if lag else np.asarray(p, dtype=float)
    rate = smooth(moved, frame_rate) if smooth_inferred else moved
    truth = smooth(g, frame_rate)
    return {
        "r_40ms": correlation_binned(moved, g, frame_rate),
        "r_25ms": correlation(rate, truth),
        "r_1s": correlation_binned(moved, g, frame_rate, 1.0),
        "error": relative_error(rate, truth),
        "bias": relative_bias(rate, truth),
        "count_ratio": count_ratio(moved, g),
    }


def probability_scores(probability: NDArray[Any], spike: NDArray[Any]) -> dict[str, float]:
    """``log_score``, ``log_score_base`` (the mean rate alone) and ``ece`` of one cell's P(spike)."""
    p, z = _probabilities(probability, spike)
    return {
        "log_score": log_score(p, z),
        "log_score_base": base_log_score(z),
        "ece": expected_calibration_error(p, z),
    }


def _pair(p: NDArray[Any], g: NDArray[Any]) -> tuple[Array, Array]:
    a, b = np.asarray(p, dtype=float), np.asarray(g, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise UserError(
            f"spikes: inferred activity of shape {a.shape} and true spikes of shape {b.shape}, expected the "
            "same number of frames"
        )
    return a, b


def _difference(p: NDArray[Any], g: NDArray[Any]) -> tuple[Array, float]:
    a, b = _pair(p, g)
    both = np.isfinite(a) & np.isfinite(b)
    return a[both] - b[both], float(b[both].sum())


def _probabilities(probability: NDArray[Any], spike: NDArray[Any]) -> tuple[Array, Array]:
    p, z = _pair(probability, spike)
    both = np.isfinite(p) & np.isfinite(z)
    p, z = p[both], np.minimum(z[both], 1.0)
    if p.size and (p.min() < 0 or p.max() > 1):
        raise UserError(f"spikes: probabilities from {p.min():.3g} to {p.max():.3g}, expected 0 to 1")
    return p, z
