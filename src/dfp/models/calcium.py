"""The generative model: a network of spiking cells seen through calcium fluorescence."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dfp.core.errors import UserError, suggest
from dfp.core.filters import causal_filter
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.models.kernels import calcium_kernel


@dataclass(frozen=True)
class CalciumParameters:
    """Every parameter in natural units, as float64 arrays.

    Attributes:
        bias: ``(N,)`` logits.
        history: ``(N, Lh)`` logits per spike, lag 1 first; Lh may be 0.
        coupling: ``(R, N, N)`` logits, ``[r, i, j]`` from cell j onto cell i; R is 0 without coupling. The
            diagonal is ignored.
        basis: ``(R, L)`` causal basis functions of the coupling, lag 1 first.
        rise, decay: ``(N,)`` seconds.
        amplitude: ``(N,)`` fluorescence per unit of calcium, > 0.
        baseline: ``(N,)`` fluorescence.
        noise: ``(N,)`` standard deviation of the measurement noise, fluorescence, > 0.

    Example:
        >>> one, none = np.ones(1), np.zeros((0, 1, 1))
        >>> cell = dfp.CalciumParameters(
        ...     bias=-3 * one, history=np.array([[-2.0]]), coupling=none, basis=np.zeros((0, 1)),
        ...     rise=0.05 * one, decay=0.4 * one, amplitude=one, baseline=0 * one, noise=0.3 * one,
        ... )
        >>> cell.cells
        1
    """

    bias: np.ndarray
    history: np.ndarray
    coupling: np.ndarray
    basis: np.ndarray
    rise: np.ndarray
    decay: np.ndarray
    amplitude: np.ndarray
    baseline: np.ndarray
    noise: np.ndarray

    #: what a model can learn; the basis is given
    names: ClassVar[tuple[str, ...]] = (
        "bias", "history", "coupling", "rise", "decay", "amplitude", "baseline", "noise",
    )  # fmt: skip

    #: those of them that make fluorescence of spikes
    constants: ClassVar[tuple[str, ...]] = ("rise", "decay", "amplitude", "baseline", "noise")

    def __post_init__(self) -> None:
        cells = self.bias.shape[0]
        shapes = {
            "bias": (cells,),
            "history": (cells, self.history.shape[-1]),
            "basis": (self.basis.shape[0], self.basis.shape[-1]),
            "coupling": (self.basis.shape[0], cells, cells),
            **{name: (cells,) for name in ("rise", "decay", "amplitude", "baseline", "noise")},
        }
        for name, expected in shapes.items():
            found = getattr(self, name).shape
            if found != expected:
                raise UserError(f"{name}: found shape {found}, expected {expected}")
        for name, lowest, word in (
            ("noise", 0.0, "above 0"),
            ("amplitude", 0.0, "above 0"),
            ("decay", 0.0, "above 0"),
            ("rise", -1.0, "at least 0"),
        ):
            values = getattr(self, name)
            if not (values > lowest).all() or (name == "rise" and (values < 0).any()):
                raise UserError(f"{name}: found {float(values.min()):g}, expected numbers {word}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise UserError(f"{field.name}: found a value that is not finite")

    @property
    def cells(self) -> int:
        """Number of cells N."""
        return int(self.bias.shape[0])


_LOGARITHMIC = ("rise", "decay", "amplitude", "noise")


class CalciumNetwork(nn.Module):
    """Spikes from a coupled point process, fluorescence from the spikes.

    Spikes: ``z[t, i] ~ Bernoulli(σ(u[t, i]))``, ``u[t] = b + Σ_r W_r (φ_r * z)[t] + Σ_τ h_τ z[t − τ]``, every
        filter strictly causal,
    no spikes before t = 0. Fluorescence: ``x[t] = baseline + amplitude · (k * z)[t] + noise · ε``, with k of
    ``calcium_kernel``.

    Args:
        initial: where every parameter starts (and stays, unless learned).
        frame_rate: bins per second.
        learn: names of the parameters to learn (``CalciumParameters.names``).
        kernel_bins: the calcium response is cut after this many bins; 0 leaves it uncut (T bins long, by
            Fourier transform: the recursion's own answer to rounding).

    Source: section "Generative model" of the method; the leaky integration and Gaussian noise are the field's
        standard (Vogelstein
    et al. 2009). Kernel convention ours, see ``calcium_kernel``.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], frame_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> z = torch.as_tensor(data.z).float()[None]
        >>> model.log_joint(x, z).shape  # log p(x, z) by bin and cell
        torch.Size([1, 1, 60, 2])
    """

    basis: Tensor
    off_diagonal: Tensor
    raw_history: nn.Parameter
    raw_coupling: nn.Parameter

    def __init__(
        self, initial: CalciumParameters, frame_rate: float, learn: Collection[str] = (), kernel_bins: int = 0
    ) -> None:
        super().__init__()
        if not frame_rate > 0:
            raise UserError(f"frame_rate: found {frame_rate}, expected a number of bins per second above 0")
        if kernel_bins < 0:
            raise UserError(f"kernel_bins: found {kernel_bins}, expected 0 (uncut) or a number of bins")
        for name in learn:
            if name not in CalciumParameters.names:
                hint = suggest(name, CalciumParameters.names)
                raise UserError(
                    f"learn: unknown parameter {name!r}{hint}; known: {', '.join(CalciumParameters.names)}"
                )
        if "rise" in learn and (initial.rise == 0).any():
            raise UserError(
                "learn: found 'rise' with an instant rise (0 s), expected a rise above 0 to start from"
            )
        self.frame_rate = float(frame_rate)
        self.kernel_bins = int(kernel_bins)
        self.learned = tuple(sorted(learn))
        self.cells = initial.cells
        for name in CalciumParameters.names:
            value = torch.as_tensor(getattr(initial, name), dtype=torch.float32)
            if name in _LOGARITHMIC:
                value = value.clamp_min(0).log()
            raw = nn.Parameter(value.clone(), requires_grad=name in self.learned)
            self.register_parameter(f"raw_{name}", raw)
        self.register_buffer("basis", torch.as_tensor(initial.basis, dtype=torch.float32))
        # without coupling there is no weight to mask: a panel may have very many cells
        self.register_buffer("off_diagonal", 1.0 - torch.eye(self.cells if self.couples_cells else 0))

    def value(self, name: str) -> Tensor:
        """A parameter in natural units, with its gradient."""
        raw: Tensor = getattr(self, f"raw_{name}")
        if name == "coupling":
            return raw * self.off_diagonal if self.couples_cells else raw
        return raw.exp() if name in _LOGARITHMIC else raw

    @property
    def couples_cells(self) -> bool:
        """Whether the model has coupling weights."""
        return bool(self.basis.shape[0])

    def parameters_now(self) -> CalciumParameters:
        """The current parameters in natural units."""
        values = {name: self.value(name).detach().double().cpu().numpy() for name in CalciumParameters.names}
        return CalciumParameters(basis=self.basis.double().cpu().numpy(), **values)

    def kernel(self, bins: int) -> Tensor:
        """The calcium response ``(N, L)``: L = ``kernel_bins``, or ``bins`` when uncut."""
        return calcium_kernel(
            self.value("rise"), self.value("decay"), self.frame_rate, self.kernel_bins or bins
        )

    def prior(self, trials: int, bins: int) -> CausalBernoulli:
        """The law of the spikes, as a distribution over ``(S, B, T, N)``."""
        terms: list[CausalTerm] = []
        if self.raw_history.shape[1]:
            terms.append(OwnHistory(self.value("history")))
        if self.couples_cells:
            terms.append(Coupling(self.value("coupling"), self.basis))
        return CausalBernoulli(self.value("bias").expand(trials, bins, self.cells), tuple(terms))

    def causal_parameters(self) -> tuple[nn.Parameter, ...]:
        """What multiplies each term of ``prior(...)``, in their order, as ``Posterior.causal_parameters``."""
        found = (self.raw_history,) if self.raw_history.shape[1] else ()
        return (*found, self.raw_coupling) if self.couples_cells else found

    def fluorescence(self, z: Tensor) -> Tensor:
        """Noise-free fluorescence ``baseline + amplitude · (k * z)``, ``(S, B, T, N)``."""
        calcium = causal_filter(z, self.kernel(z.shape[-2]), offset=0)
        return self.value("baseline") + self.value("amplitude") * calcium

    def observe(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Traces simulated from spikes: ``fluorescence(z) + noise · ε``, of z's shape."""
        mean = self.fluorescence(z)
        noise = torch.randn(mean.shape, generator=rng, dtype=mean.dtype, device=rng.device).to(mean.device)
        return mean + self.value("noise") * noise

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """``log N(x; fluorescence(z), noise²)`` per bin and cell, ``(S, B, T,
        N)``; 0 where x ``(B, T, N)`` is NaN (not observed).
        """
        observed = torch.isfinite(x)
        residual = torch.where(observed, x, torch.zeros_like(x)) - self.fluorescence(z)
        log_noise = self.value("noise").log()
        density = -0.5 * (residual / self.value("noise")) ** 2 - log_noise - 0.5 * math.log(2 * math.pi)
        return torch.where(observed, density, torch.zeros_like(density))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """``log p(x[t], z[t] | past)`` per bin and cell, ``(S, B, T,
        N)``; relaxed z enter the pmf as they are.
        """
        return self.log_likelihood(x, z) + self.prior(x.shape[0], x.shape[1]).log_prob(z)
