"""The network of the amortised posterior ``q(θ | trace) · q(counts | trace, θ)``.

A U-net over time: blocks of two convolutions, each level at half the rate of the one above, so that it sees
some hundred bins around a bin; the numbers of the trace (its frame rate among them) scale and shift every
block (FiLM, Perez et al. 2018), and means and maxima over the whole trace reach every bin. Its outputs are
the parts of the counts' law (``counts.CountLaw``) and the context of a flow over θ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfp.amortised.constants import NAMES
from dfp.amortised.counts import LARGEST, MEMORY_SECONDS, SCALES, CountLaw, log_prob
from dfp.amortised.features import CHANNELS, NUMBERS, OBSERVED
from dfp.core.noise import generator
from dfp.flows.chain import Chain, log_normal

DIMS = len(NAMES)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network (our choice).

    Attributes:
        channels: of each level, the finest first.
        kernels: width of each level's convolutions, in its bins.
        basis, scale_basis: rank by which θ acts on location and on log scale.
        hidden: of the numbers of a trace.
        context: of the whole trace.
        flows: planar flows of θ.
    """

    channels: tuple[int, ...] = (32, 48, 64, 64, 64)
    kernels: tuple[int, ...] = (7, 5, 5, 5, 5)
    basis: int = 8
    scale_basis: int = 4
    hidden: int = 64
    context: int = 96
    flows: int = 4

    def as_dict(self) -> dict[str, Any]:
        """For a weights' file."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Parts:
    """What the network says of B traces.

    Attributes:
        frames: ``(B, 2 + J + R + R', T)``: m, σ, g, b, b'.
        context: ``(B, C)`` of the flow over θ.
        hidden: ``(B, H)``.
    """

    frames: Tensor
    context: Tensor
    hidden: Tensor


class Block(nn.Module):
    """Two convolutions beside a skip; ``hidden`` scales and shifts each."""

    def __init__(self, inputs: int, outputs: int, kernel: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(outputs, outputs, kernel, padding=kernel // 2)
        self.film = nn.Linear(hidden, 4 * outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``(B, outputs, T)`` of ``(B, inputs, T)`` and ``(B, H)``."""
        scale, shift, scale2, shift2 = self.film(hidden)[..., None].chunk(4, 1)
        h = F.silu(self.first(x) * (1 + scale) + shift)
        h = self.second(h) * (1 + scale2) + shift2
        return F.silu((self.skip(x) + h) * 0.7071)


class ConstantsFlow(nn.Module):
    """``q(θ | context)``: planar flows of a Gaussian with its own mean and triangular factor, all of the context.

    ``θ = μ + L f(ε)``: f a chain of conditional planar flows (Rezende & Mohamed 2015), which is inverted along one
    direction at a time, so that θ can be drawn and the density of a given θ be had.
    """

    def __init__(self, context: int, length: int) -> None:
        super().__init__()
        self.chain = Chain("planar", DIMS, length, generator(0), features=context)
        self.affine = nn.Linear(context, DIMS + DIMS * (DIMS + 1) // 2)
        with torch.no_grad():
            self.affine.weight.mul_(0.3)

    def _affine(self, context: Tensor) -> tuple[Tensor, Tensor]:
        out = self.affine(context)
        low, column = torch.tril_indices(DIMS, DIMS)
        factor = torch.zeros(len(out), DIMS, DIMS, dtype=out.dtype)
        factor = factor.index_put((torch.arange(len(out))[:, None], low[None], column[None]), out[:, DIMS:])
        diagonal = F.softplus(torch.diagonal(factor, dim1=-2, dim2=-1) + 1) + 0.02
        return out[:, :DIMS], torch.tril(factor, -1) + torch.diag_embed(diagonal)

    def log_prob(self, context: Tensor, theta: Tensor) -> Tensor:
        """``(K, B)`` log densities of standardised θ ``(K, B, 5)``."""
        mean, factor = self._affine(context)
        moved = torch.linalg.solve_triangular(factor, (theta - mean).movedim(0, -1), upper=False).movedim(-1, 0)
        noise, volume = self.chain.inverse(moved, context)
        return log_normal(noise) + volume - torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)

    def draw(self, context: Tensor, noise: Tensor) -> Tensor:
        """Standardised θ ``(K, B, 5)`` of standard normal noise of that shape."""
        mean, factor = self._affine(context)
        moved, _ = self.chain(noise, context)
        return mean + (factor @ moved[..., None])[..., 0]


class Network(nn.Module):
    """See the module."""

    def __init__(self, sizes: Sizes = Sizes()) -> None:
        super().__init__()
        self.sizes = sizes
        channels, kernels, hidden = sizes.channels, sizes.kernels, sizes.hidden
        pooled = 2 * (channels[1] + channels[-1])
        self.numbers = nn.Sequential(nn.Linear(NUMBERS, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.stem = nn.Conv1d(CHANNELS, channels[0], 9, padding=4)
        self.down = nn.ModuleList(
            Block(channels[max(i - 1, 0)], channels[i], kernels[i], hidden) for i in range(len(channels))
        )
        self.whole = nn.Sequential(nn.Linear(pooled + hidden, 128), nn.SiLU(), nn.Linear(128, sizes.context), nn.SiLU())
        self.spread = nn.Linear(sizes.context, channels[-1])
        self.up = nn.ModuleList(
            Block(channels[i] + channels[i + 1], channels[i], kernels[i], hidden) for i in range(len(channels) - 1)
        )
        self.memories = len(MEMORY_SECONDS)
        self.out = nn.Conv1d(channels[0], 2 + self.memories + sizes.basis + sizes.scale_basis, 1)
        self.before = nn.Sequential(nn.Linear(sizes.context + hidden, 128), nn.SiLU())
        self.constants = ConstantsFlow(128, sizes.flows)
        ranks = sizes.basis + sizes.scale_basis
        self.ranks = nn.Sequential(nn.Linear(DIMS + hidden, 64), nn.SiLU(), nn.Linear(64, ranks))
        self.steps = nn.Parameter(torch.full((LARGEST,), 0.5))
        with torch.no_grad():
            self.out.weight[: 2 + self.memories].mul_(0.1)
            self.out.bias.zero_()
            self.out.bias[0] = -2.0
            cast(nn.Linear, self.ranks[2]).weight.mul_(0.3)

    def forward(self, frames: Tensor, numbers: Tensor) -> Parts:
        """``Parts`` of frames ``(B, CHANNELS, T)`` and numbers ``(B, NUMBERS)``."""
        bins = frames.shape[-1]
        short = -bins % 2 ** (len(self.down) - 1)
        x = F.pad(frames, (0, short)) if short else frames
        seen = x[:, OBSERVED : OBSERVED + 1]
        hidden = self.numbers(numbers)
        h = self.stem(x)
        levels, pooled = [], []
        for i, block in enumerate(self.down):
            if i:
                h, seen = F.avg_pool1d(h, 2), F.avg_pool1d(seen, 2)
            h = block(h, hidden)
            levels.append(h)
            if i in (1, len(self.down) - 1):
                pooled += _pooled(h, (seen > 0).to(h))
        whole = self.whole(torch.cat([*pooled, hidden], 1))
        h = levels[-1] + self.spread(whole)[..., None]
        for i in reversed(range(len(self.up))):
            wide = F.interpolate(h, scale_factor=2, mode="nearest")
            h = self.up[i](torch.cat([levels[i], wide], 1), hidden)
        context = self.before(torch.cat([whole, hidden], 1))
        return Parts(self.out(h)[..., :bins], context, hidden)

    def thresholds(self) -> Tensor:
        """c_1 = 0 < c_2 < … , ``(LARGEST + 1,)``."""
        return torch.cat([self.steps.new_zeros(1), torch.cumsum(F.softplus(self.steps), 0)])

    def _ranks(self, theta: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """a and a' of standardised θ ``(K, B, 5)``: ``(K, B, R)`` and ``(K, B, R')``."""
        both = torch.cat([theta.clamp(-4, 4), hidden.expand(len(theta), *hidden.shape)], -1)
        found = self.ranks(both)
        return found[..., : self.sizes.basis], found[..., self.sizes.basis :]

    def log_counts(self, parts: Parts, theta: Tensor, past: Tensor, counts: Tensor) -> Tensor:
        """``log q(n_t | n_<t, θ, trace)``, ``(K, B, T)``.

        Args:
            theta: ``(K, B, 5)``, standardised.
            past: ``(B, J, T)``: φ(h) of the counts before.
            counts: ``(B, T)`` long.
        """
        location, log_scale, gains, basis, scale_basis = self._split(parts.frames)
        weights, scale_weights = self._ranks(theta, parts.hidden)
        location = location - (gains * past).sum(1) + torch.einsum("kbr,brt->kbt", weights, basis)
        log_scale = (log_scale + torch.einsum("kbr,brt->kbt", scale_weights, scale_basis)).clamp(*SCALES)
        return log_prob(location, log_scale, self.thresholds(), counts.expand(len(theta), *counts.shape))

    def _split(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        sizes = (1, 1, self.memories, self.sizes.basis, self.sizes.scale_basis)
        location, log_scale, gains, basis, scale_basis = torch.split(frames, sizes, dim=1)
        return location[:, 0], log_scale[:, 0], gains, basis, scale_basis

    @torch.no_grad()
    def law(self, parts: Parts, theta: Tensor, bin_seconds: float) -> CountLaw:
        """The law of the counts of one trace (B = 1) for standardised θ ``(S, 5)``."""
        _, _, gains, basis, scale_basis = self._split(parts.frames)
        weights, scale_weights = self._ranks(theta[:, None], parts.hidden)
        arrays = (parts.frames[0, :2], gains[0], basis[0], scale_basis[0], weights[:, 0], scale_weights[:, 0])
        double = [np.ascontiguousarray(one.numpy(), np.float64) for one in (*arrays, self.thresholds()[:-1])]
        return CountLaw(*double, decays=np.exp(-bin_seconds / np.array(MEMORY_SECONDS)))


def _pooled(h: Tensor, seen: Tensor) -> list[Tensor]:
    """Mean and maximum over the observed bins of ``(B, C, T)``."""
    mean = (h * seen).sum(-1) / seen.sum(-1).clamp(min=1)
    return [mean, (h + (seen - 1) * 1e3).amax(-1)]
