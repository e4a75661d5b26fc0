"""Logistic noise, and generators that touch no global state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The largest quantile kept: below this, uniform draws in that precision would give an infinite logistic.
_EDGE = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own on ``device``, seeded with ``seed``.

    Example:
        >>> torch.rand(2, generator=dfp.generator(0))
        tensor([0.4963, 0.7682])
    """
    made = torch.Generator(device=device)
    made.manual_seed(int(seed))
    return made


def logistic_noise(shape: Sequence[int], rng: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw ℓ ~ Logistic(0, 1): ``log u − log(1 − u)``, u uniform; on the generator's device.

    The tails are cut where the precision ends (probability 2⁻²⁴ on each side in float32, |ℓ| ≤ 16.6; 2⁻⁵³ in
    float64).

    Args:
        shape: usually ``(S, B, T, N)``.
        rng: the source of randomness; its device is the device of the result.
        dtype: float32 or float64.
    """
    edge = _EDGE[dtype]
    uniform = torch.rand(tuple(shape), generator=rng, device=rng.device, dtype=dtype)
    return uniform.clamp_(edge, 1.0 - edge).logit_()
