"""All bins at once: fixed-point sweeps, the parallel sampler of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.samplers.base import CausalProcess, Sampler, warn_acausal
from dfp.samplers.implicit import with_gradient
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class FixedPoint(Sampler):
    """Fixed-point iteration ``z ← relax(u(z) + ℓ)`` over all bins at once (Aitchison, Adam & Turaga 2018).

    After k sweeps the first k bins are exact, after T all are. A hard sweep that changes nothing proves that
    the sample *is* the sequential one for that noise.

    Args:
        sweeps: make exactly this many sweeps (the paper's K-step flow); None sweeps until still.
        tolerance: a relaxed sample is still when no value moved more than this in a sweep. Hard samples ask
            for no change at all, whatever the tolerance.
        max_sweeps: cap when sweeping until still; None allows T + 1, which always suffices.
        gradient: ``"implicit"`` solves the adjoint equation λ = g + Jᵀλ at the solution (J the Jacobian of
            one sweep; strictly causal, hence nilpotent) in reverse time, with memory that does not grow with
            the sweeps (``samplers.implicit``); ``"unrolled"`` backpropagates through every sweep. With
            exactly K sweeps it is always unrolled: the K-step map is what is then differentiated.
            Straight-through values are still before their gradients are, so unrolled then gives the gradient
            of the sweeps made, implicit that of the sequential sampler.

    Example:
        >>> history = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> q = dfp.CausalBernoulli(torch.full((1, 500, 1), -1.0), (history,))
        >>> noise = q.noise(8, dfp.generator(0))
        >>> draw = q.draw(noise, dfp.FixedPoint(), dfp.Hard())
        >>> draw.converged, draw.sweeps < 30  # instead of 500 bins one by one
        (True, True)
        >>> torch.equal(draw.z, q.draw(noise, dfp.Sequential(), dfp.Hard()).z)
        True
    """

    sweeps: int | None = None
    tolerance: float = 1e-4
    max_sweeps: int | None = None
    gradient: str = "implicit"
    name: ClassVar[str] = "fixed_point"

    def __post_init__(self) -> None:
        if self.sweeps is not None and self.sweeps < 1:
            raise UserError(
                f"fixed_point sweeps: found {self.sweeps}, expected at least 1, or none to sweep until still"
            )
        if self.max_sweeps is not None and self.max_sweeps < 1:
            raise UserError(f"fixed_point max_sweeps: found {self.max_sweeps}, expected at least 1")
        if not self.tolerance > 0:
            raise UserError(f"fixed_point tolerance: found {self.tolerance}, expected a number above 0")
        if self.gradient not in ("implicit", "unrolled"):
            raise UserError(
                f"fixed_point gradient: found {self.gradient!r}, expected 'implicit' or 'unrolled'"
            )

    @property
    def twice_differentiable(self) -> bool:
        return self.gradient == "unrolled" or self.sweeps is not None

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        differentiate = relaxation.pathwise and torch.is_grad_enabled()
        if self.sweeps is not None:
            return self._unrolled(process, noise, relaxation, self.sweeps, still=-1.0)
        cap = min(self.max_sweeps or noise.shape[2] + 1, noise.shape[2] + 1)
        still = 0.0 if relaxation.discrete else self.tolerance
        if differentiate and self.gradient == "unrolled":
            return self._known(self._unrolled(process, noise, relaxation, cap, still))
        with torch.no_grad():
            solved = self._known(self._unrolled(process, noise, relaxation, cap, still))
        return with_gradient(process, solved, relaxation, self.tolerance) if differentiate else solved

    def _known(self, draw: Draw) -> Draw:
        """The draw, with a warning where values still move after T + 1 sweeps, as in no causal process."""
        if self.max_sweeps is None and not draw.converged and 0 < draw.residual < float("inf"):
            warn_acausal(self.name, f"values that still change after {draw.sweeps} sweeps over as many bins")
        return draw

    @staticmethod
    def _unrolled(
        process: CausalProcess, noise: Tensor, relaxation: Relaxation, cap: int, still: float
    ) -> Draw:
        """Sweep from no spikes until nothing moves more than ``still``, at most ``cap`` times."""
        z = torch.zeros_like(noise)
        residual = float("inf")
        for sweep in range(1, cap + 1):
            logits = process.logits(z)
            moved = relaxation(logits, noise)
            if sweep == cap or still >= 0:
                residual = float((moved.detach() - z.detach()).abs().amax())
            z = moved
            if process.memory == 0:  # the logits ignore z: one sweep is the answer
                residual = 0.0
            if residual <= still or process.memory == 0:
                break
        return Draw(z, logits, noise, sweep, residual, converged=residual <= max(still, 0.0))
