"""Relaxed samples put straight into the Bernoulli pmf: the objective that the paper settled on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import bernoulli_entropy, bernoulli_log_prob
from dfp.distributions.law import SpikeLaw
from dfp.objectives.base import Pathwise, Problem, logits_at, require_pathwise
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class RelaxedPmf(Pathwise):
    """``−E[log p(x | z) + log p(z) − log q(z)]`` at relaxed z.

    Here ``log q(z) = Σ z·u − softplus(u)``, with u at z itself.

    Not a bound: relaxed values lie outside what a pmf means. Numbers are to be reported from hard samples.

    Args:
        samples: draws per trial.
        entropy: ``"sampled"`` uses −log q(z); ``"analytic"`` puts H(σ(u)), summed along the sample, in its
            place. For a factorised q this is the exact entropy that Hjelm et al. (2015, eqs. 8 and 9) ask
            for.

    Source: Aitchison, Adam & Turaga 2018.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> problem = dfp.Problem(model, x, torch.ones(1, 60, 1), independent=True)
        >>> q, rng = posterior.condition(x).q, dfp.generator(0)
        >>> loss = dfp.RelaxedPmf().loss(problem, q, dfp.Auto(), dfp.Concrete(0.5), rng)
        >>> loss.total.backward()  # nats per bin, summed over cells
        >>> bool(posterior.recognition.offset.grad.abs().sum() > 0)
        True
    """

    samples: int = 1
    entropy: str = "sampled"
    name: ClassVar[str] = "relaxed_pmf"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"relaxed_pmf samples: found {self.samples}, expected at least 1")
        if self.entropy not in ("sampled", "analytic"):
            raise UserError(f"relaxed_pmf entropy: found {self.entropy!r}, expected 'sampled' or 'analytic'")

    def check(self, relaxation: Relaxation) -> None:
        require_pathwise(self.name, relaxation)

    def parts(self, problem: Problem, q: SpikeLaw, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Log-likelihood, log-prior and entropy per bin and cell, each ``(S, B, T, N)``."""
        logits = logits_at(q, draw)
        likelihood = problem.model.log_likelihood(problem.x, draw.z)
        prior = problem.model.prior(*problem.x.shape[:2]).log_prob(draw.z)
        if self.entropy == "analytic":
            return likelihood, prior, bernoulli_entropy(logits)
        return likelihood, prior, -bernoulli_log_prob(draw.z, logits)
