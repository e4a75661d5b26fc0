"""Sharing chains out to threads; the kernels let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

#: fewer cell-bins than these are drawn on one thread
SHARED_ABOVE = 20_000


def in_threads(work: Callable[[int, int], None], noise: Tensor) -> None:
    """Run ``work(first chain, last chain)`` over all chains on torch's number of threads."""
    chains = noise.shape[0] * noise.shape[1]
    threads = torch.get_num_threads() if noise.numel() > SHARED_ABOVE else 1
    edges = np.linspace(0, chains, min(threads, chains) + 1).astype(int).tolist()
    if len(edges) == 2:
        work(*edges)
        return
    list(_pool(len(edges) - 1).map(work, edges[:-1], edges[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads kept for the next draw: starting them anew takes as long as a draw of a million bins."""
    return ThreadPoolExecutor(threads)
