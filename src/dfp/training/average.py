"""The mean of the last iterates, which is less noisy than the last one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Average:
    """Running mean of parameters over steps (Polyak & Juditsky 1992).

    Stochastic gradients leave the last iterate scattered about the solution by an amount that the learning
    rate sets; the mean of many iterates scatters by what the gradients do not determine, whatever the rate.

    Args:
        parameters: what is averaged, in place of which ``settle`` puts the mean.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.count = 0
        self.means = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def add(self) -> None:
        """Count the parameters as they are now."""
        self.count += 1
        for mean, p in zip(self.means, self.parameters, strict=True):
            mean += (p - mean) / self.count

    @torch.no_grad()
    def settle(self) -> None:
        """Set the parameters to their mean and forget it; nothing happens where nothing was counted."""
        if self.count:
            for mean, p in zip(self.means, self.parameters, strict=True):
                p.copy_(mean)
                mean.zero_()
        self.count = 0

    def state_dict(self) -> tuple[int, list[Tensor]]:
        """Count and means, copied."""
        return self.count, [mean.clone() for mean in self.means]

    def load_state_dict(self, state: tuple[int, list[Tensor]]) -> None:
        """Go on from ``state_dict()``."""
        self.count = int(state[0])
        for mean, saved in zip(self.means, state[1], strict=True):
            mean.copy_(saved)
