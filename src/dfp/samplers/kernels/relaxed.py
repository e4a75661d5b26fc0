"""Relaxed samples bin by bin, and their adjoint, one pass backwards; in the precision of the noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]


@njit(cache=True, nogil=True)
def unit(z: Array, inward: Array, context: Array, s: int, b: int, t: int, n: int, h: int) -> float:
    """``tanh(context[t, n, h] + Σ_τ A[n, τ, h] z[t − τ, n])``."""
    inside = context[b, t, n, h]
    for lag in range(min(inward.shape[0], t)):
        inside += inward[lag, n, h] * z[s, b, t - 1 - lag, n]
    return math.tanh(inside)


@njit(cache=True, nogil=True)
def hidden_units(
    z: Array,  # (S, B, T, N)
    inward: Array,  # (L'', N, H)
    context: Array,  # (B, T, N, H)
    first: int,
    last: int,
    units: Array,  # (S, B, T, N, H), written
) -> None:
    """The hidden units of chains ``first`` to ``last``."""
    if units.shape[4] == 0:
        return
    for chain in range(first, last):
        s, b = chain // z.shape[1], chain % z.shape[1]
        for t in range(z.shape[2]):
            for n in range(z.shape[3]):
                for h in range(units.shape[4]):
                    units[s, b, t, n, h] = unit(z, inward, context, s, b, t, n, h)


@njit(cache=True, nogil=True)
def forward(
    drive: Array,  # (S or 1, B, T, N)
    noise: Array,  # (S, B, T, N)
    own: Array,  # (L, N)
    weights: Array,  # (R, N from, N to)
    basis: Array,  # (R, L')
    inward: Array,  # (L'', N, H)
    context: Array,  # (B, T, N, H)
    outward: Array,  # (N, H)
    temperature: Array,  # (N,); 0 for a step
    heard: float,  # 1, or 0 where the noise is not used
    first: int,
    last: int,
    z: Array,  # (S, B, T, N), written
    logits: Array,  # (S, B, T, N), written
) -> None:
    """Draw chains ``first`` to ``last`` of the S·B that there are."""
    trials, bins, cells = noise.shape[1], noise.shape[2], noise.shape[3]
    one = noise.dtype.type(1)
    total = np.zeros(cells, noise.dtype)
    seen = np.zeros(cells, noise.dtype)
    for chain in range(first, last):
        s, b = chain // trials, chain % trials
        d = s if drive.shape[0] > 1 else 0
        for t in range(bins):
            for n in range(cells):
                total[n] = drive[d, b, t, n]
            if cells == 1:  # the same sum, without a loop of one turn within that of the lags
                alone = total[0]
                for lag in range(min(own.shape[0], t)):
                    alone += own[lag, 0] * z[s, b, t - 1 - lag, 0]
                total[0] = alone
            else:
                for lag in range(min(own.shape[0], t)):
                    for n in range(cells):
                        total[n] += own[lag, n] * z[s, b, t - 1 - lag, n]
            for r in range(weights.shape[0]):
                for n in range(cells):
                    seen[n] = 0
                for lag in range(min(basis.shape[1], t)):
                    for n in range(cells):
                        seen[n] += basis[r, lag] * z[s, b, t - 1 - lag, n]
                for j in range(cells):
                    if seen[j] != 0:
                        for n in range(cells):
                            total[n] += weights[r, j, n] * seen[j]
            for n in range(cells if outward.shape[1] else 0):
                for h in range(outward.shape[1]):
                    total[n] += outward[n, h] * unit(z, inward, context, s, b, t, n, h)
            for n in range(cells):
                logits[s, b, t, n] = total[n]
                latent = total[n] + heard * noise[s, b, t, n]
                if temperature[n] == 0:
                    z[s, b, t, n] = latent > 0
                else:
                    z[s, b, t, n] = one / (one + math.exp(-latent / temperature[n]))


@njit(cache=True, nogil=True)
def backward(
    grad_z: Array,  # (S, B, T, N), of the loss in the values
    grad_logits: Array,  # (S, B, T, N), and in the logits
    slope: Array,  # (S, B, T, N), dz/du
    z: Array,  # (S, B, T, N)
    own: Array,  # (L, N)
    weights: Array,  # (R, N from, N to)
    basis: Array,  # (R, L')
    inward: Array,  # (L'', N, H)
    outward: Array,  # (N, H)
    units: Array,  # (S, B, T, N, H)
    first: int,
    last: int,
    adjoint: Array,  # (S, B, T, N), written: of the loss in the logits, through all later bins
    sent: Array,  # (S, B, T, R, N), written: W_rᵀ adjoint
    grad_own: Array,  # (L, N), added to
) -> None:
    """``a[t] = gᵤ[t] + D[t] (g_z[t] + Σ_τ J_τᵀ a[t + τ])``, t = T−1, …, 0, and ``Σ_t a[t] z[t − τ]``."""
    trials, bins, cells = z.shape[1], z.shape[2], z.shape[3]
    total = np.zeros(cells, z.dtype)
    for chain in range(first, last):
        s, b = chain // trials, chain % trials
        for t in range(bins - 1, -1, -1):
            for n in range(cells):
                total[n] = grad_z[s, b, t, n]
            if cells == 1:
                alone = total[0]
                for lag in range(min(own.shape[0], bins - 1 - t)):
                    alone += own[lag, 0] * adjoint[s, b, t + 1 + lag, 0]
                total[0] = alone
            else:
                for lag in range(min(own.shape[0], bins - 1 - t)):
                    for n in range(cells):
                        total[n] += own[lag, n] * adjoint[s, b, t + 1 + lag, n]
            for r in range(weights.shape[0]):
                for lag in range(min(basis.shape[1], bins - 1 - t)):
                    for n in range(cells):
                        total[n] += basis[r, lag] * sent[s, b, t + 1 + lag, r, n]
            for n in range(cells if outward.shape[1] else 0):
                for lag in range(min(inward.shape[0], bins - 1 - t)):
                    for h in range(outward.shape[1]):
                        unit = units[s, b, t + 1 + lag, n, h]
                        through = outward[n, h] * (1 - unit * unit) * adjoint[s, b, t + 1 + lag, n]
                        total[n] += inward[lag, n, h] * through
            for n in range(cells):
                adjoint[s, b, t, n] = grad_logits[s, b, t, n] + slope[s, b, t, n] * total[n]
            if cells == 1:
                alone = adjoint[s, b, t, 0]
                for lag in range(min(own.shape[0], t)):
                    grad_own[lag, 0] += alone * z[s, b, t - 1 - lag, 0]
            else:
                for lag in range(min(own.shape[0], t)):
                    for n in range(cells):
                        grad_own[lag, n] += adjoint[s, b, t, n] * z[s, b, t - 1 - lag, n]
            for r in range(weights.shape[0]):
                for j in range(cells):
                    gathered = z.dtype.type(0)
                    for n in range(cells):
                        gathered += weights[r, j, n] * adjoint[s, b, t, n]
                    sent[s, b, t, r, j] = gathered
