"""Bin by bin: exact, with gradients, and as slow as T kernel launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.samplers.base import CausalProcess, Sampler
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class Sequential(Sampler):
    """Ancestral sampling: ``z[t] = relax(u(z[<t]), ℓ[t])`` for t = 0, 1, …, T−1.

    Only the last ``memory`` bins are carried, so a step costs O(memory), never a recomputation of all T
    logits. Gradients are those of backpropagation through time.

    Example:
        >>> history = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> q = dfp.CausalBernoulli(torch.full((1, 500, 1), -1.0), (history,))
        >>> noise = q.noise(8, dfp.generator(0))
        >>> q.draw(noise, dfp.Sequential(), dfp.Hard()).z.shape
        torch.Size([8, 1, 500, 1])
    """

    name: ClassVar[str] = "sequential"

    @property
    def twice_differentiable(self) -> bool:
        return True

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        samples, trials, bins, cells = noise.shape
        window = noise.new_zeros(samples, trials, process.memory, cells)
        values, logits = [], []
        for t in range(bins):
            u = process.step(window, t)
            z = relaxation(u, noise[:, :, t])
            if process.memory:
                window = torch.cat([window[:, :, 1:], z[:, :, None]], dim=2)
            values.append(z)
            logits.append(u.expand_as(z))
        return Draw(
            torch.stack(values, 2), torch.stack(logits, 2), noise, sweeps=1, residual=0.0, converged=True
        )
