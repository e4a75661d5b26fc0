"""Calcium that goes on from where it was, for recordings that come stretch by stretch."""

from __future__ import annotations

import numpy as np
import torch

from dfp.models.base import Array
from dfp.models.kernels import calcium_kernel


class CarriedCalcium:
    """``(k * z)[t]`` stretch by stretch: ``calls`` in the order of time, each ``(t, N)``.

    A response that is cut is a filter of its taps; one that is not is the recursion ``c[t] = (d + r) c[t − 1]
    − d r c[t − 2] + k[0] z[t]`` whose impulse response it is (``models.kernels``). Either is summed bin by
    bin, so that the bits do not depend on where stretches end.

    Args:
        rise, decay: ``(N,)`` float64 seconds.
        bin_rate: bins per second.
        bins: T of the whole trial, within which an uncut response has its peak.
        kernel_bins: the cut, 0 for none.
    """

    def __init__(self, rise: Array, decay: Array, bin_rate: float, bins: int, kernel_bins: int) -> None:
        def response(length: int) -> Array:
            taps: Array = calcium_kernel(
                torch.as_tensor(rise), torch.as_tensor(decay), bin_rate, length
            ).numpy()
            return taps

        if kernel_bins:
            above = response(kernel_bins)
            below = np.ones((len(rise), 1))
        else:
            peak = 2 + int(np.ceil(2 * np.maximum(rise, decay).max() * bin_rate))
            above = response(min(bins, peak))[:, :1]
            d, r = (np.exp(-1.0 / (bin_rate * np.maximum(time, 1e-12))) for time in (decay, rise))
            below = np.stack([np.ones_like(d), -(d + r), d * r], 1)
        shapes, which = np.unique(np.concatenate([above, below], 1), axis=0, return_inverse=True)
        taps = above.shape[1]
        self._filters = [
            (shape[:taps], shape[taps:], np.flatnonzero(which.ravel() == k)) for k, shape in enumerate(shapes)
        ]
        order = max(taps, below.shape[1]) - 1
        self._states = [np.zeros((order, len(cells))) for *_, cells in self._filters]

    def __call__(self, z: Array) -> Array:
        # here, since its import takes a second, and every command loads this module
        from scipy.signal import lfilter

        out = np.empty_like(z)
        for number, (above, below, cells) in enumerate(self._filters):
            out[:, cells], self._states[number] = lfilter(
                above, below, z[:, cells], axis=0, zi=self._states[number]
            )
        return out
