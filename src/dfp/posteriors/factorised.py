"""Factorised posterior: every spike on its own given the traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.posteriors.base import Bound, Conditioned, Posterior, TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig


@dataclass(frozen=True)
class FactorisedConfig:
    """Settings of the factorised posterior.

    Example:
        >>> dfp.FactorisedConfig(dfp.RecognitionConfig(window=10, per_cell=True)).recognition.hidden
        32
    """

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)


class Factorised(Posterior):
    """``q(z | x) = Π_t Π_n Bernoulli(z[t, n]; σ(g(x)[t, n]))``, g the recognition network.

    Example:
        >>> x = torch.randn(1, 60, 2, generator=dfp.generator(0))
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> posterior.condition(x).pmf.logits(torch.zeros(1, 1, 60, 2)).shape
        torch.Size([1, 1, 60, 2])
    """

    name: ClassVar[str] = "factorised"
    Config: ClassVar[type] = FactorisedConfig

    def __init__(self, config: FactorisedConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.per_cell = config.recognition.per_cell
        self.recognition = Recognition(config.recognition, summary, rng)

    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        return Conditioned(CausalBernoulli(self.recognition.logits(x)))

    def causal_parameters(self) -> tuple[nn.Parameter, ...]:
        return ()
