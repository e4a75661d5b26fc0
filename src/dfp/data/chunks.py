"""A long recording, stretch by stretch: what one leaves for the next is carried, the rest forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.models.calcium import CalciumNetwork
from dfp.samplers.auto import Auto
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Hard

Array = NDArray[np.float64]

#: what stretches are drawn with; any sampler gives the same spikes
SAMPLER: Sampler = Auto()
#: largest and smallest quantile of the noise in double precision, as in ``core.noise``
_EDGE = 2.0**-53


def stretches(
    model: CalciumNetwork, seeds: Sequence[int], bins: int, trial: int, width: int, sampler: Sampler = SAMPLER
) -> Iterator[tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Spikes and traces, each ``(t, N)`` with t up to ``width``, one stretch of a trial after the other.

    ``z ~ prior``, ``x = baseline + amplitude (k * z) + noise ε``, as ``simulate`` has it. Nothing depends on
    the width but the memory that it takes: noise is drawn in the order of time, a stretch's logits take in
    the spikes carried into it, and the calcium goes on from where it was, filtered by its recursion. In
    double precision: logits differ in their last bit between widths, so that a spike differs where ``u + ℓ``
    is within about 1e-15 of 0, which in 10⁸ cell-bins happens with a probability of 10⁻⁷.

    Args:
        model: in double precision.
        seeds: one for the whole network, or one a cell, whose data then depend on its own seed only.
        bins: T.
        trial: its number; every trial has noise of its own and starts without spikes.
        width: bins of a stretch.
    """
    spiking, measuring = _sources(seeds, trial, 0), _sources(seeds, trial, 1)
    window = torch.zeros(1, 1, model.prior(1, 1).memory, model.cells, dtype=torch.float64)
    calcium = Calcium(model, bins)
    baseline, amplitude, noise = (
        model.value(name).detach().numpy() for name in ("baseline", "amplitude", "noise")
    )
    for start in range(0, bins, width):
        shape = (min(width, bins - start), model.cells)
        uniform = _draw(spiking, shape, "random").clip(_EDGE, 1.0 - _EDGE)
        logistic = torch.as_tensor(np.log(uniform) - np.log1p(-uniform))
        z, window = go_on(model.prior(1, shape[0]), logistic[None, None], window, sampler)
        spikes = z[0, 0].numpy()
        x = baseline + amplitude * calcium(spikes) + noise * _draw(measuring, shape, "standard_normal")
        yield spikes.astype(np.int8), x.astype(np.float32)


@torch.no_grad()
def go_on(
    law: CausalBernoulli, noise: torch.Tensor, window: torch.Tensor, sampler: Sampler
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hard samples ``(S, B, t, N)`` after the spikes of ``window`` ``(S, B, memory, N)``, and the next one.

    What the window adds to the logits of the first ``memory`` bins is put into the drive, and the rest drawn
    as from silence: this is all that a sampler has to do.
    """
    memory, bins = law.memory, noise.shape[2]
    drive = law.drive.expand(*noise.shape[:2], *law.drive.shape[-2:]).clone()
    near = min(memory, bins)
    if memory:
        carried = torch.nn.functional.pad(window, (0, 0, 0, near))
        for term in law.terms:
            drive[:, :, :near] += term(carried)[:, :, memory:]
    z = sampler.draw(law.with_drive(drive), noise, Hard()).z
    return z, torch.cat([window, z[:, :, bins - near :]], 2)[:, :, near:]


class Calcium:
    """``(k * z)[t]`` stretch by stretch: ``calls`` in the order of time, each ``(t, N)``.

    A response that is cut is a filter of its taps; one that is not is the recursion ``c[t] = (d + r) c[t − 1]
    − d r c[t − 2] + k[0] z[t]`` whose impulse response it is (``models.kernels``). Either is summed bin by
    bin, so that the bits do not depend on where stretches end.

    Args:
        model: in double precision.
        bins: T of the whole trial, within which an uncut response has its peak.
    """

    def __init__(self, model: CalciumNetwork, bins: int) -> None:
        rise, decay = (model.value(name).detach().numpy() for name in ("rise", "decay"))
        if model.kernel_bins:
            above = model.kernel(model.kernel_bins).detach().numpy()
            below = np.ones((model.cells, 1))
        else:
            peak = 2 + int(np.ceil(2 * np.maximum(rise, decay).max() * model.frame_rate))
            above = model.kernel(min(bins, peak)).detach().numpy()[:, :1]
            d, r = (np.exp(-1.0 / (model.frame_rate * np.maximum(time, 1e-12))) for time in (decay, rise))
            below = np.stack([np.ones_like(d), -(d + r), d * r], 1)
        kinds, which = np.unique(np.concatenate([above, below], 1), axis=0, return_inverse=True)
        taps = above.shape[1]
        self._filters = [
            (kind[:taps], kind[taps:], np.flatnonzero(which.ravel() == k)) for k, kind in enumerate(kinds)
        ]
        order = max(taps, below.shape[1]) - 1
        self._states = [np.zeros((order, len(cells))) for *_, cells in self._filters]

    def __call__(self, z: Array) -> Array:
        from scipy.signal import lfilter  # slow to load, and for long recordings only

        out = np.empty_like(z)
        for number, (above, below, cells) in enumerate(self._filters):
            out[:, cells], self._states[number] = lfilter(
                above, below, z[:, cells], axis=0, zi=self._states[number]
            )
        return out


def _sources(seeds: Sequence[int], trial: int, purpose: int) -> list[np.random.Generator]:
    """A generator for the network, or one a cell."""
    return [np.random.default_rng([seed, trial, purpose]) for seed in seeds]


def _draw(sources: Sequence[np.random.Generator], shape: tuple[int, int], law: str) -> Array:
    """Numbers of ``law`` ``(t, N)``: numpy draws them one after the other, however many are asked for."""
    if len(sources) == 1:
        drawn: Array = getattr(sources[0], law)(shape)
        return drawn
    return np.stack([getattr(source, law)(shape[0]) for source in sources], 1)
