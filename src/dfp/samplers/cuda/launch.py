"""Launching the fused kernels: tensors in, tensors out. On a CPU they run under Triton's interpreter only."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from dfp.samplers.cuda.chunks import CHUNK, sweep_chunks
from dfp.samplers.cuda.hard import coupled_bins, own_bins
from dfp.samplers.cuda.relaxed import adjoint_bins, relaxed_bins

#: cells of a program whose cells are independent
BLOCK = 32
#: programs that a chunked draw is cut into where its chains are fewer (*choice*: a few for each of the 132
#: multiprocessors of an H200; not measured)
PROGRAMS = 1024
#: bins fetched ahead by the sequential kernel (*choice*, not measured)
STAGES = 8


def sequential(noise: Tensor, drive: Tensor, own: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and logits, both ``(S, B, T, N)``, bin by bin in one launch.

    Args:
        noise: ``(S, B, T, N)``.
        drive: ``(B, T, N)`` or ``(S, B, T, N)``.
        own: ``(N, L)``, float64, on the grid of ``samplers.grid.linear_taps``, as ``dense``.
        dense: ``(L', N from, N to)``, float64; no lags for none.
    """
    drive, noise, own, dense = _laid_out(drive, noise, own, dense)
    samples, trials, bins, cells = noise.shape
    z, logits = torch.empty_like(noise), torch.empty_like(noise)
    lags, dense_lags = len(own), len(dense)
    sizes = (trials, bins, cells, _stride(drive))
    if dense_lags == 0 and lags <= 64:
        grid = (samples * trials, triton.cdiv(cells, BLOCK))
        rows = triton.next_power_of_2(max(lags, 1))
        own_bins[grid](
            drive, noise, own, z, logits, *sizes,
            LAGS=lags, ROWS=rows, BLOCK=BLOCK, STAGES=STAGES, num_warps=1,
        )  # fmt: skip
        return z, logits
    memory = max(lags, dense_lags)
    block = triton.next_power_of_2(cells) if dense_lags else BLOCK
    ahead = own.new_zeros(samples * trials, memory, cells)
    coupled_bins[(samples * trials, triton.cdiv(cells, block))](
        drive, noise, own, dense, ahead, z, logits, *sizes, memory,
        LAGS=lags, DENSE_LAGS=dense_lags, ROWS=triton.next_power_of_2(memory), BLOCK=block,
        num_warps=8 if block <= 256 else 16,
    )  # fmt: skip
    return z, logits


def chunked(
    noise: Tensor, drive: Tensor, own: Tensor, dense: Tensor, span: int | None = None
) -> tuple[Tensor, Tensor, int]:
    """The same by sweeps of chunks, for memories of at most 64 bins, and how many launches it took.

    A launch goes through ``span`` chunks after one another in each program (None chooses, so that there are
    enough programs); launches are repeated until one changes nothing. With all chunks in one program every
    left edge is final when it is read, and one launch is the answer.
    """
    drive, noise, own, dense = _laid_out(drive, noise, own, dense)
    samples, trials, bins, cells = noise.shape
    z, logits = torch.empty_like(noise), torch.empty_like(noise)
    block = triton.next_power_of_2(cells) if len(dense) else BLOCK
    blocks, chunks = triton.cdiv(cells, block), triton.cdiv(bins, CHUNK)
    span = span or max(1, chunks * samples * trials * blocks // PROGRAMS)
    spans = triton.cdiv(chunks, span)
    old = torch.zeros(samples * trials, chunks, cells, dtype=torch.int64, device=noise.device)
    new, seen, draft = torch.empty_like(old), torch.zeros_like(old), torch.empty_like(old)
    changed = torch.zeros(1, dtype=torch.int32, device=noise.device)
    launches = 0
    while launches == 0 or (spans > 1 and int(changed) > 0):
        changed.zero_()
        sweep_chunks[(samples * trials * spans, blocks)](
            drive, noise, own, dense, old, new, seen, draft, z, logits, changed,
            trials, bins, cells, chunks, span, _stride(drive), int(launches == 0),
            LAGS=len(own), DENSE_LAGS=len(dense), BLOCK=block, num_warps=8 if block <= BLOCK else 16,
        )  # fmt: skip
        old, new = new, old
        launches += 1
    return z, logits, launches


def relaxed(
    noise: Tensor,
    drive: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
    temperature: Tensor,
    heard: bool,
) -> tuple[Tensor, Tensor]:
    """Relaxed values and logits, both ``(S, B, T, N)``.

    ``own`` is ``(N, L)``, ``weights`` ``(R, N to, N from)``, ``basis`` ``(R, L')`` and ``temperature``
    ``(N,)``, 0 for a step.
    """
    drive, noise, own, weights = _laid_out(drive, noise, own, weights.transpose(1, 2))
    samples, trials, bins, cells = noise.shape
    z, logits = torch.empty_like(noise), torch.empty_like(noise)
    shapes = _shapes(own, weights, basis, cells)
    relaxed_bins[(samples * trials, triton.cdiv(cells, shapes["BLOCK"]))](
        drive, noise, own, weights, basis.contiguous(), temperature.contiguous(), z, logits,
        trials, bins, cells, _stride(drive), HEARD=heard, **shapes,
    )  # fmt: skip
    return z, logits


def adjoint(
    grad_z: Tensor,
    grad_logits: Tensor,
    slope: Tensor,
    z: Tensor,
    own: Tensor,
    weights: Tensor,
    basis: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of the loss, carried back through all later bins.

    Returned are the gradient in the logits ``(S, B, T, N)``, what it sends to the cells that act on them
    ``(S, B, T, R, N)``, and the gradient in ``own`` ``(N, L)``.
    """
    slope, z, own, weights = _laid_out(slope, z, own, weights.transpose(1, 2))
    samples, trials, bins, cells = z.shape
    shapes = _shapes(own, weights, basis, cells)
    solved, sent = torch.empty_like(z), z.new_empty(samples, trials, bins, len(weights), cells)
    of_own = z.new_empty(samples * trials, len(own), cells)
    adjoint_bins[(samples * trials, triton.cdiv(cells, shapes["BLOCK"]))](
        grad_z.contiguous(), grad_logits.contiguous(), slope, z, own, weights, basis.contiguous(),
        solved, sent, of_own, bins, cells, **shapes,
    )  # fmt: skip
    return solved, sent, of_own.sum(0).t().contiguous()


def _shapes(own: Tensor, weights: Tensor, basis: Tensor, cells: int) -> dict[str, int]:
    """Sizes known when the relaxed kernels are compiled.

    One program has all cells of a chain where they are coupled.
    """
    block = triton.next_power_of_2(cells) if len(weights) else BLOCK
    memory = max(len(own), basis.shape[1] if len(weights) else 0, 1)
    return {
        "LAGS": len(own), "BASES": len(weights), "BASIS_LAGS": basis.shape[1],
        "ROWS": triton.next_power_of_2(memory), "BLOCK": block,
        "num_warps": 8 if len(weights) else 1,
    }  # fmt: skip


def _laid_out(drive: Tensor, noise: Tensor, own: Tensor, dense: Tensor) -> tuple[Tensor, ...]:
    """Tensors as the kernels read them: contiguous, lags before cells."""
    wide = drive.detach() if drive.dim() == 4 else drive.detach()[None]
    return wide.contiguous(), noise.detach().contiguous(), own.t().contiguous(), dense.contiguous()


def _stride(drive: Tensor) -> int:
    """The step from sample to sample of a contiguous drive."""
    return drive[0].numel() if len(drive) > 1 else 0
