"""Calcium fluorescence with heavy-tailed noise: a frame that is far off says little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import special
from torch import Tensor

from dfp.core.errors import UserError
from dfp.models.base import Parameters
from dfp.models.calcium import CalciumModel, CalciumParameters

#: degrees of freedom where none are given: Lange et al. fix them at 4 where data are too few to learn them
FREEDOM = 4.0
#: ν/2 from which on a series takes the place of a difference of log-gammas; it is right to 1e-15 there
_SERIES = 50.0


@dataclass(frozen=True)
class HeavyTailedParameters(CalciumParameters):
    """The parameters of ``CalciumParameters``, ``noise`` being the scale of ε, and the degrees of freedom.

    Attributes:
        freedom: ``(N,)`` degrees of freedom ν of the noise, > 0. The smaller, the heavier the tails: for
            ν ≤ 2 the variance is infinite, for ν → ∞ the noise is Gaussian.
    """

    freedom: np.ndarray

    kind: ClassVar[str] = "calcium_heavy_tailed"
    constants: ClassVar[tuple[str, ...]] = (*CalciumParameters.constants, "freedom")
    logarithmic: ClassVar[tuple[str, ...]] = (*CalciumParameters.logarithmic, "freedom")
    defaults: ClassVar[dict[str, float]] = {"freedom": FREEDOM}


@dataclass(frozen=True)
class HeavyTailedConfig:
    """Settings of heavy-tailed noise.

    Attributes:
        freedom: degrees of freedom ν of every cell, where learned the start; None takes the data set's, or 4.
    """

    freedom: float | None = None

    def __post_init__(self) -> None:
        if self.freedom is not None and not self.freedom > 0:
            raise UserError(f"freedom: found {self.freedom:g}, expected a number above 0")


class HeavyTailedCalcium(CalciumModel):
    """Calcium fluorescence with Student's t noise, ``x = baseline + amplitude · c + noise · ε``, ``ε ~ t_ν``:

        ``log p(x | z) = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(πν) − log σ − (ν + 1)/2 · log(1 + r²/(ν σ²))``

    with σ = noise and r = x − baseline − amplitude · c. What a frame says of the spikes is bounded: the slope
    in r is ``−(ν + 1) r / (ν σ² + r²)``, largest at r = σ √ν and falling to 0 from there on, so that frames
    spoiled by movement or electrical noise are put aside. ν → ∞ is the kind ``calcium``.

    Traces are drawn by ``ε = F_ν⁻¹(Φ(n))`` of normal numbers n, F_ν and Φ the distribution functions, which
    passes no gradient to ν.

    Source: Lange, Little & Taylor 1989, J Am Stat Assoc 84:881, "Robust statistical modeling using the t
    distribution".
    """

    name: ClassVar[str] = "calcium_heavy_tailed"
    Record: ClassVar[type[Parameters]] = HeavyTailedParameters
    Config: ClassVar[type] = HeavyTailedConfig

    def log_density(self, residual: Tensor) -> Tensor:
        noise, freedom = self.value("noise"), self.value("freedom")
        tails = -0.5 * (freedom + 1.0) * torch.log1p((residual / noise) ** 2 / freedom)
        return tails - noise.log() + _log_peak(freedom)

    def disturbance(self, normal: Tensor) -> Tensor:
        n = normal.detach().double().cpu().numpy()
        freedom = self.value("freedom").detach().double().cpu().numpy()
        # by the lower tail, where probabilities keep their digits
        drawn = np.copysign(special.stdtrit(freedom, special.ndtr(-np.abs(n))), n)
        return torch.as_tensor(drawn).to(normal)


def _log_peak(freedom: Tensor) -> Tensor:
    """``log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(πν)``, ``(N,)``, in double precision inside.

    The two log-gammas are far larger than their difference.
    """
    half = 0.5 * freedom.double()
    near, far = half.clamp_max(_SERIES), half.clamp_min(_SERIES)
    plain = torch.lgamma(near + 0.5) - torch.lgamma(near)
    series = 0.5 * far.log() - 1 / (8 * far) + 1 / (192 * far**3) - 1 / (640 * far**5)
    ratio = torch.where(half < _SERIES, plain, series)
    return (ratio - 0.5 * (2 * half).log() - 0.5 * math.log(math.pi)).to(freedom)
