"""The fluorescence that one spike leaves behind."""

from __future__ import annotations

import torch
from torch import Tensor


def calcium_kernel(rise: Tensor, decay: Tensor, bin_rate: float, bins: int) -> Tensor:
    """Difference of exponentials in discrete time, peak 1.

    ``k[j] ∝ Σ_{i≤j} d^{j−i} r^i = (d^{j+1} − r^{j+1}) / (d − r)``, d = exp(−1/(bin_rate·decay)), r =
    exp(−1/(bin_rate·rise)), j = 0, 1, …

    This is the impulse response of the second-order recursion c[t] = (d + r) c[t−1] − d r c[t−2] + z[t]. The
    convention is chosen for its limits: as rise → 0, r → 0 and k[j] → d^j exactly (k[0] = 1, a plain decay);
    as rise → decay, k[j] ∝ (j + 1) d^j. A difference of exponentials sampled at j (and not at j + 1) would
    have k[0] = 0 for every finite rise.

    Args:
        rise: ``(N,)`` seconds, ≥ 0; 0 is an instant rise.
        decay: ``(N,)`` seconds, > 0.
        bin_rate: bins per second.
        bins: length L of the response.

    Returns:
        ``(N, L)``, differentiable in both times. The peak is that within the L bins.
    """
    slow = 1.0 / (bin_rate * torch.maximum(rise, decay))[:, None]
    fast = 1.0 / (bin_rate * torch.minimum(rise, decay).clamp_min(1e-12))[:, None]
    n = torch.arange(1, bins + 1, dtype=decay.dtype, device=decay.device)
    # Σ_{i<n} e^{−ai} with a = fast − slow: no difference of nearly equal numbers, so that single precision is
    # enough to learn both times
    gap = fast - slow
    near = gap * n < 0.1
    a = torch.where(near, gap, torch.zeros_like(gap))
    series = n * torch.exp(-a * (n - 1) / 2 + a**2 * (n**2 - 1) / 24 - a**4 * (n**4 - 1) / 2880)
    apart = torch.where(near, torch.ones_like(gap), gap)
    response = torch.exp(-slow * (n - 1)) * torch.where(
        near, series, torch.expm1(-apart * n) / torch.expm1(-apart)
    )
    return response / response.amax(1, keepdim=True)
