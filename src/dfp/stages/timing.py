"""Stage: wall-clock time of a training step, sequential against fixed
point against factorised, in one process.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfp.config import load_experiment
from dfp.config.schema import TimingSpec
from dfp.core.errors import UserError
from dfp.core.files import write_json
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.data.networks import independent
from dfp.data.simulate import simulate
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.posteriors.autoregressive import Autoregressive, AutoregressiveConfig
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.posteriors.factorised import Factorised, FactorisedConfig
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.sequential import Sequential
from dfp.stages.aggregate import COLUMNS, write_table
from dfp.stages.fitted import choose_device
from dfp.stages.provenance import environment
from dfp.training.loop import Trainer
from dfp.training.phase import Phase
from dfp.training.schedules import Schedule

#: steps before the timed ones, so that the causal weights are no longer zero and caches are warm
WARM_UP = 20


def timing(
    experiment: Path, scale: str, out: Path, device: str = "auto", overrides: Path | None = None
) -> None:
    """Time training steps of every case and write the tidy table ``out``, with ``environment.json`` beside
    it.

    A step is what the training loop does: windows, recognition network, sampling with gradients, likelihood,
        backward, Adam. Imports,
    data and the warm-up are left out. The machine has to be left alone meanwhile.
    """
    exp = load_experiment(experiment, scale, overrides)
    if exp.timing is None:
        raise UserError(
            f"{experiment}: the key 'timing' is missing, expected it in an experiment of kind timing"
        )
    where = choose_device(device)
    threads = exp.timing.threads or os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = _rows(exp.timing, where, threads)
    finally:
        torch.set_num_threads(before)
    table = pd.DataFrame(rows)
    for name, value in (("experiment", exp.name), ("scale", scale), ("dataset", "timing")):
        table[name] = value
    labels = [name for name in table.columns if name not in COLUMNS]
    write_table(table[COLUMNS[:-2] + labels + COLUMNS[-2:]], out)
    write_json(out.with_name("environment.json"), environment())


def _rows(spec: TimingSpec, device: torch.device, threads: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for bins in spec.bins:
        for cells in spec.cells:
            data = _data(bins, cells, spec.batch)
            for run, sampler in (
                ("factorised", FixedPoint()),
                ("fixed_point", FixedPoint()),
                ("sequential", Sequential()),
            ):
                seconds, sweeps = _measure(spec, data, run, sampler, device)
                told: dict[str, object] = {
                    "run": run,
                    "seed": 0,
                    "posterior": "factorised" if run == "factorised" else "autoregressive",
                    "objective": "relaxed_pmf",
                    "sampler": sampler.name,
                    "bins": bins,
                    "cells": cells,
                    "batch": spec.batch,
                    "device": device.type,
                    "threads": threads,
                }
                rows.append({**told, "metric": "seconds_per_step", "value": float(np.median(seconds))})
                rows.append(
                    {**told, "metric": "seconds_per_step_low", "value": float(np.quantile(seconds, 0.25))}
                )
                rows.append(
                    {**told, "metric": "seconds_per_step_high", "value": float(np.quantile(seconds, 0.75))}
                )
                rows.append({**told, "metric": "sweeps_mean", "value": float(np.mean(sweeps))})
    return rows


def _data(bins: int, cells: int, batch: int) -> Dataset:
    """A panel of refractory cells at 3 Hz, calcium decay 0.8 a bin, noise
    0.7: the setting of the one-cell experiments.
    """
    network = independent(cells, np.random.default_rng(0), rate_hz=3.0, frame_rate=30.0)
    decay = -1.0 / (30.0 * float(np.log(0.8)))
    return simulate(
        network, [0], frame_rate=30.0, bins=bins, trials=batch, test_trials=0, rise=0.0, decay=decay,
        amplitude=1.0, baseline=0.0, noise=0.7, kernel_bins=10,
    )  # fmt: skip


def _measure(
    spec: TimingSpec, data: Dataset, run: str, sampler: Sampler, device: torch.device
) -> tuple[list[float], list[int]]:
    model = CalciumNetwork(data.start, data.frame_rate, kernel_bins=data.kernel_bins).to(device)
    x = torch.as_tensor(data.x)
    summary, rng = TraceSummary.of(x), generator(0)
    posterior: Posterior
    if run == "factorised":
        posterior = Factorised(FactorisedConfig(), summary, rng)
    else:
        posterior = Autoregressive(AutoregressiveConfig(history=spec.history), summary, rng)
        # a history filter as one finds it after training: refractory, decaying
        with torch.no_grad():
            posterior.history.copy_(-2.0 * 0.6 ** torch.arange(spec.history).expand_as(posterior.history))
    phase = Phase(
        RelaxedPmf(),
        sampler,
        temperature=Schedule(0.3),
        steps=WARM_UP + spec.repeats,
        learning_rate=Schedule(1e-4),
        batch=spec.batch,
    )
    trainer = Trainer(model, posterior.to(device), x.to(device), [phase], seed=0)
    warm = min(WARM_UP, max(2, spec.repeats // 2))
    seconds, sweeps = [], []
    steps = trainer.run()
    for number in range(warm + spec.repeats):
        started = time.perf_counter()
        metrics = next(steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= warm:
            seconds.append(time.perf_counter() - started)
            sweeps.append(int(metrics["sweeps"]))
    return seconds, sweeps
