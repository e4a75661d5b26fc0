"""The loss of one step, for every posterior."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dfp.distributions.causal_bernoulli import CausalBernoulli, bernoulli_entropy, bernoulli_log_prob
from dfp.distributions.joined import joined
from dfp.objectives.base import Loss, Objective, Problem
from dfp.objectives.wake_sleep import Dream, WakeSleep
from dfp.posteriors.base import Bound, Conditioned, Posterior
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Hard, Relaxation


def bound_for(problem: Problem, objective: Objective, sampler: Sampler, rng: torch.Generator) -> Bound:
    """The objective as the callable that a refined posterior raises: nats summed over trials, bins and cells.

    Every call draws fresh noise. Summed, not averaged, so that a refinement rate means the same for any batch
    and length.
    """
    scale = float(problem.weights.sum())

    def bound(q: CausalBernoulli, relaxation: Relaxation) -> Tensor:
        return -objective.loss(problem, q, sampler, relaxation, rng).total * scale

    return bound


def training_loss(
    problem: Problem,
    posterior: Posterior,
    objective: Objective,
    sampler: Sampler,
    relaxation: Relaxation,
    rng: torch.Generator,
) -> Loss:
    """The loss whose gradient updates the model θ and the posterior φ together."""
    if isinstance(objective, WakeSleep):
        return _wake_and_sleep(problem, posterior, objective, sampler, relaxation, rng)
    bound = bound_for(problem, objective, sampler, rng)
    conditioned = posterior.condition(problem.x, bound, problem.model.prior(*problem.x.shape[:2]))
    if conditioned.distil:
        return _expectation_maximisation(problem, conditioned, objective.samples, sampler, rng)
    return objective.loss(problem, conditioned.q, sampler, relaxation, rng)


def _wake_and_sleep(
    problem: Problem,
    posterior: Posterior,
    objective: WakeSleep,
    sampler: Sampler,
    relaxation: Relaxation,
    rng: torch.Generator,
) -> Loss:
    """φ on simulated traces, θ on the recorded ones."""

    def condition(x: Tensor, prior: CausalBernoulli) -> CausalBernoulli:
        return posterior.condition(x, None, prior).pmf

    dream = objective.sleep(problem, condition, rng)
    asleep = {"sleep": dream.loss.mean().item()}
    if not objective.samples:
        return Loss(dream.loss.sum(), dream.loss.detach(), asleep, dream.spikes)
    with torch.no_grad():
        q = condition(problem.x, problem.model.prior(*problem.x.shape[:2]))
        if objective.indirect:
            q = _both(problem, q, dream, condition)
    awake = objective.wake(problem, q, sampler, relaxation, rng, dream if objective.indirect else None)
    learned = dream.loss.sum()
    total = awake.total + learned - learned.detach()
    return Loss(total, awake.per_cell, awake.terms | asleep, awake.draw)


def _both(
    problem: Problem,
    q: CausalBernoulli,
    dream: Dream,
    condition: Callable[[Tensor, CausalBernoulli], CausalBernoulli],
) -> CausalBernoulli:
    """The posterior of the recorded trials, followed by that of the dream's, which is known already."""
    both = joined(q, dream.q)
    if both is not None:
        return both
    x = torch.cat([problem.x, dream.problem.x])
    return condition(x, problem.model.prior(*x.shape[:2]))


def _expectation_maximisation(
    problem: Problem, conditioned: Conditioned, samples: int, sampler: Sampler, rng: torch.Generator
) -> Loss:
    """M-step after a refinement (Hjelm et al. 2015, section 4.2, eq. 7).

    θ is fitted on hard samples of the refined q, φ on KL(q ‖ q_φ).

    The KL's expectation within a bin is taken exactly, ``σ(u)(u − u_φ) − softplus(u) + softplus(u_φ)``; for a
    factorised q that is all of it, for an autoregressive one its history is sampled.
    """
    with torch.no_grad():
        draw = conditioned.q.draw(conditioned.q.noise(samples, rng), sampler, Hard())
        probability = torch.sigmoid(draw.logits)
        log_q = bernoulli_log_prob(draw.z, draw.logits)
    assert conditioned.amortised is not None
    amortised = conditioned.amortised.logits(draw.z)
    divergence = -bernoulli_entropy(draw.logits) - bernoulli_log_prob(probability, amortised)
    likelihood = problem.model.log_likelihood(problem.x, draw.z)
    prior = problem.model.prior(*problem.x.shape[:2]).log_prob(draw.z)
    learned = problem.per_bin(divergence - likelihood - prior).mean((0, 1))
    elbo = problem.per_bin((likelihood + prior).detach() - log_q).mean((0, 1))
    value = learned.sum()
    terms = problem.named(likelihood, prior, -log_q)
    terms["refinement_kl"] = problem.per_bin(divergence.detach()).mean().item()
    # the number reported is the hard-sample ELBO of the refined posterior
    return Loss(value - value.detach() - elbo.sum(), -elbo, terms, draw)
