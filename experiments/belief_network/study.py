"""Gradient-refined inference in belief networks on binary images: bounds and gaps against steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dfp.belief.enumerated import LARGEST, Enumerated
from dfp.belief.latents import make_latents
from dfp.belief.learning import Learning
from dfp.belief.refinement import IMPORTANCE
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.results.study import Study
from dfp.results.tables import Row

from .digits import ImageSource
from .gaps import Effort, gaps
from .scores import score
from .settings import Late, Tuning, Variant
from .trainings import Pair, Training

#: what training was stopped by: equal iterations, equal seconds, or equal iterations much later
ITERATIONS, SECONDS, LATE = "iterations", "seconds", "late"


@dataclass(frozen=True)
class BeliefNetworkStudy(Study):
    """Directed belief networks trained by EM with refinement (Hjelm et al. 2015, section 4).

    Each is trained with every number of refinement steps, and refined with every number in test.

    Attributes:
        variants: by name.
        train_steps: numbers n of steps in training; 0 is ordinary amortised training.
        test_steps: numbers of steps in test.
        seeds: of initial weights, batches and samples.
        images: what is learned.
        units: D of the stochastic layer. Bernoulli units up to 12 are enumerated besides.
        hidden, recognition: sizes of deterministic layers, of the network and of q_φ.
        learning: of the M-step.
        iterations: of EM, equal for all.
        equal_time: numbers n that are then trained on, to the CPU seconds that the largest n took.
        late: what is trained on much longer.
        test_images: that are scored, the first of the test set.
        score_samples: K of every score.
        gap_steps: numbers n of the trainings whose gap is split; each is one of ``train_steps``.
        gap_images: the first of the test set, whose gap is split.
        effort: of the search for each image's best q.
        tuning: a search for rates; with one nothing else is done.

    Raises:
        UserError: for a setting without meaning, naming it.
    """

    variants: dict[str, Variant]
    train_steps: list[int] = field(default_factory=lambda: [0, 1, 5, 20])
    test_steps: list[int] = field(default_factory=lambda: [0, 1, 5, 10, 20, 50])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    images: ImageSource = field(default_factory=ImageSource)
    units: int = 10
    hidden: list[int] = field(default_factory=lambda: [48])
    recognition: list[int] = field(default_factory=lambda: [48])
    learning: Learning = field(default_factory=Learning)
    iterations: int = 300
    equal_time: list[int] = field(default_factory=lambda: [0])
    late: Late = field(default_factory=Late)
    test_images: int = 200
    score_samples: int = 200
    gap_steps: list[int] = field(default_factory=lambda: [0, 20])
    gap_images: int = 40
    effort: Effort = field(default_factory=Effort)
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        if not self.variants:
            raise UserError("variants: found none, expected at least one")
        for key in ("train_steps", "test_steps", "seeds"):
            found = getattr(self, key)
            if not found or sorted(set(found)) != found or found[0] < 0:
                raise UserError(f"{key}: found {found}, expected rising numbers of at least 0, one or more")
        for key in ("equal_time", "gap_steps"):
            if not set(getattr(self, key)) <= set(self.train_steps):
                raise UserError(
                    f"{key}: found {getattr(self, key)}, expected numbers of train_steps {self.train_steps}"
                )
        if self.late.variants:
            self._check_late()
        if not set(self.train_steps) <= {0, *self.test_steps}:
            raise UserError(
                f"test_steps: found {self.test_steps}, expected all of train_steps {self.train_steps} in it"
            )
        for key, lowest in (
            ("units", 1), ("iterations", 1), ("test_images", 1), ("gap_images", 1), ("score_samples", 2)
        ):  # fmt: skip
            if getattr(self, key) < lowest:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least {lowest}")

    def _check_late(self) -> None:
        late = self.late
        if not {*late.variants} <= {*self.variants} or not {*late.train_steps} <= {*self.train_steps}:
            raise UserError(
                f"late: found {late.variants} with {late.train_steps} steps, expected variants and "
                f"train_steps {self.train_steps} of this study"
            )
        if late.iterations < self.iterations:
            raise UserError(
                f"late.iterations: found {late.iterations}, expected at least {self.iterations} iterations"
            )

    @property
    def longest(self) -> int:
        """The largest number of steps in training."""
        return self.train_steps[-1]

    def enumerable(self, variant: Variant) -> bool:
        """Whether all states of the units can be visited."""
        return variant.latents == "bernoulli" and self.units <= LARGEST

    def rows(self, device: torch.device) -> Iterator[Row]:
        """Every variant, seed and number of steps in training; or the search for rates."""
        images = self.images.load()
        train = torch.as_tensor(images.train, device=device)
        test = torch.as_tensor(images.test, device=device)[: self.test_images].double()
        for name, variant in self.variants.items():
            if self.tuning.rates:
                yield from self._tuned(name, variant, train)
                continue
            for seed in self.seeds:
                yield from self._trained(name, variant, seed, train, test)

    def _training(self, variant: Variant, steps: int, seed: int, train: Tensor) -> Training:
        latents = make_latents(variant.latents, self.units)
        sizes = (tuple(self.hidden), tuple(self.recognition))
        return Training(latents, sizes, variant.refinement(steps), self.learning, train, seed)

    def _trained(self, name: str, variant: Variant, seed: int, train: Tensor, test: Tensor) -> Iterator[Row]:
        """One variant and seed: every number of steps, the longest first, whose time is then the others'."""
        budget = 0.0
        for steps in reversed(self.train_steps):
            training = self._training(variant, steps, seed, train)
            training.run(iterations=self.iterations)
            budget = budget or training.seconds
            labels = {"run": name, "seed": seed, "train_steps": steps}
            first = labels | {"budget": ITERATIONS}
            scored = list(self._scored(variant, training.pair, test, first))
            yield from scored
            yield self._row(first, "milliseconds_per_iteration", 1000 * training.seconds / training.done)
            if steps in self.gap_steps:
                yield from self._split(variant, training.pair, test, first)
            if steps == self.longest:  # it has had its time
                yield from (row | {"budget": SECONDS} for row in [*scored, *self._spent(training, labels)])
            yield from self._further(variant, training, test, labels, budget)

    def _further(
        self, variant: Variant, training: Training, test: Tensor, labels: dict[str, Any], seconds: float
    ) -> Iterator[Row]:
        """The same training, taken on further.

        It goes on to the seconds of the longest refinement and to the late iterations, in the order in which
        it gets there.
        """
        most = {SECONDS: math.inf, LATE: math.inf}
        if labels["train_steps"] in self.equal_time and labels["train_steps"] != self.longest:
            most[SECONDS] = seconds
        if labels["run"] in self.late.variants and labels["train_steps"] in self.late.train_steps:
            most[LATE] = self.late.iterations
        while math.isfinite(min(most.values())):
            training.run(iterations=most[LATE], seconds=most[SECONDS])
            for kind, reached in ((SECONDS, training.seconds), (LATE, training.done)):
                if reached >= most[kind]:
                    most[kind] = math.inf
                    own = labels | {"budget": kind}
                    yield from self._scored(variant, training.pair, test, own)
                    yield from self._spent(training, own)

    def _spent(self, training: Training, labels: dict[str, Any]) -> Iterator[Row]:
        """What the training has had so far."""
        yield self._row(labels, "iterations", training.done)
        yield self._row(labels, "training_seconds", training.seconds)

    def _split(self, variant: Variant, pair: Pair, test: Tensor, labels: dict[str, Any]) -> Iterator[Row]:
        """The gap in its parts."""
        refinement = variant.in_test(max(1, self.longest))
        found = gaps(pair, refinement, self.effort, test[: self.gap_images], labels["seed"])
        for metric, value in found.items():
            yield self._row(labels, metric, value)

    def _scored(self, variant: Variant, pair: Pair, test: Tensor, labels: dict[str, Any]) -> Iterator[Row]:
        """Scores after every number of steps in test, along one path of refinement."""
        rng = generator(10_000 + labels["seed"], test.device)
        start = pair.recognition(test).detach()
        path = [start, *variant.in_test(self.test_steps[-1]).path(pair.network, test, start, rng)]
        exact = Enumerated(pair.network, test) if self.enumerable(variant) else None
        for steps in self.test_steps:
            zeta = path[steps].detach()
            found = score(pair.network, test, zeta, self.score_samples, rng)
            metrics = {
                "bound": found.bound,
                "log_likelihood": found.log_likelihood,
                "effective": found.effective,
            }
            if exact is not None:
                metrics |= {"exact_bound": exact.bound(zeta), "exact_log_likelihood": exact.log_evidence}
            for metric, values in metrics.items():
                yield self._row(labels | {"test_steps": steps}, metric, float(values.mean()))

    def _row(self, labels: dict[str, Any], metric: str, value: float) -> dict[str, Any]:
        variant = self.variants[labels["run"]]
        return {
            "dataset": self.images.kind,
            "posterior": variant.latents,
            "objective": variant.estimator,
            **labels,
            "metric": metric,
            "value": value,
        }

    def _tuned(self, name: str, variant: Variant, train: Tensor) -> Iterator[Row]:
        """Bound of images kept from training, after the longest refinement and trained with it, by rate.

        NaN where the training diverges. A share has no rate above 1.
        """
        own, kept = train[: -self.tuning.images], train[-self.tuning.images :].double()
        most = 1.0 if variant.estimator == IMPORTANCE else math.inf
        for rate in (rate for rate in self.tuning.rates if rate <= most):
            tried = replace(variant, rate=rate)
            training = self._training(tried, self.longest, self.tuning.seed, own)
            try:
                training.run(iterations=self.iterations)
                value = self._refined_bound(tried, training.pair, kept)
            except NumericalError:
                value = math.nan
            labels = {"run": name, "seed": self.tuning.seed, "train_steps": self.longest, "rate": rate}
            yield self._row(labels, "tuning_bound", value)

    def _refined_bound(self, variant: Variant, pair: Pair, x: Tensor) -> float:
        rng = generator(10_000 + self.tuning.seed, x.device)
        refinement = variant.in_test(self.longest)
        zeta = refinement.refine(pair.network, x, pair.recognition(x), rng)
        return float(score(pair.network, x, zeta, self.score_samples, rng).bound.mean())
