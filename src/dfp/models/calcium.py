"""Spiking cells seen through calcium fluorescence.

Here is what is the same whatever the noise, and the kind whose noise is Gaussian.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dfp.core.errors import UserError
from dfp.core.filters import causal_filter
from dfp.models.base import Array, ObservationModel, Parameters, Stretches
from dfp.models.kernels import calcium_kernel


@dataclass(frozen=True)
class CalciumParameters(Parameters):
    """Every parameter in natural units, as float64 arrays.

    Those of the spikes are the fields of ``Parameters``; the others are those of the traces.

    Attributes:
        rise, decay: ``(N,)`` seconds.
        amplitude: ``(N,)`` fluorescence per unit of calcium, > 0.
        baseline: ``(N,)`` fluorescence.
        noise: ``(N,)`` scale of the measurement noise, fluorescence, > 0: for Gaussian noise its standard
            deviation.

    Example:
        >>> one, none = np.ones(1), np.zeros((0, 1, 1))
        >>> cell = dfp.CalciumParameters(
        ...     bias=-3 * one, history=np.array([[-2.0]]), coupling=none, basis=np.zeros((0, 1)),
        ...     rise=0.05 * one, decay=0.4 * one, amplitude=one, baseline=0 * one, noise=0.3 * one,
        ... )
        >>> cell.cells
        1
    """

    rise: np.ndarray
    decay: np.ndarray
    amplitude: np.ndarray
    baseline: np.ndarray
    noise: np.ndarray

    kind: ClassVar[str] = "calcium"
    constants: ClassVar[tuple[str, ...]] = ("rise", "decay", "amplitude", "baseline", "noise")
    logarithmic: ClassVar[tuple[str, ...]] = ("rise", "decay", "amplitude", "noise")
    vanishing: ClassVar[tuple[str, ...]] = ("rise",)
    scaled: ClassVar[tuple[str, ...]] = ("amplitude", "baseline", "noise")


class CalciumModel(ObservationModel):
    """Fluorescence ``x[t] = baseline + amplitude · (k * z)[t] + noise · ε``, k of ``calcium_kernel``.

    The law of ε is left to the kind: ``log_density`` is its density, and ``disturbance`` makes ε of normal
    numbers.

    Args:
        kernel_bins: the calcium response is cut after this many bins; 0 leaves it uncut (T bins long, by
            Fourier transform: the recursion's own answer to rounding).
        others: as in ``ObservationModel``.

    Source: section "Generative model" of the method; the leaky integration is the field's standard
    (Vogelstein et al. 2009). Kernel convention ours, see ``calcium_kernel``.
    """

    raw_rise: nn.Parameter

    def __init__(
        self, initial: Parameters, bin_rate: float, learn: Collection[str] = (), kernel_bins: int = 0
    ) -> None:
        super().__init__(initial, bin_rate, learn, kernel_bins)
        if "rise" in learn and not torch.isfinite(self.raw_rise).all():
            raise UserError(
                "learn: found 'rise' with an instant rise (0 s), expected a rise above 0 to start from"
            )

    @abstractmethod
    def log_density(self, residual: Tensor) -> Tensor:
        """Log-density of ``x − fluorescence`` ``(…, N)``, nats."""

    @abstractmethod
    def disturbance(self, normal: Tensor) -> Tensor:
        """ε ``(…, N)`` in units of the noise, made of standard normal numbers."""

    def kernel(self, bins: int) -> Tensor:
        """The calcium response ``(N, L)``: L = ``kernel_bins``, or ``bins`` when uncut."""
        return calcium_kernel(
            self.value("rise"), self.value("decay"), self.bin_rate, self.kernel_bins or bins
        )

    def fluorescence(self, z: Tensor) -> Tensor:
        """Noise-free fluorescence ``baseline + amplitude · (k * z)``, ``(S, B, T, N)``."""
        return self._bright(causal_filter(z, self.kernel(z.shape[-2]), offset=0))

    def _bright(self, calcium: Tensor) -> Tensor:
        return self.value("baseline") + self.value("amplitude") * calcium

    def _measured(self, fluorescence: Tensor, noise: Tensor) -> Tensor:
        return fluorescence + self.value("noise") * self.disturbance(noise)

    def _observed(self, z: Tensor, noise: Tensor) -> Tensor:
        return self._measured(self.fluorescence(z), noise)

    @torch.no_grad()
    def in_stretches(self, bins: int) -> Stretches:
        from dfp.models.carried import CarriedCalcium  # loads scipy.signal, which long recordings alone need

        carried = CarriedCalcium(
            self.value("rise").numpy(), self.value("decay").numpy(), self.bin_rate, bins, self.kernel_bins
        )

        @torch.no_grad()
        def observe(z: Array, noise: Array) -> Array:
            mean = self._bright(torch.as_tensor(carried(z)))
            traces: Array = self._measured(mean, torch.as_tensor(noise)).numpy()
            return traces

        return observe

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        observed = torch.isfinite(x)
        density = self.log_density(torch.where(observed, x, torch.zeros_like(x)) - self.fluorescence(z))
        return torch.where(observed, density, torch.zeros_like(density))


class CalciumNetwork(CalciumModel):
    """Calcium fluorescence with Gaussian noise, ``ε ~ N(0, 1)``, as Vogelstein et al. 2009 have it.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> z = torch.as_tensor(data.z).float()[None]
        >>> model.log_joint(x, z).shape  # log p(x, z) by bin and cell
        torch.Size([1, 1, 60, 2])
    """

    name: ClassVar[str] = "calcium"
    Record: ClassVar[type[Parameters]] = CalciumParameters

    def log_density(self, residual: Tensor) -> Tensor:
        log_noise = self.value("noise").log()
        return -0.5 * (residual / self.value("noise")) ** 2 - log_noise - 0.5 * math.log(2 * math.pi)

    def disturbance(self, normal: Tensor) -> Tensor:
        return normal
