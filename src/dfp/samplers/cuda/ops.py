"""The fused samplers as operators of torch: Triton on CUDA, the numba loops on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.samplers.bins import bin_by_bin
from dfp.samplers.grid import dense_taps
from dfp.samplers.passes import forward_pass, laid_out, reverse_pass

#: cells of a chunked draw whose cells are coupled: one program holds them all (*choice*, not measured)
COUPLED_CELLS = 128
#: bins that a chunk sees of the one before
EDGE = 64


@torch.library.custom_op("dfp::hard_bins", mutates_args=(), device_types="cpu")
def hard_bins(noise: Tensor, drive: Tensor, own: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and logits ``(S, B, T, N)`` of taps on the grid; the same bits on every device.

    ``own`` is ``(N, L)`` and ``dense`` ``(L', N from, N to)``, float64.
    """
    taps = dense_taps(own, dense, noise.shape[1], noise.shape[2])
    return bin_by_bin(taps, drive, noise)


@hard_bins.register_kernel("cuda")
def _hard_bins(noise: Tensor, drive: Tensor, own: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    from dfp.samplers.cuda import launch

    by_chunks = max(own.shape[1], len(dense)) <= EDGE and (not len(dense) or noise.shape[-1] <= COUPLED_CELLS)
    with torch.cuda.device(noise.device):
        if by_chunks:
            return launch.chunked(noise, drive, own, dense)[:2]
        return launch.sequential(noise, drive, own, dense)


@hard_bins.register_fake
def _(noise: Tensor, drive: Tensor, own: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    return noise.new_empty(noise.shape), noise.new_empty(noise.shape)


@torch.library.custom_op("dfp::relaxed_bins", mutates_args=(), device_types="cpu")
def relaxed_bins(
    noise: Tensor,
    drive: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
    temperature: Tensor,
    heard: bool,
) -> tuple[Tensor, Tensor]:
    """Relaxed values and logits ``(S, B, T, N)``; see ``launch.relaxed``."""
    return forward_pass(laid_out(own, weights, basis, (), noise), drive, noise, temperature, heard)


@relaxed_bins.register_kernel("cuda")
def _relaxed_bins(
    noise: Tensor,
    drive: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
    temperature: Tensor,
    heard: bool,
) -> tuple[Tensor, Tensor]:
    from dfp.samplers.cuda import launch

    with torch.cuda.device(noise.device):
        return launch.relaxed(noise, drive, own, weights, basis, temperature, heard)


@relaxed_bins.register_fake
def _(
    noise: Tensor,
    drive: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
    temperature: Tensor,
    heard: bool,
) -> tuple[Tensor, Tensor]:
    return noise.new_empty(noise.shape), noise.new_empty(noise.shape)


@torch.library.custom_op("dfp::adjoint_bins", mutates_args=(), device_types="cpu")
def adjoint_bins(
    grad_z: Tensor,
    grad_logits: Tensor,
    slope: Tensor,
    z: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The adjoint of ``relaxed_bins``; see ``launch.adjoint``."""
    found = reverse_pass(laid_out(own, weights, basis, (), z), grad_z, grad_logits, slope, z)
    return found.logits, found.sent, found.own


@adjoint_bins.register_kernel("cuda")
def _adjoint_bins(
    grad_z: Tensor,
    grad_logits: Tensor,
    slope: Tensor,
    z: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    from dfp.samplers.cuda import launch

    with torch.cuda.device(z.device):
        return launch.adjoint(grad_z, grad_logits, slope, z, own, weights, basis)


@adjoint_bins.register_fake
def _(
    grad_z: Tensor,
    grad_logits: Tensor,
    slope: Tensor,
    z: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    sent = z.new_empty(*z.shape[:3], weights.shape[0], z.shape[3])
    return z.new_empty(z.shape), sent, own.new_empty(own.shape)
