"""One training of a belief network, that can be stopped by iterations or by seconds and be taken up again."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

from torch import Tensor

from dfp.belief.latents import Latents
from dfp.belief.learning import EM, Learning
from dfp.belief.network import BeliefNetwork, Recognition
from dfp.belief.refinement import Refinement
from dfp.core.noise import generator


@dataclass(frozen=True)
class Pair:
    """A network and its recognition network."""

    network: BeliefNetwork
    recognition: Recognition


class Training:
    """Networks of a seed, and EM on images ``(M, P)``.

    The initial weights and the order of the images depend on the seed and the kind of units only, not on the
    refinement.

    Attributes:
        seconds: of this process's CPU that EM has taken (one thread: what the work costs, whatever else the
            machine does).
        done: iterations made.
    """

    def __init__(
        self,
        latents: Latents,
        sizes: tuple[tuple[int, ...], tuple[int, ...]],
        refinement: Refinement,
        learning: Learning,
        images: Tensor,
        seed: int,
    ) -> None:
        initial = generator(seed)
        mean = images.mean(0).cpu()
        self._network = BeliefNetwork(latents, sizes[0], mean, initial).to(images.device)
        self._recognition = Recognition(latents, sizes[1], len(mean), initial).to(images.device)
        rng = generator(1000 + seed, images.device)
        self._em = EM(self._network, self._recognition, refinement, learning, rng)
        self._losses = self._em.run(images)
        self.seconds = 0.0

    @property
    def done(self) -> int:
        """Iterations made."""
        return self._em.done

    @property
    def pair(self) -> Pair:
        """A copy of the networks as they are, in float64, in which all evaluation is done, and frozen."""
        found = Pair(copy.deepcopy(self._network).double(), copy.deepcopy(self._recognition).double())
        for module in (found.network, found.recognition):
            module.requires_grad_(False)
        return found

    def run(self, iterations: float = math.inf, seconds: float = math.inf) -> None:
        """Train until so many iterations have been made, or so many seconds taken, in all."""
        while self.done < iterations and self.seconds < seconds:
            start = time.process_time()
            next(self._losses)
            self.seconds += time.process_time() - start
