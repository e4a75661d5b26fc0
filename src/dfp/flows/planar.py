"""Planar flows: ``f(z) = z + û tanh(wᵀz + b)`` (Rezende & Mohamed 2015, eq. 10 and appendix A.1)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dfp.flows.stable import LN2, affine, check_constraint, log_softplus, norm, softplus

#: ln(e − 1): softplus of it is 1, so that the safe m is 0 at 0
SHIFT = math.log(math.e - 1)
#: |wᵀu| below which (m(x) − x) / x comes from its Taylor series, and that series (from ``_series``)
SMALL = 0.05
#: steps of the search for the inverse: bisection alone would need 64 for the last bit of a float64
STEPS = 100


def planar(z: Tensor, w: Tensor, u: Tensor, b: Tensor, constraint: str = "safe") -> tuple[Tensor, Tensor]:
    """``f = z + û tanh(wᵀz + b)`` and ``log |det ∂f/∂z|``.

    Args:
        z: points ``(..., D)``.
        w, u: ``(..., D)``, broadcast against z; b: ``(...,)``. With a leading shape of their own they are
            parameters per sample or per trial (a conditional flow).
        constraint: ``source``: ``û = u + [m(wᵀu) − wᵀu] w/‖w‖²`` with ``m(x) = softplus(x) − 1``, which keeps
            wᵀû ≥ −1 but sends û to infinity as w → 0. ``safe``: ``m(x) = softplus(x + ln(e − 1)) − 1``,
            which is 0 at 0, so that û stays bounded (at w = 0 it is u).

    Returns:
        f ``(..., D)``; log-determinant ``(...,)``: finite wherever wᵀu is, since it is
        ``log(tanh² + sech²·softplus(·))`` in logarithms.

    Raises:
        UserError: for an unknown constraint.
    """
    bound, log_s = constrained(w, u, constraint)
    a = affine(w, z, b)
    return z + bound * torch.tanh(a).unsqueeze(-1), log_slope(a, log_s)


def planar_inverse(
    y: Tensor, w: Tensor, u: Tensor, b: Tensor, constraint: str = "safe"
) -> tuple[Tensor, Tensor]:
    """``z`` with ``planar(z, …) = y``, and ``log |det ∂z/∂y|``; shapes as in ``planar``.

    Along w the map is the increasing ``a + (wᵀû) tanh(a) = wᵀy + b``, a = wᵀz + b, whose root is bracketed
    and found by Newton's method, with bisection where that leaves the bracket. Derivatives are those of the
    implicit function theorem.
    """
    bound, log_s = constrained(w, u, constraint)
    target = affine(w, y, b)
    a = _root(target, log_s)
    z = y - bound * torch.tanh(a).unsqueeze(-1)
    return z + _rounded_off(z, a, w, b, log_s), -log_slope(a, log_s)


@torch.no_grad()
def _rounded_off(z: Tensor, a: Tensor, w: Tensor, b: Tensor, log_s: Tensor) -> Tensor:
    """What z lacks along w to have wᵀz + b = a.

    Where the step is far longer than z, z was a difference and has lost digits.
    """
    length = norm(w).clamp(min=torch.finfo(z.dtype).tiny)
    missing = torch.where(a.abs() < torch.expm1(log_s), a - affine(w, z, b), 0.0)
    return (missing / length).unsqueeze(-1) * (w / length.unsqueeze(-1))


def constrained(w: Tensor, u: Tensor, constraint: str = "safe") -> tuple[Tensor, Tensor]:
    """``û (..., D)`` and ``log(1 + wᵀû) (...,)`` of unconstrained w and u, ``(..., D)``."""
    check_constraint(constraint)
    x = affine(w, u)
    tiny = torch.finfo(x.dtype).tiny
    length = norm(w).clamp(min=tiny)
    direction = w / length.unsqueeze(-1)
    if constraint == "source":
        along = (softplus(-x) - 1) / length
        return u + along.unsqueeze(-1) * direction, log_softplus(x)
    near = x.abs() < SMALL
    far = (softplus(-(x + SHIFT)) + (SHIFT - 1)) / torch.where(near, 1.0, length)
    close = _series(torch.where(near, x, 0.0)) * affine(direction, u)
    along = torch.where(near, close, far)
    return u + along.unsqueeze(-1) * direction, log_softplus(x + SHIFT)


def log_slope(a: Tensor, log_s: Tensor) -> Tensor:
    """``log(1 + (wᵀû) sech²a) = log(tanh²a + s sech²a)``, s = 1 + wᵀû given by its logarithm; broadcast."""
    a, log_s = torch.broadcast_tensors(a, log_s)
    found: Tensor = _LogSlope.apply(a, log_s)
    return found


def _parts(a: Tensor, log_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``log tanh²``, ``log sech²`` and ``log(tanh² + s sech²)``."""
    size = a.abs()
    outer = torch.log1p(torch.exp(-2 * size))
    tanh2 = 2 * (torch.log(-torch.expm1(-2 * size)) - outer)
    sech2 = 2 * (LN2 - size - outer)
    return tanh2, sech2, torch.logaddexp(tanh2, log_s + sech2)


class _LogSlope(torch.autograd.Function):
    """``log(tanh² + s sech²)``, its derivatives in closed form: by the chain rule they are 0 · ∞ at a = 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, log_s: Tensor) -> Tensor:
        return _parts(a, log_s)[2]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, log_s = ctx.saved_tensors
        tanh2, sech2, total = _parts(a, log_s)
        by_a = -2 * torch.sign(a) * torch.expm1(log_s) * torch.exp(tanh2 / 2 + sech2 - total)
        return grad * by_a, grad * torch.exp(log_s + sech2 - total)


def _series(x: Tensor) -> Tensor:
    """``(m(x) − x) / x`` of the safe m near 0: ``m = log(1 + k (eˣ − 1))``, k = 1 − 1/e."""
    total = torch.zeros_like(x)
    for coefficient in reversed(COEFFICIENTS):
        total = total * x + coefficient
    return total


def _coefficients(order: int) -> tuple[float, ...]:
    """Of ``(m(x) − x)/x``: the nth derivative of σ is a polynomial in σ, by σ′ = σ (1 − σ)."""
    k = 1 - math.exp(-1)
    polynomial, found = [0.0, 1.0], []
    for n in range(order):
        value = sum(c * k**i for i, c in enumerate(polynomial))
        found.append(value / math.factorial(n + 1) - (n == 0))
        slope = [0.0] * (len(polynomial) + 1)
        for i, c in enumerate(polynomial):
            slope[i] += i * c
            slope[i + 1] -= i * c
        polynomial = slope
    return tuple(found)


COEFFICIENTS = _coefficients(10)


def _root(target: Tensor, log_s: Tensor) -> Tensor:
    """a with ``a + (s − 1) tanh(a) = target``, s = exp(log_s) ≥ 0."""
    target, log_s = torch.broadcast_tensors(target, log_s)
    with torch.no_grad():
        m = torch.expm1(log_s)
        reach = m.abs()
        low, high = target - reach, target + reach
        a = target / (1 + reach)
        for _ in range(STEPS):
            value = a + m * torch.tanh(a) - target
            low, high = torch.where(value <= 0, a, low), torch.where(value >= 0, a, high)
            newton = a - value * torch.exp(-log_slope(a, log_s))
            inside = (newton > low) & (newton < high)
            new = torch.where(inside, newton, (low + high) / 2)
            if bool((new == a).all()):
                break
            a = new
    slope = torch.exp(log_slope(a, log_s)).detach()
    value = a + torch.expm1(log_s) * torch.tanh(a) - target
    return a - value / slope.clamp(min=torch.finfo(a.dtype).tiny)
