"""Hard samples of numbers on the grid, by the compiled loop over bins."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from dfp.samplers.grid import Taps, taps_of
from dfp.samplers.recursion import Recursion
from dfp.samplers.threads import in_threads

HAS_NUMBA = find_spec("numba") is not None


def hard(recursion: Recursion, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and logits ``(S, B, T, N)`` of ``recursion`` with ``noise``."""
    return bin_by_bin(taps_of(recursion), recursion.drive.detach(), noise)


def bin_by_bin(taps: Taps, drive: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The same of weights on the grid and a drive ``(B, T, N)`` or ``(S, B, T, N)``."""
    from dfp.samplers.kernels.hard import draw_bins

    kernel: Any = draw_bins
    given, z, logits = laid_out(taps, drive, noise)
    in_threads(lambda first, last: kernel(*given, first, last, z.numpy(), logits.numpy()), noise)
    return z, logits


def laid_out(taps: Taps, drive: Tensor, noise: Tensor) -> tuple[tuple[Any, ...], Tensor, Tensor]:
    """What the kernels of hard samples take first, and room for spikes and logits."""
    given = (
        (drive if drive.dim() == 4 else drive[None]).contiguous().numpy(),
        noise.detach().contiguous().numpy(), *taps.arrays, taps.memory,
    )  # fmt: skip
    return given, torch.empty(noise.shape, dtype=noise.dtype), torch.empty(noise.shape, dtype=noise.dtype)
