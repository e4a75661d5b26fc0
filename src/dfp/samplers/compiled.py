"""Bin by bin again, but compiled: the strongest sequential sampler there is on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.samplers.base import CausalProcess, Sampler
from dfp.samplers.grid import taps_of
from dfp.samplers.implicit import compilable
from dfp.samplers.pathwise import can_relax, relaxed
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Hard, Relaxation
from dfp.samplers.sequential import Sequential


@dataclass(frozen=True)
class Compiled(Sampler):
    """Ancestral sampling in one compiled pass over the bins, on the CPU.

    Hard samples are driven by events: a spike adds what it does to the logits of later bins when it falls, so
    that a silent bin costs one addition and one comparison, whatever the memory. Taps are rounded to a grid
    on which their sums are exact (``samplers.grid.on_grid``): the result does not depend on the order of
    adding, so ``chunked`` returns the same bits. ``sequential`` and ``fixed_point``, which add in floating
    point, can differ from both where ``|u + ℓ|`` is below their rounding: in double precision never seen, in
    single precision about once in 10⁸ cell-bins.

    Relaxed samples carry the gradient of the recursion, by one pass backwards over the bins, ``a[t] = gᵤ[t] +
    D[t] (g_z[t] + Σ_τ J_τᵀ a[t + τ])`` with D = dz/du, which is what backpropagation through time computes,
    from no more memory than the sample takes.

    A process that is no ``Recursion``, one on another device, a gradient in the noise or the temperature, and
    a machine without numba are left to ``Sequential``.
    """

    name: ClassVar[str] = "compiled"

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        if process.memory == 0:
            logits = process.logits(torch.zeros_like(noise))
            return Draw(relaxation(logits, noise), logits, noise, sweeps=1, residual=0.0, converged=True)
        recursion = compilable(process, noise)
        if recursion is not None and isinstance(relaxation, Hard):
            z, logits = hard(recursion, noise)
        elif recursion is not None and can_relax(noise, relaxation):
            z, logits = relaxed(recursion, noise, relaxation)
        else:
            return Sequential().draw(process, noise, relaxation)
        return Draw(z, logits, noise, sweeps=1, residual=0.0, converged=True)


def hard(recursion: Recursion, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes and logits ``(S, B, T, N)`` of ``recursion`` with ``noise``."""
    from dfp.samplers.kernels.hard import draw_bins
    from dfp.samplers.kernels.threads import in_threads

    taps, drive = taps_of(recursion), recursion.drive.detach()
    z = torch.empty(noise.shape, dtype=noise.dtype)
    logits = torch.empty(noise.shape, dtype=noise.dtype)
    given: tuple[Any, ...] = (
        (drive if drive.dim() == 4 else drive[None]).contiguous().numpy(),
        noise.detach().contiguous().numpy(), *taps.arrays, taps.memory,
    )  # fmt: skip
    kernel: Any = draw_bins
    in_threads(lambda first, last: kernel(*given, first, last, z.numpy(), logits.numpy()), noise)
    return z, logits
