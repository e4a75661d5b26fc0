"""Taps in an arithmetic whose sums do not depend on their order, laid out for compiled loops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from dfp.samplers.recursion import Recursion

Array = np.ndarray[Any, Any]

#: bits of a double's mantissa
_MANTISSA = 52
#: a coupling with fewer weights than this share of N² is kept as lists of targets
SPARSE_BELOW = 0.2


def on_grid(taps: Tensor, sources: int | tuple[int, ...], beside: Tensor | None = None) -> Tensor:
    """``taps`` in double precision, rounded so that any sum of them over the past is exact.

    They become multiples of 2^(e − 52), with 2^e the least power of two above the largest sum of absolute
    values over ``sources``, the dimensions that a logit is summed over, and over what the same logit sums
    ``beside`` them, given as sums of absolute values. Every partial sum of them then fits a double's
    mantissa, so that *no* order of adding, subtracting or skipping them can change a bit: samplers that visit
    the past in different orders agree exactly. The rounding, at most 2^(e − 53) a tap, is that of a double of
    the size of the logit.
    """
    wide = taps.detach().double()
    sums = wide.abs().sum(sources)
    sums = sums if beside is None else sums + beside
    largest = float(sums.max()) if sums.numel() else 0.0
    if largest == 0 or not math.isfinite(largest):
        return wide
    grid = 2.0 ** (math.ceil(math.log2(largest)) - _MANTISSA)
    return (wide / grid).round() * grid


def linear_taps(recursion: Recursion) -> tuple[Tensor, Tensor]:
    """Own taps ``(N, L)`` and coupling taps ``(L', N from, N to)`` of ``recursion``, on one grid.

    A logit sums both, and terms of two grids would not add up exactly.
    """
    own, across = recursion.own.detach().double(), recursion.coupling_taps().detach()
    of_own, of_others = own.abs().sum(1), across.abs().sum((0, 1))
    return on_grid(own, 1, of_others), on_grid(across, (0, 1), of_own)


@dataclass(frozen=True)
class Taps:
    """A recursion's weights on the grid, laid out for the kernels.

    Attributes:
        own: ``(L, N)``.
        dense: ``(L', N from, N to)``, or no lags.
        starts, targets, sparse: ``(N + 1,)``, ``(K,)``, ``(L', K)``: the same as lists, or empty.
        inward: ``(L'', N, H)``, with ``context`` ``(B, T, N, H)`` and ``outward`` ``(N, H)``.
    """

    own: Array
    dense: Array
    starts: Array
    targets: Array
    sparse: Array
    inward: Array
    context: Array
    outward: Array

    @property
    def memory(self) -> int:
        """Bins looked back."""
        return max(len(self.own), len(self.dense), len(self.sparse), len(self.inward))

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays in the order in which the kernels take them."""
        return (
            self.own, self.dense, self.starts, self.targets, self.sparse,
            self.inward, self.context, self.outward,
        )  # fmt: skip


def dense_taps(own: Tensor, dense: Tensor, trials: int, bins: int) -> Taps:
    """Of taps on the grid alone, ``(N, L)`` and ``(L', N from, N to)``, without lists and hidden units."""
    cells, none = own.shape[0], np.zeros(0, np.int64)
    return Taps(
        _wide(own.t()), _wide(dense), none, none, np.zeros((0, 0)),
        np.zeros((0, cells, 0)), np.zeros((trials, bins, cells, 0)), np.zeros((cells, 0)),
    )  # fmt: skip


def taps_of(recursion: Recursion) -> Taps:
    """The weights of ``recursion`` on the grid."""
    own, across = linear_taps(recursion)
    found = dense_taps(own, across, *recursion.drive.shape[-3:-1])
    present = (across != 0).any(0)
    if across.numel() and float(present.double().mean()) < SPARSE_BELOW:
        starts = np.concatenate([[0], present.sum(1).cumsum(0).numpy()]).astype(np.int64)
        targets = present.nonzero()[:, 1].numpy().copy()
        sparse = _wide(across[:, present])
        found = replace(found, dense=found.dense[:0], starts=starts, targets=targets, sparse=sparse)
    if recursion.hidden is not None:
        hidden = recursion.hidden
        inward = _wide(on_grid(hidden.inward, 1).transpose(0, 1))
        context, outward = _wide(hidden.context), _wide(hidden.outward)
        found = replace(found, inward=inward, context=context, outward=outward)
    return found


def _wide(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().double().numpy())
