"""Planar and radial flows of blocks of the logistic latents: a continuous rival of the discrete flow."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.core.draw import Draw
from dfp.core.errors import UserError, suggest
from dfp.core.noise import logistic_noise
from dfp.distributions.causal_bernoulli import (
    CausalBernoulli,
    Weights,
    bernoulli_log_prob,
    logistic_log_density,
)
from dfp.flows.chain import HEAD, INITIAL, KINDS
from dfp.flows.planar import constrained, log_slope
from dfp.flows.radial import log_volume, move, polar
from dfp.flows.stable import affine, softplus
from dfp.posteriors.base import Bound, Conditioned, Posterior, TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class Layers(ABC):
    """Flows of blocks that begin at the same bins, each for every trial and cell.

    There are K of them, each of M blocks of D bins, the first and the last possibly shorter.

    What does not wait for the flow before is computed for all of them at once: the constraint, the
    determinants.

    Attributes:
        start: bins by which the first block begins before the trial.
        sizes: bins of the trial in each block, ``(M,)``.
        vectors: w and u of planar flows, z₀ of radial ones: each ``(K, B, N, M, D)``, 0 outside the trial.
        numbers: b of planar flows, raw α and raw β of radial ones: each ``(K, B, N, M)``.
    """

    start: int
    sizes: Tensor
    vectors: tuple[Tensor, ...]
    numbers: tuple[Tensor, ...]

    @abstractmethod
    def move(self, k: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks ``(S, B, N, M, D)`` after flow k, and where each was met, ``(S, B, N, M)``."""

    @abstractmethod
    def log_det(self, met: Tensor) -> Tensor:
        """``log |det|`` of each flow of each block from where they were met, both ``(K, S, B, N, M)``."""

    def __call__(self, k: int, y: Tensor) -> tuple[Tensor, Tensor]:
        """``y`` ``(S, B, N, T)`` after flow k, and where each block was met."""
        moved, met = self.move(k, cut(y, self.start, self.vectors[0].shape[-1]))
        return moved.flatten(-2)[..., self.start : self.start + y.shape[-1]], met

    def shares(self, met: list[Tensor], bins: int) -> Tensor:
        """``log |det|`` of all flows, each bin an equal share of its block's, ``(S, B, N, T)``."""
        each = self.log_det(torch.stack(met)).sum(0) / self.sizes
        spread = each.unsqueeze(-1).expand(*each.shape, self.vectors[0].shape[-1])
        return spread.flatten(-2)[..., self.start : self.start + bins]


@dataclass(frozen=True)
class PlanarLayers(Layers):
    """Planar flows, met at ``wᵀy + b``."""

    @cached_property
    def bound(self) -> tuple[Tensor, Tensor]:
        """û and ``log(1 + wᵀû)``."""
        return constrained(self.vectors[0], self.vectors[1])

    def move(self, k: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        met = affine(self.vectors[0][k], blocks, self.numbers[0][k])
        return blocks + self.bound[0][k] * torch.tanh(met).unsqueeze(-1), met

    def log_det(self, met: Tensor) -> Tensor:
        return log_slope(met, self.bound[1].unsqueeze(1))


@dataclass(frozen=True)
class RadialLayers(Layers):
    """Radial flows, met at a distance from z₀."""

    @cached_property
    def widths(self) -> tuple[Tensor, Tensor]:
        """α and β."""
        alpha = softplus(self.numbers[0])
        return alpha, softplus(self.numbers[1]) - alpha

    def move(self, k: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        radius, unit = polar(blocks - self.vectors[0][k])
        return move(blocks, radius, unit, self.widths[0][k], self.widths[1][k]), radius

    def log_det(self, met: Tensor) -> Tensor:
        alpha, beta = (number.unsqueeze(1) for number in self.numbers)
        return log_volume(met, alpha, beta, self.sizes)


def cut(values: Tensor, start: int, block: int) -> Tensor:
    """``(..., T)`` as blocks ``(..., M, D)`` of which the first begins ``start`` bins early; 0 outside."""
    after = -(start + values.shape[-1]) % block
    return nn.functional.pad(values, (start, after)).unflatten(-1, (-1, block))


@dataclass(frozen=True)
class FlowedLatents:
    """``L = g + f_K ∘ … ∘ f_1(ℓ)``, ℓ standard logistic, z = Θ(L) (relaxed: σ(L/τ)).

    ``log q(L) = Σ log Logistic(ℓ) − Σ_k log |det ∂f_k|``. That is a flow of g + ℓ whose parameters move with
    g: b less wᵀg, z₀ plus g.

    Args:
        drive: g ``(B, T, N)``.
        layers: the flows whose blocks begin with the trial, f_1, f_3, …, and those shifted by half a block,
            f_2, f_4, …; none for K = 0.
        length: K.
    """

    drive: Tensor
    layers: tuple[Layers, ...] = ()
    length: int = 0

    def noise(self, samples: int, rng: torch.Generator) -> Tensor:
        """Logistic noise for ``samples`` draws of every trial, ``(S, B, T, N)``."""
        return logistic_noise((samples, *self.drive.shape), rng, self.drive.dtype).to(self.drive.device)

    def flow(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """L and the shares of ``log |det ∂L/∂ℓ|``, both ``(S, B, T, N)`` as the noise."""
        y = noise.transpose(-1, -2)
        met: list[list[Tensor]] = [[], []]
        for k in range(self.length):
            y, where = self.layers[k % 2](k // 2, y)
            met[k % 2].append(where)
        total = torch.zeros_like(y)
        for layers, places in zip(self.layers, met, strict=False):
            total = total + layers.shares(places, y.shape[-1])
        return self.drive + y.transpose(-1, -2), total.transpose(-1, -2)

    def draw(self, noise: Tensor, sampler: Sampler, relaxation: Relaxation) -> Draw:
        """Draw in one pass: nothing waits for a spike, so there is nothing for a sampler to solve.

        The draw's ``logits`` are L − ℓ, so that ``logits + noise`` are the latents as they are elsewhere.
        """
        latents, volume = self.flow(noise)
        logits = latents - noise
        # through the sum that others see, so that z is a function of it to the last bit
        return Draw(relaxation(logits, noise), logits, noise, 1, 0.0, True, volume)

    def log_density(self, draw: Draw) -> Tensor:
        """``log q(L)`` of a draw by bin and cell, ``(S, B, T, N)``; a block's determinant in equal shares."""
        return logistic_log_density(draw.noise) - draw.log_volume

    def weigh(self, prior: CausalBernoulli, draw: Draw) -> Weights:
        """``log p(L) − log q(L)`` with ``log p(L) = Σ log Logistic(L − u^p(Θ(L)))``, and z itself.

        That bounds the evidence of the spikes' own model, since p(L) integrated over an orthant is p(z), but
        is looser than the bound over z, by KL(q(L | z) ‖ p(L | z)). Any law r(L | z) in place of p(L | z)
        gives a bound below that too (Agakov & Barber 2004): in ``over_spikes`` r is Logistic(L − m), cut to
        z's side of 0, with m the latents without noise, which without flows is q(L | z) itself.
        """
        latents, own = draw.logits + draw.noise, self.log_density(draw)
        centre = self.flow(torch.zeros_like(draw.noise[:1]))[0]
        within = logistic_log_density(latents - centre) - bernoulli_log_prob(draw.z, centre)
        ratio = logistic_log_density(latents - prior.logits(draw.z)) - own
        return Weights(ratio, prior.log_prob(draw.z) + within - own, draw.z)


@dataclass(frozen=True)
class LatentFlowConfig:
    """Settings of the flow posterior over latents (all our choice).

    Attributes:
        recognition: the recognition network.
        flow: ``planar`` or ``radial``.
        length: flows K; 0 leaves shifted logistic latents, a factorised posterior.
        block: bins that a flow mixes, of one cell; every other flow has its blocks shifted by half.

    Example:
        >>> dfp.LatentFlowConfig(length=2)
        LatentFlowConfig(recognition=RecognitionConfig(...), flow='planar', length=2, block=20)
    """

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    flow: str = "planar"
    length: int = 8
    block: int = 20

    def __post_init__(self) -> None:
        if self.flow not in KINDS:
            raise UserError(
                f"flow: found {self.flow!r}{suggest(self.flow, KINDS)}, expected {' or '.join(KINDS)}"
            )
        if self.length < 0 or self.block < 2:
            raise UserError(
                f"length, block: found {self.length}, {self.block}, expected a length of at least 0 and a "
                "block of at least 2 bins"
            )


class LatentFlow(Posterior):
    """``L = g(x) + f_K ∘ … ∘ f_1(ℓ)``: planar or radial flows of blocks of logistic latents of one cell.

    The parameters of every flow are amortised: w and u (radial: z₀) of a bin are linear in the recognition
    network's features of that bin, plus a value for its place in the block; b (raw α and β) is linear in the
    features' mean over the block. No latent depends on another cell's.

    The probability of spikes z = Θ(L) is an integral over an orthant without a closed form: trained by the
    logistic density only, and every bound that is reported (``elbo_per_bin``, ``gap_per_bin``, the
    importance-weighted ones) is that over the latents, with hard spikes in the model: a bound on log p(x),
    but a looser one than other families' over spikes, of which ``spike_elbo_per_bin`` and
    ``spike_gap_per_bin`` tell what is known (see ``FlowedLatents.weigh``). Counts, covariances, coverage and
    the two-sample test are of hard samples and compare as they are.

    Where a window has a burn-in that ends within a block, its determinant counts by the share of the block's
    bins that count, which is exact only where all do.

    Source: Rezende & Mohamed 2015, eqs. 10 and 14, for the flows; blocks, and how the parameters are
        amortised, are our choice.

    Example:
        >>> x = torch.randn(1, 60, 2, generator=dfp.generator(0))
        >>> config = dfp.LatentFlowConfig(flow="radial", length=2)
        >>> q = dfp.LatentFlow(config, dfp.TraceSummary.of(x), dfp.generator(0)).condition(x).q
        >>> q.draw(q.noise(4, dfp.generator(1)), dfp.Auto(), dfp.Hard()).z.shape
        torch.Size([4, 1, 60, 2])
    """

    name: ClassVar[str] = "latent_flow"
    Config: ClassVar[type] = LatentFlowConfig
    has_pmf: ClassVar[bool] = False

    def __init__(self, config: LatentFlowConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.per_cell = config.recognition.per_cell
        self.recognition = Recognition(config.recognition, summary, rng)
        groups = summary.cells if self.per_cell else 1
        hidden, length = config.recognition.hidden, config.length
        vectors, numbers = (2, 1) if config.flow == "planar" else (1, 2)
        heads = torch.randn(groups, hidden, length * 3, generator=rng)
        self.heads = nn.Parameter(HEAD / math.sqrt(hidden) * heads)
        places = torch.randn(groups, length, vectors, config.block, generator=rng)
        self.places = nn.Parameter(INITIAL * places)
        self.numbers = nn.Parameter(torch.zeros(groups, length, numbers))

    @property
    def continuous(self) -> bool:
        return True

    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        drive, features = self.recognition(x)
        heads = self.heads.expand(x.shape[-1], -1, -1)
        outputs = torch.einsum("btnf,nfo->bnot", features, heads)  # what the features say of each bin
        outputs = outputs.unflatten(2, (self.config.length, 3))
        starts = (0, self.config.block // 2)[: self.config.length]
        layers = tuple(self._layers(number, start, outputs) for number, start in enumerate(starts))
        return Conditioned(FlowedLatents(drive, layers, self.config.length))

    def causal_parameters(self) -> tuple[nn.Parameter, ...]:
        return ()

    def _layers(self, first: int, start: int, outputs: Tensor) -> Layers:
        """Every other flow from ``first`` on, from what the features say, ``(B, N, K, 3, T)``.

        The vectors come first, then the numbers.
        """
        block, count = self.config.block, self.places.shape[2]
        outputs = outputs[:, :, first::2].permute(2, 0, 1, 3, 4)
        place = (torch.arange(outputs.shape[-1], device=outputs.device) + start) % block
        own = self.places[:, first::2].transpose(0, 1).unsqueeze(1)  # (K, 1, G, P, D)
        vectors = cut(outputs[..., :count, :] + own[..., place], start, block)
        sizes = cut(torch.ones_like(outputs[0, 0, 0, 0]), start, block).sum(-1)
        means = cut(outputs[..., count:, :], start, block).sum(-1) / sizes
        numbers = means + self.numbers[:, first::2].transpose(0, 1)[:, None, ..., None]
        kind = PlanarLayers if self.config.flow == "planar" else RadialLayers
        return kind(start, sizes, tuple(vectors.unbind(3)), tuple(numbers.unbind(3)))
