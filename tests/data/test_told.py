"""Constants told wrong: a factor for all cells or one a cell, by the data set's seed only."""

from __future__ import annotations

import numpy as np
import pytest
from cases import parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from dfp.core.errors import UserError
from dfp.data.told import CONSTANTS, Told, as_told, factors, read_told
from dfp.models.calcium import CalciumParameters

SEEDS = np.full(3, 7)


TRUTH = parameters(3)


@given(told=st.dictionaries(st.sampled_from(CONSTANTS), st.floats(0.1, 10.0)))
@settings(max_examples=30, deadline=None)
def test_what_is_told_is_the_truth_times_its_factor_and_nothing_else_moves(told: dict[str, float]) -> None:
    found = as_told(TRUTH, TRUTH, told, SEEDS)
    for name in (*CalciumParameters.names, "basis"):
        expected = getattr(TRUTH, name) * told.get(name, 1.0)
        assert np.allclose(getattr(found, name), expected, rtol=1e-12)


def test_a_told_constant_takes_the_place_of_the_start_not_of_the_truth() -> None:
    """A start of its own (an estimate, say) is put aside; what is not told keeps it."""
    start = as_told(TRUTH, TRUTH, {"amplitude": 3.0, "noise": 3.0}, SEEDS)
    found = as_told(start, TRUTH, {"amplitude": 0.9}, SEEDS)
    assert np.allclose(found.amplitude, 0.9 * TRUTH.amplitude) and np.allclose(found.noise, 3.0 * TRUTH.noise)


@given(seed=st.integers(0, 1000), spread=st.floats(0.05, 0.5), factor=st.floats(0.5, 2.0))
@settings(max_examples=20, deadline=None)
def test_factors_of_cells_are_lognormal(seed: int, spread: float, factor: float) -> None:
    """2,000 cells: the mean of the logarithm is within 5 standard errors, its sd within 5 of its own."""
    cells = 2000
    found = np.log(factors(Told(factor, spread), "amplitude", np.full(cells, seed)))
    assert abs(found.mean() - np.log(factor)) < 5 * spread / np.sqrt(cells)
    assert abs(found.std() / spread - 1) < 5 / np.sqrt(2 * cells)


def test_factors_follow_from_the_seed_the_constant_and_the_cell() -> None:
    told = Told(spread=0.1)
    drawn = factors(told, "amplitude", np.arange(5))
    assert np.array_equal(drawn, factors(told, "amplitude", np.arange(5)))
    # the first cells of a larger panel are the same cells
    assert np.array_equal(drawn[:3], factors(told, "amplitude", np.arange(3)))
    assert not np.isclose(drawn, factors(told, "noise", np.arange(5))).any()
    assert not np.isclose(drawn, factors(told, "amplitude", np.arange(5) + 1)).any()
    assert len(set(factors(told, "amplitude", np.zeros(5, dtype=int)))) == 5  # cells of one network differ
    assert np.array_equal(factors(Told(0.9), "decay", SEEDS), [0.9, 0.9, 0.9])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"amplitud": 0.9}, r"told: found 'amplitud' \(did you mean 'amplitude'\?\), expected some of rise"),
        ({"baseline": 0.9}, "told: found 'baseline', expected some of"),
        ({"decay": 0.0}, "told.decay: factor, spread: found 0, 0, expected a factor above 0"),
        ({"decay": -1.0}, "told.decay: factor, spread: found -1, 0"),
        ({"noise": float("nan")}, "told.noise: factor, spread: found nan"),
    ],
)
def test_what_cannot_be_told_is_refused(raw: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_told(raw)


def test_a_negative_spread_is_refused() -> None:
    with pytest.raises(UserError, match=r"found 1, -0\.1, .* a spread of at least 0"):
        Told(spread=-0.1)
