"""What an objective is handed, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.law import SpikeLaw, pmf_of
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Hard, Relaxation


class Model(Protocol):
    """What an objective needs of a model: log-probabilities per bin and cell, ``(S, B, T, N)``."""

    def prior(self, trials: int, bins: int) -> CausalBernoulli:
        """The law of the latents."""

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """``log p(x[t] | z[≤t])``."""

    def observe(self, z: Tensor, noise: Tensor | torch.Generator) -> Tensor:
        """Traces drawn from ``p(x | z)``, of z's shape."""


@dataclass(frozen=True)
class Problem:
    """The traces of one step and how they count.

    Attributes:
        model: the generative model.
        x: ``(B, T, N)`` traces, NaN where not observed.
        weights: ``(B, T, 1)``: 1 where a bin counts, 0 in the burn-in of a window (its spikes are sampled, so
            that calcium carries over from them, but neither their probability nor their fluorescence enters
            the bound).
        independent: cells share nothing, in the model and in the posterior: every cell is a problem of its
            own.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> problem = dfp.Problem(model, x, torch.ones(1, 60, 1), independent=True)
        >>> problem.per_bin(model.log_likelihood(x, torch.zeros(4, 1, 60, 2))).shape
        torch.Size([4, 1, 2])
    """

    model: Model
    x: Tensor
    weights: Tensor
    independent: bool

    def per_bin(self, terms: Tensor) -> Tensor:
        """Weighted sum over bins of ``(S, B, T, N)``, ÷ the bins that count per trial: ``(S, B, N)``."""
        return (terms * self.weights).sum(2) / self.weights.sum() * self.weights.shape[0]

    def total(self, terms: Tensor) -> Tensor:
        """Weighted sum over bins, and over cells unless they are independent.

        ``(S, B, N)`` for independent cells, else ``(S, B, 1)``.
        """
        summed = (terms * self.weights).sum(2)
        return summed if self.independent else summed.sum(-1, keepdim=True)

    def named(self, likelihood: Tensor, prior: Tensor, entropy: Tensor) -> dict[str, float]:
        """The three parts of the bound as plain numbers, nats per bin and cell."""
        parts = {"log_likelihood": likelihood, "log_prior": prior, "entropy": entropy}
        return {name: self.per_bin(part.detach()).mean().item() for name, part in parts.items()}


@dataclass(frozen=True)
class Loss:
    """What a step minimises.

    Attributes:
        total: scalar with gradient; nats per bin, summed over cells.
        per_cell: ``(N,)`` the same per cell without gradient (its share, for coupled cells).
        terms: named parts, nats per bin and cell.
        draw: the sample that was used.
    """

    total: Tensor
    per_cell: Tensor
    terms: dict[str, float]
    draw: Draw


class Objective(ABC):
    """A loss for a posterior ``q`` given traces.

    Subclasses are dataclasses of their settings, with a ``name``.
    """

    name: ClassVar[str]
    #: samples S per trial
    samples: int

    @property
    def continuous(self) -> bool:
        """Whether the loss reads the latents as continuous logistic variables."""
        return False

    @abstractmethod
    def loss(
        self,
        problem: Problem,
        q: SpikeLaw,
        sampler: Sampler,
        relaxation: Relaxation,
        rng: torch.Generator,
    ) -> Loss:
        """The loss to minimise, with one fresh set of ``samples`` draws."""

    @abstractmethod
    def check(self, relaxation: Relaxation) -> None:
        """Raise ``UserError`` when the objective has no meaning with this relaxation."""


class Pathwise(Objective):
    """Objectives that are a mean of log-weights at samples through which gradients pass."""

    @abstractmethod
    def parts(self, problem: Problem, q: SpikeLaw, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """The terms of the loss per bin and cell, each ``(S, B, T, N)``.

        They are log-likelihood, log-prior and entropy term (minus log-posterior).
        """

    def loss(
        self,
        problem: Problem,
        q: SpikeLaw,
        sampler: Sampler,
        relaxation: Relaxation,
        rng: torch.Generator,
    ) -> Loss:
        draw = q.draw(q.noise(self.samples, rng), sampler, relaxation)
        likelihood, prior, entropy = self.parts(problem, q, draw)
        elbo = problem.per_bin(likelihood + prior + entropy).mean((0, 1))
        return Loss(-elbo.sum(), -elbo.detach(), problem.named(likelihood, prior, entropy), draw)


def require_pathwise(name: str, relaxation: Relaxation) -> None:
    """Raise ``UserError`` unless gradients pass through the relaxation's samples."""
    if not relaxation.pathwise:
        raise UserError(
            f"objective {name}: found the hard relaxation, which passes no gradient; expected concrete, "
            "mean_field or "
            "straight_through (on hard samples use the score_function objective)"
        )


def require_hard(name: str, relaxation: Relaxation) -> None:
    """Raise ``UserError`` for a relaxation where an objective is defined on exact samples only."""
    if not isinstance(relaxation, Hard):
        raise UserError(
            f"objective {name}: found a relaxation, expected 'hard': it is defined on exact samples"
        )


def logits_at(q: SpikeLaw, draw: Draw) -> Tensor:
    """The logits of q at the sample itself, ``u(z)``.

    After exactly K sweeps these are not the logits that z was drawn from.
    """
    own = pmf_of(q)
    return draw.logits if draw.converged else own.logits(draw.z)
