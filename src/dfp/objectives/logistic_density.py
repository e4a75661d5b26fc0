"""Spikes converted to continuous logistic latents: the objective that the paper reports as biased."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import logistic_log_density
from dfp.distributions.law import SpikeLaw
from dfp.objectives.base import Pathwise, Problem
from dfp.samplers.relaxations import Concrete, Relaxation


@dataclass(frozen=True)
class LogisticDensity(Pathwise):
    """``−E[log p(x | z) + log p(L) − log q(L)]`` for latents ``L = u^q(z) + ℓ``.

    Prior and likelihood both see z = σ(L/τ).

    ``log q(L) = Σ log Logistic(ℓ)``, exact at any number of sweeps because the map ℓ → L has a unit
    lower-triangular Jacobian; ``log p(L) = Σ log Logistic(L − u^p(z))``. It bounds the evidence of a relaxed
    model, not that of the spikes. A flow of latents has ``log q(L) = Σ log Logistic(ℓ) − log |det ∂L/∂ℓ|``;
    its determinant comes with the draw.

    Source: Aitchison, Adam & Turaga 2018; Maddison, Mnih & Teh 2017 for densities of relaxed variables in
        logit space.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> problem = dfp.Problem(model, x, torch.ones(1, 60, 1), independent=True)
        >>> q, rng = posterior.condition(x).q, dfp.generator(0)
        >>> loss = dfp.LogisticDensity().loss(problem, q, dfp.Auto(), dfp.Concrete(0.5), rng)
        >>> loss.total.backward()  # nats per bin, summed over cells
        >>> bool(posterior.recognition.offset.grad.abs().sum() > 0)
        True
    """

    samples: int = 1
    name: ClassVar[str] = "logistic_density"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"logistic_density samples: found {self.samples}, expected at least 1")

    @property
    def continuous(self) -> bool:
        return True

    def check(self, relaxation: Relaxation) -> None:
        if not isinstance(relaxation, Concrete):
            raise UserError(
                "objective logistic_density: found a relaxation without a density, expected concrete, "
                "whose z = σ(L/τ) is a function of the logistic latents"
            )

    def parts(self, problem: Problem, q: SpikeLaw, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """The terms of the loss per bin and cell, each ``(S, B, T, N)``.

        They are log-likelihood, log-prior density and minus log-posterior density.
        """
        latents = draw.logits + draw.noise
        prior_logits = problem.model.prior(*problem.x.shape[:2]).logits(draw.z)
        likelihood = problem.model.log_likelihood(problem.x, draw.z)
        entropy = draw.log_volume - logistic_log_density(draw.noise)
        return likelihood, logistic_log_density(latents - prior_logits), entropy
