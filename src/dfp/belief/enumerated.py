"""Networks of so few Bernoulli units that every state can be visited: evidence, bound, posterior means."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from dfp.belief.latents import Bernoulli
from dfp.belief.network import BeliefNetwork
from dfp.core.errors import UserError
from dfp.distributions.enumeration import all_paths

#: the largest number of units (2^12 states for every image)
LARGEST = 12


class Enumerated:
    """``p(x, h)`` of images ``x (B, P)`` for all 2^D states h, without gradients in the network.

    Raises:
        UserError: for units that are not Bernoulli, or more than 12.
    """

    def __init__(self, network: BeliefNetwork, x: Tensor) -> None:
        if not isinstance(network.latents, Bernoulli) or network.latents.units > LARGEST:
            raise UserError(
                f"enumeration: found {network.latents.units} {type(network.latents).__name__} units, "
                f"expected at most {LARGEST} Bernoulli ones"
            )
        self.network = network
        #: all states, ``(2^D, D)``
        self.states = all_paths(network.latents.units, 1, x.dtype).flatten(1).to(x.device)
        with torch.no_grad():
            logits = network.decoder(self.states)
            fit = logits @ x.mT - torch.nn.functional.softplus(logits).sum(1, keepdim=True)
            prior = network.latents.log_prob(network.prior, self.states)[:, None]
            #: ``log p(x, h)``, ``(2^D, B)``
            self.log_joint = fit + prior

    @cached_property
    def log_evidence(self) -> Tensor:
        """``log p(x) = log Σ_h p(x, h)``, ``(B,)`` nats."""
        return self.log_joint.logsumexp(0)

    @cached_property
    def means(self) -> Tensor:
        """Exact posterior means ``P(h_i = 1 | x)``, ``(B, D)``."""
        return self.log_joint.softmax(0).mT @ self.states

    def bound(self, zeta: Tensor, which: Tensor | None = None) -> Tensor:
        """``Σ_h q(h; ζ) (log p(x, h) − log q(h; ζ))`` (Hjelm et al. 2015, eq. 1), ``(R,)``, differentiable.

        Args:
            zeta: ``(R, D)``.
            which: images that the rows belong to, ``(R,)``; all in order where it is not given.
        """
        joint = self.log_joint if which is None else self.log_joint[:, which]
        log_q = self.states @ zeta.mT - torch.nn.functional.softplus(zeta).sum(-1)
        return (log_q.exp() * (joint - log_q)).sum(0)
