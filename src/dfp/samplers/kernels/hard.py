"""Hard samples, bin by bin, driven by events: what a spike does to later bins is added when it falls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]


@njit(cache=True, nogil=True)
def readout(within: Array, row: int, n: int, context: Array, t: int, outward: Array) -> float:
    """``Σ_h w_h tanh(context_h + within_h)``, summed in the order of h in double precision by every path."""
    total = 0.0
    for h in range(outward.shape[1]):
        total += outward[n, h] * math.tanh(context[t, n, h] + within[row, n, h])
    return total


@njit(cache=True, nogil=True)
def draw_bins(
    drive: Array,  # (S or 1, B, T, N)
    noise: Array,  # (S, B, T, N)
    own: Array,  # (L, N), on a grid, as all taps
    dense: Array,  # (L', N from, N to), or empty
    starts: Array,  # (N + 1), where a cell's targets stand, or empty
    targets: Array,  # (K,)
    sparse: Array,  # (L', K)
    inward: Array,  # (L'', N, H)
    context: Array,  # (B, T, N, H)
    outward: Array,  # (N, H)
    memory: int,
    first: int,
    last: int,
    z: Array,  # (S, B, T, N), written
    logits: Array,  # (S, B, T, N), written
) -> None:
    """Draw chains ``first`` to ``last`` of the S·B that there are."""
    trials, bins, cells = noise.shape[1], noise.shape[2], noise.shape[3]
    units = outward.shape[1]
    rows = max(memory, 1)
    ahead = np.zeros((rows, cells))  # what past spikes add to the logits of the bins to come
    within = np.zeros((rows, cells, units))  # and to the hidden units
    fired = np.zeros(cells + 1, np.int64)
    for chain in range(first, last):
        s, b = chain // trials, chain % trials
        d = s if drive.shape[0] > 1 else 0
        ahead[:] = 0.0
        within[:] = 0.0
        row = 0
        for t in range(bins):
            for n in range(cells):
                if units:
                    ahead[row, n] += readout(within, row, n, context[b], t, outward)
                    for h in range(units):
                        within[row, n, h] = 0.0
            for n in range(cells):
                logits[s, b, t, n] = drive[d, b, t, n] + ahead[row, n]
                ahead[row, n] = 0.0
            count = 0
            for n in range(cells):
                z[s, b, t, n] = logits[s, b, t, n] + noise[s, b, t, n] > 0
            for n in range(cells):
                fired[count] = n
                count += z[s, b, t, n] > 0
            later = row
            for lag in range(memory if count else 0):
                later = later + 1 if later + 1 < rows else 0
                if lag < own.shape[0]:
                    for k in range(count):
                        ahead[later, fired[k]] += own[lag, fired[k]]
                if lag < dense.shape[0]:
                    for k in range(count):
                        for i in range(cells):
                            ahead[later, i] += dense[lag, fired[k], i]
                if lag < sparse.shape[0]:
                    for k in range(count):
                        for j in range(starts[fired[k]], starts[fired[k] + 1]):
                            ahead[later, targets[j]] += sparse[lag, j]
                if lag < inward.shape[0]:
                    for k in range(count):
                        for h in range(units):
                            within[later, fired[k], h] += inward[lag, fired[k], h]
            row = row + 1 if row + 1 < rows else 0
