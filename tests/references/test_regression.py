"""The spiking law fitted to spikes: it finds the law that made them, and agrees with other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.references.regression import lagged, regress

Array = NDArray[np.float64]
BASIS = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.4]])


def spikes(bins: int = 20_000, trials: int = 2) -> tuple[Array, Array, Array, Array]:
    """Three cells with two coupling functions; spikes and the law's bias, history and coupling."""
    rng = np.random.default_rng(0)
    bias, history = np.array([-2.0, -1.5, -2.5]), np.tile([-2.0, -1.0], (3, 1))
    coupling = np.zeros((2, 3, 3))
    coupling[0, 0, 1], coupling[0, 2, 0], coupling[1, 1, 2] = 1.5, -1.0, 2.0
    z = np.zeros((trials, bins, 3))
    for t in range(bins):
        logits = np.tile(bias, (trials, 1))
        for lag in (1, 2, 3):
            if t >= lag:
                past = z[:, t - lag]
                logits = logits + np.einsum("r,rij,bj->bi", BASIS[:, lag - 1], coupling, past)
                if lag <= 2:
                    logits = logits + history[:, lag - 1] * past
        z[:, t] = rng.random((trials, 3)) < 1 / (1 + np.exp(-logits))
    return z, bias, history, coupling


def test_it_finds_the_law_that_made_the_spikes() -> None:
    """40,000 bins: standard errors are near 0.04 (coupling) and 0.1 (history, few pairs of spikes)."""
    z, bias, history, coupling = spikes()
    found = regress(z, BASIS, 2)
    np.testing.assert_allclose(found.bias, bias, atol=0.1)
    np.testing.assert_allclose(found.history, history, atol=0.5)
    np.testing.assert_allclose(found.coupling, coupling, atol=0.25)
    assert (found.coupling[:, np.arange(3), np.arange(3)] == 0).all()


def loss(z: Array, i: int, parameters: torch.Tensor, ridge: float) -> torch.Tensor:
    """The objective as the docstring states it, written out with torch."""
    x = torch.as_tensor(z)
    own = torch.stack([torch.as_tensor(row) for row in lagged(z, np.eye(2))])[..., i]
    others = torch.as_tensor(lagged(z, BASIS))
    kept = [j for j in range(z.shape[2]) if j != i]
    features = torch.cat([others[..., kept].movedim(0, -1).flatten(2), own.movedim(0, -1)], dim=-1)
    u = parameters[0] + features @ parameters[1:]
    cross = torch.nn.functional.binary_cross_entropy_with_logits(u, x[..., i])
    return cross + 0.5 * ridge * (parameters[1:] ** 2).sum()


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 1e-1])
def test_its_answer_is_a_minimum_of_the_stated_objective(ridge: float) -> None:
    z, *_ = spikes(bins=2000, trials=2)
    found = regress(z, BASIS, 2, ridge)
    for i in range(3):
        kept = [j for j in range(3) if j != i]
        weights = found.coupling[:, i, kept].T.reshape(-1)  # one block of functions a sender
        values = np.concatenate([[found.bias[i]], weights, found.history[i]])
        parameters = torch.tensor(values, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(z, i, parameters, ridge), parameters)
        assert gradient.abs().max() < 1e-5


def test_soft_values_are_weighted_events() -> None:
    """A target of 0.25 everywhere is a rate of a quarter; NaN leaves a bin out."""
    z = np.zeros((1, 400, 2))
    targets = np.full(z.shape, 0.25)
    targets[:, :100] = np.nan
    found = regress(z, BASIS, 0, targets=targets)
    np.testing.assert_allclose(found.bias, np.log(0.25 / 0.75), atol=1e-3)


def test_a_silent_cell_keeps_finite_estimates() -> None:
    z, *_ = spikes(bins=500)
    z[:, :, 1] = 0
    found = regress(z, BASIS, 2)
    assert found.bias[1] == pytest.approx(np.log(0.5 / 1000.5))
    assert (found.coupling[:, 1] == 0).all() and np.abs(found.coupling[:, :, 1]).max() < 1e-9
    assert all(np.isfinite(part).all() for part in (found.bias, found.history, found.coupling))


def test_some_receivers_alone_are_as_all_of_them() -> None:
    z, *_ = spikes(bins=800)
    everyone, one = regress(z, BASIS, 2), regress(z, BASIS, 2, receivers=[2])
    np.testing.assert_array_equal(one.coupling[:, 2], everyone.coupling[:, 2])
    assert (one.coupling[:, :2] == 0).all() and (one.bias[:2] == 0).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"z": np.zeros((4, 2))}, "z: found shape"),
        ({"basis": np.zeros(3)}, "basis: found shape"),
        ({"history": -1}, "history: found -1"),
        ({"ridge": float("nan")}, "ridge"),
        ({"z": np.full((1, 4, 2), 2.0)}, "z: found values outside"),
        ({"targets": np.full((1, 4, 2), -1.0)}, "targets: found values outside"),
        ({"targets": np.full((1, 4, 2), np.nan)}, "no observed bin of cell 0"),
    ],
)
def test_a_mistake_is_one_sentence(change: dict, told: str) -> None:
    arguments = {"z": np.zeros((1, 4, 2)), "basis": BASIS, "history": 1, **change}
    with pytest.raises(UserError, match=told):
        regress(**arguments)


def test_agreement_with_nemos() -> None:
    """NeMoS's logistic regression with its ridge on the same regressors, to the tolerance of its solver."""
    nemos = pytest.importorskip("nemos")
    z, *_ = spikes(bins=4000, trials=1)
    ridge = 1e-3
    found = regress(z, BASIS, 2, ridge)
    own, others = lagged(z, np.eye(2)), lagged(z, BASIS)
    for i in range(3):
        kept = [j for j in range(3) if j != i]
        columns = [others[r, 0, :, j] for j in kept for r in range(2)] + [own[k, 0, :, i] for k in range(2)]
        model = nemos.glm.GLM(
            observation_model=nemos.observation_models.BernoulliObservations(),
            regularizer="Ridge",
            regularizer_strength=ridge,
            solver_name="LBFGS",
            solver_kwargs={"tol": 1e-10, "maxiter": 5000},
        ).fit(np.stack(columns, 1), z[0, :, i])
        weights = np.concatenate([found.coupling[:, i, kept].T.reshape(-1), found.history[i]])
        np.testing.assert_allclose(np.asarray(model.coef_).ravel(), weights, atol=0.01)
        np.testing.assert_allclose(float(np.asarray(model.intercept_).ravel()[0]), found.bias[i], atol=0.01)
