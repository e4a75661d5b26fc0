"""The posterior learns from traces that the model simulates, the model from the posterior's samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.law import SpikeLaw, pmf_of
from dfp.objectives.base import Loss, Objective, Problem, require_hard
from dfp.samplers.auto import Auto
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Hard, Relaxation


@dataclass(frozen=True)
class Dream:
    """Trials that the model simulated, and what the posterior makes of them.

    Attributes:
        problem: the simulated traces and how their bins count.
        spikes: those that made them.
        q: the posterior given the traces, with gradient.
        loss: ``−log q(z | x)`` of the spikes, ``(N,)`` nats per bin that counts, with gradient.
    """

    problem: Problem
    spikes: Draw
    q: CausalBernoulli
    loss: Tensor


@dataclass(frozen=True)
class WakeSleep(Objective):
    """Wake-sleep on exact hard samples: two losses, added, with gradients that never meet.

    *Sleep*, for the posterior φ: spikes and traces are simulated from the model as it is, and

        ``minimise E_{p(z, x)} [−log q(z | x)]``,

    the inclusive KL divergence of q from the exact posterior, averaged over the traces that the model
    expects: cross-entropy on labelled data of which there is no end, without relaxation and without the
    variance of a score function. Where the family holds the exact posterior, that is the minimum for every
    trace at once. Frames that the recorded trials lack are left out of the simulated ones.

    *Wake*, for the model θ: ``maximise E_{q(z | x)} log p_θ(x, z)`` on the recorded traces, as in an M-step.
    Whatever q lacks of the exact posterior moves the θ at which that ends: connection weights shrink. With
    ``indirect`` the same is asked of the simulated traces x̃ and subtracted,

        ``g(θ) = E_{q(z | x)} ∇ log p_θ(x, z) − E_{x̃ ~ p_θ} E_{q(z | x̃)} ∇ log p_θ(x̃, z)``.

    For the exact posterior the second term is 0 (the mean of a score), and nothing changes. For any other q,
    its error is the same in both terms where x and x̃ have the same law: at the θ that made the data g is 0
    on average, however poor the posterior. A poor one costs precision, no longer bias. This is indirect
    inference with q's expected score as the auxiliary statistic; it rests on the model being right, in what
    is not learned as well.

    The value reported is minus the hard-sample ELBO of the recorded traces, or the sleep loss where nothing
    is drawn.

    Args:
        samples: hard samples of q per trial, for the model; 0 where the model is not learned.
        dreams: simulated trials a step, as long as the recorded ones.
        lead: bins simulated before each and cut off, as a window's own past is; 0 where trials start at rest.
        indirect: subtract what the wake phase would ask of the simulated traces.

    Source: Hinton, Dayan, Frey & Neal 1995; Bornschein & Bengio 2015. Indirect inference: Gouriéroux, Monfort
    & Renault 1993; by expected scores, Gallant & Tauchen 1996. Joined with wake-sleep here: our choice.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> phase = dfp.Phase(dfp.WakeSleep(samples=2, dreams=2), dfp.Auto(), relaxation="hard", steps=2)
        >>> [metrics["step"] for metrics in dfp.Trainer(model, posterior, x, [phase], seed=0).run()]
        [1, 2]
    """

    samples: int = 1
    dreams: int = 8
    lead: int = 0
    indirect: bool = False
    name: ClassVar[str] = "wake_sleep"

    def __post_init__(self) -> None:
        for name, lowest in (("samples", 0), ("dreams", 1), ("lead", 0)):
            if getattr(self, name) < lowest:
                raise UserError(f"wake_sleep {name}: found {getattr(self, name)}, expected at least {lowest}")
        if self.indirect and not self.samples:
            raise UserError("wake_sleep indirect: found samples 0, expected at least 1 for a model to learn")

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
        """The wake phase: the model's own loss at samples of ``q``."""
        return self.wake(problem, pmf_of(q), sampler, relaxation, rng)

    def wake(
        self,
        problem: Problem,
        q: CausalBernoulli,
        sampler: Sampler,
        relaxation: Relaxation,
        rng: torch.Generator,
        dream: Dream | None = None,
    ) -> Loss:
        """The model's own loss at samples of ``q``, less that of a dream where there is one.

        Args:
            q: of the recorded trials, and after them those of the dream: drawn at once, since a step of the
                sampler costs nearly the same for twice the trials.
        """
        x = problem.x if dream is None else torch.cat([problem.x, dream.problem.x])
        with torch.no_grad():
            draw = q.draw(q.noise(max(self.samples, 1), rng), sampler, relaxation)
            log_q = q.log_prob(draw.z, draw.logits if draw.converged else None)
        terms = (
            problem.model.log_likelihood(x, draw.z),
            problem.model.prior(*x.shape[:2]).log_prob(draw.z),
            log_q,
        )
        trials = len(problem.x)
        likelihood, prior, log_q = (term[:, :trials] for term in terms)
        joint = problem.per_bin(likelihood + prior).mean((0, 1))
        elbo = joint.detach() - problem.per_bin(log_q).mean((0, 1))
        value = -joint.sum()
        if dream is not None:
            asked = (terms[0] + terms[1])[:, trials:]
            value = value + dream.problem.per_bin(asked).mean((0, 1)).sum()
        return Loss(
            value - value.detach() - elbo.sum(), -elbo, problem.named(likelihood, prior, -log_q), draw
        )

    def sleep(
        self,
        problem: Problem,
        condition: Callable[[Tensor, CausalBernoulli], CausalBernoulli],
        rng: torch.Generator,
    ) -> Dream:
        """Simulated trials like those of ``problem``, and the posterior's loss on them.

        Args:
            condition: the posterior for traces and the prior of their trials.
        """
        bins = problem.x.shape[1]
        with torch.no_grad():
            prior = problem.model.prior(self.dreams, self.lead + bins)
            draw = prior.draw(prior.noise(1, rng), Auto(), Hard())
            x = problem.model.observe(draw.z, rng)[0, :, self.lead :]
            # frames that a recorded trial lacks, its dream lacks too
            which = torch.arange(self.dreams, device=x.device) % len(problem.x)
            x = torch.where(torch.isfinite(problem.x[which]), x, torch.nan)
            # without gradient: a posterior tied to the prior teaches it nothing
            own = problem.model.prior(self.dreams, bins)
            z = draw.z[:, :, self.lead :]
        q = condition(x, own)
        # a simulated window has its burn-in, like most recorded ones
        weights = problem.weights.amin(0, keepdim=True)
        cross = -(q.log_prob(z) * weights).sum(2) / weights.sum()
        simulated = Problem(problem.model, x, weights.expand(self.dreams, -1, -1), problem.independent)
        return Dream(simulated, draw, q, cross.mean((0, 1)))
