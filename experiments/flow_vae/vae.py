"""A variational autoencoder of binary vectors with Gaussian latents and a flow posterior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfp.flows.chain import Chain, log_normal


@dataclass(frozen=True)
class Bound:
    """What samples of the posterior say, each ``(S, R, B)`` in nats.

    Attributes:
        log_joint: ``log p(x | z) + log p(z)``.
        log_q: ``log q(z | x)``.
    """

    log_joint: Tensor
    log_q: Tensor

    def elbo(self, beta: float = 1.0) -> Tensor:
        """``E[β log p(x, z) − log q(z | x)]``, ``(R, B)``; β as annealed by the source (eq. 20)."""
        return (beta * self.log_joint - self.log_q).mean(0)

    def evidence(self) -> Tensor:
        """``log (1/S) Σ p(x, z)/q(z | x)``, ``(R, B)``: a bound on log p(x) (Burda et al. 2016).

        It is tighter with every sample.
        """
        return (self.log_joint - self.log_q).logsumexp(0) - math.log(len(self.log_q))


class FlowVae(nn.Module):
    """``z ~ N(0, I)``, ``x ~ Bernoulli(σ(decoder(z)))``; ``q(z | x)`` a diagonal Gaussian through a chain.

    The chain's parameters, as the Gaussian's mean and scale, are a linear function of the encoder's hidden
    layer (Rezende & Mohamed 2015, section 4.2).

    R models side by side, one a generator, with parameters of their own. S samples, B images, D latents, H
    hidden units (one layer, ReLU, in encoder and decoder each).

    Args:
        pixels: bits of an image.
        latents: D.
        hidden: H.
        kind, length, constraint: of the chain; length 0 is a plain Gaussian posterior.
        streams: a generator for each model's initial weights.
        rates: share of images with each pixel on, ``(pixels,)``: the decoder begins there.
    """

    def __init__(
        self,
        pixels: int,
        latents: int,
        hidden: int,
        kind: str,
        length: int,
        constraint: str,
        streams: Sequence[torch.Generator],
        rates: Tensor,
    ) -> None:
        super().__init__()
        sizes = {
            "encoder": (pixels, hidden),
            "posterior": (hidden, 2 * latents),
            "decoder": (latents, hidden),
            "picture": (hidden, pixels),
        }
        weights = {name: [_weights(rng, *size) for rng in streams] for name, size in sizes.items()}
        self.weights = nn.ParameterDict({name: torch.stack(drawn) for name, drawn in weights.items()})
        runs = len(streams)
        self.shifts = nn.ParameterDict(
            {name: torch.zeros(runs, 1, size[1], device=rates.device) for name, size in sizes.items()}
        )
        self.shifts["picture"].data += torch.logit(rates.clamp(0.01, 0.99))
        chains = [Chain(kind, latents, length, rng, constraint, hidden, (1,)) for rng in streams]
        blank = torch.Generator(rates.device)  # what it draws is replaced by each model's own
        self.chain = Chain(kind, latents, length, blank, constraint, hidden, (runs,))
        for name, part in self.chain.named_parameters():
            part.data = torch.cat([dict(one.named_parameters())[name].detach() for one in chains], 1)

    def forward(self, x: Tensor, noise: Tensor) -> Bound:
        """The terms of the bound for images ``(R, B, pixels)`` and standard normal noise ``(S, R, B, D)``."""
        features = torch.relu(self._layer("encoder", x))
        mean, log_sd = self._layer("posterior", features).chunk(2, -1)
        z, log_det = self.chain(mean + log_sd.exp() * noise, features)
        log_q = log_normal(noise) - log_sd.sum(-1) - log_det
        logits = self._layer("picture", torch.relu(self._layer("decoder", z)))
        log_likelihood = -nn.functional.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)
        return Bound(log_likelihood + log_normal(z), log_q)

    def _layer(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[name] + self.shifts[name]


def _weights(rng: torch.Generator, inputs: int, outputs: int) -> Tensor:
    """``(inputs, outputs)`` of variance 1/inputs (our choice)."""
    return torch.randn((inputs, outputs), generator=rng, device=rng.device) / math.sqrt(inputs)
