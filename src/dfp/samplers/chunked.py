"""The fixed point in chunks of bins: each is swept until still, and only what changed is followed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.samplers.base import CausalProcess, Sampler
from dfp.samplers.bins import HAS_NUMBA, laid_out
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.grid import taps_of
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Hard, Relaxation
from dfp.samplers.threads import in_threads


@dataclass(frozen=True)
class Chunked(Sampler):
    """Fixed-point sweeps over ``chunk`` bins at a time, earlier chunks first, on the CPU.

    A chunk is swept until nothing changes; as all before it is final by then, it is never visited again, and
    a change does not have to travel through bins that are long settled. After a chunk's first sweep only the
    flips are followed up: each adds or takes back its taps, and only the bins that it reaches are computed
    again. Taps lie on the grid of ``samplers.grid.on_grid``, so taking back is exact, and the spikes are
    those of ``compiled`` bit for bit.

    ``Draw.sweeps`` is the largest number of any chunk, the proving one included.

    What is no hard sample of a ``Recursion`` on the CPU is left to ``FixedPoint``, with ``tolerance``.

    Args:
        chunk: bins in a chunk. 256 is our choice (``benchmarks/samplers.py``).
        tolerance: of relaxed samples, see ``FixedPoint``.

    Example:
        >>> history = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> q = dfp.CausalBernoulli(torch.full((1, 500, 1), -1.0), (history,))
        >>> noise = q.noise(8, dfp.generator(0))
        >>> draw = q.draw(noise, dfp.Chunked(), dfp.Hard())
        >>> torch.equal(draw.z, q.draw(noise, dfp.Compiled(), dfp.Hard()).z)
        True
    """

    chunk: int = 256
    tolerance: float = 1e-4
    name: ClassVar[str] = "chunked"

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise UserError(f"chunked chunk: found {self.chunk}, expected at least 1 bin")
        FixedPoint(tolerance=self.tolerance)

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        runs = HAS_NUMBA and noise.device.type == "cpu" and isinstance(relaxation, Hard) and process.memory
        recursion = process.recursion() if runs else None
        if recursion is None:
            return FixedPoint(tolerance=self.tolerance).draw(process, noise, relaxation)
        z, logits, sweeps = in_chunks(recursion, noise, self.chunk)
        return Draw(z, logits, noise, int(sweeps.max()), residual=0.0, converged=True)


def in_chunks(
    recursion: Recursion, noise: Tensor, chunk: int
) -> tuple[Tensor, Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    """Spikes and logits ``(S, B, T, N)``, and sweeps ``(S·B, ⌈T / chunk⌉)``."""
    from dfp.samplers.kernels.chunked import sweep_chunks

    kernel: Any = sweep_chunks
    given, z, logits = laid_out(taps_of(recursion), recursion.drive.detach(), noise)
    samples, trials, bins, _ = noise.shape
    sweeps = np.zeros((samples * trials, -(-bins // chunk)), np.int64)
    written = (z.numpy(), logits.numpy(), sweeps)
    in_threads(lambda first, last: kernel(*given, chunk, first, last, *written), noise)
    return z, logits, sweeps
