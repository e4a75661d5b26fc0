"""Relaxed samples bin by bin in one launch, and their adjoint in reverse time, in the noise's precision."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def relaxed_bins(
    drive: tl.tensor,  # (S or 1, B, T, N)
    noise: tl.tensor,  # (S, B, T, N)
    own: tl.tensor,  # (L, N)
    weights: tl.tensor,  # (R, N from, N to)
    basis: tl.tensor,  # (R, L')
    temperature: tl.tensor,  # (N,); 0 for a step
    z: tl.tensor,  # (S, B, T, N), written
    logits: tl.tensor,  # (S, B, T, N), written
    trials: tl.tensor,
    bins: tl.tensor,
    cells: tl.tensor,
    drive_stride: tl.tensor,
    HEARD: tl.constexpr,  # whether the noise is used
    LAGS: tl.constexpr,
    BASES: tl.constexpr,  # R; 0: no coupling
    BASIS_LAGS: tl.constexpr,  # L'
    ROWS: tl.constexpr,  # a power of two, at least L and L'
    BLOCK: tl.constexpr,  # at least N where cells are coupled
) -> None:
    """A chain's block of cells. The values of past bins are read back from ``z``."""
    chain = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCK)
    cell = tl.program_id(1) * BLOCK + index
    there = cell < cells
    lag = tl.arange(0, ROWS)[:, None]
    taps = tl.load(own + lag * cells + cell[None, :], mask=(lag < LAGS) & there[None, :], other=0.0)
    warmth = tl.load(temperature + cell, mask=there, other=1.0)
    divisor = tl.where(warmth == 0, 1.0, warmth)
    at = chain * bins * cells + cell
    given = (chain // trials) * drive_stride + (chain % trials) * bins * cells + cell
    for t in range(bins):
        known = (lag < t) & there[None, :]
        before = tl.load(z + at[None, :] - (lag + 1) * cells, mask=known, other=0.0)
        total = tl.load(drive + given, mask=there, other=0.0).to(before.dtype) + tl.sum(taps * before, 0)
        for r in range(BASES):
            shape = tl.load(basis + r * BASIS_LAGS + lag, mask=lag < BASIS_LAGS, other=0.0)
            trace = tl.sum(shape * before, 0)[:, None]
            both = there[:, None] & there[None, :]
            to = weights + (r * cells + index[:, None]) * cells + index[None, :]
            total += tl.sum(tl.load(to, mask=both, other=0.0) * trace, 0)
        latent = total
        if HEARD:
            latent += tl.load(noise + at, mask=there, other=0.0)
        small = tl.exp(-tl.abs(latent / divisor))
        smooth = tl.where(latent >= 0, 1.0, small) / (1.0 + small)
        value = tl.where(warmth == 0, (latent > 0).to(before.dtype), smooth)
        tl.store(logits + at, total, mask=there)
        tl.store(z + at, value, mask=there)
        tl.debug_barrier()  # what one thread wrote, another reads at the next bin
        at += cells
        given += cells


@triton.jit
def adjoint_bins(
    grad_z: tl.tensor,  # (S, B, T, N), of the loss in the values
    grad_logits: tl.tensor,  # (S, B, T, N), and in the logits
    slope: tl.tensor,  # (S, B, T, N), dz/du
    z: tl.tensor,  # (S, B, T, N)
    own: tl.tensor,  # (L, N)
    weights: tl.tensor,  # (R, N from, N to)
    basis: tl.tensor,  # (R, L')
    adjoint: tl.tensor,  # (S, B, T, N), written: of the loss in the logits, through all later bins
    sent: tl.tensor,  # (S, B, T, R, N), written: W_rᵀ adjoint
    grad_own: tl.tensor,  # (S·B, L, N), written: of each chain
    bins: tl.tensor,
    cells: tl.tensor,
    LAGS: tl.constexpr,
    BASES: tl.constexpr,
    BASIS_LAGS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """``a[t] = gᵤ[t] + D[t] (g_z[t] + Σ_τ J_τᵀ a[t + τ])``, t = T−1, …, 0, and ``Σ_t a[t] z[t − τ]``."""
    chain = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCK)
    cell = tl.program_id(1) * BLOCK + index
    there = cell < cells
    lag = tl.arange(0, ROWS)[:, None]
    taps = tl.load(own + lag * cells + cell[None, :], mask=(lag < LAGS) & there[None, :], other=0.0)
    gathered = taps * 0.0
    row = chain * bins + bins - 1
    at = row * cells + cell
    for gone in range(bins):  # bins after this one
        later = (lag < gone) & there[None, :]
        total = tl.load(grad_z + at, mask=there, other=0.0)
        total += tl.sum(taps * tl.load(adjoint + at[None, :] + (lag + 1) * cells, mask=later, other=0.0), 0)
        for r in range(BASES):
            shape = tl.load(basis + r * BASIS_LAGS + lag, mask=lag < BASIS_LAGS, other=0.0)
            back = sent + ((row + lag + 1) * BASES + r) * cells + cell[None, :]
            total += tl.sum(shape * tl.load(back, mask=later & (lag < BASIS_LAGS), other=0.0), 0)
        a = total * tl.load(slope + at, mask=there, other=0.0)
        a += tl.load(grad_logits + at, mask=there, other=0.0)
        tl.store(adjoint + at, a, mask=there)
        for r in range(BASES):
            both = there[:, None] & there[None, :]
            to = weights + (r * cells + index[None, :]) * cells + index[:, None]  # (to, from)
            passed = tl.sum(tl.load(to, mask=both, other=0.0) * a[:, None], 0)
            tl.store(sent + (row * BASES + r) * cells + cell, passed, mask=there)
        known = (lag < bins - 1 - gone) & there[None, :]
        gathered += a[None, :] * tl.load(z + at[None, :] - (lag + 1) * cells, mask=known, other=0.0)
        tl.debug_barrier()  # what one thread wrote, another reads at the bin before
        row -= 1
        at -= cells
    own_at = grad_own + (chain * LAGS + lag) * cells + cell[None, :]
    tl.store(own_at, gathered, mask=(lag < LAGS) & there[None, :])
