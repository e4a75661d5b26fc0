"""Relaxations: how a logit and a noise become a value.

A spike is ``z = Θ(u + ℓ)`` with ℓ ~ Logistic(0, 1), so P(z = 1) = σ(u). The relaxations replace the step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.errors import UserError


class Relaxation(ABC):
    """Turns logits and noise, both ``(..., T, N)``, into values of that shape.

    Attributes:
        discrete: whether the values are 0 or 1.
        pathwise: whether gradients pass from the values to the logits.
        stochastic: whether the noise is used.
    """

    discrete: ClassVar[bool]
    pathwise: ClassVar[bool]
    stochastic: ClassVar[bool]

    @abstractmethod
    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Values for ``logits`` and ``noise`` of equal shape."""


@dataclass(frozen=True)
class Hard(Relaxation):
    """``z = Θ(u + ℓ)``: exact samples, no gradient.

    Example:
        >>> dfp.Hard()(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 0.5]))
        tensor([1., 0.])
    """

    discrete: ClassVar[bool] = True
    pathwise: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        return (logits + noise > 0).to(logits.dtype)


@dataclass(frozen=True)
class Concrete(Relaxation):
    """``z = σ((u + ℓ)/τ)`` at temperature τ > 0 (the binary Concrete distribution).

    ``temperature`` is a number, or a tensor ``(N,)`` with one temperature per cell.

    Example:
        >>> dfp.Concrete(0.5)(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 1.0]))
        tensor([0.8808, 0.5000])
    """

    temperature: float | Tensor
    discrete: ClassVar[bool] = False
    pathwise: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not bool((torch.as_tensor(self.temperature) > 0).all()):
            raise UserError(f"temperature: found {self.temperature}, expected a number above 0")

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        return torch.sigmoid((logits + noise) / self.temperature)


@dataclass(frozen=True)
class MeanField(Relaxation):
    """``z = σ(u)``: the means in place of samples ("mean-passing", Hjelm et al. 2015, eq. 8).

    Example:
        >>> dfp.MeanField()(torch.tensor([0.0, 2.0]), torch.tensor([9.0, 9.0]))
        tensor([0.5000, 0.8808])
    """

    discrete: ClassVar[bool] = False
    pathwise: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        return torch.sigmoid(logits)


@dataclass(frozen=True)
class StraightThrough(Relaxation):
    """``z = Θ(u + ℓ)`` forward, and a gradient of choice backward.

    Backward ``∂z/∂u`` is 1 ("literal", Hjelm et al. 2015, eq. 9) or ``σ'(u)`` ("sigma").

    Example:
        >>> logits = torch.tensor([1.0, -1.0], requires_grad=True)
        >>> z = dfp.StraightThrough()(logits, torch.zeros(2))
        >>> z.sum().backward()
        >>> z.detach(), logits.grad
        (tensor([1., 0.]), tensor([1., 1.]))
    """

    reading: str = "literal"
    discrete: ClassVar[bool] = True
    pathwise: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.reading not in ("literal", "sigma"):
            raise UserError(
                f"straight-through reading: found {self.reading!r}, expected 'literal' or 'sigma'"
            )

    def __call__(self, logits: Tensor, noise: Tensor) -> Tensor:
        hard = (logits.detach() + noise > 0).to(logits.dtype)
        passed = logits if self.reading == "literal" else torch.sigmoid(logits)
        return hard + (passed - passed.detach())
