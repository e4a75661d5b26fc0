"""Intervals over seeds and cells. NumPy and SciPy only."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

#: below this many values a t-interval: a bootstrap of so few is too narrow
BOOTSTRAP_FROM = 10
RESAMPLES = 10_000


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its central interval ``(mean, low, high)``, in the units of the values.

    Below 10 values Student's t; from 10 on the bias-corrected accelerated bootstrap of the mean (Efron 1987)
    with 10,000 resamples, always the same ones. One value has no interval: its bounds are NaN. Equal values
    have an interval of no width.

    Raises:
        ValueError: for no values, a value that is not finite, or a level outside (0, 1).
    """
    data = np.asarray(values, dtype=float).ravel()
    if not 0 < level < 1:
        raise ValueError(f"interval: found a level of {level}, expected one between 0 and 1")
    if not data.size:
        raise ValueError("interval: found no values, expected at least one")
    if not np.isfinite(data).all():
        missing = np.count_nonzero(~np.isfinite(data))
        raise ValueError(f"interval: found {missing} of {data.size} values not finite, expected numbers")
    mean = float(data.mean())
    if data.size == 1:
        return mean, float("nan"), float("nan")
    if np.ptp(data) == 0:
        return mean, mean, mean
    if data.size < BOOTSTRAP_FROM:
        half = float(stats.t.ppf(0.5 + level / 2, data.size - 1) * stats.sem(data))
        return mean, mean - half, mean + half
    # in units of the sd around the mean, and rounded, so that resampled means that tie with the mean do tie:
    # else the correction of the bias would hang on the last digit
    scale = data.std()
    units = (data - mean) / scale

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        # the older name of the argument: `rng` is known from SciPy 1.15 on only
        found = stats.bootstrap(
            (units,),
            _rounded_mean,
            confidence_level=level,
            n_resamples=RESAMPLES,
            method="BCa",
            random_state=np.random.default_rng(0),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    if not np.isfinite([low, high]).all():  # the acceleration is undefined: plain quantiles instead
        draws = np.random.default_rng(0).choice(units, (RESAMPLES, units.size)).mean(1)
        low, high = (float(bound) for bound in np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2]))
    return mean, mean + float(scale) * low, mean + float(scale) * high


def _rounded_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis).round(12))


def paired_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """``mean_interval`` of ``a − b``, paired value by value.

    Raises:
        ValueError: when the two differ in length, or as ``mean_interval``.
    """
    first, second = np.asarray(a, dtype=float).ravel(), np.asarray(b, dtype=float).ravel()
    if first.size != second.size:
        raise ValueError(
            f"paired interval: found {first.size} and {second.size} values, expected as many of each"
        )
    return mean_interval(first - second, level)
