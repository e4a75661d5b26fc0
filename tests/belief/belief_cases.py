"""Small networks that the tests of belief networks share."""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.belief.latents import make_latents
from dfp.belief.network import BeliefNetwork, Recognition
from dfp.core.noise import generator

PIXELS = 9


def images(count: int = 6, seed: int = 0) -> Tensor:
    return (torch.rand(count, PIXELS, generator=generator(seed)) < 0.4).double()


def network(
    kind: str = "bernoulli", units: int = 4, hidden: tuple[int, ...] = (5,), seed: int = 0, scale: float = 1.0
) -> BeliefNetwork:
    """Random weights, multiplied by `scale`; a prior of Bernoulli units away from 0."""
    rng = generator(seed)
    made = BeliefNetwork(make_latents(kind, units), hidden, torch.full((PIXELS,), 0.4), rng).double()
    with torch.no_grad():
        for parameter in made.decoder.parameters():
            parameter.mul_(scale)
        if kind == "bernoulli":
            made.prior.copy_(torch.randn(units, generator=rng))
    return made


def recognition(kind: str = "bernoulli", units: int = 4, seed: int = 1) -> Recognition:
    rng = generator(seed)
    made = Recognition(make_latents(kind, units), (6,), PIXELS, rng).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    return made


def point(kind: str = "bernoulli", units: int = 4, count: int = 6, seed: int = 2) -> Tensor:
    """Some ζ, `(B, ·)`."""
    width = make_latents(kind, units).parameters
    return 0.5 * torch.randn(count, width, generator=generator(seed), dtype=torch.float64)
