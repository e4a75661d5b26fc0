"""Adam by torch's functional form: the same numbers as ``torch.optim.Adam``, without its compiler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


@dataclass
class Group:
    """Parameters that share a learning rate, ``scale`` times that of the schedule."""

    parameters: list[Tensor]
    scale: float = 1.0
    _means: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def step(self, rate: float) -> None:
        """One step for the parameters that have a gradient."""
        moved = [(number, p) for number, p in enumerate(self.parameters) if p.grad is not None]
        if not moved:
            return
        for number, p in moved:
            if number not in self._means:
                self._means[number] = (torch.zeros_like(p), torch.zeros_like(p), torch.zeros(()))
        first, second, steps = (
            list(part) for part in zip(*(self._means[number] for number, _ in moved), strict=True)
        )
        adam(
            [p for _, p in moved],
            [p.grad for _, p in moved if p.grad is not None],
            first,
            second,
            [],
            steps,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate * self.scale,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


class Adam:
    """Adam (Kingma & Ba 2015) with the usual constants: β₁ = 0.9, β₂ = 0.999, ε = 1e-8.

    ``torch.optim.Adam`` imports torch's compiler when it is made, which takes longer than most of the short
    trainings here; the arithmetic is torch's own function either way, and tested to be the same to the bit.

    Args:
        groups: (parameters, factor on the learning rate), in order.
    """

    def __init__(self, groups: Iterable[tuple[Iterable[Tensor], float]]) -> None:
        self.groups = [Group(list(parameters), scale) for parameters, scale in groups]

    @property
    def parameters(self) -> list[Tensor]:
        """The parameters of all groups, in order."""
        return [p for group in self.groups for p in group.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step at a learning rate."""
        for group in self.groups:
            group.step(rate)

    def state_dict(self) -> list[dict[int, tuple[Tensor, Tensor, Tensor]]]:
        """Moments and step counts by group and parameter, copied."""
        return [
            {number: (m.clone(), v.clone(), s.clone()) for number, (m, v, s) in group._means.items()}
            for group in self.groups
        ]

    def load_state_dict(self, state: list[dict[int, Any]]) -> None:
        """Go on from ``state_dict()``: on the device of the parameters, step counts on the CPU."""
        for group, means in zip(self.groups, state, strict=True):
            group._means = {
                number: (
                    m.to(group.parameters[number], copy=True),
                    v.to(group.parameters[number], copy=True),
                    s.clone().cpu(),
                )
                for number, (m, v, s) in means.items()
            }
