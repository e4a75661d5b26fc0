"""What planar and radial flows have to take at extremes: inner products, norms, logarithms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dfp.core.errors import UserError

LN2 = math.log(2.0)
#: splits a float64 into two halves of 26 bits (Veltkamp)
SPLIT = 2.0**27 + 1
#: below this, log softplus(x) is taken from its series
SERIES = -18.0
#: "source" is the constraint as it was published, "safe" the one that leaves u alone at w = 0
CONSTRAINTS = ("source", "safe")


def check_constraint(constraint: str) -> None:
    """Refuse a constraint that is neither ``source`` nor ``safe``."""
    if constraint not in CONSTRAINTS:
        raise UserError(f"constraint: found {constraint!r}, expected {' or '.join(CONSTRAINTS)}")


def softplus(x: Tensor) -> Tensor:
    """``log(1 + eˣ)`` to rounding; torch's own is the identity from x = 20 on, an error of 2e-9."""
    return torch.logaddexp(x, torch.zeros_like(x))


def log_softplus(x: Tensor) -> Tensor:
    """``log log(1 + eˣ)``: finite where softplus itself underflows, and then x."""
    low = x.clamp(max=SERIES)
    return torch.where(x < SERIES, low - low.exp() / 2, softplus(x.clamp(min=SERIES)).log())


def norm(x: Tensor) -> Tensor:
    """``‖x‖`` over the last dimension, without squares that under- or overflow; gradient 0 at 0."""
    scale = x.detach().abs().amax(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    return torch.linalg.vector_norm(x / scale, dim=-1) * scale.squeeze(-1)


def affine(w: Tensor, z: Tensor, b: Tensor | None = None) -> Tensor:
    """``wᵀz + b`` over the last dimension, w and z ``(..., D)``, b ``(...,)``.

    In float64 it is what twice the precision would give, rounded (Ogita, Rump & Oishi 2005, Dot2): the
    log-determinant of a planar flow can depend on a sum near 0 of large terms. In other precisions plain.
    """
    w, z = torch.broadcast_tensors(w, z)
    if w.dtype != torch.float64:
        plain = (w * z).sum(-1)
        return plain if b is None else plain + b
    shift = w.new_zeros(()) if b is None else b
    shape = torch.broadcast_shapes(w.shape[:-1], shift.shape)
    size = (*shape, w.shape[-1])
    found: Tensor = _Dot.apply(w.expand(size), z.expand(size), shift.expand(shape))
    return found


class _Dot(torch.autograd.Function):
    """The compensated inner product; its derivatives are those of the plain one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(w: Tensor, z: Tensor, b: Tensor) -> Tensor:
        product, low = _exact_product(w, z)
        terms = torch.cat((product, b.unsqueeze(-1)), -1)
        slips = low.sum(-1)
        while terms.shape[-1] > 1:
            if terms.shape[-1] % 2:
                terms = torch.cat((terms, torch.zeros_like(terms[..., :1])), -1)
            first, second = terms.chunk(2, -1)
            terms, low = _exact_sum(first, second)
            slips = slips + low.sum(-1)
        total = terms.squeeze(-1)
        return torch.where(slips.isfinite(), total + slips, total)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w, z = ctx.saved_tensors
        return grad.unsqueeze(-1) * z, grad.unsqueeze(-1) * w, grad


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    wide = SPLIT * x
    high = wide - (wide - x)
    return high, x - high


def _exact_product(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``x·y`` rounded, and the rounding error."""
    product = x * y
    (x1, x2), (y1, y2) = _halves(x), _halves(y)
    return product, x2 * y2 - (((product - x1 * y1) - x2 * y1) - x1 * y2)


def _exact_sum(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``x + y`` rounded, and the rounding error."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)
