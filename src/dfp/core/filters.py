"""Causal filters along time, with gradients, for few taps (shifted adds) and for many (Fourier transform)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Above this many taps a Fourier transform is cheaper than shifted adds (measured on two CPU cores at T =
# 1,000).
FOURIER_ABOVE = 96


def _shifted_add(z: Tensor, taps: Tensor, offset: int, reverse: bool) -> Tensor:
    out = torch.zeros_like(z)
    bins = z.shape[-2]
    for lag, tap in enumerate(taps[: max(bins - offset, 0)], start=offset):
        early, late = slice(0, bins - lag), slice(lag, bins)
        if reverse:
            out[..., early, :].addcmul_(z[..., late, :], tap)
        else:
            out[..., late, :].addcmul_(z[..., early, :], tap)
    return out


class _ShiftedAdd(torch.autograd.Function):
    """A filter whose outputs are summed in the order of their lags, whatever the shape of ``z``.

    ``reverse`` is the adjoint filter.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, taps: Tensor, offset: int, reverse: bool) -> Tensor:
        ctx.save_for_backward(z, taps)
        ctx.offset, ctx.reverse = offset, reverse
        return _shifted_add(z, taps, offset, reverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        z, taps = ctx.saved_tensors
        offset, bins = ctx.offset, z.shape[-2]
        grad_z = grad_taps = None
        if ctx.needs_input_grad[0]:
            grad_z = _ShiftedAdd.apply(grad, taps, offset, not ctx.reverse)
        if ctx.needs_input_grad[1]:
            late, early = (z, grad) if ctx.reverse else (grad, z)
            rows = []
            for lag in range(offset, offset + taps.shape[0]):
                product = late[..., lag:, :] * early[..., : max(bins - lag, 0), :]
                rows.append(product.reshape(-1, product.shape[-1]).sum(0).sum_to_size(taps.shape[1:]))
            grad_taps = torch.stack(rows)
        return grad_z, grad_taps, None, None


def causal_filter(z: Tensor, taps: Tensor, offset: int = 1) -> Tensor:
    """``out[t, n] = Σ_j taps[n, j] · z[t − offset − j, n]``, with nothing before t = 0.

    Args:
        z: ``(..., T, N)``.
        taps: ``(N, L)``, or ``(1, L)`` for taps shared by all cells.
        offset: lag of the first tap, in bins: 1 keeps the result strictly causal, 0 includes the bin itself.

    Returns:
        ``(..., T, N)``. Differentiable (twice) in both arguments.
    """
    if taps.shape[-1] > FOURIER_ABOVE and z.shape[-2] > FOURIER_ABOVE:
        return _fourier_filter(z, taps, offset)
    out: Tensor = _ShiftedAdd.apply(z, taps.t(), offset, False)
    return out


def _fourier_filter(z: Tensor, taps: Tensor, offset: int) -> Tensor:
    bins = z.shape[-2]
    kernel = torch.nn.functional.pad(taps.t(), (0, 0, offset, 0))[:bins]
    length = bins + kernel.shape[0]
    spectrum = torch.fft.rfft(z, n=length, dim=-2) * torch.fft.rfft(kernel, n=length, dim=-2)
    return torch.fft.irfft(spectrum, n=length, dim=-2)[..., :bins, :]
