"""The sampler that is expected to be the fastest for what it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from dfp.core.draw import Draw
from dfp.samplers.base import CausalProcess, Sampler, agreeing
from dfp.samplers.compiled import compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Relaxation
from dfp.samplers.sequential import Sequential


@dataclass(frozen=True)
class Rates:
    """Seconds that a device takes: for a tensor operation of any size, and for a multiply-add."""

    call: float
    work: float


#: measured by ``benchmarks/samplers.py`` on two cores of an AMD EPYC with torch 2.13; those of CUDA are what
#: a launch and 1% of an H200's arithmetic take, and were not measured
RATES = {"cpu": Rates(12e-6, 0.2e-9), "cuda": Rates(8e-6, 3e-12)}
#: operations that a sequential step needs besides its logits: window, values, logits
STEP_CALLS = 3
#: a draw in so many is made by sweeps where bins are cheaper, to see whether they still are
LOOK_AGAIN = 50
#: sweeps expected before any were seen
FIRST_GUESS = 8.0


@dataclass(frozen=True)
class Auto(Sampler):
    """``compiled`` where it runs, else bins or sweeps, whichever the cost model finds cheaper.

    On a CPU ``compiled`` is the fastest at every size measured.

    With r the rates of the device, c and w the process's tensor operations and multiply-adds a cell-bin, E =
    S·B·T·N cell-bins and K sweeps,

        ``sequential: T (c + 3) r_call + E w r_work``,  ``fixed point: K ((c + 1) r_call + E w r_work)``.

    K depends on how strongly the spikes act on each other, so it is that of the last draw made by sweeps, one
    in 50 where bins are cheaper. All samplers give the same sample, but for rounding; the choice depends on
    the draws made before and on no clock, so that a run can be repeated to the bit. A term of one's own that
    looks ahead gives a draw that has not ``converged``, and a warning.

    Args:
        tolerance: of relaxed samples, see ``FixedPoint``.

    Example:
        >>> history = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> q = dfp.CausalBernoulli(torch.full((1, 500, 1), -1.0), (history,))
        >>> noise = q.noise(8, dfp.generator(0))
        >>> relaxed = q.draw(noise, dfp.Auto(), dfp.Concrete(0.5))
        >>> bool(((relaxed.z > 0) & (relaxed.z < 1)).all())
        True
    """

    tolerance: float = 1e-4
    name: ClassVar[str] = "auto"
    _seen: dict[bool, tuple[float, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        FixedPoint(tolerance=self.tolerance)

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        # on CUDA the fused kernels are taken by name (``compiled``) only, until a device has run them
        draw = compiled(process, noise, relaxation) if noise.device.type == "cpu" else None
        if draw is not None:
            return draw
        sweeps, ago = self._seen.get(relaxation.discrete, (FIRST_GUESS, LOOK_AGAIN))
        bins, all_sweeps = expected_seconds(process, noise, sweeps)
        if bins < all_sweeps and ago < LOOK_AGAIN:
            self._seen[relaxation.discrete] = (sweeps, ago + 1)
            draw = Sequential().draw(process, noise, relaxation)
            return agreeing(process, draw, relaxation, self.name)
        draw = FixedPoint(tolerance=self.tolerance).draw(process, noise, relaxation)
        self._seen[relaxation.discrete] = (float(draw.sweeps), 0)
        return draw


def expected_seconds(process: CausalProcess, noise: Tensor, sweeps: float) -> tuple[float, float]:
    """Seconds bin by bin, and in so many sweeps."""
    rates, effort = RATES.get(noise.device.type, RATES["cpu"]), process.effort
    work = noise.numel() * effort.work * rates.work
    bins = noise.shape[2] * (effort.calls + STEP_CALLS) * rates.call + work
    return bins, sweeps * ((effort.calls + 1) * rates.call + work)
