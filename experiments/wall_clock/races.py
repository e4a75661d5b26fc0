"""Runs trained side by side against the clock: how long until they are as good as one another?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfp.config.experiment import Experiment
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.fitting.fitted import Fitted
from dfp.fitting.sampling import draw_samples
from dfp.metrics.connectivity import weight_metrics
from dfp.references.exact.one_cell import ExactPosterior, cell_parameters
from dfp.results.tables import Row
from dfp.training.loop import Trainer

from .gibbs import GibbsRacer
from .settings import RaceSpec
from .steps import run_labels, trainer_of

#: an extrapolated run is timed for one step at each of so many checkpoints of the others
TIMED_STEPS = 8


@dataclass
class Racer:
    """One run in a race, and its curve so far: step, seconds on the clock, value of each seed."""

    run: str
    labels: Row
    fitted: Fitted
    trainer: Trainer
    extrapolated: bool = False
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    found: list[np.ndarray] = field(default_factory=list)

    def advance(self, step: int) -> None:
        """Train up to ``step``; evaluation is off the clock."""
        trained = self.trainer.run()
        while self.trainer.step < step:
            next(trained)
        self.steps.append(step)
        self.seconds.append(self.trainer.seconds)


def races(
    specs: Mapping[str, RaceSpec], exp: Experiment, data: dict[str, Dataset], device: torch.device
) -> tuple[list[Row], list[pd.DataFrame]]:
    """Rows of all races, and their curves.

    Columns of a curve are ``race, metric, run, family, dataset, seed, step, seconds, value, reference,
    extrapolated``.
    """
    rows: list[Row] = []
    curves: list[pd.DataFrame] = []
    for name, spec in specs.items():
        for dataset in _datasets(exp, spec):
            racers = _race(exp, spec, dataset, data[dataset], device)
            reference = _reference(spec, data[dataset], racers[0], device)
            for racer in racers:
                labels = {
                    **racer.labels,
                    "measured": "race",
                    "race": name,
                    "extrapolated": racer.extrapolated,
                }
                rows += _rows(racer, racers, spec, labels, data[dataset])
                curves.append(_curve(racer, spec, labels, data[dataset], reference))
    return rows, curves


def _datasets(exp: Experiment, spec: RaceSpec) -> list[str]:
    return [name for name, entry in exp.entries.items() if {name, entry.setting} & set(spec.datasets)]


def _race(
    exp: Experiment, spec: RaceSpec, dataset: str, data: Dataset, device: torch.device
) -> list[Racer | GibbsRacer]:
    """All runs of a race on one data set, a stretch of each in turn."""
    racers: list[Racer] = []
    for run in spec.runs:
        if exp.runs[run].warm_start:
            raise UserError(
                f"{exp.path}: runs.{run}.warm_start: found {exp.runs[run].warm_start!r}, expected none in a "
                "race, whose clock starts with the training"
            )
        labels = run_labels(exp, run, dataset, data)
        fitted, trainer = trainer_of(exp, run, dataset, data, device)
        racers.append(Racer(run, labels, fitted, trainer, run in spec.extrapolated))
    sampled = [GibbsRacer.of(spec, dataset, data)] if spec.gibbs else []
    x = torch.as_tensor(data.evaluation[0], device=device)
    for number in range(spec.checkpoints):
        for racer in racers:
            if racer.extrapolated:
                if number < TIMED_STEPS:
                    racer.advance(racer.trainer.step + 1)
                continue
            step = _checkpoints(racer.trainer.steps, spec.checkpoints)[number]
            racer.advance(step)
            racer.found.append(_value(racer.fitted, x, data, spec))
        for other in sampled:
            other.advance(int(_checkpoints(spec.gibbs, spec.checkpoints)[number]))
    by_name = {racer.run: racer for racer in racers}
    for run, twin in spec.extrapolated.items():
        _extrapolate(by_name[run], by_name[twin])
    return [*racers, *sampled]


def _checkpoints(steps: int, count: int) -> np.ndarray:
    """Steps evenly spread in their logarithm; where there are too few, some are evaluated twice."""
    return np.round(np.geomspace(1, steps, count)).astype(int)


def _extrapolate(racer: Racer, twin: Racer) -> None:
    """The twin's values at its steps, by the median of this run's own measured steps.

    The first step is left out.
    """
    each = float(np.median(np.diff(racer.seconds))) if len(racer.seconds) > 1 else racer.seconds[0]
    racer.steps, racer.found = list(twin.steps), list(twin.found)
    racer.seconds = [each * step for step in twin.steps]


def _value(fitted: Fitted, x: Tensor, data: Dataset, spec: RaceSpec) -> np.ndarray:
    """What is watched, one value a seed: a panel has one a cell, a network a single one."""
    if spec.metric == "weight_correlation":
        found = weight_metrics(fitted.model.parameters_now().coupling, data.start.coupling)
        return np.array([found["weight_correlation"]])
    share = x.shape[1] if fitted.independent else x.shape[1] * x.shape[2]
    samples = draw_samples(fitted, x, seed=30_000, samples=spec.samples)
    elbo = samples.elbo().mean(0) / share
    return elbo.double().cpu().numpy() if fitted.independent else elbo[:1].double().cpu().numpy()


def _reference(
    spec: RaceSpec, data: Dataset, racer: Racer | GibbsRacer, device: torch.device
) -> np.ndarray | None:
    """The exact log-evidence per bin of every cell, where it is to be had and the parameters are known."""
    if spec.metric != "elbo_per_bin" or not isinstance(racer, Racer):
        return None
    model = racer.fitted.model
    exact = racer.fitted.independent and data.known and data.kernel_bins and not model.learned
    if not exact:
        return None
    x = torch.as_tensor(data.evaluation[0], device=device, dtype=torch.float64)
    exact_posterior = ExactPosterior(cell_parameters(model), x)
    evidence: np.ndarray = (exact_posterior.log_evidence.mean(0) / x.shape[1]).cpu().numpy()
    return evidence


def _rows(
    racer: Racer | GibbsRacer,
    racers: Sequence[Racer | GibbsRacer],
    spec: RaceSpec,
    labels: Row,
    data: Dataset,
) -> list[Row]:
    values = np.stack(racer.found, axis=1)  # (seeds, checkpoints)
    each = racer.seconds[-1] / racer.steps[-1]
    rows: list[Row] = []
    for place, own in enumerate(values):
        one = {**labels, "seed": int(data.seed[place])}
        rows.append({**one, "metric": f"final_{spec.metric}", "value": float(own[-1])})
        rows.append({**one, "metric": "race_seconds_per_step", "value": each})
        rows.append({**one, "metric": "race_seconds", "value": racer.seconds[-1]})
        for level in spec.levels:
            wanted = next(other for other in racers if other.run == level).found[-1][place] - spec.slack
            needed = time_to(own, np.array(racer.seconds), wanted)
            at = {**one, "level": level}
            rows.append({**at, "metric": "reached", "value": float(np.isfinite(needed))})
            if np.isfinite(needed):
                rows.append({**at, "metric": "seconds_to_level", "value": needed})
    return rows


def time_to(values: np.ndarray, seconds: np.ndarray, level: float) -> float:
    """Seconds at which a curve first reaches ``level``; infinite where it never does.

    Between checkpoints it is linear in value and log seconds.
    """
    above = np.nonzero(values >= level)[0]
    if not above.size:
        return float("inf")
    after = int(above[0])
    if after == 0:
        return float(seconds[0])
    before = after - 1
    share = (level - values[before]) / (values[after] - values[before])
    return float(seconds[before] * (seconds[after] / seconds[before]) ** share)


def _curve(
    racer: Racer | GibbsRacer, spec: RaceSpec, labels: Row, data: Dataset, reference: np.ndarray | None
) -> pd.DataFrame:
    seeds = [int(seed) for seed in data.seed[: len(racer.found[0])]]
    return pd.DataFrame(
        {
            "race": labels["race"],
            "metric": spec.metric,
            "run": racer.run,
            "family": labels.get("family", racer.run),
            "dataset": labels["dataset"],
            "seed": seed,
            "step": step,
            "seconds": seconds,
            "value": float(value[place]),
            "reference": np.nan if reference is None else float(reference[place]),
            "extrapolated": racer.extrapolated,
        }
        for step, seconds, value in zip(racer.steps, racer.seconds, racer.found, strict=True)
        for place, seed in enumerate(seeds)
    )
