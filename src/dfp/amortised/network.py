"""The network of the amortised posterior ``q(θ | trace) · q(counts | trace, θ)``.

A U-net over time: blocks of two convolutions, each level at half the rate of the one above, so that it sees
some hundred bins around a bin; the numbers of the trace (its frame rate among them) scale and shift every
block (FiLM, Perez et al. 2018), and means and maxima over the whole trace reach every bin. Its outputs are
the parts of the counts' law (``counts.CountLaw``) and the context of the law of θ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dfp.amortised.constants import NAMES
from dfp.amortised.counts import LARGEST, MEMORY_SECONDS, SCALES, CountLaw, log_prob
from dfp.amortised.features import CHANNELS, NUMBERS, OBSERVED
from dfp.flows.chain import log_normal

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
        components: of the mixture over θ.
    """

    channels: tuple[int, ...] = (32, 48, 64, 64, 64)
    kernels: tuple[int, ...] = (7, 5, 5, 5, 5)
    basis: int = 8
    scale_basis: int = 4
    hidden: int = 64
    context: int = 96
    components: int = 4

    def as_dict(self) -> dict[str, Any]:
        """For a weights' file."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Parts:
    """What the network says of B traces.

    Attributes:
        frames: ``(B, 2 + J + R + R', T)``: m, σ, g, b, b'.
        context: ``(B, C)`` of the law of θ.
        hidden: ``(B, H)``.
    """

    frames: Tensor
    context: Tensor
    hidden: Tensor


class Convolution(nn.Module):
    """``nn.Conv1d`` of odd width, its weights a matrix ``(outputs, inputs · width)``, as Muon takes them."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        start = nn.Conv1d(inputs, outputs, width)
        self.width = width
        self.weight = nn.Parameter(start.weight.detach().reshape(outputs, -1).clone())
        self.bias = nn.Parameter(cast(Tensor, start.bias).detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """``(B, outputs, T)`` of ``(B, inputs, T)``."""
        weight = self.weight.view(len(self.weight), -1, self.width)
        return F.conv1d(x, weight, self.bias, padding=self.width // 2)


class Block(nn.Module):
    """Two convolutions beside a skip; ``hidden`` scales and shifts each."""

    def __init__(self, inputs: int, outputs: int, kernel: int, hidden: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, outputs, kernel)
        self.second = Convolution(outputs, outputs, kernel)
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


class ConstantsLaw(nn.Module):
    """``q(θ | context)``: a mixture of Gaussians with full covariances, ``Σ_m π_m N(θ; μ_m, L_m L_mᵀ)``.

    All of π, μ and the triangular L come from the context (a mixture density network, Bishop 1994).
    Conditional planar flows of one Gaussian (``flows/``) were tried on the same batches: after 2,100 steps
    a simulated cell's constants were half a nat less likely under them.
    """

    def __init__(self, context: int, components: int) -> None:
        super().__init__()
        self.components = components
        self.head = nn.Linear(context, components * (1 + DIMS + DIMS * (DIMS + 1) // 2))

    def _split(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π ``(B, M)``, μ ``(B, M, 5)``, L ``(B, M, 5, 5)``."""
        out = self.head(context).view(len(context), self.components, -1)
        low, column = torch.tril_indices(DIMS, DIMS)
        factor = out.new_zeros(*out.shape[:2], DIMS, DIMS)
        factor[..., low, column] = out[..., 1 + DIMS :]
        diagonal = F.softplus(torch.diagonal(factor, dim1=-2, dim2=-1) + 1) + 0.02
        return (
            F.log_softmax(out[..., 0], -1),
            out[..., 1 : 1 + DIMS],
            factor.tril(-1) + torch.diag_embed(diagonal),
        )

    def log_prob(self, context: Tensor, theta: Tensor) -> Tensor:
        """``(K, B)`` log densities of standardised θ ``(K, B, 5)``."""
        share, mean, factor = self._split(context)
        apart = (theta[:, :, None] - mean).movedim(0, -1)  # (B, M, 5, K)
        unit = torch.linalg.solve_triangular(factor, apart, upper=False).movedim(-1, 0)
        size = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
        return torch.logsumexp(share + log_normal(unit) - size, -1)

    def log_rate(self, context: Tensor, rate: Tensor) -> Tensor:
        """``(B,)`` log densities of the standardised log rate ``(B,)``, the first of θ."""
        return torch.logsumexp(self._log_rates(context, rate), -1)

    def _log_rates(self, context: Tensor, rate: Tensor) -> Tensor:
        """With each component: ``(B, M)``."""
        share, mean, factor = self._split(context)
        size = factor[..., 0, 0]
        return share + log_normal(((rate[:, None] - mean[..., 0]) / size)[..., None]) - torch.log(size)

    def draw(self, context: Tensor, noise: Tensor, rate: Tensor | None = None) -> Tensor:
        """Standardised θ ``(K, B, 5)`` of standard normal noise ``(K, B, 6)``, whose last number picks the
        component.

        With ``rate`` ``(B,)`` the law is the one given that standardised log rate.
        """
        share, mean, factor = self._split(context)
        if rate is not None:
            share = torch.log_softmax(self._log_rates(context, rate), -1)
        picked = torch.special.ndtr(noise[..., -1:]) > torch.cumsum(share.exp(), -1)[..., :-1]
        which = picked.sum(-1)  # (K, B)
        trace = torch.arange(len(context))
        centre, spread, unit = mean[trace, which], factor[trace, which], noise[..., :-1]
        if rate is not None:
            unit = torch.cat([((rate - centre[..., 0]) / spread[..., 0, 0])[..., None], unit[..., 1:]], -1)
        return centre + (spread @ unit[..., None])[..., 0]


class Network(nn.Module):
    """See the module."""

    def __init__(self, sizes: Sizes = Sizes()) -> None:
        super().__init__()
        self.sizes = sizes
        channels, kernels, hidden = sizes.channels, sizes.kernels, sizes.hidden
        pooled = 2 * (channels[1] + channels[-1])
        self.numbers = nn.Sequential(
            nn.Linear(NUMBERS, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.stem = nn.Conv1d(CHANNELS, channels[0], 9, padding=4)
        self.down = nn.ModuleList(
            Block(channels[max(i - 1, 0)], channels[i], kernels[i], hidden) for i in range(len(channels))
        )
        self.whole = nn.Sequential(
            nn.Linear(pooled + hidden, 128), nn.SiLU(), nn.Linear(128, sizes.context), nn.SiLU()
        )
        self.spread = nn.Linear(sizes.context, channels[-1])
        self.up = nn.ModuleList(
            Block(channels[i] + channels[i + 1], channels[i], kernels[i], hidden)
            for i in range(len(channels) - 1)
        )
        self.memories = len(MEMORY_SECONDS)
        self.out = nn.Conv1d(channels[0], 2 + self.memories + sizes.basis + sizes.scale_basis, 1)
        self.before = nn.Sequential(nn.Linear(sizes.context + hidden, 128), nn.SiLU())
        self.constants = ConstantsLaw(128, sizes.components)
        ranks = sizes.basis + sizes.scale_basis
        self.ranks = nn.Sequential(nn.Linear(DIMS + hidden, 64), nn.SiLU(), nn.Linear(64, ranks))
        self.steps = nn.Parameter(torch.full((LARGEST,), 0.5))
        with torch.no_grad():
            self.out.weight[: 2 + self.memories].mul_(0.1)
            bias = cast(Tensor, self.out.bias)
            bias.zero_()
            bias[0] = -2.0
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
        with torch.autocast("cpu", enabled=False):  # what the laws are made of in full precision
            whole, hidden = whole.float(), hidden.float()
            context = self.before(torch.cat([whole, hidden], 1))
            return Parts(self.out(h.float())[..., :bins], context, hidden)

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
        sizes = [1, 1, self.memories, self.sizes.basis, self.sizes.scale_basis]
        location, log_scale, gains, basis, scale_basis = torch.split(frames, sizes, dim=1)
        return location[:, 0], log_scale[:, 0], gains, basis, scale_basis

    @torch.no_grad()
    def law(self, parts: Parts, theta: Tensor, bin_seconds: float) -> CountLaw:
        """The law of the counts of one trace (B = 1) for standardised θ ``(S, 5)``."""
        _, _, gains, basis, scale_basis = self._split(parts.frames)
        weights, scale_weights = self._ranks(theta[:, None], parts.hidden)
        return CountLaw(
            base=_double(parts.frames[0, :2]),
            gains=_double(gains[0]),
            basis=_double(basis[0]),
            scale_basis=_double(scale_basis[0]),
            weights=_double(weights[:, 0]),
            scale_weights=_double(scale_weights[:, 0]),
            thresholds=_double(self.thresholds()[:-1]),
            decays=np.exp(-bin_seconds / np.array(MEMORY_SECONDS)),
        )


def _double(values: Tensor) -> NDArray[np.float64]:
    return np.ascontiguousarray(values.numpy(), np.float64)


def _pooled(h: Tensor, seen: Tensor) -> list[Tensor]:
    """Mean and maximum over the observed bins of ``(B, C, T)``."""
    mean = (h * seen).sum(-1) / seen.sum(-1).clamp(min=1)
    return [mean, (h + (seen - 1) * 1e3).amax(-1)]
