"""Hard samples bin by bin in one launch: the time loop is inside the kernel."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def own_bins(
    drive: tl.tensor,  # (S or 1, B, T, N)
    noise: tl.tensor,  # (S, B, T, N)
    own: tl.tensor,  # (L, N), float64, on a grid
    z: tl.tensor,  # (S, B, T, N), written
    logits: tl.tensor,  # (S, B, T, N), written
    trials: tl.tensor,
    bins: tl.tensor,
    cells: tl.tensor,
    drive_stride: tl.tensor,  # from sample to sample: B·T·N, or 0
    LAGS: tl.constexpr,  # at most 64
    ROWS: tl.constexpr,  # a power of two, at least LAGS
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,  # bins that are fetched ahead
) -> None:
    """A chain's block of cells; the last 64 spikes of a cell are the bits of a word, lag 1 the lowest."""
    chain = tl.program_id(0).to(tl.int64)
    cell = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = cell < cells
    lag = tl.arange(0, ROWS)
    known = (lag < LAGS)[:, None] & there[None, :]
    taps = tl.load(own + lag[:, None] * cells + cell[None, :], mask=known, other=0.0)
    shift = lag.to(tl.uint64)[:, None]
    past = tl.zeros([BLOCK], tl.uint64)
    at = chain * bins * cells + cell
    given = (chain // trials) * drive_stride + (chain % trials) * bins * cells + cell
    for _ in tl.range(0, bins, num_stages=STAGES):
        total = tl.sum(tl.where(((past[None, :] >> shift) & 1) != 0, taps, 0.0), 0)
        u = tl.load(drive + given, mask=there, other=0.0).to(tl.float64) + total
        u = u.to(logits.dtype.element_ty)
        spike = (u + tl.load(noise + at, mask=there, other=0.0)) > 0
        tl.store(logits + at, u, mask=there)
        tl.store(z + at, spike.to(z.dtype.element_ty), mask=there)
        past = (past << 1) | spike.to(tl.uint64)
        at += cells
        given += cells


@triton.jit
def coupled_bins(
    drive: tl.tensor,  # (S or 1, B, T, N)
    noise: tl.tensor,  # (S, B, T, N)
    own: tl.tensor,  # (L, N), float64, on a grid
    dense: tl.tensor,  # (L', N from, N to), float64, on the same grid
    ahead: tl.tensor,  # (S·B, M, N), float64 zeros: a ring of what past spikes add to the next M logits
    z: tl.tensor,  # (S, B, T, N), written
    logits: tl.tensor,  # (S, B, T, N), written
    trials: tl.tensor,
    bins: tl.tensor,
    cells: tl.tensor,
    drive_stride: tl.tensor,
    memory: tl.tensor,  # M, bins looked back
    LAGS: tl.constexpr,
    DENSE_LAGS: tl.constexpr,  # 0: no coupling
    ROWS: tl.constexpr,  # a power of two, at least M
    BLOCK: tl.constexpr,  # at least N where cells are coupled
) -> None:
    """A chain, driven by events: a spike adds what it does to later bins when it falls. Any memory."""
    chain = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCK)
    cell = tl.program_id(1) * BLOCK + index
    there = cell < cells
    lag = tl.arange(0, ROWS)[:, None]
    ring = ahead + chain * memory * cells + cell
    taps = tl.load(own + lag * cells + cell[None, :], mask=(lag < LAGS) & there[None, :], other=0.0)
    at = chain * bins * cells + cell
    given = (chain // trials) * drive_stride + (chain % trials) * bins * cells + cell
    row = 0
    for _ in range(bins):
        total = tl.load(ring + row * cells, mask=there, other=0.0)
        tl.debug_barrier()  # every thread has read what is zeroed below
        u = (tl.load(drive + given, mask=there, other=0.0).to(tl.float64) + total).to(logits.dtype.element_ty)
        spike = ((u + tl.load(noise + at, mask=there, other=0.0)) > 0) & there
        tl.store(logits + at, u, mask=there)
        tl.store(z + at, spike.to(z.dtype.element_ty), mask=there)
        tl.store(ring + row * cells, tl.zeros([BLOCK], tl.float64), mask=there)
        tl.debug_barrier()  # what one thread wrote to the ring, another may read below
        later = ring[None, :] + ((row + 1 + lag) % memory) * cells
        heard = (lag < LAGS) & spike[None, :]
        tl.store(later, tl.load(later, mask=heard, other=0.0) + taps, mask=heard)
        tl.debug_barrier()
        if DENSE_LAGS > 0:
            reached = (lag < DENSE_LAGS) & there[None, :]
            pending = spike.to(tl.int32)
            left = tl.sum(pending, 0)
            while left > 0:
                source = tl.min(tl.where(pending > 0, index, BLOCK), 0)
                pending = tl.where(index == source, 0, pending)
                to = dense + (lag * cells + source) * cells + cell[None, :]
                weight = tl.load(to, mask=reached, other=0.0)
                tl.store(later, tl.load(later, mask=reached, other=0.0) + weight, mask=reached)
                left -= 1
                tl.debug_barrier()
        row = (row + 1) % memory
        at += cells
        given += cells
