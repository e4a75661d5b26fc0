"""The gap of a belief network's bound, split into approximation and amortisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.belief.enumerated import LARGEST, Enumerated
from dfp.belief.latents import Bernoulli
from dfp.belief.network import BeliefNetwork
from dfp.belief.refinement import SCORE, Refinement
from dfp.core.errors import UserError
from dfp.core.noise import generator

from ..ledger.minimise import minimise_each
from .scores import score
from .trainings import Pair


@dataclass(frozen=True)
class Effort:
    """How hard each image's best q is looked for.

    Attributes:
        search_steps: of the quasi-Newton search on the exact bound, where the units are enumerated.
        steps, samples, rate: of a long refinement by unbiased gradients, where they are not; its rate falls
            to a hundredth.
        score_samples: K by which it is scored then.
    """

    search_steps: int = 60
    steps: int = 300
    samples: int = 16
    rate: float = 0.01
    score_samples: int = 2000

    def __post_init__(self) -> None:
        for key in ("search_steps", "steps", "samples", "score_samples"):
            if getattr(self, key) < 2:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least 2")
        if not self.rate > 0:
            raise UserError(f"rate: found {self.rate}, expected a number above 0")


def gaps(pair: Pair, refinement: Refinement, effort: Effort, x: Tensor, seed: int) -> dict[str, float]:
    """The gap of a recognition network in its parts, means over images ``(B, P)``, nats.

    Returned are

    * ``gap_approximation``: log p(x) − bound of the image's own best q (an upper estimate);
    * ``gap_amortisation``: best q's bound − that of q_φ;
    * ``gap_left``: best q's bound − that of q_φ refined by ``refinement``.

    Exact where the units can be enumerated; else log p(x) and bounds are estimates by importance sampling.
    """
    network, rng = pair.network, generator(20_000 + seed, x.device)
    start = pair.recognition(x)
    refined = refinement.refine(network, x, start, rng)
    if isinstance(network.latents, Bernoulli) and network.latents.units <= LARGEST:
        found = _enumerated(network, x, start, refined, effort)
    else:
        found = _sampled(network, x, start, refined, effort, rng)
    evidence, best, amortised, left = (float(values.mean()) for values in found)
    return {
        "gap_approximation": evidence - best,
        "gap_amortisation": best - amortised,
        "gap_left": best - left,
    }


def best_factorial(exact: Enumerated, starts: list[Tensor], steps: int) -> Tensor:
    """The highest bound of a factorial q for each image, ``(B,)``: local searches from each of the starts."""
    count = len(starts[0])

    def value(zeta: Tensor, which: Tensor) -> Tensor:
        return -exact.bound(zeta, which % count)

    _, least = minimise_each(value, torch.cat(starts), steps, 1e-5)
    return -least.reshape(len(starts), count).amin(0)


def _enumerated(
    network: BeliefNetwork, x: Tensor, start: Tensor, refined: Tensor, effort: Effort
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    exact = Enumerated(network, x)
    matched = torch.logit(exact.means.clamp(1e-3, 1 - 1e-3))
    best = best_factorial(exact, [start, refined, matched], effort.search_steps)
    return exact.log_evidence, best, exact.bound(start), exact.bound(refined)


def _sampled(
    network: BeliefNetwork, x: Tensor, start: Tensor, refined: Tensor, effort: Effort, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    estimator = SCORE if isinstance(network.latents, Bernoulli) else "reparametrised"
    long = Refinement(
        estimator, effort.steps, effort.rate, decay=0.01 ** (1 / effort.steps), samples=effort.samples
    )
    count = effort.score_samples
    # from either start; the better one of each image is the best that was found
    ends = [long.refine(network, x, zeta, rng) for zeta in (start, refined)]
    scores = [score(network, x, zeta, count, rng) for zeta in (start, refined, *ends)]
    bounds = torch.stack([found.bound for found in scores])
    evidence = torch.stack([found.log_likelihood for found in scores]).amax(0)
    return evidence, bounds.amax(0), bounds[0], bounds[1]
