"""EM: refine q for a batch, then step on the network and on the recognition network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.belief.network import BeliefNetwork, Recognition
from dfp.belief.refinement import IMPORTANCE, SCORE, Refinement, bound, sampled_bound
from dfp.core.errors import NumericalError, UserError


@dataclass(frozen=True)
class Learning:
    """Settings of the EM loop.

    Attributes:
        batch: images a step.
        rate: of Adam, for θ and φ alike.

    Raises:
        UserError: for a number outside its range.
    """

    batch: int = 50
    rate: float = 3e-3

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch: found {self.batch}, expected at least 1")
        if not self.rate > 0:
            raise UserError(f"rate: found {self.rate}, expected a number above 0")


def losses(
    network: BeliefNetwork, recognition: Recognition, refinement: Refinement, x: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """The losses of the M-step, that of θ and that of φ, for images ``x (B, P)``.

    Means over images, nats. One loss for both where the second is None.

    * θ (Hjelm et al. 2015, section 4.2): ``−(1/N) Σ_s log p(x | h_s) + KL(q ‖ p(h))``, exact samples h_s of
      the refined q, whose ζ_n is held.
    * φ (eq. 7): ``KL(q(h; ζ_n) ‖ q_φ(h | x))``, ζ_n held. With n = 0 that vanishes identically; there q is
      q_φ, and φ follows the bound's own gradient by the estimator: ordinary amortised training.
      (``importance`` has no gradient of the bound: there the score function.) One loss serves both wherever
      the estimator's samples are exact.
    * ``through``: φ follows the refined bound through the steps; so does θ, as in Kim et al. 2018.
    """
    start = recognition(x)
    zeta = refinement.refine(network, x, start, rng)
    samples = refinement.samples
    if refinement.steps and not refinement.through:
        kl = network.latents.kl(zeta.detach(), start).mean()
        return -sampled_bound(network, x, zeta.detach(), samples, rng).mean(), kl
    estimator = SCORE if refinement.estimator == IMPORTANCE else refinement.estimator
    of_q = -bound(network, x, zeta, estimator, samples, rng).mean()
    if estimator != "mean_passing":
        return of_q, None
    return -sampled_bound(network, x, zeta.detach(), samples, rng).mean(), of_q


class EM:
    """The loop of section 4: E-step (``Refinement``), M-step (a step of Adam on θ and φ), batch after batch.

    Attributes:
        done: iterations made.
    """

    def __init__(
        self,
        network: BeliefNetwork,
        recognition: Recognition,
        refinement: Refinement,
        learning: Learning,
        rng: torch.Generator,
    ) -> None:
        refinement.check(network.latents)
        self.network, self.recognition = network, recognition
        self.refinement, self.learning, self.rng = refinement, learning, rng
        self.theta = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.phi = list(recognition.parameters())
        self.adam = torch.optim.Adam([*self.theta, *self.phi], lr=learning.rate)
        self.done = 0

    def run(self, x: Tensor) -> Iterator[float]:
        """Train on images ``x (M, P)`` for ever; yields θ's loss, nats an image, after every iteration."""
        for batch in self._batches(x):
            yield self.step(batch)

    def step(self, x: Tensor) -> float:
        """One EM iteration on a batch ``(B, P)``.

        Raises:
            NumericalError: for a loss that is not finite.
        """
        of_theta, of_phi = losses(self.network, self.recognition, self.refinement, x, self.rng)
        if of_phi is None:
            gradients = torch.autograd.grad(of_theta, [*self.theta, *self.phi])
        else:
            gradients = torch.autograd.grad(of_theta, self.theta) + torch.autograd.grad(of_phi, self.phi)
        for parameter, gradient in zip([*self.theta, *self.phi], gradients, strict=True):
            parameter.grad = gradient
        self.adam.step()
        self.done += 1
        loss = float(of_theta.detach())
        if not math.isfinite(loss) or (of_phi is not None and not math.isfinite(float(of_phi.detach()))):
            raise NumericalError(
                f"belief network: the loss is not finite after {self.done} iterations; lower the rate of the "
                "refinement or of the learning"
            )
        return loss

    def _batches(self, x: Tensor) -> Iterator[Tensor]:
        size = min(self.learning.batch, len(x))
        for _ in itertools.count():
            order = torch.randperm(len(x), generator=self.rng, device=self.rng.device)
            for first in range(0, len(x) - size + 1, size):
                yield x[order[first : first + size]]
