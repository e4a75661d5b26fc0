"""Bias, spread and cost of every gradient estimator against exact gradients of small problems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dfp.config.build import make_phase
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.distributions.enumeration import LARGEST
from dfp.objectives.disarm import DisArm
from dfp.objectives.multi_sample import MultiSample
from dfp.objectives.score_function import ScoreFunction
from dfp.objectives.wake_sleep import WakeSleep
from dfp.results.intervals import z_threshold
from dfp.results.study import Study
from dfp.results.tables import Row
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.sequential import Sequential
from dfp.training.phase import Phase
from dfp.training.schedules import Schedule

from .gradients import Estimate
from .panels import LAGS, Copies, Panel, Ranges, make_panel

PARTS = ("phi", "theta")
POSTERIORS = ("autoregressive", "factorised")
POINTS = ("near", "prior")


@dataclass(frozen=True)
class Job:
    """An estimator at one setting, for all instances and noise levels.

    Attributes:
        estimator: its name.
        phase: objective, relaxation and sampler.
        temperature: of a concrete relaxation; None for others.
        bins, factorised, point: which panel.
        sweeps: exactly so many, or 0 for exact samples.
        unbiased: parts of the gradient that theory says are unbiased here.
    """

    estimator: str
    phase: Phase
    temperature: float | None
    bins: int
    factorised: bool
    point: str
    sweeps: int
    unbiased: tuple[str, ...]

    def vanishes(self, part: str) -> bool:
        """Whether the exact gradient is zero: of the model where q is its prior, the mean of a score."""
        return part == "theta" and self.point == "prior" and not self.factorised

    def __str__(self) -> str:
        parts = [f"T = {self.bins}", POSTERIORS[self.factorised], f"point {self.point}"]
        parts += [f"{self.sweeps} sweeps"] if self.sweeps else []
        parts += [f"temperature {self.temperature:g}"] if self.temperature else []
        return f"{self.estimator} ({', '.join(parts)})"


def unbiased_parts(phase: Phase, factorised: bool, bins: int, reach: int, sweeps: int) -> tuple[str, ...]:
    """Parts of ∇ELBO (``phi`` of q, ``theta`` of the model) that the estimator has no bias in.

    With exact hard samples ∇_θ is a plain mean of ∇_θ log p(x, z). ∇_φ is unbiased for DisARM and for the
    score function whose reward-to-go holds all that a spike can influence: everything to come under an
    autoregressive q; under a factorised one the ``reach`` bins, from its own on, that the calcium kernel and
    the model's history look back.
    """
    if not phase.relaxation_at(0).discrete or (sweeps and sweeps < bins and not factorised):
        return ()
    if isinstance(phase.objective, DisArm):
        return PARTS
    if isinstance(phase.objective, ScoreFunction):
        window = phase.objective.reward_window
        whole = not window or window >= bins or (factorised and window >= reach)
        return PARTS if whole else ("theta",)
    return ("theta",)


@dataclass(frozen=True)
class Estimators(Study):
    """Gradients of the single-sample ELBO of one cell, held against the exact gradient.

    Of each estimator many independent draws are made; the exact gradient is by enumeration of all 2^T paths.

    Attributes:
        estimators: by name, ``objective`` and ``relaxation`` as in a training phase.
        bins: lengths T.
        noise: standard deviations of the measurement noise, in amplitudes of one spike.
        temperatures: of every estimator with the concrete relaxation.
        posteriors: ``autoregressive`` (own history of two lags), ``factorised``.
        sweeps: numbers of fixed-point sweeps, unrolled, measured beside exact samples at ``middle`` bins
            under the autoregressive posterior, at ``sweep_temperature``.
        middle: T at which sweeps and points are varied.
        points: where gradients are taken (see ``make_panel``); all but the first at ``middle`` bins and under
            the autoregressive posterior only.
        perturbation: standard deviation of the point ``near``, logits.
        ranges: of the random instances.
        seeds: of the instances.
        kernel_bins: cut of the calcium response.
        draws: at least so many of estimators without bias, each coordinate of which is z-tested.
        draws_biased: at least so many of the others.
        copies: draws that are made at once for each cell.
        alarm: probability that any z-test of the whole study fails by chance.

    Raises:
        NumericalError: by ``rows``, when an estimator that should have no bias fails its z-test.
    """

    estimators: dict[str, dict[str, Any]]
    bins: list[int]
    noise: list[float]
    temperatures: list[float]
    posteriors: list[str] = field(default_factory=lambda: list(POSTERIORS))
    sweeps: list[int] = field(default_factory=list)
    sweep_temperature: float = 0.25
    middle: int = 8
    points: list[str] = field(default_factory=lambda: ["near"])
    perturbation: float = 0.5
    ranges: Ranges = field(default_factory=Ranges)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    kernel_bins: int = 5
    draws: int = 100_000
    draws_biased: int = 10_000
    copies: int = 200
    alarm: float = 1e-3

    def __post_init__(self) -> None:
        if not self.estimators:
            raise UserError("estimators: found none, expected at least one with its objective")
        for key in ("bins", "noise", "temperatures", "posteriors", "points", "seeds"):
            found = getattr(self, key)
            if not found or len(set(found)) != len(found):
                raise UserError(f"{key}: found {found}, expected a list of different values, at least one")
        for key, known in (("posteriors", POSTERIORS), ("points", POINTS)):
            for value in getattr(self, key):
                if value not in known:
                    raise UserError(f"{key}: found {value!r}, expected {' or '.join(known)}")
        if min(self.bins) < 2 or max(self.bins) > LARGEST:
            raise UserError(f"bins: found {self.bins}, expected numbers from 2 to {LARGEST} (2^T paths)")
        if self.middle not in self.bins:
            raise UserError(f"middle: found {self.middle}, expected one of the bins {self.bins}")
        if self.sweeps and self.sweep_temperature not in self.temperatures:
            raise UserError(
                f"sweep_temperature: found {self.sweep_temperature:g}, expected one of the temperatures "
                f"{self.temperatures}"
            )
        for key in ("noise", "temperatures"):
            if min(getattr(self, key)) <= 0:
                raise UserError(f"{key}: found {min(getattr(self, key)):g}, expected numbers above 0")
        if self.sweeps and (min(self.sweeps) < 1 or len(set(self.sweeps)) != len(self.sweeps)):
            raise UserError(f"sweeps: found {self.sweeps}, expected different numbers of at least 1")
        for key, lowest in (("draws", 2), ("draws_biased", 2), ("copies", 2), ("kernel_bins", 1)):
            if getattr(self, key) < lowest:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least {lowest}")
        if self.perturbation < 0 or not 0 < self.alarm < 1:
            raise UserError(
                f"perturbation, alarm: found {self.perturbation:g}, {self.alarm:g}, expected at least 0 and "
                "a probability between 0 and 1"
            )
        for key, limits in vars(self.ranges).items():
            if len(limits) != 2 or limits[0] > limits[1]:
                raise UserError(f"ranges.{key}: found {list(limits)}, expected a low and a high number")
        for key in ("spike_probability", "decay"):
            limits = getattr(self.ranges, key)
            if not 0 < limits[0] <= limits[1] < 1:
                raise UserError(f"ranges.{key}: found {list(limits)}, expected numbers between 0 and 1")
        for name in self.estimators:
            self._phase(name, None, Sequential())

    @property
    def reach(self) -> int:
        """Bins, from its own on, that a spike influences in the model."""
        return max(self.kernel_bins, LAGS + 1)

    def _phase(self, name: str, temperature: float | None, sampler: Sampler) -> Phase:
        raw = self.estimators[name]
        for key in raw:
            if key not in ("objective", "relaxation"):
                raise UserError(
                    f"estimators.{name}: found the key {key!r}, expected objective and relaxation only"
                )
        phase = make_phase(raw, f"estimators.{name}")
        if isinstance(phase.objective, MultiSample | WakeSleep):
            raise UserError(
                f"estimators.{name}: found {phase.objective.name}, expected an objective whose gradient "
                "is meant to be that of the single-sample ELBO"
            )
        schedule = phase.temperature if temperature is None else Schedule(temperature)
        return replace(phase, temperature=schedule, sampler=sampler)

    def jobs(self) -> list[Job]:
        """All that is measured: exact samples at every length, then fixed numbers of sweeps."""
        found: list[Job] = []
        for posterior in self.posteriors:
            factorised = posterior == "factorised"
            for bins in self.bins:
                varied = bins == self.middle and not factorised
                for point in self.points if varied else self.points[:1]:
                    found += self._at(bins, factorised, point, 0)
        if "autoregressive" in self.posteriors:
            for sweeps in self.sweeps:
                found += self._at(self.middle, False, self.points[0], sweeps)
        return found

    def _at(self, bins: int, factorised: bool, point: str, sweeps: int) -> Iterator[Job]:
        sampler = FixedPoint(sweeps=sweeps) if sweeps else Sequential()
        for name in self.estimators:
            plain = self._phase(name, None, sampler)
            if isinstance(plain.objective, DisArm) and not factorised:
                continue
            own: list[float | None] = [None]
            if plain.relaxation == "concrete":
                own = [self.sweep_temperature] if sweeps else [*self.temperatures]
            for temperature in own:
                phase = self._phase(name, temperature, sampler)
                unbiased = unbiased_parts(phase, factorised, bins, self.reach, sweeps)
                yield Job(name, phase, temperature, bins, factorised, point, sweeps, unbiased)

    def panel(self, job: Job, device: torch.device) -> Panel:
        """The instances of a job."""
        return make_panel(
            self.seeds,
            self.noise,
            job.bins,
            max(self.bins),
            self.kernel_bins,
            self.ranges,
            job.point,
            self.perturbation,
            job.factorised,
            device,
        )

    def threshold(self, jobs: list[Job]) -> float:
        """|z| above which an estimator that should have no bias is said to have one.

        It holds for all coordinates of all jobs together.
        """
        tests = 0
        for job in jobs:
            sizes = {"phi": job.bins + (0 if job.factorised else LAGS), "theta": 1 + LAGS}
            tests += len(self.seeds) * len(self.noise) * sum(sizes[part] for part in job.unbiased)
        return z_threshold(max(tests, 1), self.alarm)

    def rows(self, device: torch.device) -> Iterator[Row]:
        jobs = self.jobs()
        threshold = self.threshold(jobs)
        made: tuple[int, bool, str] | None = None
        for number, job in enumerate(jobs):
            if made != (job.bins, job.factorised, job.point):
                made = (job.bins, job.factorised, job.point)
                side = Copies(self.panel(job, device), self.copies)
            draws = self.draws if job.unbiased == PARTS else self.draws_biased
            rng = generator(1_000 + number, device)
            estimate, seconds = side.estimate(job.phase, draws, rng)
            yield from self._rows(job, estimate, seconds, side.panel.sizes, threshold)

    def _rows(
        self, job: Job, estimate: Estimate, seconds: float, sizes: dict[str, int], threshold: float
    ) -> Iterator[Row]:
        ends = {"phi": slice(0, sizes["phi"]), "theta": slice(sizes["phi"], None)}
        for part, where in ends.items():
            found = estimate.of(where)
            metrics = {} if job.vanishes(part) else {
                "squared_bias": found.squared_bias,
                "relative_bias": found.relative_bias,
                "resolution": found.resolution,
                "relative_sd": found.relative_sd,
                "cosine": found.cosine,
            }  # fmt: skip
            metrics["largest_z_ratio"] = found.z.abs().amax(-1) / threshold
            if part in job.unbiased:
                self._check(job, part, found, threshold)
            for metric, values in metrics.items():
                for cell, value in enumerate(values.tolist()):
                    yield self._row(job, part, cell, metric, value)
        for cell in range(len(self.noise) * len(self.seeds)):
            yield self._row(job, "both", cell, "seconds_per_draw", seconds)

    def _check(self, job: Job, part: str, found: Estimate, threshold: float) -> None:
        largest = found.z.abs().amax(-1)
        worst = int(largest.argmax())
        if not float(largest[worst]) <= threshold:
            raise NumericalError(
                f"{job}: ∇_{part} should have no bias, but |z| = {float(largest[worst]):.1f} after "
                f"{found.draws} draws (threshold {threshold:.1f}) for seed "
                f"{self.seeds[worst % len(self.seeds)]}, noise {self.noise[worst // len(self.seeds)]:g}"
            )

    def _row(self, job: Job, part: str, cell: int, metric: str, value: float) -> dict[str, Any]:
        return {
            "run": job.estimator,
            "dataset": f"T{job.bins}",
            "seed": self.seeds[cell % len(self.seeds)],
            "posterior": POSTERIORS[job.factorised],
            "objective": job.phase.objective.name,
            "sampler": job.phase.sampler.name,
            "family": POSTERIORS[job.factorised],  # labels keep rows apart, and `posterior` is none
            "bins": job.bins,
            "noise": self.noise[cell // len(self.seeds)],
            "temperature": job.temperature,
            "sweeps": job.sweeps,
            "point": job.point,
            "part": part,
            "unbiased": part in job.unbiased,
            "metric": metric,
            "value": value,
        }
