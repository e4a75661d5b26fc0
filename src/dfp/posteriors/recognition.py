"""The recognition network: from a window of fluorescence to logits and features.

It is the same for every family.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfp.core.errors import UserError
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.blocked import ROWS, Layers, blocked


@dataclass(frozen=True)
class RecognitionConfig:
    """Settings of the recognition network (all our choice; the paper's are not known).

    Attributes:
        window: bins of fluorescence seen on each side of a bin.
        hidden: width of the two hidden layers.
        cross_channels: channels of the *other* cells' features mixed into a cell's second layer by a learned
            matrix; 0 sees the cell's own trace only.
        per_cell: give every cell a network of its own; else all cells share one, with a gain and an offset
            each.
        initial_rate: spike probability per bin that the untrained network starts near.
        blocked: on a CPU, take large batches through a shared network a block at a time (``blocked.py``):
            faster, and the same but for the order of sums, so that trainings part by rounding.

    Example:
        >>> dfp.RecognitionConfig(window=10).hidden
        32
    """

    window: int = 20
    hidden: int = 32
    cross_channels: int = 0
    per_cell: bool = False
    initial_rate: float = 0.1
    blocked: bool = True

    def __post_init__(self) -> None:
        for name, lowest in (("window", 0), ("hidden", 1), ("cross_channels", 0)):
            if getattr(self, name) < lowest:
                raise UserError(
                    f"recognition.{name}: found {getattr(self, name)}, expected at least {lowest}"
                )
        if not 0 < self.initial_rate < 1:
            raise UserError(
                f"recognition.initial_rate: found {self.initial_rate}, expected a probability between 0 and 1"
            )
        if self.per_cell and self.cross_channels:
            raise UserError(
                "recognition: found per_cell together with cross_channels, expected only one of them"
            )


class Recognition(nn.Module):
    """Two hidden layers on a window of the standardised trace, ReLU, linear readout.

    ``h₁ = relu(A x[t−w..t+w] + a)``, ``h₂ = relu(B h₁ + C Σ_j M_j h₁(cell j) + b)``, ``g = gain · (c h₂) +
    offset``. ReLU because it is the cheapest here: GELU took half of a whole training step on a CPU core.

    Weights are kept as ``(G, in, out)`` with G = N separate networks or G = 1 shared one. Frames outside the
    trial and NaN frames enter as the trace's mean; two further inputs tell how near the trial's ends are.
    """

    off_diagonal: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, config: RecognitionConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        cells, hidden = summary.cells, config.hidden
        groups = cells if config.per_cell else 1
        inputs = self.width

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=rng) / shape[-2] ** 0.5)

        self.first = weight(groups, inputs, hidden)
        self.first_bias = nn.Parameter(torch.zeros(groups, 1, hidden))
        self.second = weight(groups, hidden, hidden)
        self.second_bias = nn.Parameter(torch.zeros(groups, 1, hidden))
        self.readout = weight(groups, hidden, 1)
        self.gain = nn.Parameter(torch.ones(cells))
        self.offset = nn.Parameter(torch.full((cells,), config.initial_rate).logit())
        if config.cross_channels:
            channels = config.cross_channels
            self.cross_in = weight(hidden, channels)
            self.cross_mix = nn.Parameter(
                0.1 * torch.randn(channels, cells, cells, generator=rng) / cells**0.5
            )
            self.cross_out = weight(channels, hidden)
            self.register_buffer("off_diagonal", 1.0 - torch.eye(cells))
        self.register_buffer("centre", summary.centre.clone())
        self.register_buffer("scale", summary.scale.clone())

    @property
    def width(self) -> int:
        """Inputs of the first layer."""
        return 2 * self.config.window + 3

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, T, N)`` and features ``(B, T, N, H)`` for traces ``(B, T, N)``."""
        drive, features = self._blocked(x, True) if self._large(x) else self._plain(x)
        assert features is not None
        return self.gain * drive + self.offset, features

    def logits(self, x: Tensor) -> Tensor:
        """The logits alone, ``(B, T, N)``: without a gradient, in a block's memory."""
        drive, _ = self._blocked(x, False) if self._large(x) else self._plain(x)
        return self.gain * drive + self.offset

    def _large(self, x: Tensor) -> bool:
        """Whether to work block by block: where asked to, on a CPU, with more rows than one block."""
        shared = self.config.blocked and self.first.shape[0] == 1
        return shared and x.device.type == "cpu" and x.numel() > ROWS and not x.requires_grad

    def _blocked(self, x: Tensor, features: bool) -> tuple[Tensor, Tensor | None]:
        crossed = bool(self.config.cross_channels)
        layers = Layers(
            first=self.first[0],
            first_bias=self.first_bias[0, 0],
            second=self.second[0],
            second_bias=self.second_bias[0, 0],
            readout=self.readout[0, :, 0],
            cross_in=self.cross_in if crossed else None,
            cross_mix=(self.cross_mix * self.off_diagonal).transpose(1, 2) if crossed else None,
            cross_out=self.cross_out if crossed else None,
        )
        return blocked(self._padded(x), self._ends(x), layers, features)

    def _plain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        trials, bins, cells = x.shape
        rows = self._to_rows(self.inputs(x))
        hidden = torch.relu_(torch.baddbmm(self.first_bias, rows, self.first))
        before = torch.baddbmm(self.second_bias, hidden, self.second)
        if self.config.cross_channels:
            own = self._from_rows(hidden, trials, bins, cells) @ self.cross_in
            mixed = torch.einsum("btjc,cij->btic", own, self.cross_mix * self.off_diagonal)
            before = before + self._to_rows(mixed @ self.cross_out)
        hidden = torch.relu_(before)
        readout = self._from_rows(hidden @ self.readout, trials, bins, cells)[..., 0]
        return readout, self._from_rows(hidden, trials, bins, cells)

    def inputs(self, x: Tensor) -> Tensor:
        """What the first layer sees of traces ``(B, T, N)``: standardised windows ``(B, T, N, 2w + 3)``."""
        trials, bins, cells = x.shape
        windows = self._padded(x).unfold(2, 2 * self.config.window + 1, 1).transpose(1, 2)
        return torch.cat([windows, self._ends(x)[None, :, None].expand(trials, bins, cells, 2)], -1)

    def _padded(self, x: Tensor) -> Tensor:
        """Standardised traces with the window's reach on either side, time last: ``(B, N, T + 2w)``."""
        w = self.config.window
        standard = torch.nan_to_num((x - self.centre) / self.scale, nan=0.0, posinf=0.0, neginf=0.0)
        return nn.functional.pad(standard.transpose(1, 2), (w, w))

    def _ends(self, x: Tensor) -> Tensor:
        """How near the trial's ends a bin is, ``(T, 2)``: 0 at an end, 1 beyond the window's reach of it."""
        reach, bins = max(self.config.window, 1), x.shape[1]
        t = torch.arange(bins, device=x.device, dtype=x.dtype)
        return torch.stack([t, bins - 1 - t], -1).clamp_max(reach) / reach

    def _to_rows(self, features: Tensor) -> Tensor:
        """``(B, T, N, F)`` to ``(G, rows, F)``."""
        if self.first.shape[0] == 1:
            return features.reshape(1, -1, features.shape[-1])
        return features.permute(2, 0, 1, 3).reshape(features.shape[2], -1, features.shape[-1])

    def _from_rows(self, rows: Tensor, trials: int, bins: int, cells: int) -> Tensor:
        if rows.shape[0] == 1:
            return rows.reshape(trials, bins, cells, -1)
        return rows.reshape(cells, trials, bins, -1).permute(1, 2, 0, 3)
