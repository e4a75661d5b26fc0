"""Relaxations: their limits, their gradients, and the two readings of straight-through."""

from __future__ import annotations

import pytest
import torch
from cases import normal
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.samplers.relaxations import Concrete, Hard, MeanField, Relaxation, StraightThrough

SHAPE = (3, 2, 5, 2)
ALL: tuple[Relaxation, ...] = (
    Hard(),
    Concrete(0.4),
    MeanField(),
    StraightThrough("literal"),
    StraightThrough("sigma"),
)


def numbers() -> tuple[Tensor, Tensor]:
    rng = generator(0)
    return normal(rng, *SHAPE).requires_grad_(), logistic_noise(SHAPE, rng, torch.float64)


@pytest.mark.parametrize("relaxation", ALL, ids=str)
def test_attributes_say_what_the_values_do(relaxation: Relaxation) -> None:
    logits, noise = numbers()
    z = relaxation(logits, noise)
    assert z.shape == SHAPE and z.dtype == torch.float64 and bool(((z >= 0) & (z <= 1)).all())
    assert relaxation.discrete == bool(((z == 0) | (z == 1)).all())
    assert relaxation.pathwise == z.requires_grad
    assert relaxation.stochastic != torch.equal(z, relaxation(logits, noise + 1.0))


@pytest.mark.parametrize("relaxation", [Concrete(0.4), Concrete(2.0), MeanField()], ids=str)
def test_smooth_relaxations_have_their_own_derivative(relaxation: Relaxation) -> None:
    logits, noise = numbers()
    assert torch.autograd.gradcheck(lambda u: relaxation(u, noise), (logits,))


def test_a_cold_concrete_sample_is_a_hard_one() -> None:
    logits, noise = numbers()
    assert torch.allclose(Concrete(1e-4)(logits, noise), Hard()(logits, noise), atol=1e-6)


def test_a_hard_sample_spikes_with_the_probability_of_its_logit() -> None:
    noise = logistic_noise((200_000, 1), generator(1), torch.float64)
    for logit in (-2.0, 0.0, 1.5):
        rate = float(Hard()(torch.full_like(noise, logit), noise).mean())
        p = float(torch.sigmoid(torch.tensor(logit)))
        assert abs(rate - p) < 5 * (p * (1 - p) / 200_000) ** 0.5


def test_each_cell_may_have_its_own_temperature() -> None:
    logits, noise = numbers()
    both = Concrete(torch.tensor([0.2, 1.0], dtype=torch.float64))(logits, noise)
    for cell, temperature in enumerate((0.2, 1.0)):
        assert torch.equal(both[..., cell], Concrete(temperature)(logits, noise)[..., cell])


@pytest.mark.parametrize("reading", ["literal", "sigma"])
def test_straight_through_is_hard_forward_and_its_reading_backward(reading: str) -> None:
    """Hjelm et al. 2015, eq. 9: the gradient passed on as it is, or
    multiplied by σ'(u), which does not depend on the noise.
    """
    logits, noise = numbers()
    z = StraightThrough(reading)(logits, noise)
    assert torch.equal(z, Hard()(logits, noise))
    cotangent = normal(generator(2), *SHAPE)
    (found,) = torch.autograd.grad(z, logits, cotangent)
    slope = torch.sigmoid(logits) * torch.sigmoid(-logits)
    assert torch.allclose(found, cotangent if reading == "literal" else cotangent * slope, rtol=1e-12)


def test_straight_through_stays_exactly_binary_for_large_logits() -> None:
    """``hard + (u − u)`` must not leave rounding behind, in single precision least of all."""
    logits = (1e4 * torch.randn(1000, generator=generator(3))).requires_grad_()
    for reading in ("literal", "sigma"):
        z = StraightThrough(reading)(logits, torch.zeros(1000))
        assert set(z.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), torch.tensor([0.5, 0.0])])
def test_temperatures_that_are_not_positive_are_refused(temperature: float | Tensor) -> None:
    with pytest.raises(UserError, match="temperature: found"):
        Concrete(temperature)


def test_an_unknown_reading_is_refused() -> None:
    with pytest.raises(UserError, match="found 'sigmoid', expected 'literal' or 'sigma'"):
        StraightThrough("sigmoid")
