"""Batches of windows cut from recordings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import UserError


@dataclass(frozen=True)
class Windows:
    """Random windows of traces ``(B, T, N)``.

    A window that does not start with its trial carries calcium in from spikes before it. Its first
    ``burn_in`` bins are therefore sampled but not counted: the spikes there stand for that calcium. A window
    at the start of a trial counts in full, since no spikes came before.

    Args:
        x: traces ``(B, T, N)``.
        batch: windows per step.
        length: bins per window, burn-in included; 0 takes whole trials.
        burn_in: bins not counted at the left edge of a window.
    """

    x: Tensor
    batch: int
    length: int = 0
    burn_in: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch: found {self.batch}, expected at least 1")
        if self.length < 0 or self.burn_in < 0:
            raise UserError(
                f"window, burn_in: found {self.length}, {self.burn_in}, expected numbers of bins of at least "
                "0"
            )
        if self.length and self.burn_in >= self.length:
            raise UserError(
                f"burn_in: found {self.burn_in}, expected less than the window of {self.length} bins"
            )

    def cut(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch ``(batch, length, N)`` and its weights ``(batch, length, 1)``: 0 in the burn-in, else 1."""
        trials, bins, _ = self.x.shape
        length = min(self.length or bins, bins)
        which = self._trials(trials, rng)
        if length == bins:
            cut = self.x[which]
            return cut, torch.ones_like(cut[:, :, :1])
        # starts left of the trial are clipped to it: the trial's own start, the only one with which its first
        # bins count, is drawn burn_in + 1 times as often as any other
        starts = torch.randint(-self.burn_in, bins - length + 1, (self.batch,), generator=rng).clamp_min(0)
        index = starts[:, None] + torch.arange(length)
        cut = self.x[which[:, None], index.to(self.x.device)]
        counted = (torch.arange(length) >= self.burn_in) | (starts == 0)[:, None]
        return cut, counted[..., None].to(cut)

    def _trials(self, trials: int, rng: torch.Generator) -> Tensor:
        if self.batch <= trials:
            return torch.randperm(trials, generator=rng)[: self.batch].to(self.x.device)
        return torch.randint(0, trials, (self.batch,), generator=rng).to(self.x.device)
