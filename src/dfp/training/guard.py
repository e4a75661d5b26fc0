"""Couplings kept subcritical: after a step, scaled back until a flipped spike flips fewer than one other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.branching import flip_matrix, spectral_radius
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.models.base import ObservationModel
from dfp.posteriors.base import Posterior
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

#: halvings of the factor that couplings are scaled by
HALVINGS = 8


@dataclass(frozen=True)
class Guard:
    """A projection that keeps ρ of ``distributions/branching.py`` at most ``rho``.

    Where ρ of a law exceeds it after a step, all causal weights of that law are multiplied by the largest
    factor found, by bisection in [0, 1], at which it does not.

    A projection and not a penalty: a relaxed objective on too few sweeps rewards samples that have not
    converged without bound (tens of nats per bin), which outweighs any fixed penalty, and below the limit a
    projection leaves the gradient as it is. ρ is taken at hard spikes of the new weights on the step's noise,
    not at the step's own draw: after too few sweeps that one is no sample of the law, and gave 0.3 where the
    law was at 1.8. Cells that neither a coupling nor a parameter joins are each scaled by a factor of their
    own. *Our choice.*

    Attributes:
        rho: the limit, in (0, 1). What K sweeps leave of a flip is ρ^K: with few, take it low.
        sweeps: of the hard spikes, at most.
    """

    rho: float = 0.95
    sweeps: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.rho < 1:
            raise UserError(f"rho: found {self.rho:g}, expected a number between 0 and 1 (1 is critical)")
        if self.sweeps < 1:
            raise UserError(f"sweeps: found {self.sweeps}, expected at least 1")

    @torch.no_grad()
    def project(
        self, model: ObservationModel, posterior: Posterior, x: Tensor, draw: Draw, learn_model: bool
    ) -> dict[str, float]:
        """Scale back the weights beyond the limit: the posterior's, then the model's if it is learned.

        Args:
            x: the step's traces, ``(B, T, N)``.
            draw: the step's draw, of which the first sample's noise is used; of as many trials and bins as
                x has, see ``_like``.

        Returns:
            ``rho``, the posterior's (largest, of cells that nothing couples) before it was scaled, and
            ``guard_scale``, its (smallest) factor; 0 and 1 for a posterior without causal weights.
        """
        prior = model.prior(*x.shape[:2])
        learned = [p if learn_model and p.requires_grad else None for p in model.causal_parameters()]
        noise, z = (_like(part, x) for part in (draw.noise, draw.z))
        metrics = {"rho": 0.0, "guard_scale": 1.0}
        base = posterior.unrefined
        law = base.condition(x, prior=prior).pmf if base.has_pmf else None
        if law is not None and law.terms:
            z = law.draw(noise, FixedPoint(max_sweeps=self.sweeps), Hard()).z
            tied = {id(term): parameter for term, parameter in zip(prior.terms, learned, strict=True)}
            rest = iter(base.causal_parameters() or ())
            own = [tied[id(term)] if id(term) in tied else next(rest) for term in law.terms]
            metrics = self._project(law, own, z)
        if any(parameter is not None for parameter in learned):
            self._project(model.prior(*x.shape[:2]), learned, z)
        return metrics

    def _project(self, law: CausalBernoulli, own: Sequence[Tensor | None], z: Tensor) -> dict[str, float]:
        """Multiply the parameters of the terms of ``law``, ``own`` in their order (None: left alone).

        Nothing is done where no factor brings ρ below the limit because a term that is left alone is beyond
        it.
        """
        alone = not law.couples_cells and all(p is None or len(p) == z.shape[-1] for p in own)
        rho = _rho(law, z, alone)
        factor = torch.ones_like(rho)
        if bool((rho > self.rho).any()):
            low, high = torch.zeros_like(rho), torch.ones_like(rho)
            for _ in range(HALVINGS):
                factor = 0.5 * (low + high)
                beyond = _rho(_times(law, own, factor), z, alone) > self.rho
                low, high = torch.where(beyond, low, factor), torch.where(beyond, factor, high)
            factor = torch.where((rho > self.rho) & (low > 0), low, torch.ones_like(low))
            for parameter in own:
                if parameter is not None:
                    factors = factor.to(parameter.dtype)
                    parameter.mul_(factors.reshape(-1, *([1] * (parameter.dim() - 1))))
        return {"rho": float(rho.max()), "guard_scale": float(factor.min())}


def _like(drawn: Tensor, x: Tensor) -> Tensor:
    """The first sample of ``drawn`` ``(S, B', T', N)`` as the trials and bins of x, ``(1, B, T, N)``.

    A step may draw simulated trials beside the recorded ones or in their place, with bins before them.
    """
    which = torch.arange(len(x), device=x.device) % drawn.shape[1]
    return drawn[:1, which, drawn.shape[2] - x.shape[1] :].detach()


def _rho(law: CausalBernoulli, z: Tensor, alone: bool) -> Tensor:
    """ρ of the law at z, ``(1,)``, or of each cell, ``(N,)``, where they are scaled alone."""
    flips = flip_matrix(law, z)
    return flips.diagonal() if alone else spectral_radius(flips)[None]


def _times(law: CausalBernoulli, own: Sequence[Tensor | None], factor: Tensor) -> CausalBernoulli:
    """``law`` with its terms multiplied; those without a parameter stay as they are."""
    factors = factor.to(law.drive.dtype)
    both = zip(law.terms, own, strict=True)
    return law.with_terms(term if parameter is None else term.times(factors) for term, parameter in both)
