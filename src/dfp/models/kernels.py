"""The fluorescence that one spike leaves behind."""

from __future__ import annotations

import torch
from torch import Tensor


def calcium_kernel(rise: Tensor, decay: Tensor, frame_rate: float, bins: int) -> Tensor:
    """Difference of exponentials in discrete time, peak 1.

    ``k[j] ∝ (d^{j+1} − r^{j+1}) / (d − r)``, d = exp(−1/(frame_rate·decay)), r = exp(−1/(frame_rate·rise)), j = 0, 1, …

    This is the impulse response of the second-order recursion c[t] = (d + r) c[t−1] − d r c[t−2] + z[t]. The convention is chosen
    for its limits: as rise → 0, r → 0 and k[j] → d^j exactly (k[0] = 1, a plain decay); as rise → decay, k[j] ∝ (j + 1) d^j.
    A difference of exponentials sampled at j (and not at j + 1) would have k[0] = 0 for every finite rise.

    Args:
        rise: ``(N,)`` seconds, ≥ 0; 0 is an instant rise.
        decay: ``(N,)`` seconds, > 0.
        frame_rate: bins per second.
        bins: length L of the response.

    Returns:
        ``(N, L)``, differentiable in both times. The peak is that within the L bins.
    """
    d = torch.exp(-1.0 / (frame_rate * decay))[:, None]
    r = torch.where(rise > 0, torch.exp(-1.0 / (frame_rate * rise.clamp_min(1e-12))), torch.zeros_like(rise))[:, None]
    j = torch.arange(bins, dtype=decay.dtype, device=decay.device)
    close = (d - r).abs() < 1e-5
    apart = (d ** (j + 1) - r ** (j + 1)) / torch.where(close, torch.ones_like(d), d - r)
    # to first order in d − r the response is (j + 1) times the mean factor to the power j
    response = torch.where(close, (j + 1) * ((d + r) / 2) ** j, apart)
    return response / response.amax(1, keepdim=True)


def kernel_tail(rise: Tensor, decay: Tensor, frame_rate: float, bins: int) -> Tensor:
    """Share of the response's total area that a cut after ``bins`` bins leaves out, ``(N,)``."""
    longest = float((decay + rise).max())
    whole = calcium_kernel(rise, decay, frame_rate, bins + max(2, int(30 * longest * frame_rate)))
    return whole[:, bins:].sum(1) / whole.sum(1)
