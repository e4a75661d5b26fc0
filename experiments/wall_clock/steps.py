"""How long a draw and a training step take, the samplers in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dfp.config.experiment import Experiment
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.data.networks import independent
from dfp.data.simulate import simulate
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import OwnHistory
from dfp.fitting.facts import Facts
from dfp.fitting.fitted import Fitted, fresh
from dfp.fitting.training import trainer_of as make_trainer
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.posteriors.autoregressive import Autoregressive, AutoregressiveConfig
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.posteriors.factorised import Factorised, FactorisedConfig
from dfp.results.tables import Row
from dfp.samplers.base import Sampler
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer
from dfp.training.phase import Phase
from dfp.training.schedules import Schedule

from .settings import SizesSpec, TimingSpec

#: what the grids compare: a posterior without history, and one with it drawn in three ways
WAYS: dict[str, Sampler] = {
    "factorised": FixedPoint(),
    "fixed_point": FixedPoint(),
    "sequential": Sequential(),
    "compiled": Compiled(),
}
#: a case is repeated within a round for so many seconds, at most so often; the round's value is the median
ROUND_SECONDS = 0.25
ROUND_CALLS = 10
#: calls before the clock counts, as long as they take less than a round
WARM_UP = 5


@dataclass(frozen=True)
class Case:
    """Something to be timed; ``once`` does it and returns its fixed-point sweeps."""

    labels: Row
    metric: str
    once: Callable[[], int]


def measure(cases: Sequence[Case], rounds: int, device: torch.device) -> Iterator[Row]:
    """Time all cases in every round.

    Their order turns from round to round, so that a drift of the machine meets all alike.

    Yields a row a case and round: the median seconds of a call, and the mean sweeps under ``sweeps_mean``.
    """
    for case in cases:
        for _ in range(WARM_UP):
            if _clock(case, device)[0] > ROUND_SECONDS:
                break
    for number in range(rounds):
        turn = number % max(1, len(cases))
        for case in [*cases[turn:], *cases[:turn]]:
            seconds: list[float] = []
            sweeps: list[int] = []
            while not seconds or (sum(seconds) < ROUND_SECONDS and len(seconds) < ROUND_CALLS):
                one, made = _clock(case, device)
                seconds.append(one)
                sweeps.append(made)
            labels = {**case.labels, "seed": number}
            yield {**labels, "metric": case.metric, "value": float(np.median(seconds))}
            yield {**labels, "metric": "sweeps_mean", "value": float(np.mean(sweeps))}


def _clock(case: Case, device: torch.device) -> tuple[float, int]:
    started = time.perf_counter()
    sweeps = case.once()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, sweeps


def grids(spec: TimingSpec, device: torch.device) -> Iterator[Row]:
    """Rows of the sampling and the training grid, size by size."""
    for measured, sizes, make in (
        ("sampling", spec.sampling, sampling_case),
        ("training", spec.training, training_case),
    ):
        for number, block in enumerate(sizes):
            for bins in block.bins:
                for cells in block.cells:
                    cases = [
                        make(way, bins, cells, block, spec.history, device, f"{measured}_{number}")
                        for way in WAYS
                    ]
                    yield from measure(cases, spec.rounds, device)


def _labels(way: str, bins: int, cells: int, sizes: SizesSpec, dataset: str) -> Row:
    return {
        "run": way,
        "dataset": dataset,
        "posterior": "factorised" if way == "factorised" else "autoregressive",
        "objective": "relaxed_pmf",
        "sampler": WAYS[way].name,
        "family": way,
        "measured": dataset.split("_")[0],
        "bins": bins,
        "cells": cells,
        "chains": sizes.batch * sizes.samples,
    }


def history_taps(cells: int, lags: int) -> torch.Tensor:
    """A history filter as one finds it after training, ``(N, L)``: refractory, decaying."""
    return (-2.0 * 0.6 ** torch.arange(lags)).expand(cells, lags).clone()


def sampling_case(
    way: str, bins: int, cells: int, sizes: SizesSpec, history: int, device: torch.device, dataset: str
) -> Case:
    """Hard samples of a posterior with given logits, noise included."""
    drive = -2.5 + 1.5 * torch.randn(sizes.batch, bins, cells, generator=generator(0))
    taps = history_taps(cells, history).to(device)
    q = CausalBernoulli(drive.to(device), () if way == "factorised" else (OwnHistory(taps),))
    rng = generator(1, device)

    def once() -> int:
        with torch.no_grad():
            return q.draw(q.noise(sizes.samples, rng), WAYS[way], Hard()).sweeps

    return Case(_labels(way, bins, cells, sizes, dataset), "seconds_per_draw", once)


def training_case(
    way: str, bins: int, cells: int, sizes: SizesSpec, history: int, device: torch.device, dataset: str
) -> Case:
    """A step of the training loop.

    It is windows, recognition network, relaxed samples with gradients, likelihood, backward, Adam.
    """
    data = _panel(bins, cells, sizes.batch)
    model = CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).to(device)
    summary, rng = TraceSummary.of(torch.as_tensor(data.x)), generator(0)
    posterior: Posterior
    if way == "factorised":
        posterior = Factorised(FactorisedConfig(), summary, rng)
    else:
        posterior = Autoregressive(AutoregressiveConfig(history=history), summary, rng)
        with torch.no_grad():
            posterior.history.copy_(history_taps(*posterior.history.shape))
    phase = Phase(
        RelaxedPmf(samples=sizes.samples),
        WAYS[way],
        temperature=Schedule(0.3),
        steps=1000,
        learning_rate=Schedule(1e-4),
        batch=sizes.batch,
    )
    x = torch.as_tensor(data.x, device=device)
    trainer = Trainer(model, posterior.to(device), x, [phase], seed=0)
    return Case(_labels(way, bins, cells, sizes, dataset), "seconds_per_step", stepper(trainer))


def stepper(trainer: Trainer) -> Callable[[], int]:
    """One training step a call, from the start again when all are made."""

    def endless() -> Iterator[Row]:
        while True:
            yield from trainer.run()
            trainer.step = 0

    steps = endless()
    return lambda: int(next(steps)["sweeps"])


def _panel(bins: int, cells: int, batch: int) -> Dataset:
    """A panel of refractory cells, in the setting of the one-cell experiments.

    3 Hz, calcium decay 0.8 a bin, noise 0.7.
    """
    network = independent(cells, np.random.default_rng(0), rate_hz=3.0, bin_rate=30.0)
    decay = -1.0 / (30.0 * float(np.log(0.8)))
    return simulate(
        network, [0], bin_rate=30.0, bins=bins, trials=batch, test_trials=0, rise=0.0, decay=decay,
        amplitude=1.0, baseline=0.0, noise=0.7, kernel_bins=10,
    )  # fmt: skip


def run_labels(exp: Experiment, run: str, dataset: str, data: Dataset) -> Row:
    """The columns of a configured run on a data set."""
    spec = exp.runs[run]
    phase = spec.phases[-1]
    return {
        "run": run,
        "dataset": dataset,
        "posterior": str(spec.posterior["kind"]),
        "objective": str(phase.get("objective", {}).get("kind", "relaxed_pmf")),
        "sampler": str(phase.get("sampler", {}).get("kind", "auto")),
        **spec.labels,
        "bins": int(phase.get("window") or data.x.shape[1]),
        "cells": data.x.shape[2],
        "chains": int(phase.get("batch", 1)),
    }


def trainer_of(
    exp: Experiment, run: str, dataset: str, data: Dataset, device: torch.device
) -> tuple[Fitted, Trainer]:
    """A configured run, untrained, and its trainer; a cell by itself has no coupling to learn."""
    settings = exp.raw_runs[run]
    if not data.start.basis.shape[0] and "coupling" in settings.get("model", {}).get("learn", ()):
        learn = [name for name in settings["model"]["learn"] if name != "coupling"]
        settings = {**settings, "model": {**settings["model"], "learn": learn}}
    fitted = fresh(Facts(exp.name, exp.scale, run, dataset, settings), data, device)
    return fitted, make_trainer(fitted, data, device)


def run_steps(
    spec: TimingSpec, exp: Experiment, data: dict[str, Dataset], device: torch.device
) -> Iterator[Row]:
    """Rows of the training steps of configured runs, all families in turn."""
    cases = []
    for run in spec.steps:
        dataset = exp.run_datasets[run][0]
        _, trainer = trainer_of(exp, run, dataset, data[dataset], device)
        labels = {**run_labels(exp, run, dataset, data[dataset]), "measured": "families"}
        cases.append(Case(labels, "seconds_per_step", stepper(trainer)))
    yield from measure(cases, spec.rounds, device)
