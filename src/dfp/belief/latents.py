"""The stochastic layer: factorial distributions over D Gaussian or Bernoulli units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.errors import UserError, suggest
from dfp.core.noise import logistic_noise
from dfp.samplers.relaxations import Hard, MeanField, Relaxation, StraightThrough

#: ways of passing a gradient through units, by what they do to samples; None: they are exact already
_RELAXATIONS: dict[str, Relaxation] = {
    "mean_passing": MeanField(),
    "straight_through": StraightThrough("literal"),
    "straight_through_sigma": StraightThrough("sigma"),
}


@dataclass(frozen=True)
class Latents(ABC):
    """``q(h; ζ) = Π_i q(h_i; ζ_i)`` (Hjelm et al. 2015, eq. 2) over D units; prior and posterior alike.

    ζ is ``(B, width · D)``, one row a datum; samples h and noise are ``(S, B, D)``.

    Attributes:
        units: D.
        width: numbers in ζ for each unit.
        pathwise: estimators whose gradient passes through the samples.
    """

    units: int
    width: ClassVar[int]
    pathwise: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.units < 1:
            raise UserError(f"units: found {self.units}, expected at least 1")

    @property
    def parameters(self) -> int:
        """Length of a row of ζ."""
        return self.width * self.units

    @abstractmethod
    def noise(self, shape: Sequence[int], rng: torch.Generator, dtype: torch.dtype) -> Tensor:
        """Noise of ``(S, B)`` samples, ``(S, B, D)``."""

    @abstractmethod
    def sample(self, zeta: Tensor, noise: Tensor) -> Tensor:
        """Exact samples h, ``(S, B, D)``."""

    @abstractmethod
    def passed(self, zeta: Tensor, noise: Tensor, estimator: str) -> Tensor:
        """What stands for h in log p(x | h), with the gradient of one of the ``pathwise`` estimators."""

    @abstractmethod
    def log_prob(self, zeta: Tensor, h: Tensor) -> Tensor:
        """``log q(h; ζ)``, ``(S, B)``."""

    @abstractmethod
    def kl(self, zeta: Tensor, other: Tensor) -> Tensor:
        """``KL(q(·; ζ) ‖ q(·; other))`` in closed form, ``(B,)`` nats."""


@dataclass(frozen=True)
class Gaussian(Latents):
    """``h = μ + ε ⊙ σ``, ε ~ N(0, I), ζ = (μ, log σ).

    Source: Hjelm et al. 2015, section 3, eq. 6; that log σ is stepped on is a choice.
    """

    width: ClassVar[int] = 2
    pathwise: ClassVar[tuple[str, ...]] = ("reparametrised",)

    def noise(self, shape: Sequence[int], rng: torch.Generator, dtype: torch.dtype) -> Tensor:
        """ε ~ N(0, 1), ``(S, B, D)``."""
        return torch.randn((*shape, self.units), generator=rng, device=rng.device, dtype=dtype)

    def sample(self, zeta: Tensor, noise: Tensor) -> Tensor:
        """``μ + ε ⊙ σ`` (eq. 6), differentiable."""
        mean, log_sd = zeta.chunk(2, -1)
        return mean + noise * log_sd.exp()

    def passed(self, zeta: Tensor, noise: Tensor, estimator: str) -> Tensor:
        """The samples themselves."""
        return self.sample(zeta, noise)

    def log_prob(self, zeta: Tensor, h: Tensor) -> Tensor:
        """``Σ_i log N(h_i; μ_i, σ_i²)``, ``(S, B)``."""
        mean, log_sd = zeta.chunk(2, -1)
        standard = (h - mean) * (-log_sd).exp()
        return (-0.5 * standard.square() - log_sd - 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, zeta: Tensor, other: Tensor) -> Tensor:
        """``Σ_i log σ'_i/σ_i + (σ_i² + (μ_i − μ'_i)²)/(2σ'_i²) − ½``, ``(B,)``."""
        (mean, log_sd), (mean2, log_sd2) = zeta.chunk(2, -1), other.chunk(2, -1)
        ratio = (2 * (log_sd - log_sd2)).exp()
        distance = ((mean - mean2) * (-log_sd2).exp()).square()
        return (0.5 * (ratio + distance - 1) + log_sd2 - log_sd).sum(-1)


@dataclass(frozen=True)
class Bernoulli(Latents):
    """``h = Θ(ζ + ℓ)``, ℓ ~ Logistic(0, 1), so that ``P(h = 1) = μ = σ(ζ)``.

    Source: Hjelm et al. 2015, section 5. Estimators: ``mean_passing`` (eq. 8: μ in place of h),
    ``straight_through`` (eq. 9 as it is written and as in the authors' code: ∂h/∂ζ = 1) and
    ``straight_through_sigma`` (∂h/∂ζ = σ'(ζ)).
    """

    width: ClassVar[int] = 1
    pathwise: ClassVar[tuple[str, ...]] = tuple(_RELAXATIONS)

    def noise(self, shape: Sequence[int], rng: torch.Generator, dtype: torch.dtype) -> Tensor:
        """ℓ ~ Logistic(0, 1), ``(S, B, D)``."""
        return logistic_noise((*shape, self.units), rng, dtype)

    def sample(self, zeta: Tensor, noise: Tensor) -> Tensor:
        """``Θ(ζ + ℓ)``, without a gradient."""
        return Hard()(zeta.detach(), noise)

    def passed(self, zeta: Tensor, noise: Tensor, estimator: str) -> Tensor:
        """``σ(ζ)``, one "sample", or samples with a straight-through gradient."""
        relaxation = _RELAXATIONS[estimator]
        return relaxation(zeta[None], noise if relaxation.stochastic else noise[:1])

    def log_prob(self, zeta: Tensor, h: Tensor) -> Tensor:
        """``Σ_i h_i ζ_i − log(1 + e^ζ_i)``, ``(S, B)``."""
        return (h * zeta - torch.nn.functional.softplus(zeta)).sum(-1)

    def kl(self, zeta: Tensor, other: Tensor) -> Tensor:
        """``Σ_i μ_i (ζ_i − ζ'_i) − softplus(ζ_i) + softplus(ζ'_i)``, ``(B,)``: no sampling (eqs. 8, 9)."""
        softplus = torch.nn.functional.softplus
        return (torch.sigmoid(zeta) * (zeta - other) - softplus(zeta) + softplus(other)).sum(-1)


KINDS: dict[str, type[Latents]] = {"gaussian": Gaussian, "bernoulli": Bernoulli}


def make_latents(kind: str, units: int) -> Latents:
    """The latent units of a kind, by its name.

    Raises:
        UserError: for a name that is not known.
    """
    if kind not in KINDS:
        raise UserError(f"latents: found {kind!r}{suggest(kind, KINDS)}, expected one of {', '.join(KINDS)}")
    return KINDS[kind](units)
