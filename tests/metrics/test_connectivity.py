"""Measures of learned weights, against arithmetic done by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.metrics.connectivity import correlation, limit_correlation, weight_metrics

Array = NDArray[np.float64]


def matrix(*rows: list[float]) -> Array:
    return np.array([rows], dtype=float)


TRUTH = matrix([9, 1, 0], [-1, 9, 0], [0, 2, 9])


def test_by_hand() -> None:
    """Six pairs: true 1, 0, −1, 0, 0, 2; learned 0.5, 0.1, −0.5, −0.6, 0, 1."""
    learned = matrix([0, 0.5, 0.1], [-0.5, 0, -0.6], [0, 1, 0])
    found = weight_metrics(learned, TRUTH)
    v, w = np.array([1, 0, -1, 0, 0, 2]), np.array([0.5, 0.1, -0.5, -0.6, 0, 1])
    assert found["weight_correlation"] == pytest.approx(np.corrcoef(w, v)[0, 1])
    assert found["weight_slope"] == pytest.approx(np.polyfit(v, w, 1)[0])
    assert found["weight_rmse"] == pytest.approx(np.sqrt(((w - v) ** 2).mean()))
    # edges score .5, .5, 1; the others .1, .6, 0: of nine pairs, two are in the wrong order
    assert found["weight_auc"] == pytest.approx(7 / 9)
    assert found["weight_sign_accuracy"] == 1.0


def test_the_truth_is_perfect_and_nothing_is_worth_nothing() -> None:
    exact = weight_metrics(TRUTH, TRUTH)
    for name in ("correlation", "slope", "auc", "ap", "sign_accuracy"):
        assert exact[f"weight_{name}"] == pytest.approx(1.0), name
    assert exact["weight_rmse"] == 0
    nothing = weight_metrics(np.zeros_like(TRUTH), TRUTH)
    assert nothing["weight_correlation"] == 0 and nothing["weight_slope"] == 0
    assert nothing["weight_auc"] == 0.5 and nothing["weight_ap"] == pytest.approx(0.5)  # 3 of 6 are edges
    assert nothing["weight_sign_accuracy"] == 0


def test_what_has_no_meaning_is_left_out() -> None:
    dense = matrix([0, 1], [2, 0])
    assert "weight_auc" not in weight_metrics(dense, dense)
    empty = np.zeros((1, 2, 2))
    assert set(weight_metrics(dense, empty)) == {"weight_rmse"}
    assert not {"weight_slope", "weight_rmse"} & set(weight_metrics(TRUTH, TRUTH, scaled=False))


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.integers(1, 2), st.integers(2, 6))
def test_scale_moves_the_slope_and_nothing_else(seed: int, scale: float, functions: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((functions, cells, cells)) * (rng.random((functions, cells, cells)) < 0.5)
    learned = rng.standard_normal(truth.shape)
    one, many = weight_metrics(learned, truth), weight_metrics(scale * learned, truth)
    for name in one:
        if name == "weight_slope":
            assert many[name] == pytest.approx(scale * one[name], rel=1e-9, abs=1e-12)
        elif name != "weight_rmse":
            assert many[name] == pytest.approx(one[name], rel=1e-9, abs=1e-12)
    shifted = learned + 5 * np.eye(cells)
    assert weight_metrics(shifted, truth) == one  # diagonals do not count


def test_a_constant_correlates_with_nothing() -> None:
    assert correlation(np.full(5, 0.1), np.arange(5.0)) == 0.0


@pytest.mark.parametrize(
    ("learned", "told"),
    [
        (np.zeros((1, 3, 2)), "found shapes"),
        (np.zeros((1, 2, 2)), "found shapes"),
        (np.full((1, 3, 3), np.nan), "not finite"),
    ],
)
def test_wrong_weights_are_one_sentence(learned: Array, told: str) -> None:
    with pytest.raises(UserError, match=told):
        weight_metrics(learned, TRUTH)
    with pytest.raises(UserError, match="two cells"):
        weight_metrics(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))


def test_the_limit_takes_the_noise_of_the_draws_out() -> None:
    """40 draws w + ε of 1,560 weights w = 0.8 v + δ: noise of variance 9 / 40 lowers the correlation of their
    mean by more than 0.05, the limit is that of w (over seeds its sd about that is 0.009)."""
    rng = np.random.default_rng(3)
    truth = rng.standard_normal((1, 40, 40))
    exact = 0.8 * truth + 0.5 * rng.standard_normal(truth.shape)
    draws = exact + 3.0 * rng.standard_normal((40, *truth.shape))
    wanted = weight_metrics(exact, truth)["weight_correlation"]
    measured = weight_metrics(draws.mean(0), truth)["weight_correlation"]
    assert measured < wanted - 0.05
    assert limit_correlation(draws, truth) == pytest.approx(wanted, abs=0.027)
    assert limit_correlation(np.stack([exact] * 3), truth) == pytest.approx(wanted, rel=1e-12)


def test_a_limit_that_nothing_tells_of_is_not_a_number() -> None:
    draws = np.stack([TRUTH, -TRUTH])
    assert np.isnan(limit_correlation(draws, TRUTH))
    assert np.isnan(limit_correlation(np.stack([TRUTH] * 2), np.zeros_like(TRUTH)))
    with pytest.raises(UserError, match="found 1, expected at least 2"):
        limit_correlation(TRUTH[None], TRUTH)
