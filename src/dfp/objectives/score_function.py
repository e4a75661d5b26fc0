"""Unbiased gradients from exact hard samples: no relaxation, no temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.errors import UserError
from dfp.distributions.law import SpikeLaw, pmf_of
from dfp.objectives.base import Loss, Objective, Problem, require_hard
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class ScoreFunction(Objective):
    """Score-function gradient with reward-to-go and a leave-one-out baseline.

    ``∇_φ ELBO = E Σ_{t,i} (R[t, i] − b[t, i]) ∇_φ log q(z[t, i] | z[<t])`` with rewards
    ``r[t, i] = log p(x[t, i], z[t, i] | z[<t]) − log q(z[t, i] | z[<t])``. R[t, i] sums the rewards that z[t,
    i] can still influence: its own cell's from t on and, when cells are coupled, the other cells' after t. b
    is the mean R[t, i] of the other samples of the trial. ``∇_θ ELBO = E ∇_θ log p(x, z)``. Unbiased at any S
    ≥ 2.

    Args:
        samples: hard samples per trial.
        reward_window: keep only this many bins of the reward-to-go: less variance, some bias; 0 keeps all.

    Source: Mnih & Gregor 2014 (rewards local in the model); Kool et al. 2019 (leave-one-out baseline). Hard
    samples are exact, by fixed-point sweeps until nothing changes.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> problem = dfp.Problem(model, x, torch.ones(1, 60, 1), independent=True)
        >>> q, rng = posterior.condition(x).q, dfp.generator(0)
        >>> loss = dfp.ScoreFunction(samples=4).loss(problem, q, dfp.Auto(), dfp.Hard(), rng)
        >>> loss.total.backward()  # nats per bin, summed over cells
        >>> bool(posterior.recognition.offset.grad.abs().sum() > 0)
        True
    """

    samples: int = 8
    reward_window: int = 0
    name: ClassVar[str] = "score_function"

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UserError(
                f"score_function samples: found {self.samples}, expected at least 2 for its leave-one-out "
                "baseline"
            )
        if self.reward_window < 0:
            raise UserError(f"score_function reward_window: found {self.reward_window}, expected at least 0")

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
        own = pmf_of(q)
        with torch.no_grad():
            draw = q.draw(q.noise(self.samples, rng), sampler, relaxation)
        log_q = own.log_prob(draw.z)
        likelihood = problem.model.log_likelihood(problem.x, draw.z)
        prior = problem.model.prior(*problem.x.shape[:2]).log_prob(draw.z)
        joint = likelihood + prior
        reward = (joint.detach() - log_q.detach()) * problem.weights
        to_go = self.reward_to_go(reward, problem.independent)
        centred = (to_go - to_go.mean(0)) * (self.samples / (self.samples - 1))  # R − mean of the others
        bins = problem.weights.sum() / problem.weights.shape[0]
        # the burn-in's own probabilities do not count, but its spikes shape the calcium that does: they are
        # scored too
        surrogate = (centred * log_q + joint * problem.weights).sum(2).mean((0, 1)) / bins
        elbo = problem.per_bin(reward).mean((0, 1))
        terms = problem.named(likelihood, prior, -log_q)
        value = -surrogate.sum()
        # the number reported is the ELBO; the surrogate only carries the gradient
        return Loss(value - value.detach() - elbo.sum(), -elbo, terms, draw)

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        """``R[t, i]``, ``(S, B, T, N)``, from rewards of that shape."""
        own = self._from_now(reward)
        if independent:
            return own
        later = own - reward
        return own + later.sum(-1, keepdim=True) - later

    def _from_now(self, reward: Tensor) -> Tensor:
        onwards = reward.flip(2).cumsum(2).flip(2)
        if not self.reward_window or self.reward_window >= reward.shape[2]:
            return onwards
        beyond = torch.zeros_like(onwards)
        beyond[:, :, : -self.reward_window] = onwards[:, :, self.reward_window :]
        return onwards - beyond
