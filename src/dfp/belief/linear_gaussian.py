"""A linear network with Gaussian units and noise: evidence, posterior and best diagonal in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dfp.belief.latents import Gaussian
from dfp.core.errors import UserError


@dataclass(frozen=True)
class LinearGaussian:
    """``h ~ N(0, I_D)``, ``x = W h + b + noise · ε``, ε ~ N(0, I_P).

    The posterior is ``N(m(x), Λ⁻¹)``, ``Λ = I + WᵀW/noise²``, ``m(x) = Λ⁻¹ Wᵀ(x − b)/noise²``. Of all q(h; ζ)
    with diagonal covariance, the bound is highest at ``N(m(x), diag(1/Λ_ii))``; below log p(x) it stays there
    by ``½ (Σ_i log Λ_ii − log |Λ|)``, whatever x.

    Attributes:
        weights: W, ``(P, D)`` float64.
        offset: b, ``(P,)``.
        noise: standard deviation of the noise, above 0.
    """

    weights: Tensor
    offset: Tensor
    noise: float

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise UserError(f"noise: found {self.noise}, expected a number above 0")

    @property
    def latents(self) -> Gaussian:
        """The latent units; ζ = (μ, log σ) as in every network."""
        return Gaussian(self.weights.shape[1])

    @cached_property
    def precision(self) -> Tensor:
        """The posterior's precision Λ, ``(D, D)``."""
        own = torch.eye(self.weights.shape[1], dtype=self.weights.dtype, device=self.weights.device)
        return own + self.weights.mT @ self.weights / self.noise**2

    def simulate(self, count: int, rng: torch.Generator) -> Tensor:
        """x of ``count`` draws, ``(B, P)``."""
        pixels, units = self.weights.shape
        drawn = torch.randn(count, units + pixels, generator=rng, dtype=self.weights.dtype, device=rng.device)
        h, shocks = drawn.split([units, pixels], 1)
        return h @ self.weights.mT + self.offset + self.noise * shocks

    def mean(self, x: Tensor) -> Tensor:
        """m(x), ``(B, D)``, of x ``(B, P)``."""
        pulled = (x - self.offset) @ self.weights / self.noise**2
        return torch.linalg.solve(self.precision, pulled.mT).mT

    def log_evidence(self, x: Tensor) -> Tensor:
        """``log N(x; b, W Wᵀ + noise² I)``, ``(B,)`` nats."""
        own = torch.eye(len(self.offset), dtype=x.dtype, device=x.device)
        covariance = self.weights @ self.weights.mT + self.noise**2 * own
        made = torch.distributions.MultivariateNormal(self.offset, covariance)
        return made.log_prob(x)

    def log_joint(self, x: Tensor, h: Tensor) -> Tensor:
        """``log p(x | h) + log p(h)`` of h ``(S, B, D)``, ``(S, B)`` nats."""
        residual = (x - self.offset - h @ self.weights.mT) / self.noise
        pixels, units = self.weights.shape
        constant = pixels * math.log(self.noise) + (pixels + units) / 2 * math.log(2 * math.pi)
        return -0.5 * (residual.square().sum(-1) + h.square().sum(-1)) - constant

    def bound(self, x: Tensor, zeta: Tensor) -> Tensor:
        """``E_q[log p(x, h) − log q(h; ζ)]`` in closed form, ``(B,)`` nats, differentiable in ζ.

        ``log p(x, μ) − ½ Σ_i Λ_ii σ_i² + Σ_i log σ_i + D/2 (1 + log 2π)``: the joint is quadratic in h.
        """
        mean, log_sd = zeta.chunk(2, -1)
        spread = (self.precision.diagonal() * (2 * log_sd).exp()).sum(-1)
        entropy = log_sd.sum(-1) + mean.shape[-1] / 2 * (1 + math.log(2 * math.pi))
        return self.log_joint(x, mean) - 0.5 * spread + entropy

    def best_diagonal(self, x: Tensor) -> Tensor:
        """ζ of ``N(m(x), diag(1/Λ_ii))``, ``(B, 2 D)``."""
        log_sd = -0.5 * self.precision.diagonal().log()
        return torch.cat([self.mean(x), log_sd.expand(len(x), -1)], -1)

    @property
    def gap(self) -> float:
        """``½ (Σ_i log Λ_ii − log |Λ|)`` nats: what no diagonal posterior can close."""
        return float(0.5 * (self.precision.diagonal().log().sum() - torch.logdet(self.precision)))


def random_linear_gaussian(units: int, pixels: int, noise: float, rng: torch.Generator) -> LinearGaussian:
    """A model whose weights and offset are drawn from N(0, 1)."""
    weights = torch.randn(pixels, units, generator=rng, dtype=torch.float64, device=rng.device)
    offset = torch.randn(pixels, generator=rng, dtype=torch.float64, device=rng.device)
    return LinearGaussian(weights, offset, noise)
