"""Gradient-refined posterior: a recognition network's answer, improved by gradient steps on the bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.core.ascent import Ascent
from dfp.core.errors import UserError, suggest
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.posteriors.autoregressive import Autoregressive, AutoregressiveConfig
from dfp.posteriors.base import Bound, Conditioned, Posterior, TraceSummary
from dfp.posteriors.factorised import Factorised, FactorisedConfig
from dfp.samplers.relaxations import Concrete, MeanField, Relaxation, StraightThrough

ESTIMATORS = ("mean_passing", "straight_through", "straight_through_sigma", "concrete")


@dataclass(frozen=True)
class RefinedConfig:
    """Settings of the refined posterior.

    Attributes:
        of: the family that is refined, ``factorised`` or ``autoregressive``.
        factorised, autoregressive: that family's settings.
        steps: gradient steps n; 0 is ordinary amortised inference.
        rate: step size γ in logits per nat ("inference rate").
        momentum: of the steps (0.9 in the authors' experiments).
        estimator: how the bound's gradient passes through the spikes: ``mean_passing``, ``straight_through``
            (literal), ``straight_through_sigma``, or ``concrete`` (ours, for comparison).
        temperature: of the concrete estimator; None takes the training's.
        through: differentiate through the steps (semi-amortised inference) instead of training the
            recognition network on KL(q_refined ‖ q_φ).

    Example:
        >>> dfp.RefinedConfig(of="autoregressive", steps=5).estimator
        'mean_passing'
    """

    of: str = "factorised"
    factorised: FactorisedConfig = field(default_factory=FactorisedConfig)
    autoregressive: AutoregressiveConfig = field(default_factory=AutoregressiveConfig)
    steps: int = 10
    rate: float = 0.3
    momentum: float = 0.9
    estimator: str = "mean_passing"
    temperature: float | None = None
    through: bool = False

    def __post_init__(self) -> None:
        if self.of not in ("factorised", "autoregressive"):
            raise UserError(f"of: found {self.of!r}, expected 'factorised' or 'autoregressive'")
        if self.estimator not in ESTIMATORS:
            hint = suggest(self.estimator, ESTIMATORS)
            raise UserError(
                f"estimator: found {self.estimator!r}{hint}, expected one of {', '.join(ESTIMATORS)}"
            )
        if self.temperature is not None and not self.temperature > 0:
            raise UserError(f"temperature: found {self.temperature}, expected a number above 0")
        Ascent(self.steps, self.rate, self.momentum)


class Refined(Posterior):
    """A base family whose drive is refined, for each trace, by n gradient steps on the ELBO.

    ``ζ₀ = g(x)``; n times ``v ← m v + ∇_ζ ELBO(ζ)``, ``ζ ← ζ + γ v``; q is the base family with its drive
    replaced by ζ_n.

    For an autoregressive base the causal terms stay as they are and only the drive is refined.

    Source: Hjelm et al. 2015, eqs. 3–5 (steps), 7 (KL), 8 (mean-passing), 9 (straight-through). There the
    prior is factorial and its expectation exact; with a dynamical prior, mean-passing puts the means into log
    p(z) too, a first-order approximation.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> config = dfp.RefinedConfig(steps=3)
        >>> posterior = dfp.Refined(config, dfp.TraceSummary.of(x), dfp.generator(0))
        >>> def bound(q, relaxation):
        ...     z = q.draw(q.noise(1, dfp.generator(0)), dfp.Auto(), relaxation).z
        ...     return (model.log_joint(x, z) - q.log_prob(z)).sum()
        >>> found = posterior.condition(x, bound)
        >>> bool((found.q.drive != found.amortised.drive).any())
        True
    """

    name: ClassVar[str] = "refined"
    Config: ClassVar[type] = RefinedConfig

    def __init__(self, config: RefinedConfig, summary: TraceSummary, rng: torch.Generator) -> None:
        super().__init__()
        self.config = config
        base = Factorised(config.factorised, summary, rng) if config.of == "factorised" else None
        self.base: Posterior = base or Autoregressive(config.autoregressive, summary, rng)
        self.per_cell = self.base.per_cell
        #: steps made now: the configured number, unless a training phase asks for another
        self.steps = config.steps
        #: temperature of the concrete estimator now: the configured one, unless it follows the training's
        self.temperature = 0.5 if config.temperature is None else config.temperature

    @property
    def relaxation(self) -> Relaxation:
        """How the refinement's gradient passes through the spikes."""
        match self.config.estimator:
            case "mean_passing":
                return MeanField()
            case "straight_through":
                return StraightThrough("literal")
            case "straight_through_sigma":
                return StraightThrough("sigma")
            case _:
                return Concrete(self.temperature)

    def causal_parameters(self) -> tuple[nn.Parameter, ...] | None:
        return self.base.causal_parameters()

    @property
    def unrefined(self) -> Posterior:
        return self.base

    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        amortised = self.base.condition(x, prior=prior).pmf
        if self.steps == 0:
            return Conditioned(amortised)
        if bound is None:
            raise UserError("refined posterior: found no bound to refine on, expected one built from a model")
        through = self.config.through and torch.is_grad_enabled()
        ascent = Ascent(self.steps, self.config.rate, self.config.momentum)
        zeta = ascent.climb(
            lambda drive: bound(amortised.with_drive(drive), self.relaxation), amortised.drive, through
        )
        refined = amortised.with_drive(zeta)
        return Conditioned(refined, amortised, distil=not through)
