"""The fused samplers as operators of torch: Triton on CUDA, the numba loops on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfp.samplers.bins import bin_by_bin
from dfp.samplers.grid import Array, Taps
from dfp.samplers.kernels.relaxed import backward, forward
from dfp.samplers.pathwise import as_array
from dfp.samplers.threads import in_threads

#: cells of a chunked draw whose cells are coupled: one program holds them all (*choice*, not measured)
COUPLED_CELLS = 128
#: bins that a chunk sees of the one before
EDGE = 64


@torch.library.custom_op("dfp::hard_bins", mutates_args=(), device_types="cpu")
def hard_bins(noise: Tensor, drive: Tensor, own: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and logits ``(S, B, T, N)`` of taps on the grid: ``own`` ``(N, L)``, ``dense`` ``(L', N from,
    N to)``, float64; the same bits on every device.
    """
    trials, bins, cells = noise.shape[1:]
    none = np.zeros(0, np.int64)
    taps = Taps(
        np.ascontiguousarray(own.t().numpy()), as_array(dense), none, none, np.zeros((0, 0)),
        np.zeros((0, cells, 0)), np.zeros((trials, bins, cells, 0)), np.zeros((cells, 0)),
    )  # fmt: skip
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
    z, logits = noise.new_empty(noise.shape), noise.new_empty(noise.shape)
    given: tuple[Any, ...] = (
        as_array(drive if drive.dim() == 4 else drive[None]), as_array(noise), as_array(own.t()),
        as_array(weights.transpose(1, 2)), as_array(basis), *_no_units(noise), as_array(temperature),
        float(heard),
    )  # fmt: skip
    kernel: Any = forward
    in_threads(lambda first, last: kernel(*given, first, last, z.numpy(), logits.numpy()), noise)
    return z, logits


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
    solved, sent = z.new_empty(z.shape), z.new_empty(*z.shape[:3], len(weights), z.shape[3])
    across, laid = as_array(weights.transpose(1, 2)), as_array(own.t())
    inward, _, outward = _no_units(z)
    units = np.zeros((*z.shape, 0), laid.dtype)
    parts: list[Array] = []

    def work(first: int, last: int) -> None:
        parts.append(np.zeros_like(laid))
        backward(
            as_array(grad_z), as_array(grad_logits), as_array(slope), as_array(z), laid, across,
            as_array(basis), inward, outward, units, first, last, solved.numpy(), sent.numpy(), parts[-1],
        )  # fmt: skip

    in_threads(work, z)
    return solved, sent, torch.from_numpy(np.sum(parts, 0).T.copy())


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


def _no_units(like: Tensor) -> tuple[Array, ...]:
    """Inward, context and outward weights of no hidden units."""
    trials, bins, cells = like.shape[1:]
    dtype = like.detach().numpy().dtype
    return (
        np.zeros((0, cells, 0), dtype),
        np.zeros((trials, bins, cells, 0), dtype),
        np.zeros((cells, 0), dtype),
    )
