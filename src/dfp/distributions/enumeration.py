"""Brute force over every path of a small system: the reference that the references are checked against."""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.core.errors import UserError

#: the largest number of binary variables that is enumerated (2**20 paths)
LARGEST = 20


def all_paths(bins: int, cells: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """All 2^(T·N) binary paths, ``(2^(T·N), 1, T, N)``, so that the paths sit where samples do.

    Raises:
        UserError: when T·N exceeds 20.

    Example:
        >>> taps = torch.ones(1, 2, dtype=torch.float64)
        >>> q = dfp.CausalBernoulli(torch.zeros(1, 4, 2).double(), (dfp.OwnHistory(taps),))
        >>> paths = dfp.all_paths(4, 2)
        >>> len(paths), round(q.log_prob(paths).sum((2, 3)).exp().sum().item(), 12)
        (256, 1.0)
    """
    size = bins * cells
    if size > LARGEST:
        raise UserError(
            f"enumeration: found {bins} bins × {cells} cells, expected at most {LARGEST} variables in all"
        )
    codes = torch.arange(2**size)
    bits = (codes[:, None] >> torch.arange(size)) & 1
    return bits.reshape(-1, 1, bins, cells).to(dtype)
