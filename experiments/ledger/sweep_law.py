"""The exact law of samples that were swept K times only: what a fixed point that stops early draws from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import UserError

#: numbers held at once per tensor
_CHUNK = 2_000_000


@dataclass(frozen=True)
class NoiseCells:
    """A partition of the logistic noise into cells on each of which the K-sweep sample is one path.

    Attributes:
        mass: ``(R, M)`` probability of every cell; cells of no width have 0.
        code: ``(R, M)`` number of the path that the K-th sweep leaves.
        noise: ``(R, M, T, C)`` a noise inside every cell (its median, variable by variable).
    """

    mass: Tensor
    code: Tensor
    noise: Tensor


def law_after_sweeps(logits: Tensor, sweeps: int) -> Tensor:
    """Probability of every path after exactly K sweeps from no spikes, ``(P, M)``; columns sum to 1.

    ``z^0 = 0``, ``z^k[t] = Θ(u[t](z^(k−1)) + ℓ[t])``, the same ℓ in every sweep: q_K is the law of z^K.
    ℓ[t] matters only by which of the thresholds ``−u[t](z^0), …, −u[t](z^(K−1))`` it exceeds. Bin by bin the
    noise is cut at these, so that every piece has one value of every sweep: exact, without sampling. Two
    facts keep the pieces few: in bin t (from 0) all sweeps from t + 1 on agree, and of the last bins only the
    last sweeps are ever looked at. For T = 8 there are 14,400 pieces at most, whatever K. From K = T on, q_K
    is the autoregressive law itself.

    Args:
        logits: ``(P, M, T, C)`` the logits of M instances on all paths of T bins and C cells, numbered as in
            ``dfp.references.exact.enumerated``; causal.
        sweeps: K ≥ 1.

    Raises:
        UserError: for fewer sweeps than one, or a number of paths that is not 2^(T·C).

    Source: the sweeps are those of Aitchison, Adam & Turaga 2018; the partition of the noise is ours.
    """
    law = torch.zeros(logits.shape[:2], dtype=logits.dtype, device=logits.device)
    for first, cells in _chunks(logits, sweeps, keep_noise=False):
        law[:, first : first + cells.mass.shape[1]].scatter_add_(0, cells.code, cells.mass)
    return law


def noise_cells(logits: Tensor, sweeps: int, multiple: int = 1) -> Iterator[tuple[int, NoiseCells]]:
    """The partition behind ``law_after_sweeps``, some instances at a time, with the number of their first.

    A sampler that is given ``noise`` must draw ``code``. All parts but the last hold a multiple of
    ``multiple`` instances.
    """
    return _chunks(logits, sweeps, keep_noise=True, multiple=multiple)


def _chunks(
    logits: Tensor, sweeps: int, keep_noise: bool, multiple: int = 1
) -> Iterator[tuple[int, NoiseCells]]:
    count, instances, bins, cells = logits.shape
    if sweeps < 1:
        raise UserError(f"sweeps: found {sweeps}, expected at least 1")
    if count != 2 ** (bins * cells):
        raise UserError(f"law after sweeps: found {count} paths, expected 2^({bins} bins × {cells} cells)")
    last = min(sweeps, bins)
    pieces = math.prod((len(_looked_at(t, bins, last)[0]) + 1) ** cells for t in range(bins))
    size = max(1, _CHUNK // (pieces * multiple * (bins * cells if keep_noise else 1))) * multiple
    for first in range(0, instances, size):
        yield first, _cut(logits[:, first : first + size], last, keep_noise)


def _looked_at(t: int, bins: int, last: int) -> tuple[list[int], dict[int, int]]:
    """Sweeps whose values in bin t differ and matter, and for every sweep that matters the one it equals.

    Sweep k in bin t is read by sweep k + 1 in later bins, and so on: it reaches z^K only if
    K − k ≤ T − 1 − t.
    """
    lowest = max(1, last - (bins - 1 - t))
    equals = {k: max(lowest, min(k, t + 1)) for k in range(lowest, last + 1)}
    return sorted(set(equals.values())), equals


def _cut(logits: Tensor, last: int, keep_noise: bool) -> NoiseCells:
    _, instances, bins, cells = logits.shape
    mass = logits.new_ones(1, instances)
    # number of the path that sweep k has made so far, (R, M) each; sweep 0 is no spikes
    code = {k: torch.zeros(1, instances, dtype=torch.long, device=logits.device) for k in range(last + 1)}
    noise = logits.new_zeros(1, instances, 0)
    for t in range(bins):
        looked_at, equals = _looked_at(t, bins, last)
        for cell in range(cells):
            u = torch.stack([logits[:, :, t, cell].gather(0, code[k - 1]) for k in looked_at])
            # with j of the r thresholds passed, those of the largest logits: σ(u_j) − σ(u_(j+1)), descending
            rank = u.argsort(0, descending=True).argsort(0)
            passed = torch.sigmoid(u.sort(0, descending=True).values)
            edges = torch.cat([torch.ones_like(passed[:1]), passed, torch.zeros_like(passed[:1])])
            outcomes = torch.arange(len(looked_at) + 1, device=logits.device)
            mass = (mass * (edges[:-1] - edges[1:])).flatten(0, 1)
            spikes = (rank[:, None] < outcomes[:, None, None]).long().flatten(1, 2)  # (r, (r + 1) R, M)
            bit = 1 << (t * cells + cell)
            tiled = {k: made.repeat(len(outcomes), 1) for k, made in code.items()}
            for k, same in equals.items():
                tiled[k] = tiled[k] + bit * spikes[looked_at.index(same)]
            code = {k: made for k, made in tiled.items() if k >= looked_at[0] - 1}
            if keep_noise:
                middle = 1 - 0.5 * (edges[:-1] + edges[1:])
                fresh = torch.logit(middle, eps=1e-15).flatten(0, 1)[..., None]
                noise = torch.cat([noise.repeat(len(outcomes), 1, 1), fresh], -1)
    return NoiseCells(mass, code[last], noise.reshape(*mass.shape, -1, cells) if keep_noise else noise)
