"""Bound, importance-sampled log-likelihood and effective sample size, from exact samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.belief.network import BeliefNetwork

#: numbers held at once while sampling
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Scores:
    """One number a datum, each ``(B,)``.

    Attributes:
        bound: ``(1/K) Σ_s log p(x | h_s) − KL(q ‖ p(h))``, nats (Hjelm et al. 2015, eq. 1).
        log_likelihood: ``log (1/K) Σ_s w_s``, w = p(x, h)/q(h), nats: below log p(x) in expectation.
        effective: ``(Σ w)² / (K Σ w²)``, between 1/K and 1: effective sample size ÷ K.
    """

    bound: Tensor
    log_likelihood: Tensor
    effective: Tensor


@torch.no_grad()
def score(network: BeliefNetwork, x: Tensor, zeta: Tensor, samples: int, rng: torch.Generator) -> Scores:
    """Scores of q(h; ζ) on images ``x (B, P)`` from K = ``samples`` exact samples."""
    latents = network.latents
    size = max(1, _CHUNK // (len(x) * max(latents.units, network.pixels)))
    weights, fit = [], torch.zeros_like(x[:, 0])
    for first in range(0, samples, size):
        noise = latents.noise((min(size, samples - first), len(x)), rng, x.dtype)
        h = latents.sample(zeta, noise)
        likelihood = network.log_likelihood(x, h)
        fit += likelihood.sum(0) / samples
        weights.append(likelihood + latents.log_prob(network.prior, h) - latents.log_prob(zeta, h))
    w = torch.cat(weights)
    total = w.logsumexp(0)
    effective = (2 * total - (2 * w).logsumexp(0)).exp() / samples
    return Scores(fit - network.kl(zeta), total - math.log(samples), effective)
