"""Units: samples, densities, divergences, and the gradients that pass through them."""

from __future__ import annotations

import pytest
import torch
from belief_cases import point
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.belief.latents import Bernoulli, Gaussian, make_latents
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.enumeration import all_paths

KINDS = ("gaussian", "bernoulli")


def noise(kind: str, count: int, batch: int = 6) -> Tensor:
    return make_latents(kind, 4).noise((count, batch), generator(9), torch.float64)


def test_bernoulli_probabilities_sum_to_one() -> None:
    states = all_paths(4, 1).reshape(16, 1, 4).expand(-1, 6, -1)
    total = Bernoulli(4).log_prob(point(), states).logsumexp(0)
    assert torch.allclose(total, torch.zeros(6).double(), atol=1e-12)


def test_gaussian_density_is_that_of_torch() -> None:
    zeta = point("gaussian")
    mean, log_sd = zeta.chunk(2, -1)
    h = torch.randn(5, 6, 4, generator=generator(1), dtype=torch.float64)
    expected = torch.distributions.Normal(mean, log_sd.exp()).log_prob(h).sum(-1)
    assert torch.allclose(Gaussian(4).log_prob(zeta, h), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_the_mean_of_log_ratios(kind: str) -> None:
    units, zeta, other = make_latents(kind, 4), point(kind), point(kind, seed=5)
    h = units.sample(zeta, noise(kind, 100_000))
    ratio = units.log_prob(zeta, h) - units.log_prob(other, h)
    error = ratio.std(0) / len(h) ** 0.5
    assert bool(((ratio.mean(0) - units.kl(zeta, other)).abs() < 5 * error).all())


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), scale=st.floats(0.1, 8.0))
@settings(max_examples=40, deadline=None)
def test_divergence_is_above_zero_but_from_itself(seed: int, kind: str, scale: float) -> None:
    units, zeta, other = make_latents(kind, 4), point(kind, seed=seed), scale * point(kind, seed=seed + 1)
    assert bool((units.kl(zeta, other) > 0).all())
    assert torch.allclose(units.kl(zeta, zeta), torch.zeros(6).double(), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_is_one_row_for_all(kind: str) -> None:
    units, zeta, prior = make_latents(kind, 4), point(kind), point(kind, count=1)[0]
    assert torch.allclose(units.kl(zeta, prior), units.kl(zeta, prior.expand(6, -1)))


def slope(estimator: str, kind: str = "bernoulli") -> tuple[Tensor, Tensor]:
    """What stands for h, and the gradient of its sum over units, a draw: `(values, gradient)`."""
    zeta = point(kind).requires_grad_()
    passed = make_latents(kind, 4).passed(zeta, noise(kind, 1), estimator)
    return passed.detach(), torch.autograd.grad(passed.sum(), zeta)[0]


def test_mean_passing_passes_means_with_their_slope() -> None:
    """Eq. 8: μ = σ(ζ)."""
    values, gradient = slope("mean_passing")
    mean = torch.sigmoid(point())
    assert torch.allclose(values[0], mean) and torch.allclose(gradient, mean * (1 - mean))


def test_straight_through_is_literal_or_times_the_slope() -> None:
    """Eq. 9: hard samples forward; backward 1 as in the authors' code, or σ′."""
    mean = torch.sigmoid(point())
    hard = Bernoulli(4).sample(point(), noise("bernoulli", 1))
    for estimator, expected in (
        ("straight_through", torch.ones_like(mean)),
        ("straight_through_sigma", mean * (1 - mean)),
    ):
        values, gradient = slope(estimator)
        assert torch.equal(values.round(decimals=12), hard) and torch.allclose(gradient, expected)
    assert 0 < float(hard.mean()) < 1


def test_reparametrised_gradients_are_exact() -> None:
    """Eq. 6: ∂h/∂μ = 1, ∂h/∂log σ = ε σ."""
    _, gradient = slope("reparametrised", "gaussian")
    log_sd = point("gaussian").chunk(2, -1)[1]
    expected = torch.cat([torch.ones(6, 4).double(), noise("gaussian", 1)[0] * log_sd.exp()], -1)
    assert torch.allclose(gradient, expected)


def test_bernoulli_samples_have_their_means() -> None:
    h = Bernoulli(4).sample(point(), noise("bernoulli", 50_000))
    assert set(h.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(h.mean(0), torch.sigmoid(point()), atol=5 * 0.5 / 50_000**0.5)


def test_unknown_units_are_refused() -> None:
    with pytest.raises(UserError, match=r"latents: found 'gausian' \(did you mean 'gaussian'\?\), expected"):
        make_latents("gausian", 3)
    with pytest.raises(UserError, match="units: found 0, expected at least 1"):
        make_latents("gaussian", 0)
