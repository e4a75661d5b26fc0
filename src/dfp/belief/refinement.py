"""E-step: the variational parameters of each datum, improved step by step on the bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.belief.latents import Bernoulli, Latents
from dfp.belief.network import BeliefNetwork
from dfp.core.ascent import Ascent
from dfp.core.errors import UserError, suggest

SCORE = "score_function"
IMPORTANCE = "importance"
#: probabilities of the importance-weighted means stay this far from 0 and 1, which no later step would leave
EDGE = 1e-4
_HALVINGS = 30


@dataclass(frozen=True)
class Refinement:
    """How q is refined, and how its gradient is found.

    Attributes:
        estimator: of ∇_ζ: ``reparametrised`` (Gaussian); ``mean_passing``, ``straight_through``,
            ``straight_through_sigma`` (Bernoulli); ``score_function`` (either; unbiased, leave-one-out
            baseline); ``importance``: no gradient, but damped steps to the importance-weighted mean
            (Bernoulli; AIR).
        steps: n; 0 is ordinary amortised inference.
        rate: γ: of gradient steps in units of ζ per nat, of AIR the share of the way to the weighted mean.
        momentum, decay: of gradient steps (``core/ascent.py``); of AIR the decay alone.
        samples: N of eqs. 3 and 4.
        through: train the recognition network on the refined bound, through the steps (semi-amortised
            inference, Kim et al. 2018), in place of KL(q ‖ q_φ).

    Raises:
        UserError: for a value that has no meaning.
    """

    estimator: str
    steps: int = 20
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 1.0
    samples: int = 4
    through: bool = False

    def __post_init__(self) -> None:
        Ascent(self.steps, self.rate, self.momentum, self.decay)
        lowest = 2 if self.estimator in (SCORE, IMPORTANCE) else 1
        if self.samples < lowest:
            raise UserError(f"samples: found {self.samples}, expected at least {lowest} for {self.estimator}")
        if self.estimator == IMPORTANCE and self.rate > 1:
            raise UserError(f"rate: found {self.rate}, expected at most 1, a share, for {IMPORTANCE}")
        if self.through and self.estimator in (SCORE, IMPORTANCE):
            raise UserError(
                f"through: found true with {self.estimator}, expected an estimator whose gradient passes "
                "through the samples"
            )

    def check(self, latents: Latents) -> None:
        """Raise ``UserError`` when these units have no such estimator."""
        known = (*latents.pathwise, SCORE, *((IMPORTANCE,) if isinstance(latents, Bernoulli) else ()))
        if self.estimator not in known:
            raise UserError(
                f"estimator: found {self.estimator!r}{suggest(self.estimator, known)}, expected one of "
                f"{', '.join(known)}"
            )

    def path(
        self, network: BeliefNetwork, x: Tensor, start: Tensor, rng: torch.Generator
    ) -> Iterator[Tensor]:
        """ζ_1, …, ζ_n of images ``x (B, P)`` from ``ζ_0 (B, ·)``; fresh samples at each step.

        The step does not know n: the first steps of a long refinement are a short one.
        """
        if self.estimator == IMPORTANCE:
            yield from self._weighted(network, x, start.detach(), rng)
            return

        def value(zeta: Tensor) -> Tensor:
            return bound(network, x, zeta, self.estimator, self.samples, rng).sum()

        ascent = Ascent(self.steps, self.rate, self.momentum, self.decay)
        yield from ascent.path(value, start, self.through and torch.is_grad_enabled())

    def refine(self, network: BeliefNetwork, x: Tensor, start: Tensor, rng: torch.Generator) -> Tensor:
        """ζ_n, as ``path``; the start where there are no steps."""
        zeta = start
        for found in self.path(network, x, start, rng):
            zeta = found
        return zeta

    @torch.no_grad()
    def _weighted(
        self, network: BeliefNetwork, x: Tensor, zeta: Tensor, rng: torch.Generator
    ) -> Iterator[Tensor]:
        """``μ ← (1 − γ) μ + γ Σ_s w̃_s h_s``, w̃ the normalised weights p(x, h_s)/q(h_s).

        Source: Hjelm et al. 2016 (adaptive importance refinement), arXiv 1511.06382.
        """
        latents = network.latents
        for step in range(self.steps):
            rate = self.rate * self.decay**step
            h = latents.sample(zeta, latents.noise((self.samples, len(x)), rng, x.dtype))
            weights = (network.log_joint(x, h) - latents.log_prob(zeta, h)).softmax(0)
            mean = (1 - rate) * torch.sigmoid(zeta) + rate * (weights[..., None] * h).sum(0)
            zeta = torch.logit(mean.clamp(EDGE, 1 - EDGE))
            yield zeta


def bound(
    network: BeliefNetwork, x: Tensor, zeta: Tensor, estimator: str, samples: int, rng: torch.Generator
) -> Tensor:
    """``(1/N) Σ_s log p(x | h_s) − KL(q(h; ζ) ‖ p(h))``, ``(B,)`` nats, with the estimator's gradient in ζ.

    Hjelm et al. 2015, eq. 3, prior and entropy in closed form as in section 3 and eqs. 8 and 9. Its value is
    an unbiased estimate of the bound (eq. 1) for all but ``mean_passing``; so is then its gradient in the
    network's parameters. The score function's gradient is ``(1/N) Σ_s (f_s − mean of the other f) ∇ log
    q(h_s)``.
    """
    latents = network.latents
    if estimator == SCORE and samples < 2:
        raise UserError(f"samples: found {samples}, expected at least 2 for a leave-one-out baseline")
    noise = latents.noise((samples, len(x)), rng, x.dtype)
    if estimator in latents.pathwise:
        return network.log_likelihood(x, latents.passed(zeta, noise, estimator)).mean(0) - network.kl(zeta)
    h = latents.sample(zeta, noise).detach()
    value = network.log_likelihood(x, h)
    advantage = (value - value.mean(0)).detach() * (samples / max(1, samples - 1))
    log_q = latents.log_prob(zeta, h)
    return (value + advantage * (log_q - log_q.detach())).mean(0) - network.kl(zeta)


def sampled_bound(
    network: BeliefNetwork, x: Tensor, zeta: Tensor, samples: int, rng: torch.Generator
) -> Tensor:
    """The bound of exact samples (Hjelm et al. 2015, eq. 1), ``(B,)`` nats; no gradient in a Bernoulli ζ."""
    latents = network.latents
    h = latents.sample(zeta, latents.noise((samples, len(x)), rng, x.dtype))
    return network.log_likelihood(x, h).mean(0) - network.kl(zeta)


def climb_exactly(value: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float) -> list[Tensor]:
    """Refine with exact expectations and a line search, so that no datum's bound falls.

    Returns ``[ζ_0, …, ζ_n]``.

    ``ζ ← ζ + γ ∇ℒ`` (eq. 5), where γ of each datum starts at twice its last one and is halved until its ℒ
    does not fall; after 30 halvings the datum stays where it is. Once all do, the rest of the path is the
    last point.

    Args:
        value: ℒ of each datum, ``(B, ·) -> (B,)``, without sampling.
        start: ζ_0.
        steps: n.
        rate: the first γ that is tried.
    """
    zeta = start.detach()
    path, rates = [zeta], torch.full_like(zeta[:, 0], rate / 2)
    for _ in range(steps):
        at = zeta.clone().requires_grad_()
        with torch.enable_grad():
            before = value(at)
            (gradient,) = torch.autograd.grad(before.sum(), at)
        before, rates = before.detach(), rates * 2
        taken, waiting = zeta, torch.ones_like(rates, dtype=torch.bool)
        for _ in range(_HALVINGS):
            tried = torch.where(waiting[:, None], zeta + rates[:, None] * gradient, taken)
            with torch.no_grad():
                risen = value(tried) >= before
            taken = torch.where((waiting & risen)[:, None], tried, taken)
            waiting = waiting & ~risen
            if not bool(waiting.any()):
                break
            rates = torch.where(waiting, rates / 2, rates)
        if torch.equal(taken, zeta):
            return path + [zeta] * (steps + 1 - len(path))
        zeta = taken
        path.append(zeta)
    return path
