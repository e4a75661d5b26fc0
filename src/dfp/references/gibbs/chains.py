"""Whether Markov chains have mixed: split R-hat and effective sample size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from dfp.core.errors import UserError

Array = NDArray[np.float64]


def diagnostics(chains: NDArray[Any]) -> tuple[Array, Array]:
    """Rank-normalised split R-hat and bulk effective sample size of C chains of S draws.

    Each chain is split into halves; draws are replaced by normal scores of their ranks among all,
    Φ⁻¹((rank − 3/8) / (n + 1/4)), ties at the average rank. With W the mean variance within halves of m draws
    and B / m the variance of their means, R-hat = √((m − 1) / m + B / (m W)), the larger of that of the draws
    and of their distances from the median (which finds chains that differ in spread). The effective sample
    size is n / τ of the normal scores, τ = −1 + 2 Σ of the autocorrelations of all chains jointly, paired,
    cut at the first negative pair and made decreasing (Geyer 1992); at most n log10 n.

    Args:
        chains: ``(C, S)`` or ``(C, S, …)``, S ≥ 4; an odd last draw is left out.

    Returns:
        Both of shape ``(…)``; NaN for a quantity that never changes.

    Raises:
        UserError: for fewer draws or numbers that are not finite.

    Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, Bayesian Analysis 16:667.
    """
    values = np.asarray(chains, dtype=np.float64)
    if values.ndim < 2 or values.shape[0] < 1 or values.shape[1] < 4 or not np.isfinite(values).all():
        raise UserError(
            f"chains: found shape {values.shape}, expected (chains, at least 4 draws, …), all finite"
        )
    half, rest = values.shape[1] // 2, values.shape[2:]
    flat = values.reshape(*values.shape[:2], -1)
    halves = np.concatenate([flat[:, :half], flat[:, half : 2 * half]])  # (2C, m, quantities)
    distances = np.abs(halves - np.median(halves, axis=(0, 1)))
    scores = _normal_scores(halves)
    with np.errstate(invalid="ignore", divide="ignore"):
        rhat = np.fmax(_rhat(scores), _rhat(_normal_scores(distances)))
        size = np.array([_effective(scores[..., k]) for k in range(scores.shape[2])])
    return rhat.reshape(rest), size.reshape(rest)


def _normal_scores(draws: Array) -> Array:
    pooled = draws.reshape(-1, draws.shape[2])
    ranks = rankdata(pooled, axis=0)
    return ndtri((ranks - 0.375) / (len(pooled) + 0.25)).reshape(draws.shape)


def _rhat(draws: Array) -> Array:
    """``(quantities,)`` of ``(halves, m, quantities)``; NaN where nothing varies."""
    m = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(0)
    between = draws.mean(1).var(axis=0, ddof=1)
    found = np.sqrt((m - 1) / m + between / within)
    return np.where(np.ptp(draws, axis=(0, 1)) > 0, found, np.nan)


def _effective(draws: Array) -> float:
    """Effective sample size of ``(halves, m)``."""
    count, m = draws.shape
    if np.ptp(draws) == 0:
        return float("nan")
    spread = draws - draws.mean(1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(spread, 2 * m, axis=1)) ** 2
    covariance = np.fft.irfft(spectrum, axis=1)[:, :m].mean(0) / m
    within = covariance[0] * m / (m - 1)
    total = within * (m - 1) / m + draws.mean(1).var(ddof=1)
    rho = 1 - (within - covariance * m / (m - 1)) / total
    rho[0] = 1.0
    pairs = rho[: 2 * (m // 2)].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs < 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if negative.size else pairs)
    draws_all = count * m
    # antithetic chains may do better than independent draws, but not beyond bounds
    return float(draws_all / max(2 * kept.sum() - 1, 1 / np.log10(draws_all)))
