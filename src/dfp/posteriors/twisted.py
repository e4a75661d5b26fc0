"""Twisted posterior: the model's own law of the spikes, tilted by a network towards what the frames say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.distributions.twist import Twist
from dfp.posteriors.base import Bound, Conditioned, Posterior, TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig


@dataclass(frozen=True)
class TwistedConfig:
    """Settings of the twisted posterior (all our choice).

    Attributes:
        recognition: the recognition network.
        history: lags of the cell's own sampled past that the network sees.
        hidden: units of its two layers.
        messages: whether cells hear what the cells that they act on have to say.
    """

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    history: int = 12
    hidden: int = 32
    messages: bool = True

    def __post_init__(self) -> None:
        for name in ("history", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least 1")


class Twisted(Posterior):
    """``q(z | x) = Π_t Π_n Bernoulli(z[t, n]; σ(u^p[t, n] + ψ[t, n](z[<t], x)))``, u^p the prior's logits.

    See ``Twist`` for ψ. The prior and its weights enter without gradient: q follows the model, and learns
    from it by simulation (the ``wake_sleep`` objective) or from any objective on hard samples. Training
    starts from the prior plus the recognition network's drive.
    """

    name: ClassVar[str] = "twisted"
    Config: ClassVar[type] = TwistedConfig

    def __init__(self, config: TwistedConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        per_cell = config.recognition.per_cell
        self.per_cell = per_cell
        groups, hidden, lags = summary.cells if per_cell else 1, config.hidden, config.history
        self.recognition = Recognition(config.recognition, summary, rng)
        with torch.no_grad():
            self.recognition.offset.zero_()  # the prior knows the rate

        def weight(*shape: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(gain * torch.randn(shape, generator=rng) / shape[-2] ** 0.5)

        self.from_trace = weight(groups, config.recognition.hidden, hidden)
        self.from_frames = weight(groups, 2 * config.recognition.window + 3, hidden)
        self.inward = weight(groups, lags, hidden)
        self.drift = nn.Parameter(0.1 * torch.randn(groups, hidden, generator=rng))
        self.mixing = weight(groups, hidden, hidden)
        self.mixing_bias = nn.Parameter(torch.zeros(groups, hidden))
        self.outward = nn.Parameter(torch.zeros(groups, hidden))
        channels = 0 if per_cell or not config.messages else 2
        self.speaking = weight(hidden, channels)
        self.listening = weight(channels, hidden, gain=0.5) if channels else nn.Parameter(torch.zeros(0, hidden))
        self.direct = nn.Parameter(torch.zeros(channels))

    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        if prior is None:
            raise UserError("twisted: found no prior, expected the model's law of the spikes")
        prior = _still(prior)
        drive, features = self.recognition(x)
        frames = self.recognition.inputs(x)
        context = _rows(features, self.from_trace) + _rows(frames, self.from_frames)
        twist = Twist(
            prior=prior,
            context=context,
            inward=self.inward,
            drift=self.drift,
            mixing=self.mixing,
            mixing_bias=self.mixing_bias,
            outward=self.outward,
            weights=self._weights(prior),
            speaking=self.speaking,
            listening=self.listening,
            direct=self.direct,
        )
        return Conditioned(CausalBernoulli(drive, (twist,)))

    def _weights(self, prior: CausalBernoulli) -> Tensor:
        """``(C, N, N)``: the weights between cells and their squares, summed over the functions of the basis."""
        couplings = [term for term in prior.terms if isinstance(term, Coupling)]
        cells = prior.drive.shape[-1]
        if not couplings or not self.direct.shape[0]:
            return prior.drive.new_zeros(0, cells, cells)
        total = torch.stack([term.weights.sum(0) for term in couplings]).sum(0)
        return torch.stack([total, total.square()])


def _still(prior: CausalBernoulli) -> CausalBernoulli:
    """The prior without gradient."""
    terms: list[CausalTerm] = []
    for term in prior.terms:
        if isinstance(term, OwnHistory):
            terms.append(OwnHistory(term.taps.detach()))
        elif isinstance(term, Coupling):
            terms.append(Coupling(term.weights.detach(), term.basis))
        else:
            raise UserError(f"twisted: found a prior with a {type(term).__name__} term, expected history and coupling")
    return CausalBernoulli(prior.drive.detach(), tuple(terms))


def _rows(features: Tensor, weights: Tensor) -> Tensor:
    """``(B, T, N, F)`` times ``(G, F, H)``."""
    return torch.einsum("btnf,nfh->btnh", features, weights.expand(features.shape[2], -1, -1)) if weights.shape[0] > 1 else features @ weights[0]
