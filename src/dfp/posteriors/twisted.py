"""Twisted posterior: the model's own law of the spikes, tilted by a network towards what the frames say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.distributions.twist import Messages, Twist, product
from dfp.posteriors.base import Bound, Conditioned, Posterior, TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig

#: tanh units of the functions of a weight by which messages count
UNITS = 8


@dataclass(frozen=True)
class TwistedConfig:
    """Settings of the twisted posterior (all our choice).

    Attributes:
        recognition: the recognition network.
        history: lags of the cell's own sampled past that the network sees.
        hidden: units of each of its layers.
        rounds: layers after the second, in each of which cells hear each other where the model couples them
            and they share a network.
        channels: words that a cell has for the cells that act on it, and as many for those it acts on.

    Example:
        >>> dfp.TwistedConfig(history=6).rounds
        2
    """

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    history: int = 12
    hidden: int = 32
    rounds: int = 2
    channels: int = 4

    def __post_init__(self) -> None:
        for name, lowest in (("history", 0), ("hidden", 1), ("rounds", 0), ("channels", 0)):
            if getattr(self, name) < lowest:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least {lowest}")


class Twisted(Posterior):
    """``q(z | x) = Π_t Π_n Bernoulli(z[t, n]; σ(g(x)[t, n] + u^p[t, n] + ψ[t, n](z[<t], x)))``.

    u^p are the prior's logits, g the recognition network's, and ψ is that of ``Twist``. A message counts by
    learned functions of the weights between the two cells, ``f_c(W) = Σ_k s_kc (tanh(a_k W + b_k) −
    tanh(b_k))``, with W summed over the functions of the basis: the same for every pair, so that what is
    learned carries over to weights that change while they are learned. The prior enters without gradient: q
    follows the model. Training starts from the prior plus the recognition network's drive.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Twisted(dfp.TwistedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> q = posterior.condition(x, prior=model.prior(1, 60)).q
        >>> q.draw(q.noise(4, dfp.generator(1)), dfp.Auto(), dfp.Hard()).z.shape
        torch.Size([4, 1, 60, 2])
    """

    name: ClassVar[str] = "twisted"
    Config: ClassVar[type] = TwistedConfig

    def __init__(self, config: TwistedConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.per_cell = config.recognition.per_cell
        groups, hidden, rounds = summary.cells if self.per_cell else 1, config.hidden, config.rounds
        words = 0 if self.per_cell or not rounds else config.channels
        self.recognition = Recognition(config.recognition, summary, rng)
        with torch.no_grad():
            self.recognition.offset.zero_()  # the prior knows the rate

        def weight(*shape: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(gain * torch.randn(shape, generator=rng) / max(shape[-2], 1) ** 0.5)

        self.from_features = weight(groups, config.recognition.hidden, hidden)
        self.from_frames = weight(groups, self.recognition.width, hidden)
        self.inward = weight(groups, config.history, hidden)
        self.drift = nn.Parameter(0.1 * torch.randn(groups, hidden, generator=rng))
        self.mixing = nn.Parameter(
            torch.randn(groups, 1 + rounds, hidden, hidden, generator=rng) / hidden**0.5
        )
        self.mixing_bias = nn.Parameter(torch.zeros(groups, 1 + rounds, hidden))
        self.outward = nn.Parameter(torch.zeros(groups, hidden))
        if words:
            self.steepness = nn.Parameter(torch.linspace(-2.0, 2.0, UNITS))
            self.knee = nn.Parameter(torch.linspace(1.0, -1.0, UNITS))
            self.shape = nn.Parameter(torch.randn(rounds, 2, UNITS, words, generator=rng) / 4)
            self.speaking = weight(rounds, hidden, 2 * words)
            self.listening = weight(rounds, 2 * words, hidden, gain=0.5)
            self.direct = nn.Parameter(torch.zeros(rounds, 2 * words))

    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        if prior is None:
            raise UserError("twisted: found no prior, expected the model's law of the spikes")
        prior = _still(prior)
        drive, features = self.recognition(x)
        frames = self.recognition.inputs(x)
        twist = Twist(
            prior=prior,
            context=product(features, self.from_features) + product(frames, self.from_frames),
            inward=self.inward,
            drift=self.drift,
            mixing=self.mixing.movedim(1, 0),
            mixing_bias=self.mixing_bias.movedim(1, 0),
            outward=self.outward,
            messages=self._messages(prior),
        )
        return Conditioned(CausalBernoulli(drive, (twist,)))

    def _messages(self, prior: CausalBernoulli) -> Messages:
        weights = [term.weights.sum(0) for term in prior.terms if isinstance(term, Coupling)]
        rounds, cells = self.config.rounds, prior.drive.shape[-1]
        if not weights or self.per_cell or not rounds or not self.config.channels:
            none = prior.drive.new_zeros(rounds, 0, cells, cells)
            return Messages(none, none, none, none)
        total = torch.stack(weights).sum(0)
        bent = torch.tanh(total[..., None] * self.steepness + self.knee) - torch.tanh(self.knee)
        children = torch.einsum("ijk,rkc->rcij", bent, self.shape[:, 0])
        parents = torch.einsum("ijk,rkc->rcji", bent, self.shape[:, 1])
        return Messages(torch.cat([children, parents], 1), self.speaking, self.listening, self.direct)


def _still(prior: CausalBernoulli) -> CausalBernoulli:
    """The prior without gradient."""
    terms: list[CausalTerm] = []
    for term in prior.terms:
        if isinstance(term, OwnHistory):
            terms.append(OwnHistory(term.taps.detach()))
        elif isinstance(term, Coupling):
            terms.append(Coupling(term.weights.detach(), term.basis))
        else:
            raise UserError(
                f"twisted: found a prior with a {type(term).__name__} term, expected own history and coupling"
            )
    return CausalBernoulli(prior.drive.detach(), tuple(terms))
