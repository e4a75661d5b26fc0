"""Many small smooth problems minimised at once, each by its own quasi-Newton steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: (points (R, D), which problems (R,)) -> values (R,)
Function = Callable[[Tensor, Tensor], Tensor]

#: share of the slope that a step has to deliver (Armijo)
_ENOUGH = 1e-4
_HALVINGS = 25


def minimise_each(
    function: Function, start: Tensor, steps: int = 200, tolerance: float = 1e-7
) -> tuple[Tensor, Tensor]:
    """Local minima of M separate problems of D unknowns each, by BFGS, ``((M, D), (M,))``.

    ``x ← x − α H ∇f(x)`` with the BFGS estimate H of the inverse Hessian, D × D for every problem, and α
    halved from 1 until the value has fallen by a share of the slope: values never rise. A problem is left
    alone once no entry of its gradient exceeds ``tolerance``, or no step lowers it.

    Args:
        function: values of the problems whose numbers it is given, at one point each; the value of one must
            not depend on the point of another. Differentiable by autograd.
        start: ``(M, D)`` float64.
        steps: at most so many.
        tolerance: largest entry of a gradient at rest, in units of the value.

    Source: Nocedal & Wright 2006, algorithm 6.1, with backtracking and with updates skipped that would lose
    positive definiteness.
    """
    instances, unknowns = start.shape
    x = start.detach().clone()
    value, gradient = _with_gradient(function, x, torch.arange(instances, device=x.device))
    inverse = torch.eye(unknowns, dtype=x.dtype, device=x.device).repeat(instances, 1, 1)
    active = torch.arange(instances, device=x.device)
    for step in range(steps):
        active = active[gradient[active].abs().amax(1) > tolerance]
        if not len(active):
            break
        g, h = gradient[active], inverse[active]
        direction = -(h @ g[..., None])[..., 0]
        slope = (direction * g).sum(1)
        uphill = slope >= 0
        direction, slope = (
            torch.where(uphill[:, None], -g, direction),
            torch.where(uphill, -g.square().sum(1), slope),
        )
        moved, fallen = _search(function, x[active], value[active], direction, slope, active)
        new_value, new_gradient = _with_gradient(function, moved, active)
        inverse[active] = _updated(h, moved - x[active], new_gradient - g, first=step == 0)
        x[active], value[active], gradient[active] = moved, new_value, new_gradient
        active = active[fallen]
    return x, value


def _with_gradient(function: Function, x: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    at = x.detach().requires_grad_()
    with torch.enable_grad():
        values = function(at, which)
        (gradient,) = torch.autograd.grad(values.sum(), at)
    return values.detach(), gradient


@torch.no_grad()
def _search(
    function: Function, x: Tensor, value: Tensor, direction: Tensor, slope: Tensor, which: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the steps lead, ``(R, D)``, and which of them lower their value, ``(R,)``; the others stay."""
    size = torch.ones_like(value)
    waiting = torch.arange(len(x), device=x.device)
    for _ in range(_HALVINGS):
        tried = function(x[waiting] + size[waiting, None] * direction[waiting], which[waiting])
        enough = tried <= value[waiting] + _ENOUGH * size[waiting] * slope[waiting]
        waiting = waiting[~enough]
        if not len(waiting):
            break
        size[waiting] *= 0.5
    size[waiting] = 0.0
    return x + size[:, None] * direction, size > 0


def _updated(inverse: Tensor, moved: Tensor, turned: Tensor, first: bool) -> Tensor:
    """``H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ`` with ρ = 1 / sᵀy, where sᵀy is safely above 0."""
    curvature = (moved * turned).sum(1)
    safe = curvature > 1e-12
    rho = torch.where(safe, 1 / torch.where(safe, curvature, torch.ones_like(curvature)), 0.0)[:, None, None]
    if first:  # the scale of the first step (their eq. 6.20)
        scale = curvature / turned.square().sum(1).clamp_min(1e-300)
        inverse = torch.where(safe, scale, torch.ones_like(scale))[:, None, None] * inverse
    s, y = moved[..., None], turned[..., None]
    turned_by = inverse @ y
    grown = inverse - rho * (turned_by @ s.mT + s @ turned_by.mT)
    grown = grown + (rho.square() * (y.mT @ turned_by) + rho) * (s @ s.mT)
    return torch.where(safe[:, None, None], grown, inverse)
