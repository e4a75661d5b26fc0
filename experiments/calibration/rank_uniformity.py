"""Simulation-based calibration: are the ranks of the truth among posterior samples uniform?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dfp.core.errors import UserError

Array = NDArray[np.float64]

#: ranks expected in a group of the χ² test, at least, and its most groups
EXPECTED, GROUPS = 10, 20
#: ranks that a test takes, at least
FEWEST = 2 * EXPECTED
#: simulated sets of uniform ranks behind the band and its p-value
DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Uniformity:
    """What a set of n ranks says against the uniform law.

    Attributes:
        points: ``(K,)`` shares at which the distribution function was compared.
        difference: ``(K,)`` F_n(p) − p.
        low, high: ``(K,)`` simultaneous band of that difference at the level asked for.
        distance: largest |F_n(p) − p| over the points (Kolmogorov–Smirnov on the grid).
        excess: largest difference in units of the band's edge on its side; above 1 it leaves the band.
        p_ecdf: p-value of the simultaneous test behind the band.
        p_chi2: p-value of Pearson's χ² over groups of equal width.
        mean: of the ranks; below ½ the posterior's values lie above the truth.
        spread: sd of the ranks ÷ √(1/12); above 1 the posterior is too sure, below 1 too unsure.
    """

    points: Array
    difference: Array
    low: Array
    high: Array
    distance: float
    excess: float
    p_ecdf: float
    p_chi2: float
    mean: float
    spread: float


def uniformity(ranks: ArrayLike, level: float = 0.95, points: int = 50) -> Uniformity:
    """Compare independent ranks in [0, 1] with the uniform law.

    The simultaneous band is that of Säilynoja, Bürkner & Vehtari 2022 (Statistics and Computing 32:32), by
    simulation: with n F_n(p) binomial at each p, a set's score is

        ``γ = 2 min_k min{Bin(n F_n(p_k); n, p_k), 1 − Bin(n F_n(p_k) − 1; n, p_k)}``,

    Bin the binomial distribution function; the band holds at each p the binomial quantiles γ* / 2 and
    1 − γ* / 2, γ* the (1 − level) quantile of γ over sets of uniform ranks. The same sets give the p-value.

    Args:
        ranks: n ≥ 20 shares, e.g. of ``dfp.metrics.statistics.randomised_ranks``; not counts of one trial
            in several windows, which are dependent.
        level: of the band.
        points: K, equally spaced inside (0, 1).

    Raises:
        UserError: for fewer ranks, a rank outside [0, 1], or a level outside (0, 1).
    """
    values = np.asarray(ranks, dtype=np.float64).ravel()
    if values.size < FEWEST or not ((values >= 0) & (values <= 1)).all():
        raise UserError(
            f"ranks: found {values.size} of them, expected at least {FEWEST}, all between 0 and 1"
        )
    if not 0 < level < 1 or points < 1:
        raise UserError(
            f"uniformity: found level {level} and {points} points, expected 0 < level < 1 and one point"
        )
    n = values.size
    grid = np.arange(1, points + 1) / (points + 1)
    below = np.searchsorted(np.sort(values), grid, side="right")
    scores = _null_scores(n, points)
    score = float(_scores(below[None], n, grid)[0])
    low, high = band(n, points, level)
    difference = below / n - grid
    edge = np.where(difference < 0, -low, high)
    groups = min(GROUPS, n // EXPECTED)
    counts = np.histogram(values, groups, (0, 1))[0]
    return Uniformity(
        points=grid,
        difference=difference,
        low=low,
        high=high,
        distance=float(np.abs(difference).max()),
        excess=float((np.abs(difference) / edge).max()),
        p_ecdf=float((1 + (scores <= score).sum()) / (1 + scores.size)),
        p_chi2=float(stats.chisquare(counts).pvalue),
        mean=float(values.mean()),
        spread=float(values.std() * np.sqrt(12)),
    )


def band(n: int, points: int, level: float) -> tuple[Array, Array]:
    """The simultaneous band of F_n(p) − p of n uniform ranks, each ``(K,)``; equations at ``uniformity``."""
    grid = np.arange(1, points + 1) / (points + 1)
    # scores are discrete: γ is one of them, and a hair less, so that counts with just that score are inside
    gamma = (1 - 1e-9) * float(np.quantile(_null_scores(n, points), 1 - level, method="lower"))
    low = stats.binom.ppf(gamma / 2, n, grid) / n - grid
    high = stats.binom.ppf(1 - gamma / 2, n, grid) / n - grid
    return low, high


@lru_cache(maxsize=32)
def _null_scores(n: int, points: int) -> Array:
    """γ of sets of n uniform ranks, ``(DRAWS,)``; always the same sets."""
    grid = np.arange(1, points + 1) / (points + 1)
    shares = np.full(points + 1, 1 / (points + 1))
    below = np.random.default_rng(0).multinomial(n, shares, DRAWS)[:, :-1].cumsum(1)
    return _scores(below, n, grid)


def _scores(below: NDArray[np.int64], n: int, grid: Array) -> Array:
    """γ of sets with ``below (D, K)`` ranks up to each point."""
    cdf = stats.binom.cdf(np.arange(-1, n + 1)[:, None], n, grid)  # row k + 1 holds Bin(k)
    column = np.arange(len(grid))
    tails = np.minimum(cdf[below + 1, column], 1 - cdf[below, column])
    return np.asarray(2 * tails.min(1))
