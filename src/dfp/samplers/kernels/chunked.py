"""Hard samples by fixed-point sweeps over chunks of bins, in which only what changed is followed up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dfp.samplers.kernels.hard import readout

Array = np.ndarray[Any, Any]


@njit(cache=True, nogil=True)
def sweep_chunks(
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
    chunk: int,
    first: int,
    last: int,
    z: Array,  # (S, B, T, N), written
    logits: Array,  # (S, B, T, N), written
    sweeps: Array,  # (S·B, chunks), written
) -> None:
    """Sweep chains ``first`` to ``last`` of the S·B that there are."""
    trials, bins, cells = noise.shape[1], noise.shape[2], noise.shape[3]
    units, size = outward.shape[1], min(chunk, bins)
    ahead = np.zeros((size + memory, cells))  # what the spikes found so far add to each bin's logits
    within = np.zeros((size + memory, cells, units))  # and to its hidden units
    changed, touched = np.zeros(size * cells + 1, np.int64), np.zeros(size * cells + 1, np.int64)
    stamp = np.zeros((size, cells), np.int64)  # the last sweep that touched a bin
    mark = 0
    for chain in range(first, last):
        s, b = chain // trials, chain % trials
        d = s if drive.shape[0] > 1 else 0
        ahead[:], within[:] = 0.0, 0.0
        for number in range(sweeps.shape[1]):
            start = number * chunk
            length = min(chunk, bins - start)
            count = _evaluate_all(
                drive[d, b], noise[s, b], context[b], outward, start, length, ahead, within, z[s, b],
                logits[s, b], changed,
            )  # fmt: skip
            made = 1
            while count:
                made, mark = made + 1, mark + 1
                reached = _follow(
                    changed, count, z[s, b], start, length, own, dense, starts, targets, sparse, inward,
                    memory, ahead, within, stamp, mark, touched,
                )  # fmt: skip
                count = _evaluate(
                    touched, reached, drive[d, b], noise[s, b], context[b], outward, start, ahead, within,
                    z[s, b], logits[s, b], changed,
                )  # fmt: skip
            sweeps[chain, number] = made
            for k in range(memory):  # what falls beyond the chunk is the start of the next one
                ahead[k], within[k] = ahead[length + k], within[length + k]
            ahead[memory:], within[memory:] = 0.0, 0.0


@njit(cache=True, nogil=True)
def _evaluate_all(
    drive: Array,  # (T, N)
    noise: Array,
    context: Array,  # (T, N, H)
    outward: Array,
    start: int,
    length: int,
    ahead: Array,
    within: Array,
    z: Array,
    logits: Array,
    changed: Array,
) -> int:
    """The first sweep of a chunk, from no spikes in it: all spikes go to ``changed``, their number back."""
    cells, count = drive.shape[1], 0
    for k in range(length):
        t = start + k
        for n in range(cells):
            logits[t, n] = drive[t, n] + ahead[k, n]
        for n in range(cells if outward.shape[1] else 0):
            total = ahead[k, n] + readout(within, k, n, context, t, outward)
            logits[t, n] = drive[t, n] + total
        for n in range(cells):
            z[t, n] = logits[t, n] + noise[t, n] > 0
        for n in range(cells):
            changed[count] = k * cells + n
            count += z[t, n] > 0
    return count


@njit(cache=True, nogil=True)
def _evaluate(
    touched: Array,
    reached: int,
    drive: Array,  # (T, N)
    noise: Array,
    context: Array,  # (T, N, H)
    outward: Array,
    start: int,
    ahead: Array,
    within: Array,
    z: Array,
    logits: Array,
    changed: Array,
) -> int:
    """Values of the bins that were touched; which of them flipped goes to ``changed``, their number back."""
    cells, units, count = drive.shape[1], outward.shape[1], 0
    for c in range(reached):
        k, n = touched[c] // cells, touched[c] % cells
        t = start + k
        total = ahead[k, n]
        if units:
            total += readout(within, k, n, context, t, outward)
        logits[t, n] = drive[t, n] + total
        spike = logits[t, n] + noise[t, n] > 0
        changed[count] = touched[c]
        count += spike != (z[t, n] > 0)
        z[t, n] = spike
    return count


@njit(cache=True, nogil=True)
def _follow(
    changed: Array,
    count: int,
    z: Array,
    start: int,
    length: int,
    own: Array,
    dense: Array,
    starts: Array,
    targets: Array,
    sparse: Array,
    inward: Array,
    memory: int,
    ahead: Array,
    within: Array,
    stamp: Array,
    mark: int,
    touched: Array,
) -> int:
    """Add or take back what the flipped spikes do.

    The bins of the chunk that this reaches go to ``touched``; their number is returned.
    """
    cells, units, reached = z.shape[1], within.shape[2], 0
    itself = max(own.shape[0], inward.shape[0])
    for c in range(count):
        k, n = changed[c] // cells, changed[c] % cells
        sign = 1.0 if z[start + k, n] > 0 else -1.0
        for lag in range(memory):
            later = k + 1 + lag
            inside = later < length
            if lag < own.shape[0]:
                ahead[later, n] += sign * own[lag, n]
            if lag < inward.shape[0]:
                for h in range(units):
                    within[later, n, h] += sign * inward[lag, n, h]
            if inside and lag < itself and stamp[later, n] != mark:
                touched[reached] = later * cells + n
                reached, stamp[later, n] = reached + 1, mark
            if lag < dense.shape[0]:
                for i in range(cells):
                    ahead[later, i] += sign * dense[lag, n, i]
                for i in range(cells if inside else 0):
                    touched[reached] = later * cells + i
                    reached += stamp[later, i] != mark
                    stamp[later, i] = mark
            if lag < sparse.shape[0]:
                for j in range(starts[n], starts[n + 1]):
                    i = targets[j]
                    ahead[later, i] += sign * sparse[lag, j]
                    if inside and stamp[later, i] != mark:
                        touched[reached] = later * cells + i
                        reached, stamp[later, i] = reached + 1, mark
    return reached
