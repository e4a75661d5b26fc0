"""A linear-Gaussian network: everything in closed form, and what refinement does to its bound."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.belief.linear_gaussian import LinearGaussian, random_linear_gaussian
from dfp.belief.refinement import climb_exactly
from dfp.core.ascent import Ascent
from dfp.core.errors import UserError
from dfp.core.noise import generator


def made(units: int = 3, seed: int = 0, noise: float = 0.8) -> tuple[LinearGaussian, Tensor]:
    model = random_linear_gaussian(units, 5, noise, generator(seed))
    return model, model.simulate(4, generator(seed + 1))


def start(model: LinearGaussian, x: Tensor) -> Tensor:
    return torch.zeros(len(x), model.latents.parameters, dtype=torch.float64)


def test_evidence_is_the_integral_of_the_joint() -> None:
    """One unit, by quadrature on a fine grid."""
    model, x = made(units=1)
    h = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    joint = model.log_joint(x, h[:, None, None].expand(-1, len(x), 1))
    integral = torch.trapezoid(joint.exp(), h, dim=0).log()
    assert torch.allclose(integral, model.log_evidence(x), atol=1e-9)


def test_joint_less_exact_posterior_is_the_evidence_everywhere() -> None:
    model, x = made()
    h = torch.randn(20, len(x), 3, generator=generator(3), dtype=torch.float64)
    posterior = torch.distributions.MultivariateNormal(model.mean(x), precision_matrix=model.precision)
    assert torch.allclose(model.log_joint(x, h) - posterior.log_prob(h), model.log_evidence(x), atol=1e-9)


def test_closed_bound_is_what_samples_give() -> None:
    model, x = made()
    zeta = 0.3 * torch.randn(len(x), 6, generator=generator(4), dtype=torch.float64)
    units = model.latents
    h = units.sample(zeta, units.noise((200_000, len(x)), generator(5), torch.float64))
    log_weights = model.log_joint(x, h) - units.log_prob(zeta, h)
    error = log_weights.std(0) / math.sqrt(len(h))
    assert bool(((log_weights.mean(0) - model.bound(x, zeta)).abs() < 5 * error).all())


@given(units=st.integers(1, 6), seed=st.integers(0, 10_000), noise=st.floats(0.3, 3.0))
@settings(max_examples=30, deadline=None)
def test_the_best_diagonal_is_a_maximum_with_the_gap_of_the_formula(
    units: int, seed: int, noise: float
) -> None:
    model, x = made(units, seed, noise)
    best = model.best_diagonal(x).requires_grad_()
    value = model.bound(x, best)
    (gradient,) = torch.autograd.grad(value.sum(), best)
    assert float(gradient.abs().max()) < 1e-7
    assert torch.allclose(model.log_evidence(x) - value, torch.full_like(value, model.gap), atol=1e-8)
    moved = best + 0.05 * torch.randn(best.shape, generator=generator(seed), dtype=torch.float64)
    assert bool((model.bound(x, moved) < value).all())
    assert model.gap >= -1e-12


@given(units=st.integers(1, 6), seed=st.integers(0, 10_000), rate=st.floats(1e-4, 1e3))
@settings(max_examples=30, deadline=None)
def test_a_step_with_line_search_never_lowers_the_bound(units: int, seed: int, rate: float) -> None:
    """Exact expectations, any first rate, far too large ones among them, and any start."""
    model, x = made(units, seed)
    zeta = torch.randn(len(x), 2 * units, generator=generator(seed), dtype=torch.float64)
    path = climb_exactly(lambda at: model.bound(x, at), zeta, 12, rate)
    values = torch.stack([model.bound(x, at) for at in path])
    assert len(path) == 13
    assert bool((values.diff(dim=0) >= 0).all())
    assert bool((values[-1] > values[0]).all())


def test_without_a_line_search_the_bound_does_fall() -> None:
    """So that the test above tests something: the same steps at a fixed rate that is too large."""
    model, x = made()
    path = list(Ascent(12, 0.5, momentum=0.0).path(lambda at: model.bound(x, at).sum(), start(model, x)))
    values = torch.stack([model.bound(x, at) for at in path]).nan_to_num(-math.inf)
    assert bool((values[-1] < values[0]).all())


@pytest.mark.parametrize("seed", range(5))
def test_refinement_reaches_the_best_diagonal(seed: int) -> None:
    """Mean to 1e-4, variances to a share of 1e-4, gap to 1e-6 nats: exact gradients, momentum 0.9."""
    model, x = made(seed=seed)
    ascent = Ascent(4000, 0.2 / float(model.precision.diagonal().max()) / 10, 0.9)
    zeta = ascent.climb(lambda at: model.bound(x, at).sum(), start(model, x))
    mean, log_sd = zeta.chunk(2, -1)
    assert torch.allclose(mean, model.mean(x), atol=1e-4)
    assert torch.allclose(
        (2 * log_sd).exp() * model.precision.diagonal(), torch.ones(4, 3).double(), atol=1e-4
    )
    gap = model.log_evidence(x) - model.bound(x, zeta)
    assert torch.allclose(gap, torch.full_like(gap, model.gap), atol=1e-6)


def test_noise_has_to_be_above_zero() -> None:
    with pytest.raises(UserError, match=r"noise: found 0\.0, expected a number above 0"):
        LinearGaussian(torch.zeros(2, 1), torch.zeros(2), 0.0)
