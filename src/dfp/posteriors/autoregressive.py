"""Autoregressive posterior: the discrete flow.

Sampled bin by bin or by fixed-point sweeps, it is one distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, NonlinearHistory, OwnHistory
from dfp.posteriors.base import Bound, Conditioned, Posterior, TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Settings of the autoregressive posterior.

    Attributes:
        recognition: the recognition network.
        history: lags of the cell's own linear history filter; 0 for none.
        coupling_lags: lags over which the other cells' spikes enter, each with a free weight matrix; 0 for
            none.
        tied_coupling: add the model's own coupling, with the weights shared: they then learn from both sides
            of the bound.
        nonlinear_hidden: hidden units of the nonlinear history term; 0 for none.
        nonlinear_history: lags that the nonlinear term sees.

    Example:
        >>> dfp.AutoregressiveConfig(history=5, coupling_lags=1).nonlinear_hidden
        0
    """

    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    history: int = 10
    coupling_lags: int = 0
    tied_coupling: bool = False
    nonlinear_hidden: int = 0
    nonlinear_history: int = 10

    def __post_init__(self) -> None:
        for name in ("history", "coupling_lags", "nonlinear_hidden", "nonlinear_history"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least 0")
        if self.nonlinear_hidden and not self.nonlinear_history:
            raise UserError(
                "nonlinear_history: found 0 with nonlinear_hidden above 0, expected at least 1 lag"
            )


class Autoregressive(Posterior):
    """``q(z | x) = Π_t Π_n Bernoulli(z[t, n]; σ(u[t, n]))``, its logits a sum over past spikes.

    ``u[t] = g(x)[t] + Σ_τ v_τ z[t−τ] + Σ_τ V_τ z[t−τ] + w·tanh(...)``.

    All causal weights start at zero (the nonlinear term's readout, for that term), so training starts from
    the factorised posterior.

    Example:
        >>> x = torch.randn(1, 60, 2, generator=dfp.generator(0))
        >>> config = dfp.AutoregressiveConfig(history=5)
        >>> posterior = dfp.Autoregressive(config, dfp.TraceSummary.of(x), dfp.generator(0))
        >>> posterior.condition(x).pmf.memory
        5
    """

    name: ClassVar[str] = "autoregressive"
    Config: ClassVar[type] = AutoregressiveConfig
    off_diagonal: Tensor
    lags: Tensor

    def __init__(self, config: AutoregressiveConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        cells, hidden = summary.cells, config.nonlinear_hidden
        coupled = config.coupling_lags > 0 or config.tied_coupling
        self.per_cell = config.recognition.per_cell and not coupled
        self.recognition = Recognition(config.recognition, summary, rng)
        self.history = nn.Parameter(torch.zeros(cells, config.history))
        if config.coupling_lags:
            self.coupling = nn.Parameter(torch.zeros(config.coupling_lags, cells, cells))
            self.register_buffer("off_diagonal", 1.0 - torch.eye(cells))
            self.register_buffer("lags", torch.eye(config.coupling_lags))
        if hidden:
            groups = cells if config.recognition.per_cell else 1
            features = config.recognition.hidden
            lags = config.nonlinear_history
            self.inward = nn.Parameter(torch.randn(groups, lags, hidden, generator=rng) / lags**0.5)
            self.from_trace = nn.Parameter(
                torch.randn(groups, features, hidden, generator=rng) / features**0.5
            )
            self.outward = nn.Parameter(torch.zeros(groups, hidden))

    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        features = None
        if self.config.nonlinear_hidden:
            drive, features = self.recognition(x)
        else:
            drive = self.recognition.logits(x)
        terms: list[CausalTerm] = []
        if self.config.history:
            terms.append(OwnHistory(self.history))
        if self.config.coupling_lags:
            terms.append(Coupling(self.coupling * self.off_diagonal, self.lags))
        if self.config.tied_coupling:
            if prior is None:
                raise UserError("tied_coupling: found no prior, expected the model's law of the spikes")
            terms += [term for term in prior.terms if term.couples_cells]
        if features is not None:
            context = torch.einsum("btnf,nfh->btnh", features, self.from_trace.expand(x.shape[-1], -1, -1))
            terms.append(NonlinearHistory(self.inward, context, self.outward))
        return Conditioned(CausalBernoulli(drive, tuple(terms)))

    def causal_parameters(self) -> tuple[nn.Parameter, ...]:
        found = [self.history] if self.config.history else []
        found += [self.coupling] if self.config.coupling_lags else []
        return (*found, self.outward) if self.config.nonlinear_hidden else tuple(found)
