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
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.models.calcium import CalciumNetwork
from dfp.posteriors.autoregressive import Autoregressive
from dfp.posteriors.base import Posterior
from dfp.posteriors.refined import Refined
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

#: halvings of the factor that couplings are scaled by
HALVINGS = 8


@dataclass(frozen=True)
class Guard:
    """A projection: where ρ of ``distributions/branching.py`` exceeds ``rho`` after a step, all causal
    weights of that law are multiplied by the largest factor found, by bisection in [0, 1], at which it does
    not.

    A projection and not a penalty: a relaxed objective on too few sweeps rewards samples that have not
    converged without bound (tens of nats per bin), which outweighs any fixed penalty, and below the limit a
    projection leaves the gradient as it is. ρ is taken at hard spikes of the new weights on the step's noise,
    not at the step's own draw: after too few sweeps that one is no sample of the law, and told 0.3 where the
    law was at 1.8. Cells that nothing couples are each scaled by a factor of their own. *Our choice.*

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
        self, model: CalciumNetwork, posterior: Posterior, x: Tensor, draw: Draw, learn_model: bool
    ) -> dict[str, float]:
        """Scale back what is beyond the limit: of the posterior, then, where it is learned, of the model.

        Args:
            x: the step's traces, ``(B, T, N)``.
            draw: the step's draw, its noise ``(S, B, T, N)``; of its samples the first is used.

        Returns:
            ``rho``, the posterior's (largest, of cells that nothing couples) before it was scaled, and
            ``guard_scale``, its (smallest) factor; 0 and 1 for a posterior without causal weights.
        """
        shape = x.shape[0], x.shape[1]
        free = {
            name: parameter
            for name, parameter in (("history", model.raw_history), ("coupling", model.raw_coupling))
            if learn_model and parameter.requires_grad and parameter.numel()
        }
        told, z = {"rho": 0.0, "guard_scale": 1.0}, draw.z[:1].detach()
        base = posterior.base if isinstance(posterior, Refined) else posterior
        if isinstance(base, Autoregressive):
            law = base.condition(x, prior=model.prior(*shape)).pmf
            z = law.draw(draw.noise[:1], FixedPoint(max_sweeps=self.sweeps), Hard()).z
            own: list[Tensor | None] = [base.history] if base.config.history else []
            own += [base.coupling] if base.config.coupling_lags else []
            own += [free.get("coupling")] if len(law.terms) > len(own) else []  # tied to the model's
            told = self._project(law, own, z)
        if free:
            named = ["history"] if model.raw_history.numel() else []
            named += ["coupling"] if model.couples_cells else []
            self._project(model.prior(*shape), [free.get(name) for name in named], z)
        return told

    def _project(self, law: CausalBernoulli, own: Sequence[Tensor | None], z: Tensor) -> dict[str, float]:
        """Multiply the parameters of the terms of ``law``, ``own`` in their order (None: left alone). Where
        no factor brings ρ below the limit, because a term that is left alone is beyond it, nothing is done.
        """
        rho = _rho(law, z)
        factor = torch.ones_like(rho)
        if bool((rho > self.rho).any()):
            low, high = torch.zeros_like(rho), torch.ones_like(rho)
            for _ in range(HALVINGS):
                factor = 0.5 * (low + high)
                beyond = _rho(_times(law, own, factor), z) > self.rho
                low, high = torch.where(beyond, low, factor), torch.where(beyond, factor, high)
            factor = torch.where((rho > self.rho) & (low > 0), low, torch.ones_like(low))
            for parameter in own:
                if parameter is not None:
                    parameter.mul_(_along(factor, parameter))
        return {"rho": float(rho.max()), "guard_scale": float(factor.min())}


def _rho(law: CausalBernoulli, z: Tensor) -> Tensor:
    """ρ of the law at z, ``(1,)``, or ``(N,)`` where nothing couples the cells."""
    flips = flip_matrix(law, z)
    return spectral_radius(flips)[None] if law.couples_cells else flips.diagonal()


def _times(law: CausalBernoulli, own: Sequence[Tensor | None], factor: Tensor) -> CausalBernoulli:
    """``law`` with the weights of its terms multiplied, but for those without a parameter."""
    terms: list[CausalTerm] = []
    for term, parameter in zip(law.terms, own, strict=True):
        if parameter is not None and isinstance(term, OwnHistory):
            term = OwnHistory(term.taps * _along(factor, term.taps))
        elif parameter is not None and isinstance(term, Coupling):
            term = Coupling(term.weights * _along(factor, term.weights), term.basis)
        terms.append(term)
    return law.with_terms(terms)


def _along(factor: Tensor, weights: Tensor) -> Tensor:
    """``(1,)`` or ``(N,)`` in the shape and precision that multiplies ``(N, L)`` or ``(R, N, N)``."""
    return factor.to(weights.dtype).reshape(-1, *([1] * (weights.dim() - 1)))
