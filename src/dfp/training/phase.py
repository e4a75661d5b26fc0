"""One stretch of training with one objective."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dfp.core.errors import UserError, suggest
from dfp.objectives.base import Objective
from dfp.objectives.disarm import DisArm
from dfp.objectives.score_function import ScoreFunction
from dfp.objectives.wake_sleep import WakeSleep
from dfp.posteriors.autoregressive import Autoregressive
from dfp.posteriors.base import Posterior
from dfp.posteriors.refined import Refined
from dfp.posteriors.twisted import Twisted
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Concrete, Hard, MeanField, Relaxation, StraightThrough
from dfp.training.guard import Guard
from dfp.training.schedules import Schedule

RELAXATIONS = ("concrete", "hard", "mean_field", "straight_through", "straight_through_sigma")


@dataclass(frozen=True)
class Phase:
    """Steps of Adam on one objective. A run is a list of phases; each starts with a fresh optimiser.

    Attributes:
        objective, sampler: what is minimised, and how q is sampled.
        relaxation: ``concrete``, ``hard``, ``mean_field``, ``straight_through`` or
            ``straight_through_sigma``.
        temperature: of the concrete relaxation, by step.
        steps: Adam steps.
        learning_rate: of the posterior, by step.
        model_learning_rate: of the model's learned parameters, relative to the posterior's.
        constants_learning_rate: of the calcium constants among them, relative to the posterior's; None: as
            the other parameters. They enter the likelihood of every frame, most of them as logarithms, and
            want a lower rate than the weights.
        batch, window, burn_in: see ``Windows``.
        clip: largest gradient norm (of each cell's own parameters in a panel); 0 for none.
        learn_model: learn the model's parameters in this phase.
        average: share of the phase's last steps over which the model's parameters are averaged at its end; 0
            for the last step's own.
        refinement_steps: for refined posteriors, refinement steps in this phase; None as configured.
        guard: keeps causal weights subcritical, see ``Guard``; None for none.

    Example:
        >>> phase = dfp.Phase(dfp.ScoreFunction(samples=4), dfp.Auto(), relaxation="hard", steps=100)
        >>> phase.relaxation_at(0)
        Hard()
    """

    objective: Objective
    sampler: Sampler
    relaxation: str = "concrete"
    temperature: Schedule = field(default_factory=lambda: Schedule(0.5))
    steps: int = 1000
    learning_rate: Schedule = field(default_factory=lambda: Schedule(3e-3, 3e-4, "cosine"))
    model_learning_rate: float = 1.0
    constants_learning_rate: float | None = None
    batch: int = 16
    window: int = 0
    burn_in: int = 0
    clip: float = 1.0
    learn_model: bool = True
    average: float = 0.0
    refinement_steps: int | None = None
    guard: Guard | None = None

    def __post_init__(self) -> None:
        if self.relaxation not in RELAXATIONS:
            hint = suggest(self.relaxation, RELAXATIONS)
            raise UserError(f"relaxation: unknown {self.relaxation!r}{hint}; known: {', '.join(RELAXATIONS)}")
        if self.steps < 1:
            raise UserError(f"steps: found {self.steps}, expected at least 1")
        if self.batch < 1:
            raise UserError(f"batch: found {self.batch}, expected at least 1")
        if self.window < 0 or self.burn_in < 0 or 0 < self.window <= self.burn_in:
            raise UserError(
                f"window, burn_in: found {self.window}, {self.burn_in}, "
                "expected bins of at least 0 and a burn-in shorter than its window"
            )
        if not (self.learning_rate.start > 0 and self.learning_rate.smallest >= 0):
            raise UserError(f"learning_rate: found {self.learning_rate.smallest:g}, expected numbers above 0")
        if self.clip < 0 or self.model_learning_rate <= 0:
            raise UserError(
                f"clip, model_learning_rate: found {self.clip}, {self.model_learning_rate}, "
                "expected a clip of at least 0 and a relative rate above 0"
            )
        if self.constants_learning_rate is not None and self.constants_learning_rate <= 0:
            raise UserError(
                f"constants_learning_rate: found {self.constants_learning_rate:g}, expected a relative rate "
                "above 0"
            )
        if not 0 <= self.average <= 1:
            raise UserError(f"average: found {self.average:g}, expected a share of the steps, from 0 to 1")
        if self.relaxation == "concrete" and not self.temperature.smallest > 0:
            raise UserError(f"temperature: found {self.temperature.smallest:g}, expected numbers above 0")
        if self.refinement_steps is not None and self.refinement_steps < 0:
            raise UserError(f"refinement_steps: found {self.refinement_steps}, expected at least 0")
        self.objective.check(self.relaxation_at(0))

    @property
    def averaged_from(self) -> int:
        """First step of the phase, counted from 0, whose model parameters enter the average."""
        return self.steps - math.ceil(self.average * self.steps)

    def relaxation_at(self, step: int) -> Relaxation:
        """The relaxation at ``step`` of this phase."""
        match self.relaxation:
            case "concrete":
                return Concrete(self.temperature.at(step, self.steps))
            case "hard":
                return Hard()
            case "mean_field":
                return MeanField()
            case "straight_through":
                return StraightThrough("literal")
            case _:
                return StraightThrough("sigma")

    def prepare(self, posterior: Posterior, step: int) -> None:
        """Give a refined posterior the settings of its refinement at ``step``.

        These are the number of steps, and the temperature where it follows the training's.
        """
        if not isinstance(posterior, Refined):
            return
        config = posterior.config
        posterior.steps = config.steps if self.refinement_steps is None else self.refinement_steps
        if config.temperature is None:
            posterior.temperature = self.temperature.at(step, self.steps)

    def check(self, posterior: Posterior) -> None:
        """Raise ``UserError`` for a combination of posterior, objective and sampler that has no meaning."""
        if posterior.continuous and not self.objective.continuous:
            raise UserError(
                f"objective {self.objective.name}: found the posterior {posterior.name}, whose latents are "
                "logistic variables; "
                "expected logistic_density (for spikes as latents use the autoregressive posterior)"
            )
        if isinstance(self.objective, DisArm) and _has_terms(posterior):
            raise UserError(
                f"objective disarm: found the posterior {posterior.name}, whose logits depend on sampled "
                "spikes; expected the factorised posterior (for others use score_function)"
            )
        if self.guard is not None:
            self._check_guard(posterior)
        if isinstance(posterior, Refined):
            self._check_refined(posterior)
        elif self.refinement_steps is not None:
            raise UserError(
                f"refinement_steps: found {self.refinement_steps} with posterior {posterior.name}, expected "
                "a refined posterior"
            )

    def _check_guard(self, posterior: Posterior) -> None:
        if posterior.causal_parameters() is None:
            raise UserError(
                f"guard: found the posterior {posterior.name}, whose causal weights no parameter "
                "multiplies; expected a posterior with history or coupling of its own (or no guard)"
            )

    def _check_refined(self, posterior: Refined) -> None:
        if isinstance(self.objective, WakeSleep):
            raise UserError(
                "objective wake_sleep: found a refined posterior, whose steps need a bound; expected "
                "relaxed_pmf or multi_sample"
            )
        steps = posterior.config.steps if self.refinement_steps is None else self.refinement_steps
        if steps and (self.objective.continuous or isinstance(self.objective, ScoreFunction | DisArm)):
            raise UserError(
                f"objective {self.objective.name}: found a refined posterior, whose steps need a bound "
                "with a gradient "
                "in its own relaxation; expected relaxed_pmf or multi_sample"
            )
        second_order = posterior.config.through and posterior.config.of == "autoregressive"
        if steps and second_order and not self.sampler.twice_differentiable:
            raise UserError(
                f"sampler: found {self.sampler} with a refinement of an autoregressive posterior that is "
                "differentiated through, expected fixed_point with gradient 'unrolled' (others cannot be "
                "differentiated again)"
            )


def _has_terms(posterior: Posterior) -> bool:
    """Whether a posterior is known to have causal terms; for others DisARM's loss finds out."""
    base = posterior.unrefined
    if isinstance(base, Autoregressive):
        config = base.config
        terms = (config.history, config.coupling_lags, config.tied_coupling, config.nonlinear_hidden)
        return any(terms)
    return isinstance(base, Twisted)
