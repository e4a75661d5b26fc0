"""Linear recursions along time, all bins at once: dense triangles within chunks, a scan over the chunks."""

from __future__ import annotations

import torch
from torch import Tensor

#: numbers in the triangles that are held at once
_LARGEST = 2**25


def solve_banded(taps: Tensor, given: Tensor, chunk: int = 32) -> Tensor:
    """``δ[t] = given[t] + Σ_τ A[t, τ] δ[t − τ]``, τ = 1..L, with nothing before t = 0.

    Time is cut into chunks of C bins. Within each of them the response to ``given`` and to the last L bins of
    the chunk before comes from one triangular solve, for all chunks at once; the chunks are then joined by a
    prefix scan of affine maps in log₂(T / C) steps (Blelloch 1990).

    Args:
        taps: A, ``(M, T, L, n, n)`` for M chains of n coupled variables; lag 1 is ``[:, :, 0]``, ``[..., i,
            j]`` acts from j onto i.
        given: ``(M, T, n)``.
        chunk: C, at least L is taken.

    Returns:
        δ, ``(M, T, n)``; not finite where the recursion outgrows the precision.
    """
    chains, bins, lags, size = taps.shape[:4]
    if not lags or not bins or not chains:
        return given
    length = min(max(chunk, lags), max(bins, lags))
    count = -(-bins // length)
    missing = count * length - bins
    whole = torch.nn.functional.pad(taps, (0, 0, 0, 0, 0, 0, 0, missing))
    right = torch.nn.functional.pad(given, (0, 0, 0, missing))
    each = count * (length * size) * ((length + lags) * size)
    group = max(_LARGEST // each, 1)
    shape = (-1, count, length, lags, size, size)
    parts = [
        _solve_chunks(some.reshape(shape), those.reshape(-1, count, length * size))
        for some, those in zip(whole.split(group), right.split(group), strict=True)
    ]
    return torch.cat(parts).reshape(chains, -1, size)[:, :bins]


def _solve_chunks(taps: Tensor, given: Tensor) -> Tensor:
    """``(M, K, C n)`` from taps ``(M, K, C, L, n, n)``."""
    chains, count, length, lags, size = taps.shape[:5]
    row = torch.arange(length, device=taps.device)[:, None]
    column = lags + row - torch.arange(1, lags + 1, device=taps.device)  # from bin −L of the chunk on
    band = taps.new_zeros(chains, count, length, lags + length, size, size)
    band[:, :, row, column] = taps
    flat = band.transpose(3, 4).reshape(chains, count, length * size, -1)
    before, within = flat[..., : lags * size], flat[..., lags * size :]
    sides = torch.cat([given[..., None], before], -1)
    # the diagonal is not read: it is 1
    found = torch.linalg.solve_triangular(-within, sides, upper=False, unitriangular=True)
    offset, response = found[..., 0], found[..., 1:]
    if count == 1:
        return offset
    ends = _scan(response[:, :-1, -lags * size :], offset[:, :-1, -lags * size :])
    later = offset[:, 1:] + (response[:, 1:] @ ends[..., None])[..., 0]
    return torch.cat([offset[:, :1], later], 1)


def _scan(maps: Tensor, offsets: Tensor) -> Tensor:
    """``s[k] = maps[k] s[k − 1] + offsets[k]`` from s = 0, ``(M, K, D)``, in log₂ K steps."""
    reach = 1
    while reach < maps.shape[1]:
        joined = offsets[:, reach:] + (maps[:, reach:] @ offsets[:, :-reach, :, None])[..., 0]
        offsets = torch.cat([offsets[:, :reach], joined], 1)
        maps = torch.cat([maps[:, :reach], maps[:, reach:] @ maps[:, :-reach]], 1)
        reach *= 2
    return offsets
