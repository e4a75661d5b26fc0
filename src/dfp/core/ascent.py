"""Gradient ascent on variational parameters, with momentum and a decaying rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import UserError


@dataclass(frozen=True)
class Ascent:
    """``v ← m v + ∇ℒ(ζ)``, ``ζ ← ζ + γ dᵗ v`` for t = 0..n−1.

    Source: Hjelm et al. 2015, eqs. 4 and 5 (γ is their "inference rate"); momentum m and decay d are those of
    their experiments. d = 1 keeps the rate.

    Attributes:
        steps: n; 0 leaves the start as it is.
        rate: γ, in units of ζ per nat.
        momentum: m in [0, 1).
        decay: d in (0, 1].

    Raises:
        UserError: for a number outside its range.
    """

    steps: int
    rate: float
    momentum: float = 0.9
    decay: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UserError(f"steps: found {self.steps}, expected at least 0")
        if not self.rate > 0 or not 0 <= self.momentum < 1:
            raise UserError(
                f"rate, momentum: found {self.rate}, {self.momentum}, expected a rate above 0 and a momentum "
                "in [0, 1)"
            )
        if not 0 < self.decay <= 1:
            raise UserError(f"decay: found {self.decay}, expected a number in (0, 1]")

    def path(
        self, value: Callable[[Tensor], Tensor], start: Tensor, through: bool = False
    ) -> Iterator[Tensor]:
        """ζ_1, …, ζ_n: the parameters after every step.

        Args:
            value: ℒ, a scalar; where it is a sum over data, each datum's own ζ follows its own gradient.
            start: ζ_0, any shape.
            through: keep the graph of the steps, so that gradients pass from ζ_n to the start.
        """
        zeta = start if through and start.requires_grad else start.detach()
        if through:
            zeta.requires_grad_()
        velocity = torch.zeros_like(zeta)
        for step in range(self.steps):
            if not through:
                zeta = zeta.detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(value(zeta), zeta, create_graph=through)
                velocity = self.momentum * velocity + gradient
                zeta = zeta + self.rate * self.decay**step * velocity
            if not through:
                zeta = zeta.detach()
            yield zeta

    def climb(self, value: Callable[[Tensor], Tensor], start: Tensor, through: bool = False) -> Tensor:
        """ζ_n, as ``path``."""
        zeta = start if through else start.detach()
        for found in self.path(value, start, through):
            zeta = found
        return zeta
