"""All bins at once: fixed-point sweeps, the parallel sampler of the paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.samplers.base import CausalProcess, Sampler
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
            one sweep; strictly causal, hence nilpotent), with memory that does not grow with the sweeps;
            ``"unrolled"`` backpropagates through every sweep. With exactly K sweeps it is always unrolled:
            the K-step map is what is then differentiated. Straight-through values are still before their
            gradients are, so unrolled then gives the gradient of the sweeps made, implicit that of the
            sequential sampler.
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
            return self._unrolled(process, noise, relaxation, cap, still)
        with torch.no_grad():
            solved = self._unrolled(process, noise, relaxation, cap, still)
        return _implicit(process, solved, relaxation, self.tolerance) if differentiate else solved

    @staticmethod
    def _unrolled(
        process: CausalProcess, noise: Tensor, relaxation: Relaxation, cap: int, still: float
    ) -> Draw:
        """Sweep from no spikes; stop when nothing moved more than
        ``still``, at the latest after ``cap`` sweeps.
        """
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


def _implicit(process: CausalProcess, solved: Draw, relaxation: Relaxation, tolerance: float) -> Draw:
    """Attach the gradient of the solution by the implicit function theorem.

    z = f(z, φ) gives dL/dφ = λᵀ ∂f/∂φ with λ = g + (∂f/∂z)ᵀ λ, g = ∂L/∂z. ∂f/∂z is strictly causal, so
    sweeping λ ends after at most T sweeps; it stops when the largest change falls below ``tolerance``
    relative to the largest entry. The values stay those of ``solved``, so that ``z = relax(logits, noise)``
    and the residual hold for what is returned.
    """
    at = solved.z.detach().requires_grad_()
    image = relaxation(process.logits(at), solved.noise)
    z = image.view_as(image)
    if not image.requires_grad:
        return solved
    cap = z.shape[2] + 1

    def solve(grad: Tensor) -> Tensor:
        adjoint = grad
        for _ in range(cap):
            (pulled,) = torch.autograd.grad(image, at, adjoint, retain_graph=True)
            moved = grad + pulled
            change, scale = (moved - adjoint).abs().amax(), moved.abs().amax()
            adjoint = moved
            if bool(change <= 1e-2 * tolerance * scale):
                break
        return adjoint

    if process.memory:
        z.register_hook(solve)
    return replace(solved, z=_attach(z, solved.z), logits=_attach(process.logits(z), solved.logits))


class _Attach(torch.autograd.Function):
    """The second argument's values with the first one's gradient."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _attach(carrier: Tensor, values: Tensor) -> Tensor:
    attached: Tensor = _Attach.apply(carrier, values)
    return attached
