"""Unbiased gradients of a factorised posterior from antithetic pairs of hard samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.errors import UserError
from dfp.distributions.law import SpikeLaw, pmf_of
from dfp.objectives.base import Loss, Objective, Problem, require_hard
from dfp.objectives.score_function import ScoreFunction
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class DisArm(Objective):
    """Gradients from pairs ``z = Θ(u + ℓ)``, ``z̃ = Θ(u − ℓ)`` drawn with opposite noise.

    Per logit, with rewards-to-go R of the two (see ``ScoreFunction``),

        ``∂ELBO/∂u[t, i] = E ½ (R[t, i](z) − R[t, i](z̃)) (z[t, i] − z̃[t, i]) σ(|u[t, i]|)``,

    averaged over pairs. Rewards that z[t, i] cannot influence may be left out: they depend on other,
    independent noise only, which is equal in law to its opposite. ``∇_θ ELBO = E ∇_θ log p(x, z)`` over both
    samples of each pair. Unbiased with a single pair, without a baseline. Where logits depend on the sample,
    flipping a spike changes all that follow, which opposite noise does not account for: q must have no causal
    terms.

    Args:
        samples: antithetic pairs per trial, of two hard samples each.

    Source: Dong, Mnih & Tucker 2020 (eq. 7); the same estimator as U2G of Yin et al. 2020. The rewards-to-go
        are ours, after Mnih & Gregor 2014.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> problem = dfp.Problem(model, x, torch.ones(1, 60, 1), independent=True)
        >>> q, rng = posterior.condition(x).q, dfp.generator(0)
        >>> loss = dfp.DisArm(samples=2).loss(problem, q, dfp.Auto(), dfp.Hard(), rng)
        >>> loss.total.backward()  # nats per bin, summed over cells
        >>> bool(posterior.recognition.offset.grad.abs().sum() > 0)
        True
    """

    samples: int = 4
    name: ClassVar[str] = "disarm"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"disarm samples: found {self.samples}, expected at least 1 antithetic pair")

    def check(self, relaxation: Relaxation) -> None:
        require_hard(self.name, relaxation)

    def loss(
        self,
        problem: Problem,
        q: SpikeLaw,
        sampler: Sampler,
        relaxation: Relaxation,
        rng: torch.Generator,
    ) -> Loss:
        """The loss; its draw holds the S pairs as 2S samples, first all z, then all z̃.

        Raises:
            UserError: for a q with causal terms.
        """
        own = pmf_of(q)
        if own.terms:
            raise UserError(
                f"objective disarm: found a posterior with {len(own.terms)} causal term(s), expected logits "
                "that ignore the sample (the factorised posterior; for others use score_function)"
            )
        with torch.no_grad():
            noise = q.noise(self.samples, rng)
            draw = q.draw(torch.cat([noise, -noise]), sampler, relaxation)
        logits = own.logits(draw.z)
        log_q = own.log_prob(draw.z, logits.detach())
        likelihood = problem.model.log_likelihood(problem.x, draw.z)
        prior = problem.model.prior(*problem.x.shape[:2]).log_prob(draw.z)
        joint = likelihood + prior
        reward = (joint.detach() - log_q) * problem.weights
        to_go = ScoreFunction().reward_to_go(reward, problem.independent)
        difference, flip = _difference(to_go), _difference(draw.z)
        signal = difference * flip * torch.sigmoid(logits.detach().abs())
        bins = problem.weights.sum() / problem.weights.shape[0]
        surrogate = (0.5 * signal * logits + joint * problem.weights).sum(2).mean((0, 1)) / bins
        elbo = problem.per_bin(reward).mean((0, 1))
        value = -surrogate.sum()
        # the number reported is the ELBO; the surrogate only carries the gradient
        return Loss(
            value - value.detach() - elbo.sum(), -elbo, problem.named(likelihood, prior, -log_q), draw
        )


def _difference(values: Tensor) -> Tensor:
    """Each sample's value minus its partner's, ``(2S, B, T, N)``.

    Of a product of two such differences both halves are equal.
    """
    return values - values.roll(values.shape[0] // 2, 0)
