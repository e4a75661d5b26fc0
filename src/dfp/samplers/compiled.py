"""Bin by bin again, but compiled: the strongest sequential sampler on a CPU; on CUDA, fused kernels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.samplers.base import CausalProcess, Sampler, agreeing
from dfp.samplers.bins import HAS_NUMBA, hard
from dfp.samplers.pathwise import can_relax, relaxed
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Hard, Relaxation
from dfp.samplers.sequential import Sequential

#: hard samples without history of more cell-bins than these are drawn by the loop too: one pass over memory
LOOP_ABOVE = 20_000
HAS_TRITON = find_spec("triton") is not None


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

    On a CUDA device, where Triton is installed (it comes with a CUDA build of torch on Linux), the kernels of
    ``samplers.cuda`` draw, with the same bits, whatever has no hidden units. They are run through Triton's
    interpreter by the tests; no GPU has run them yet.

    A process that is no ``Recursion``, one on a device without kernels, a gradient in the noise or the
    temperature, and a machine without numba are left to ``Sequential``: with a warning where it is the
    process or the machine that cannot be compiled.

    Example:
        >>> history = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> q = dfp.CausalBernoulli(torch.full((1, 500, 1), -1.0), (history,))
        >>> noise = q.noise(8, dfp.generator(0))
        >>> draw = q.draw(noise, dfp.Compiled(), dfp.Hard())
        >>> torch.equal(draw.z, q.draw(noise, dfp.Sequential(), dfp.Hard()).z)
        True
    """

    name: ClassVar[str] = "compiled"

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        draw = compiled(process, noise, relaxation)
        if draw is not None:
            return draw
        slow = Sequential().draw(process, noise, relaxation)
        if HAS_NUMBA and process.recursion() is not None:
            return slow
        why = "a process with a term that it does not know" if HAS_NUMBA else "no numba"
        warnings.warn(
            f"sampler compiled: found {why}, so that it draws bin by bin, not compiled ('auto' takes sweeps "
            "where they are faster)",
            stacklevel=2,
        )
        return agreeing(process, slow, relaxation, self.name)


def compiled(process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw | None:
    """A compiled draw, or None where none can be had."""
    device = noise.device.type
    loops = HAS_NUMBA and device == "cpu"
    if process.memory == 0 and not (loops and isinstance(relaxation, Hard) and noise.numel() > LOOP_ABOVE):
        logits = process.logits(torch.zeros_like(noise))
        return Draw(relaxation(logits, noise), logits, noise, sweeps=1, residual=0.0, converged=True)
    runs = loops or (HAS_NUMBA and device == "cuda" and HAS_TRITON)
    recursion = process.recursion() if runs else None
    if recursion is None:
        return None
    if device == "cuda":
        found = _on_cuda(recursion, noise, relaxation)
    elif isinstance(relaxation, Hard):
        found = hard(recursion, noise)
    else:
        found = relaxed(recursion, noise, relaxation) if can_relax(noise, relaxation) else None
    return found and Draw(*found, noise, sweeps=1, residual=0.0, converged=True)


def _on_cuda(recursion: Recursion, noise: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor] | None:
    """By the fused kernels, which are imported here and nowhere else, or None."""
    from dfp.samplers.cuda.draw import can_fuse, fused

    return fused(recursion, noise, relaxation) if can_fuse(recursion, noise, relaxation) else None
