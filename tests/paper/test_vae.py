"""The VAE: its bounds against log p(x) by quadrature, and models side by side against each alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfp.core.noise import generator
from dfp.flows.chain import log_normal
from experiments.flow_vae.vae import FlowVae

PIXELS = 6
KINDS = [("planar", 0), ("planar", 4), ("radial", 4)]


def make(kind: str, length: int, latents: int, seeds: tuple[int, ...]) -> FlowVae:
    streams = [generator(seed) for seed in seeds]
    return FlowVae(PIXELS, latents, 7, kind, length, "safe", streams, torch.full((PIXELS,), 0.4)).double()


def shaken(vae: FlowVae, scale: float) -> FlowVae:
    for number, parameter in enumerate(vae.parameters()):
        parameter.data += scale * torch.randn(parameter.shape, generator=generator(number))
    return vae


def log_evidence(vae: FlowVae, x: Tensor) -> Tensor:
    """``log p(x)`` of one latent, ``(R, B)``, by the midpoint rule."""
    cells, half = 4_000, 10.0
    z = -half + 2 * half / cells * (torch.arange(cells, dtype=torch.float64) + 0.5)
    z = z.reshape(-1, 1, 1, 1).expand(-1, x.shape[0], x.shape[1], 1)
    logits = vae._layer("picture", torch.relu(vae._layer("decoder", z)))
    bits = (x * logits - torch.logaddexp(logits, torch.zeros_like(logits))).sum(-1)
    return (bits + log_normal(z)).logsumexp(0) + math.log(2 * half / cells)


@pytest.mark.parametrize(("kind", "length"), KINDS)
@torch.no_grad()
def test_both_bounds_are_bounds_and_the_tighter_one_tends_to_the_evidence(kind: str, length: int) -> None:
    vae = shaken(make(kind, length, 1, (0, 1)), 0.4)
    rng = generator(5)
    x = (torch.rand(2, 9, PIXELS, generator=rng) < 0.5).double()
    found = vae(x, torch.randn(20_000, 2, 9, 1, generator=rng, dtype=torch.float64))
    exact = log_evidence(vae, x)
    spread = (found.log_joint - found.log_q - exact).exp().std(0) / 20_000**0.5
    # E p(x, z)/q(z) = p(x), whatever q: an error in any log-determinant would show
    assert ((found.evidence().sub(exact).exp() - 1).abs() < 5 * spread + 1e-3).all()
    assert (found.elbo() < exact).all()


def test_a_model_beside_others_is_the_model_alone() -> None:
    together, alone = make("planar", 3, 2, (4, 9)), make("planar", 3, 2, (9,))
    rng = generator(0)
    x = (torch.rand(1, 5, PIXELS, generator=rng) < 0.5).double()
    noise = torch.randn(3, 1, 5, 2, generator=rng, dtype=torch.float64)
    both = together(x.expand(2, -1, -1), noise.expand(-1, 2, -1, -1))
    one = alone(x, noise)
    assert torch.allclose(both.elbo()[1], one.elbo()[0], atol=1e-12)
    assert not torch.allclose(both.elbo()[0], one.elbo()[0], atol=1e-3)


def test_annealing_weighs_the_joint_only() -> None:
    vae = make("radial", 2, 2, (0,))
    x = torch.ones(1, 4, PIXELS, dtype=torch.float64)
    found = vae(x, torch.randn(8, 1, 4, 2, generator=generator(1), dtype=torch.float64))
    assert torch.allclose(found.elbo(0.0), -found.log_q.mean(0))
    assert torch.allclose(found.elbo() - found.elbo(0.25), 0.75 * found.log_joint.mean(0))
    assert (found.evidence() >= found.elbo()).all(), "Jensen"
