"""Tests of uniform ranks: the level they keep, the errors they catch, and what they say of the error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.metrics.statistics import randomised_ranks
from experiments.calibration.rank_uniformity import band, uniformity


def test_uniform_ranks_are_called_uniform_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    found = [uniformity(rng.random(150)) for _ in range(400)]
    # 5% of 400 within four standard deviations, for a test that is exact but for its simulation
    edge = 4 * np.sqrt(400 * 0.05 * 0.95)
    for p in ([one.p_ecdf for one in found], [one.p_chi2 for one in found]):
        assert abs(np.sum(np.array(p) < 0.05) - 20) < edge
    assert abs(np.sum([one.excess > 1 for one in found]) - 20) < edge
    assert np.mean([one.spread for one in found]) == pytest.approx(1.0, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=20, max_size=80), st.integers(5, 40))
def test_the_band_and_the_difference_belong_together(ranks: list[float], points: int) -> None:
    found = uniformity(ranks, points=points)
    assert (found.low <= 0).all() and (found.high >= 0).all()
    share = np.array([np.mean(np.array(ranks) <= p) for p in found.points])
    np.testing.assert_allclose(found.difference, share - found.points, atol=1e-12)
    assert found.distance == pytest.approx(np.abs(found.difference).max())
    outside = (found.difference < found.low - 1e-9) | (found.difference > found.high + 1e-9)
    assert outside.any() == (found.excess > 1 + 1e-9)
    assert 0 < found.p_ecdf <= 1


def test_one_point_is_an_exact_binomial_interval() -> None:
    low, high = band(40, 1, 0.95)
    inside = binom.cdf(40 * (high + 0.5), 40, 0.5) - binom.cdf(40 * (low + 0.5) - 1, 40, 0.5)
    assert inside[0] >= 0.95 and inside[0] < 0.985  # whole numbers cannot hit 0.95


@pytest.mark.parametrize(
    ("shift", "scale", "told"),
    [
        (0.0, 1.0, "calibrated"),
        (0.0, 0.7, "too sure"),
        (0.0, 1.4, "too unsure"),
        (0.4, 1.0, "too high"),
    ],
)
def test_a_wrong_posterior_is_caught_and_told(shift: float, scale: float, told: str) -> None:
    """Counts: the truth Poisson(9)-like whole numbers, the posterior shifted or of another width."""
    rng = np.random.default_rng(2)
    trials, draws = 600, 60
    centre = 20 + rng.normal(0, 3, trials)
    truth = np.round(centre + 2.5 * rng.normal(size=trials))
    samples = np.round(centre + 2.5 * (shift + scale * rng.normal(size=(draws, trials))))
    ranks = randomised_ranks(torch.as_tensor(samples), torch.as_tensor(truth), generator(0)).numpy()
    found = uniformity(ranks)
    if told == "calibrated":
        assert found.p_ecdf > 0.01 and found.p_chi2 > 0.01 and found.excess < 1
        return
    assert found.p_ecdf < 0.001 and found.p_chi2 < 0.001 and found.excess > 1
    if told == "too high":
        assert found.mean < 0.45
    else:
        assert (found.spread > 1.08) == (told == "too sure")
        assert (found.spread < 0.92) == (told == "too unsure")


def test_bad_ranks_are_refused() -> None:
    with pytest.raises(UserError, match="ranks: found 5 of them, expected at least 20"):
        uniformity([0.1] * 5)
    with pytest.raises(UserError, match="between 0 and 1"):
        uniformity([1.1] * 30)
    with pytest.raises(UserError, match="level"):
        uniformity([0.5] * 30, level=1.0)
