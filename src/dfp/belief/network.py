"""Directed belief network (factorial prior, deterministic layers, Bernoulli pixels) and its recognition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from dfp.belief.latents import Bernoulli, Latents
from dfp.core.errors import UserError


def layers(sizes: Sequence[int], rng: torch.Generator) -> nn.Sequential:
    """Linear layers with softplus between them (a choice); weights N(0, 1/inputs), biases 0.

    Raises:
        UserError: for a size below 1.
    """
    if min(sizes) < 1:
        raise UserError(f"hidden: found {list(sizes[1:-1])}, expected sizes of at least 1")
    made: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(outputs, inputs, generator=rng) / inputs**0.5)
            linear.bias.zero_()
        made += [linear, nn.Softplus()]
    return nn.Sequential(*made[:-1])


class BeliefNetwork(nn.Module):
    """``p(x, h) = Π_i p(h_i) Π_d Bernoulli(x_d; σ(f_d(h)))``, one stochastic layer.

    The prior is N(0, I) for Gaussian units and learned logits for Bernoulli ones; f is a chain of
    deterministic layers (none: linear).

    Args:
        latents: the units.
        hidden: sizes of the deterministic layers, from h to x.
        pixel_mean: ``(P,)`` mean of the training images, whose logits the output's bias starts at.
        rng: of the initial weights.

    Source: Hjelm et al. 2015, section 2: one latent layer, factorial prior.
    """

    def __init__(
        self, latents: Latents, hidden: Sequence[int], pixel_mean: Tensor, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.latents = latents
        self.pixels = len(pixel_mean)
        self.decoder = layers([latents.units, *hidden, self.pixels], rng)
        self._set_bias(pixel_mean)
        prior = torch.zeros(latents.parameters)
        self.prior = nn.Parameter(prior, requires_grad=isinstance(latents, Bernoulli))

    @torch.no_grad()
    def _set_bias(self, pixel_mean: Tensor) -> None:
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(torch.logit(pixel_mean.clamp(0.02, 0.98)))

    def log_likelihood(self, x: Tensor, h: Tensor) -> Tensor:
        """``log p(x | h)`` of images ``x (B, P)`` given ``h (S, B, D)``, ``(S, B)`` nats; any real h."""
        logits = self.decoder(h)
        return (x * logits - nn.functional.softplus(logits)).sum(-1)

    def log_joint(self, x: Tensor, h: Tensor) -> Tensor:
        """``log p(x | h) + log p(h)``, ``(S, B)``."""
        return self.log_likelihood(x, h) + self.latents.log_prob(self.prior, h)

    def kl(self, zeta: Tensor) -> Tensor:
        """``KL(q(h; ζ) ‖ p(h))`` in closed form, ``(B,)``."""
        return self.latents.kl(zeta, self.prior)


class Recognition(nn.Module):
    """``ζ_0 = g_φ(x)``: where the refinement starts, and q_φ itself (Hjelm et al. 2015, end of section 2).

    The last layer starts at zero, so that q_φ starts as the prior of the initial network.
    """

    def __init__(self, latents: Latents, hidden: Sequence[int], pixels: int, rng: torch.Generator) -> None:
        super().__init__()
        self.encoder = layers([pixels, *hidden, latents.parameters], rng)
        last = self.encoder[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """ζ_0 ``(B, width · D)`` of images ``(B, P)``."""
        found: Tensor = self.encoder(2 * x - 1)
        return found
