"""Gibbs sampling on the clock: a sweep beside a training step, how fast chains mix, and a racer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from dfp.config.experiment import Experiment
from dfp.data.dataset import Dataset
from dfp.data.networks import sparse_random
from dfp.data.simulate import simulate
from dfp.metrics.connectivity import weight_metrics
from dfp.references.gibbs.base import GibbsChain
from dfp.references.gibbs.chains import diagnostics
from dfp.references.gibbs.learning import LawDraw, law_draws
from dfp.references.gibbs.particles import PARTICLES, gibbs_chain
from dfp.results.tables import Row

from .settings import GibbsSpec, RaceSpec
from .steps import Case, measure, run_labels, stepper, trainer_of

#: the samplers: bins after which the response is cut (0: not), particles (0: exact blocks)
SAMPLERS = {
    "gibbs_blocked": (10, 0),
    "gibbs_particles_cut": (10, PARTICLES),
    "gibbs_particles": (0, PARTICLES),
}
#: cells that act on a cell, on average
PARENTS = 3
#: windows of so many bins, whose spike counts are the quantities that have to mix
MIXING_WINDOW = 50


def gibbs_rows(spec: GibbsSpec | None, exp: Experiment, device: torch.device) -> Iterator[Row]:
    """Seconds a sweep for every size and sampler, seconds a training step beside them, and mixing."""
    if spec is None:
        return
    for cells in spec.cells:
        cases = [_sweep_case(name, cells, spec.bins) for name in ("gibbs_blocked", "gibbs_particles")]
        data = coupled(cells, spec.bins, SAMPLERS["gibbs_blocked"][0])
        for run in spec.runs:
            _, trainer = trainer_of(exp, run, exp.run_datasets[run][0], data, device)
            labels = {**run_labels(exp, run, f"gibbs_{cells}", data), "measured": "gibbs"}
            cases.append(Case(labels, "seconds_per_step", stepper(trainer)))
        yield from measure(cases, spec.rounds, device)
    if spec.mixing_sweeps:
        for seed in range(spec.rounds):
            for name in SAMPLERS:
                yield from mixing(name, spec, seed)


def coupled(cells: int, bins: int, kernel_bins: int) -> Dataset:
    """A network like that of the connectivity experiments, with three parents a cell at every size."""
    density = min(1.0, PARENTS / (cells - 1)) if cells > 1 else 0.0
    network = sparse_random(
        cells, np.random.default_rng(0), density=density, weight_sd=1.5, rate_hz=3.0, bin_rate=30.0,
        bias_sd=0.3, history=(-2.0, -1.0),
    )  # fmt: skip
    return simulate(
        network, [0], bin_rate=30.0, bins=bins, trials=1, test_trials=0, rise=0.1, decay=0.14938,
        amplitude=1.0, baseline=0.0, noise=0.4, kernel_bins=kernel_bins, allow_supercritical=True,
    )  # fmt: skip


def _chain(name: str, cells: int, bins: int, seed: int = 0) -> GibbsChain:
    """A chain under the true law, started from the true spikes, on data of its own kernel."""
    kernel_bins, particles = SAMPLERS[name]
    data = coupled(cells, bins, kernel_bins)
    return gibbs_chain(data.start, data.bin_rate, kernel_bins, data.x, seed, data.z, particles)


def _labels(name: str, cells: int, bins: int) -> Row:
    family = "gibbs_blocked" if name == "gibbs_blocked" else "gibbs_particles"
    return {
        "run": name, "dataset": f"gibbs_{cells}", "posterior": family, "objective": "none", "sampler": name,
        "family": family, "measured": "gibbs", "bins": bins, "cells": cells, "chains": 1,
    }  # fmt: skip


def _sweep_case(name: str, cells: int, bins: int) -> Case:
    chain = _chain(name, cells, bins)

    def once() -> int:
        chain.sweep()
        return 1

    return Case(_labels(name, cells, bins), "seconds_per_sweep", once)


def mixing(name: str, spec: GibbsSpec, seed: int) -> Iterator[Row]:
    """Effective sample size of a chain's spike counts in windows of 50 bins: a sweep, and a second.

    The median over cells and windows, of windows whose count ever changes; half as many sweeps come before.
    """
    chain = _chain(name, spec.mixing_cells, spec.mixing_bins, seed)
    for _ in range(spec.mixing_sweeps // 2):
        chain.sweep()
    counts, seconds = [], 0.0
    whole = spec.mixing_bins // MIXING_WINDOW * MIXING_WINDOW
    for _ in range(spec.mixing_sweeps):
        started = time.perf_counter()
        chain.sweep()
        seconds += time.perf_counter() - started
        counts.append(chain.z[0, :whole].reshape(-1, MIXING_WINDOW, spec.mixing_cells).sum(1, dtype=float))
    size = float(np.nanmedian(diagnostics(np.stack(counts)[None])[1]))
    labels = {**_labels(name, spec.mixing_cells, spec.mixing_bins), "dataset": "mixing", "measured": "mixing"}
    each = seconds / spec.mixing_sweeps
    values = {"seconds_per_sweep": each, "effective_per_sweep": size / spec.mixing_sweeps}
    values["effective_per_second"] = size / seconds
    for metric, value in values.items():
        yield {**labels, "seed": seed, "metric": metric, "value": value}


@dataclass
class GibbsRacer:
    """Gibbs sampling of spikes and weights in a race, and its curve so far, as a ``Racer`` has them."""

    data: Dataset
    draws: Iterator[LawDraw]
    labels: Row
    run: str = "gibbs_posterior"
    extrapolated: bool = False
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    found: list[np.ndarray] = field(default_factory=list)
    drawn: list[np.ndarray] = field(default_factory=list)

    @staticmethod
    def of(spec: RaceSpec, dataset: str, data: Dataset) -> GibbsRacer:
        """A racer at its start; the machine code is loaded, and compiled if need be, off the clock."""
        labels: dict[str, Any] = {
            "run": "gibbs_posterior", "dataset": dataset, "posterior": "gibbs_posterior", "objective": "none",
            "sampler": "gibbs", "family": "gibbs_posterior", "bins": data.x.shape[1],
            "cells": data.x.shape[2], "chains": 1,
        }  # fmt: skip
        next(law_draws(replace(data, x=data.x[:, :60], z=None), 0, spec.gibbs_prior_sd))
        return GibbsRacer(data, law_draws(data, int(data.seed[0]), spec.gibbs_prior_sd), labels)

    def advance(self, step: int) -> None:
        """Draw up to sweep ``step``; what is made of the draws is off the clock."""
        before = self.seconds[-1] if self.seconds else 0.0
        started = time.perf_counter()
        while len(self.drawn) < step:
            self.drawn.append(next(self.draws).theta["coupling"])
        self.seconds.append(before + time.perf_counter() - started)
        self.steps.append(step)
        mean = np.mean(self.drawn[step // 2 :], axis=0)
        found = weight_metrics(mean, self.data.start.coupling)
        self.found.append(np.array([found["weight_correlation"]]))
