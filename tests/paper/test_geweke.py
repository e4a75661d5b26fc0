"""The joint test: what it averages, that a right sampler passes, that wrong ones do not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from dfp.core.errors import UserError
from dfp.results.intervals import z_threshold
from experiments.calibration.geweke import COUPLED, FUNCTIONS, joint_test, moments

Array = NDArray[np.float64]
RATE, NOISE, BINS = 0.3, 0.8, 12


def spikes(rng: np.random.Generator, trials: int, cells: int = 1) -> Array:
    """Independent Bernoulli bins."""
    return (rng.random((trials, BINS, cells)) < RATE).astype(float)


def observed(rng: np.random.Generator, z: Array) -> Array:
    """x = z + noise."""
    return z + NOISE * rng.normal(size=z.shape)


def drawn(rng: np.random.Generator, x: Array, shift: int = 0, rate: float = RATE) -> Array:
    """Exact: P(z[t] = 1 | x) of each bin alone; ``shift`` reads the trace so many bins off."""
    seen = np.roll(x, -shift, axis=1)
    logit = np.log(rate / (1 - rate)) + (seen - 0.5) / NOISE**2
    return (rng.random(x.shape) < expit(logit)).astype(float)


def run(seed: int, steps: int = 20, cells: int = 1, **wrong: float) -> tuple[Array, Array]:
    """Scores and p-values of a run."""
    rng = np.random.default_rng(seed)
    z = spikes(rng, 400, cells)
    found = joint_test(
        (z, observed(rng, z)),
        spikes(rng, 200, cells),
        lambda z: observed(rng, z),
        lambda x, _: drawn(rng, x, **wrong),  # type: ignore[arg-type]
        steps,
    )
    assert found.names == FUNCTIONS
    return found.scores, found.p


def test_a_right_sampler_passes_with_scores_of_unit_size() -> None:
    scores, p = run(0, cells=40)
    assert scores.shape == (40, len(FUNCTIONS)) and p.shape == (40,)
    # the functions are dependent within a cell, the cells are not
    assert 0.8 < np.sqrt((scores**2).mean()) < 1.2
    assert p.min() * 40 > 0.01
    assert np.abs(scores).max() < z_threshold(scores.size, 0.001)


@pytest.mark.parametrize("wrong", [{"shift": 1}, {"rate": 0.36}])
def test_a_wrong_sampler_is_caught(wrong: dict[str, float]) -> None:
    _, p = run(1, **wrong)
    assert p[0] < 1e-4


def test_moments_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    z, x = spikes(rng, 2, 3), rng.normal(size=(2, BINS, 3))
    weights = rng.normal(size=(3, 3))
    found = moments(z, x, weights)
    assert found.shape == (2, 3, len(FUNCTIONS) + len(COUPLED))
    names = list(FUNCTIONS + COUPLED)
    b, i = 1, 2
    late = range(2, BINS)
    by_hand = {
        "z[t] z[t−2]": np.mean([z[b, t, i] * z[b, t - 2, i] for t in late]),
        "x[t] z[t−3]": np.mean([x[b, t, i] * z[b, t - 3, i] for t in range(3, BINS)]),
        "x[t]²": np.mean(x[b, :, i] ** 2),
        COUPLED[1]: np.mean([z[b, t, i] * (weights[i] @ z[b, t - 2]) for t in late]),
    }
    for name, value in by_hand.items():
        assert found[b, i, names.index(name)] == pytest.approx(value, abs=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="at least 5 bins"):
        moments(np.zeros((2, 4, 1)), np.zeros((2, 4, 1)))
    z = np.zeros((10, BINS, 1))
    with pytest.raises(UserError, match="7 steps"):
        joint_test((z, z), z, lambda z: z, lambda x, z: z, 7)
