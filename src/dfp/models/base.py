"""What an observation model is.

Spikes come from a coupled point process, and traces from the spikes by a law of the model's own. One file a
kind; a new file here is found without being listed anywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfp.core.errors import UserError, suggest
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory

Array = NDArray[np.float64]
#: traces ``(t, N)`` of spikes ``(t, N)`` and standard normal numbers ``(t, N)``, one stretch after the other
Stretches = Callable[[Array, Array], Array]

#: what a model can learn of the spikes' law; the basis is given
LAW = ("bias", "history", "coupling")


@dataclass(frozen=True)
class Parameters:
    """Every parameter in natural units, as float64 arrays: here those of the spikes; a kind adds its own.

    A kind's record is a frozen dataclass with a ``kind``, one ``(N,)`` field for each of its ``constants``,
    and what the class attributes below say of them.

    Attributes:
        bias: ``(N,)`` logits.
        history: ``(N, Lh)`` logits per spike, lag 1 first; Lh may be 0.
        coupling: ``(R, N, N)`` logits, ``[r, i, j]`` from cell j onto cell i; R is 0 without coupling. The
            diagonal is ignored.
        basis: ``(R, L)`` causal basis functions of the coupling, lag 1 first.
    """

    bias: np.ndarray
    history: np.ndarray
    coupling: np.ndarray
    basis: np.ndarray

    #: the observation model that these belong to
    kind: ClassVar[str] = ""
    #: those that make traces of spikes, ``(N,)`` each
    constants: ClassVar[tuple[str, ...]] = ()
    #: those of them that are above 0, and learned as their logarithm
    logarithmic: ClassVar[tuple[str, ...]] = ()
    #: those of the logarithmic ones that may be 0 where they are not learned
    vanishing: ClassVar[tuple[str, ...]] = ()
    #: those in the traces' unit: with them and the traces c times as large, a density is 1/c of what it was
    scaled: ClassVar[tuple[str, ...]] = ()
    #: where a constant starts that neither the data set nor the settings tell
    defaults: ClassVar[Mapping[str, float]] = {}
    #: what a model can learn: the law of the spikes, and the constants
    names: ClassVar[tuple[str, ...]] = LAW

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.names = (*LAW, *cls.constants)

    def __post_init__(self) -> None:
        cells = self.bias.shape[0]
        shapes = {
            "bias": (cells,),
            "history": (cells, self.history.shape[-1]),
            "basis": (self.basis.shape[0], self.basis.shape[-1]),
            "coupling": (self.basis.shape[0], cells, cells),
            **{name: (cells,) for name in self.constants},
        }
        for name, expected in shapes.items():
            found = getattr(self, name).shape
            if found != expected:
                raise UserError(f"{name}: found shape {found}, expected {expected}")
        for name in self.logarithmic:
            values, may_vanish = getattr(self, name), name in self.vanishing
            if not ((values >= 0) if may_vanish else (values > 0)).all():
                word = "at least 0" if may_vanish else "above 0"
                raise UserError(f"{name}: found {float(values.min()):g}, expected numbers {word}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise UserError(f"{field.name}: found a value that is not finite")

    @property
    def cells(self) -> int:
        """Number of cells N."""
        return int(self.bias.shape[0])

    @classmethod
    def check_names(cls, learn: Collection[str]) -> None:
        """Raise ``UserError`` for a name that is no parameter of this kind."""
        for name in learn:
            if name not in cls.names:
                hint = suggest(name, cls.names)
                raise UserError(f"learn: unknown parameter {name!r}{hint}; known: {', '.join(cls.names)}")


@dataclass(frozen=True)
class NoSettings:
    """Settings of a kind that has none."""


class ObservationModel(nn.Module, ABC):
    """``p(z)`` and ``p(x | z)``: the model that posteriors, objectives and training know.

    Spikes, the same for every kind: ``z[t, i] ~ Bernoulli(σ(u[t, i]))``,
    ``u[t] = b + Σ_r W_r (φ_r * z)[t] + Σ_τ h_τ z[t − τ]``, every filter strictly causal, no spikes before
    t = 0.

    A kind is a subclass with a ``name``, its ``Record`` of ``Parameters``, where it has settings a dataclass
    ``Config`` of them (all with defaults; one named as a constant and not None sets it for all cells), and
    the two methods ``log_likelihood`` and ``_observed``; with ``in_stretches`` its long recordings can be
    simulated.

    Args:
        initial: where every parameter starts (and stays, unless learned), of this kind (see ``adopt``).
        bin_rate: bins per second.
        learn: names of the parameters to learn (``Record.names``).
        kernel_bins: a trace depends on the spikes of so many bins, its own the last; 0 for all.
    """

    name: ClassVar[str]
    Record: ClassVar[type[Parameters]]
    Config: ClassVar[type] = NoSettings

    basis: Tensor
    off_diagonal: Tensor
    raw_history: nn.Parameter
    raw_coupling: nn.Parameter

    def __init__(
        self, initial: Parameters, bin_rate: float, learn: Collection[str] = (), kernel_bins: int = 0
    ) -> None:
        super().__init__()
        if initial.kind != self.name:
            raise UserError(
                f"observation model '{self.name}': found parameters of the kind '{initial.kind}', expected "
                "its own (those of another are taken over by `adopt`)"
            )
        if not bin_rate > 0:
            raise UserError(f"bin_rate: found {bin_rate}, expected a number of bins per second above 0")
        if kernel_bins < 0:
            raise UserError(f"kernel_bins: found {kernel_bins}, expected 0 (uncut) or a number of bins")
        self.Record.check_names(learn)
        self.bin_rate = float(bin_rate)
        self.kernel_bins = int(kernel_bins)
        self.learned = tuple(sorted(learn))
        self.cells = initial.cells
        for name in self.Record.names:
            value = torch.as_tensor(getattr(initial, name), dtype=torch.float32)
            if name in self.Record.logarithmic:
                value = value.clamp_min(0).log()
            raw = nn.Parameter(value.clone(), requires_grad=name in self.learned)
            self.register_parameter(f"raw_{name}", raw)
        self.register_buffer("basis", torch.as_tensor(initial.basis, dtype=torch.float32))
        # without coupling there is no weight to mask: a panel may have very many cells
        self.register_buffer("off_diagonal", 1.0 - torch.eye(self.cells if self.couples_cells else 0))

    @classmethod
    def adopt(cls, given: Parameters, settings: object = None) -> Parameters:
        """Parameters of another kind as this kind's own.

        A constant is that of the settings where they have it, else that of ``given``, else the kind's
        default.

        Raises:
            UserError: for a constant that none of them tells.
        """
        values: dict[str, np.ndarray] = {}
        for entry in fields(cls.Record):
            value = getattr(settings, entry.name, None)
            value = cls.Record.defaults.get(entry.name) if value is None and not _has(given, entry) else value
            if value is not None:
                values[entry.name] = np.full(given.cells, float(value))
            elif _has(given, entry):
                values[entry.name] = getattr(given, entry.name)
            else:
                raise UserError(
                    f"observation model '{cls.name}': found no {entry.name} in parameters of the kind "
                    f"'{given.kind}', expected it among the settings or the kind's defaults"
                )
        return cls.Record(**values)

    def value(self, name: str) -> Tensor:
        """A parameter in natural units, with its gradient."""
        raw: Tensor = getattr(self, f"raw_{name}")
        if name == "coupling":
            return raw * self.off_diagonal if self.couples_cells else raw
        return raw.exp() if name in self.Record.logarithmic else raw

    @property
    def couples_cells(self) -> bool:
        """Whether the model has coupling weights."""
        return bool(self.basis.shape[0])

    def parameters_now(self) -> Any:
        """The current parameters in natural units, in the kind's ``Record``."""
        values = {name: self.value(name).detach().double().cpu().numpy() for name in self.Record.names}
        return self.Record(basis=self.basis.double().cpu().numpy(), **values)

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

    @abstractmethod
    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """``log p(x[t] | z[≤t])`` per bin and cell, ``(S, B, T, N)``, nats.

        Differentiable in z between 0 and 1 and in every parameter. Where x ``(B, T, N)`` is NaN (not
        observed) it is 0 and has no gradient.
        """

    @abstractmethod
    def _observed(self, z: Tensor, noise: Tensor) -> Tensor:
        """``observe`` of standard normal numbers of z's shape."""

    def observe(self, z: Tensor, noise: Tensor | torch.Generator) -> Tensor:
        """Traces drawn from ``p(x | z)``, of z's shape ``(S, B, T, N)``.

        Args:
            noise: standard normal numbers of z's shape, of which a kind makes the noise that it has, or the
                generator to draw them from.
        """
        if isinstance(noise, torch.Generator):
            dtype = torch.promote_types(z.dtype, self.basis.dtype)
            drawn = torch.randn(z.shape, generator=noise, dtype=dtype, device=noise.device)
            noise = drawn.to(z.device)
        return self._observed(z, noise)

    def in_stretches(self, bins: int) -> Stretches:
        """``observe`` for a trial of T = ``bins`` that comes stretch by stretch, in the order of time.

        Raises:
            UserError: by a kind that does not know how to go on from what came before.
        """
        raise UserError(
            f"stretch: found the observation model '{self.name}', which is not simulated in stretches, "
            "expected 0 (whole trials)"
        )

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """``log p(x[t], z[t] | past)`` per bin and cell, ``(S, B, T, N)``.

        Relaxed z enter the pmf as they are.
        """
        return self.log_likelihood(x, z) + self.prior(x.shape[0], x.shape[1]).log_prob(z)


def _has(given: Parameters, entry: Any) -> bool:
    return hasattr(given, entry.name)


def require_kind(kind: str, serves: Sequence[str], what: str, instead: str = "") -> None:
    """Raise ``UserError`` for an observation model that ``what`` does not serve.

    Args:
        kind: of a model (``name``) or of parameters (``kind``).
        serves: the kinds that it is right for.
        instead: a way out, in words.
    """
    if kind not in serves:
        known = " or ".join(f"'{name}'" for name in serves)
        raise UserError(
            f"{what}: found the observation model '{kind}', expected {known}, which is all that it serves"
            f"{f' ({instead})' if instead else ''}"
        )
