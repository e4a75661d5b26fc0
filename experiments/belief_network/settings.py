"""Settings of the study of belief networks: its variants, what is trained late, the search for rates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dfp.belief.latents import make_latents
from dfp.belief.refinement import Refinement


@dataclass(frozen=True)
class Variant:
    """A kind of units and a way of refining them; see ``Refinement``.

    Attributes:
        latents: ``gaussian`` or ``bernoulli``.
        estimator, rate, momentum, decay, samples, through: of the refinement.
    """

    latents: str
    estimator: str
    rate: float
    momentum: float = 0.9
    decay: float = 1.0
    samples: int = 8
    through: bool = False

    def __post_init__(self) -> None:
        self.refinement(1).check(make_latents(self.latents, 1))

    def refinement(self, steps: int) -> Refinement:
        """The refinement with n = ``steps``."""
        own = {key: value for key, value in vars(self).items() if key != "latents"}
        return Refinement(steps=steps, **own)

    def in_test(self, steps: int) -> Refinement:
        """The same steps, without a graph through them."""
        return replace(self.refinement(steps), through=False)


@dataclass(frozen=True)
class Tuning:
    """The search for the rates of the refinement, all variants alike.

    Attributes:
        rates: that are tried; none: no search. A variant's estimator may refuse some.
        seed: of the search's trainings.
        images: of the training set that are kept from these trainings, and score them.
    """

    rates: list[float] = field(default_factory=list)
    seed: int = 100
    images: int = 200


@dataclass(frozen=True)
class Late:
    """Trainings that are taken up again, to see what is left of a head start.

    Attributes:
        variants: by name.
        train_steps: numbers n of steps in training.
        iterations: of EM, in all.
    """

    variants: list[str] = field(default_factory=list)
    train_steps: list[int] = field(default_factory=lambda: [0, 20])
    iterations: int = 1500
