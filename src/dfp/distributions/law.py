"""What training on latents and evaluation need of a posterior, whether or not its spikes have a pmf."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli, Weights
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Relaxation


class SpikeLaw(Protocol):
    """A law that spikes are drawn from, as a function of logistic noise.

    ``CausalBernoulli`` is one, and gives spikes a probability besides. A flow of continuous latents
    (``posteriors/latent_flow.py``) is one whose spikes have no probability in closed form.
    """

    def noise(self, samples: int, rng: torch.Generator) -> Tensor:
        """Logistic noise for ``samples`` draws of every trial, ``(S, B, T, N)``."""

    def draw(self, noise: Tensor, sampler: Sampler, relaxation: Relaxation) -> Draw:
        """Sample with logistic ``noise`` ``(S, B, T, N)``."""

    def weigh(self, prior: CausalBernoulli, draw: Draw) -> Weights:
        """What a hard draw weighs against the prior."""


def pmf_of(q: SpikeLaw) -> CausalBernoulli:
    """``q`` where it gives spikes a probability. Raises ``UserError`` where it does not."""
    if not isinstance(q, CausalBernoulli):
        raise UserError(
            "posterior: found one over continuous latents, whose spikes have no probability in closed form; "
            "expected one over spikes (or the objective logistic_density)"
        )
    return q
