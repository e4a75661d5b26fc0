"""The gradient of a solved relaxed sample, by the implicit function theorem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.samplers.base import CausalProcess
from dfp.samplers.bins import HAS_NUMBA
from dfp.samplers.pathwise import attach, can_relax, slope_of
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Relaxation


def compilable(process: CausalProcess, noise: Tensor) -> Recursion | None:
    """The process as numbers where compiled loops can run over it: on the CPU, with numba; else None."""
    return process.recursion() if HAS_NUMBA and noise.device.type == "cpu" else None


def with_gradient(process: CausalProcess, solved: Draw, relaxation: Relaxation, tolerance: float) -> Draw:
    """Attach the gradient of the solution by the implicit function theorem.

    z = f(z, φ) gives dL/dφ = λᵀ ∂f/∂φ with λ = g + (∂f/∂z)ᵀ λ, g = ∂L/∂z. ∂f/∂z is strictly causal, so that
    one pass backwards over the bins solves it; that is done where the process is a ``Recursion`` on the CPU.
    Elsewhere all bins are swept at once, ``λ ← g + (∂f/∂z)ᵀ λ``, which ends after at most T sweeps and stops
    when the largest change falls below ``tolerance`` / 100 relative to the largest entry. The values stay
    those of ``solved``, so that ``z = relax(logits, noise)`` and the residual hold for what is returned.
    Differentiable once.
    """
    recursion = None
    if process.memory and can_relax(solved.noise, relaxation):
        recursion = compilable(process, solved.noise)
    if recursion is None:
        return _by_sweeps(process, solved, relaxation, tolerance)
    if not any(tensor.requires_grad for tensor in recursion.tensors):
        return solved
    with torch.no_grad():  # one sweep on, as the slope there is a sweep nearer to the solution's
        logits = process.logits(solved.z)
        slopes = slope_of(relaxation, relaxation(logits, solved.noise), logits)
    z, logits = attach(recursion, solved.z, solved.logits, slopes)
    return replace(solved, z=z, logits=logits)


def _by_sweeps(process: CausalProcess, solved: Draw, relaxation: Relaxation, tolerance: float) -> Draw:
    """The adjoint by repeated vector-Jacobian products, for any process on any device."""
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
