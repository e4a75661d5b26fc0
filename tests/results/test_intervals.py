"""Intervals against SciPy, and the coverage that they promise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dfp.results.intervals import (
    BOOTSTRAP_FROM,
    mean_interval,
    rank_correlation_interval,
    share_interval,
)


@pytest.mark.parametrize("n", [2, 5, BOOTSTRAP_FROM - 1])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_few_values_get_a_t_interval(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert mean_interval(values, level) == pytest.approx((values.mean(), low, high), rel=1e-12)


def test_more_values_get_a_bootstrap_that_leans_with_the_data() -> None:
    values = np.random.default_rng(0).exponential(1, 40)
    mean, low, high = mean_interval(values)
    assert mean == values.mean()
    assert low < mean < high
    assert high - mean > 1.1 * (mean - low)  # skewed to the right, which no t-interval is
    expected = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, random_state=1)
    interval = expected.confidence_interval
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.02)
    assert mean_interval(values) == (mean, low, high)  # always the same resamples
    narrow = mean_interval(values, 0.5)
    assert low < narrow[1] < narrow[2] < high


def coverage(n: int, experiments: int, seed: int) -> float:
    """Share of 95% intervals of n normal values that hold the true mean."""
    values = np.random.default_rng(seed).normal(1.0, 3.0, (experiments, n))
    intervals = np.array([mean_interval(row) for row in values])
    return float(((intervals[:, 1] < 1.0) & (intervals[:, 2] > 1.0)).mean())


def test_t_interval_of_five_covers_what_it_promises() -> None:
    experiments = 4000
    assert abs(coverage(5, experiments, seed=0) - 0.95) < 4 * (0.95 * 0.05 / experiments) ** 0.5


@pytest.mark.parametrize("n", [10, 20, BOOTSTRAP_FROM - 1])
def test_ten_and_more_values_are_covered_as_promised_too(n: int) -> None:
    """The bootstrap's 95% interval of the mean of ten normal values holds it in 90%: t-intervals up to 39."""
    experiments = 4000
    assert abs(coverage(n, experiments, seed=n) - 0.95) < 4 * (0.95 * 0.05 / experiments) ** 0.5


def test_the_bootstrap_covers_nearly_what_it_promises() -> None:
    """From 40 values on it is as good as Student's t; 0.935 to 0.95 of normal values, binomial sd 0.012."""
    assert 0.90 < coverage(BOOTSTRAP_FROM, 400, seed=0) < 0.98


def test_one_value_has_no_interval_and_equal_values_no_width() -> None:
    mean, low, high = mean_interval([2.5])
    assert mean == 2.5
    assert np.isnan(low)
    assert np.isnan(high)
    for n in (2, 50):
        assert mean_interval([0.5] * n) == (0.5, 0.5, 0.5)


def test_nearly_equal_values_still_have_finite_bounds() -> None:
    for values in ([0.0] * 49 + [1.0], [1.0] * 41 + [1.0 + 1e-15]):
        mean, low, high = mean_interval(values)
        assert np.isfinite([mean, low, high]).all()
        assert low <= mean <= high


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=BOOTSTRAP_FROM + 3),
    st.floats(0.1, 100),
    st.floats(-50, 50),
)
def test_interval_moves_with_its_values(values: list[float], scale: float, shift: float) -> None:
    found = mean_interval(values)
    assert found[1] <= found[0] + 1e-9
    assert found[0] <= found[2] + 1e-9
    if np.ptp(values) > 1e-3:
        moved = mean_interval(np.array(values) * scale + shift)
        expected = np.array(found) * scale + shift
        assert moved == pytest.approx(tuple(expected), rel=1e-6, abs=1e-6 * scale * np.ptp(values))


@pytest.mark.parametrize("n", [1, 3, 50])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(n: int, bad: float) -> None:
    values = np.ones(n)
    values[-1] = bad
    with pytest.raises(ValueError, match=f"found 1 of {n} values not finite"):
        mean_interval(values)


def test_other_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="found no values"):
        mean_interval([])
    with pytest.raises(ValueError, match="found a level of 95"):
        mean_interval([1.0, 2.0], 95)


def test_importing_intervals_does_not_import_torch() -> None:
    code = "import sys, dfp.results.intervals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_interval_of_a_share_covers_it() -> None:
    """Exact coverage over all outcomes of a binomial: near 95% on average, as Wilson's is known to be."""
    n, inside = 50, []
    for share in np.linspace(0.05, 0.95, 37):
        chance = stats.binom.pmf(np.arange(n + 1), n, share)
        found = [share_interval(np.arange(n) < held) for held in range(n + 1)]
        inside.append(sum(p for p, (_, low, high) in zip(chance, found, strict=True) if low <= share <= high))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.01) and min(inside) > 0.90


def test_the_interval_of_a_share_at_its_ends() -> None:
    share, low, high = share_interval([True] * 50)
    assert (share, high) == (1.0, 1.0)
    assert low == pytest.approx(50 / (50 + stats.norm.ppf(0.975) ** 2))
    lost = share_interval([False] * 50)
    assert lost[1] == 0.0 and lost[2] == pytest.approx(1 - low)
    assert np.isnan(share_interval([True])[1:]).all()
    with pytest.raises(ValueError, match="no values"):
        share_interval([])


def test_a_rank_correlation_sees_order_only_and_its_interval_covers() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(50)
    noisy = values + rng.standard_normal(50)
    first = rank_correlation_interval(values, noisy)
    assert first == rank_correlation_interval(np.exp(values), noisy**3)
    assert first[0] == pytest.approx(stats.spearmanr(values, noisy).statistic)
    assert rank_correlation_interval(values, -noisy) == pytest.approx((-first[0], -first[2], -first[1]))
    # bivariate normal, r = 0.6: Spearman's is 6/π asin(r/2) (Pearson 1907)
    truth, inside = 6 / np.pi * np.arcsin(0.3), 0
    for _ in range(600):
        a, b = rng.standard_normal((2, 50))
        _, low, high = rank_correlation_interval(a, 0.6 * a + 0.8 * b)
        inside += low <= truth <= high
    assert 0.92 < inside / 600 < 0.98  # binomial sd 0.009
    assert np.isnan(rank_correlation_interval([1, 1, 1], [1, 2, 3])).all()
    with pytest.raises(ValueError, match="as many of each"):
        rank_correlation_interval([1, 2, 3], [1, 2])


def test_the_interval_of_a_rank_correlation_by_hand() -> None:
    """Two swapped neighbours of five: ρ = 1 − 6 · 4 / (5 · 24) = 0.8, half-width 1.96 √((1 + 0.32) / 2)."""
    half = stats.norm.ppf(0.975) * np.sqrt(0.66)
    expected = (0.8, np.tanh(np.arctanh(0.8) - half), np.tanh(np.arctanh(0.8) + half))
    assert rank_correlation_interval([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(expected, abs=1e-12)
