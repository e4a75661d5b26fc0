"""Figures of merit of one recording's samples of counts, or of an estimate without uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfp.metrics.spikes import correlation_binned, correlation_smoothed

#: lags (frames) at which a method may be at its best
LAGS = tuple(range(-4, 5))
#: a probability of a count is kept this far from 0: half a sample of 100
FLOOR = 0.005


def point(estimate: NDArray[np.floating], counts: NDArray[np.integer], rate: float) -> dict[str, float]:
    """Correlations of an estimate ``(T,)`` with the true counts, at every lag."""
    found = {f"lag_{lag}": correlation_smoothed(estimate, counts, rate, lag=lag) for lag in LAGS}
    if not np.ptp(estimate):  # silent where there are spikes: nothing was found, which is no missing score
        found = dict.fromkeys(found, 0.0)
    return {
        "correlation": found["lag_0"],
        "correlation_1s": correlation_binned(estimate, counts, rate, 1.0),
        **found,
    }


def seconds_of(counts: NDArray[np.integer], rate: float) -> NDArray[np.int64]:
    """Sums over whole seconds (a round number of frames) along the last dimension."""
    width = max(1, round(rate))
    whole = counts.shape[-1] // width
    return counts[..., : whole * width].reshape(*counts.shape[:-1], whole, width).sum(-1, dtype=np.int64)


def samples(
    drawn: NDArray[np.integer], counts: NDArray[np.integer], rate: float, rng: np.random.Generator
) -> dict[str, float | NDArray[np.floating]]:
    """Of samples ``(S, T)``: counts found and true, cover and width of 90% intervals of 1-s counts, ranks,
    log score.

    Returns:
        ``ranks`` is an array, a rank in (0, 1) of the true count of each second, ties broken at random.
    """
    mine, true = seconds_of(drawn, rate), seconds_of(counts, rate)
    low = np.quantile(mine, 0.05, axis=0, method="inverted_cdf")
    high = np.quantile(mine, 0.95, axis=0, method="inverted_cdf")
    inside, active = (true >= low) & (true <= high), true > 0
    below, same = (mine < true).sum(0), (mine == true).sum(0)
    ranks = (below + rng.random(len(true)) * (same + 1)) / (len(mine) + 1)
    matched = (drawn == counts).mean(0)
    total = drawn.sum(1)
    bounds = np.quantile(total, [0.05, 0.95], method="inverted_cdf")
    return {
        "found": float(drawn.mean(0).sum()),
        "true": float(counts.sum()),
        "cover": float(inside.mean()),
        "active_cover": float(inside[active].mean()) if active.any() else float("nan"),
        "active_width": float((high - low)[active].mean()) if active.any() else float("nan"),
        "total_cover": float(bounds[0] <= counts.sum() <= bounds[1]),
        "log_score": float(np.log(np.maximum(matched, FLOOR)).mean()),
        "ranks": ranks,
    }
