"""What a sampler is, and all that it knows of what it samples."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class Effort:
    """What logits cost: tensor operations a call, and multiply-adds a cell and bin."""

    calls: int
    work: float

    def __add__(self, other: Effort) -> Effort:
        return Effort(self.calls + other.calls, self.work + other.work)


class CausalProcess(Protocol):
    """Logits at bin t that depend on values before t only, at most ``memory`` bins back."""

    @property
    def memory(self) -> int:
        """Bins looked back."""

    def logits(self, z: Tensor) -> Tensor:
        """All logits ``(S, B, T, N)`` given all values ``(S, B, T, N)``."""

    def step(self, window: Tensor, t: int) -> Tensor:
        """Logits of bin ``t``, ``(S, B, N)``.

        ``(S, B, memory, N)`` are the values of the last ``memory`` bins, most recent last.
        """

    def recursion(self) -> Recursion | None:
        """The process as plain tensors, or None where a ``Recursion`` cannot hold it."""

    @property
    def effort(self) -> Effort:
        """What the logits cost."""


def agreeing(process: CausalProcess, draw: Draw, relaxation: Relaxation, name: str) -> Draw:
    """A draw made bin by bin, checked against the logits of all bins at once.

    Where those logits, at the draw's values, are those that it was drawn from, the draw is returned as it is.
    Else it counts as not converged, with a warning: a term looks at bins that are not before its own.
    """
    with torch.no_grad():
        logits = process.logits(draw.z)
        far = float((logits - draw.logits).abs().amax())
        if not far > 1e-3 * (1 + float(draw.logits.abs().amax())):  # rounding, or numbers that are not finite
            return draw
        residual = float((relaxation(logits, draw.noise) - draw.z).abs().amax())
    warn_acausal(name, f"logits of all bins at once and bin by bin differ by {far:.2g}")
    return replace(draw, converged=False, residual=residual)


def warn_acausal(name: str, found: str) -> None:
    """Warn that a draw is no sample, since a term looks ahead."""
    warnings.warn(
        f"sampler {name}: found {found}, expected a process whose logits see values before their bin only; "
        "the sample has not converged (`dfp.distributions.terms.check_term` says what is wrong with a term)",
        stacklevel=3,
    )


class Sampler(ABC):
    """Solves ``z = relax(logits(z), noise)`` for a causal process.

    The solution is unique, because z[t] sees z[<t] only.
    """

    name: ClassVar[str]

    @property
    def twice_differentiable(self) -> bool:
        """Whether the gradient of a draw can be differentiated again."""
        return False

    @abstractmethod
    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        """Sample ``process`` with ``noise`` ``(S, B, T, N)``."""
