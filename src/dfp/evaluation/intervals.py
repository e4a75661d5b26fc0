"""Intervals over seeds and cells. NumPy and SciPy only."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

#: below this many values a t-interval: a bootstrap of so few is too narrow
BOOTSTRAP_FROM = 10
RESAMPLES = 10_000


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its central interval ``(mean, low, high)``.

    Below 10 values Student's t; from 10 on the bias-corrected accelerated bootstrap of the mean, 10,000 resamples, always the same
    ones. One value has no interval: its bounds are NaN. Equal values have an interval of no width.

    Raises:
        ValueError: for no values, or a value that is not finite.
    """
    data = np.asarray(values, dtype=float).ravel()
    if not data.size:
        raise ValueError("interval: found no values, expected at least one")
    if not np.isfinite(data).all():
        raise ValueError(f"interval: found {np.count_nonzero(~np.isfinite(data))} values that are not finite of {data.size}")
    mean = float(data.mean())
    if data.size == 1:
        return mean, float("nan"), float("nan")
    if np.ptp(data) == 0:
        return mean, mean, mean
    if data.size < BOOTSTRAP_FROM:
        half = stats.t.ppf(0.5 + level / 2, data.size - 1) * data.std(ddof=1) / np.sqrt(data.size)
        return mean, mean - float(half), mean + float(half)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (data,), np.mean, confidence_level=level, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
    if not np.isfinite([found.low, found.high]).all():  # nearly degenerate data: the acceleration is undefined
        draws = np.random.default_rng(0).choice(data, (RESAMPLES, data.size)).mean(1)
        low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
        return mean, float(low), float(high)
    return mean, float(found.low), float(found.high)


def paired_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """``mean_interval`` of ``a − b``, paired value by value.

    Raises:
        ValueError: when the two differ in length, or as ``mean_interval``.
    """
    first, second = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if first.size != second.size:
        raise ValueError(f"paired interval: found {first.size} and {second.size} values, expected as many of each")
    return mean_interval(first - second, level)
