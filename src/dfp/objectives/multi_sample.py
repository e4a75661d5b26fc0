"""Importance-weighted forms of the pathwise objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from dfp.core.errors import UserError
from dfp.distributions.law import SpikeLaw
from dfp.objectives.base import Loss, Objective, Problem
from dfp.objectives.logistic_density import LogisticDensity
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class MultiSample(Objective):
    """``−E[log (1/S) Σ_s p(x, z_s)/q(z_s)]``, S ≥ 2, at relaxed samples.

    It is a bound on log p(x) only where the samples are hard.

    Args:
        samples: importance samples S.
        of: ``relaxed_pmf`` or ``logistic_density``, which gives the log-weights.

    Source: Burda, Grosse & Salakhutdinov 2016.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> problem = dfp.Problem(model, x, torch.ones(1, 60, 1), independent=True)
        >>> q, rng = posterior.condition(x).q, dfp.generator(0)
        >>> loss = dfp.MultiSample(samples=4).loss(problem, q, dfp.Auto(), dfp.Concrete(0.5), rng)
        >>> loss.total.backward()  # nats per bin, summed over cells
        >>> bool(posterior.recognition.offset.grad.abs().sum() > 0)
        True
    """

    samples: int = 8
    of: str = "relaxed_pmf"
    name: ClassVar[str] = "multi_sample"

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UserError(
                f"multi_sample samples: found {self.samples}, expected at least 2 (with one sample use "
                f"{self.of} itself)"
            )
        if self.of not in ("relaxed_pmf", "logistic_density"):
            raise UserError(
                f"multi_sample of: found {self.of!r}, expected 'relaxed_pmf' or 'logistic_density'"
            )

    @property
    def single(self) -> RelaxedPmf | LogisticDensity:
        """The objective whose log-weights are averaged."""
        return RelaxedPmf(self.samples) if self.of == "relaxed_pmf" else LogisticDensity(self.samples)

    @property
    def continuous(self) -> bool:
        return self.single.continuous

    def check(self, relaxation: Relaxation) -> None:
        self.single.check(relaxation)
        if not relaxation.stochastic:
            raise UserError(
                "objective multi_sample: found mean_field, whose samples are all alike, expected concrete or "
                "straight_through (for mean_field use relaxed_pmf)"
            )

    def loss(
        self,
        problem: Problem,
        q: SpikeLaw,
        sampler: Sampler,
        relaxation: Relaxation,
        rng: torch.Generator,
    ) -> Loss:
        draw = q.draw(q.noise(self.samples, rng), sampler, relaxation)
        log_weights = problem.total(sum(self.single.parts(problem, q, draw)))  # type: ignore[arg-type]
        bound = torch.logsumexp(log_weights, 0) - math.log(self.samples)  # (B, N) or (B, 1)
        per_bin = bound.mean(0) / (problem.weights.sum() / problem.weights.shape[0])
        cells = problem.x.shape[-1]
        shares = per_bin.detach().expand(cells) / (1 if problem.independent else cells)
        normalised = torch.softmax(log_weights.detach(), 0)
        terms = {"effective_samples": (1.0 / normalised.square().sum(0)).mean().item()}
        return Loss(-per_bin.sum(), -shares, terms, draw)
