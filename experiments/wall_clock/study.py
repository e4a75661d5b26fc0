"""Wall-clock time of draws, training steps and whole trainings, in one process."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from dfp.config.experiment import Experiment
from dfp.config.networks import write_simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError, suggest
from dfp.data.dataset import Dataset
from dfp.results.study import RunStudy
from dfp.results.tables import Row, write_table
from dfp.training.optimiser import Adam

from .gibbs import gibbs_rows
from .races import races
from .settings import TimingSpec, check_names
from .steps import grids, run_steps


@dataclass(frozen=True)
class Timing(TimingSpec, RunStudy):
    """What is timed, on an experiment's runs and data sets. The machine has to be left alone meanwhile."""

    def check(self, exp: Experiment) -> None:
        """Runs and data sets have to be the experiment's."""
        where = f"{exp.path} ({exp.scale}): study"
        check_names(f"{where}.steps", self.steps, exp.runs)
        check_names(f"{where}.gibbs.runs", self.gibbs.runs if self.gibbs else (), exp.runs)
        for name, race in self.races.items():
            check_names(f"{where}.races.{name}.runs", race.runs, exp.runs)
            _check_datasets(f"{where}.races.{name}.datasets", race.datasets, _called(exp))

    def measure(self, exp: Experiment, device: torch.device, folder: Path) -> Iterator[Row]:
        """Rows of the grids, the configured runs, Gibbs sampling and the races.

        Imports, simulation, evaluation and first calls are left out. Where anything raced, its curves go to
        ``curves.csv``; the simulated data sets go to ``data/``.
        """
        threads = self.threads or os.cpu_count() or 1
        data = {}
        for name, spec in exp.datasets.items():
            assert isinstance(spec, SimulationSpec)
            path = folder / "data" / f"{name}.npz"
            write_simulated(spec, f"{exp.path} ({exp.scale}): datasets.{name}", path)
            data[name] = Dataset.load(path)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            _first_use(device)
            rows = [
                *grids(self, device),
                *run_steps(self, exp, data, device),
                *gibbs_rows(self.gibbs, exp, device),
            ]
            raced, curves = races(self.races, exp, data, device)
        finally:
            torch.set_num_threads(before)
        if curves:
            write_table(pd.concat(curves, ignore_index=True), folder / "curves.csv")
        for row in [*rows, *raced]:
            yield {**row, "device": device.type, "threads": threads}


def _called(exp: Experiment) -> set[str]:
    """Names that data sets may be called by: their own, and their setting's."""
    entries = {name: entry for name, entry in exp.entries.items() if not entry.tuning}
    return {*entries, *(entry.setting for entry in entries.values())} - {""}


def _check_datasets(key: str, names: list[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}: unknown data set {name!r}{suggest(name, known)}; known: "
                f"{', '.join(sorted(known)) or 'none'}"
            )


def _first_use(device: torch.device) -> None:
    """A first backward pass and optimiser step load what later ones find: before the clock starts."""
    weight = torch.zeros(1, device=device, requires_grad=True)
    optimiser = Adam([([weight], 1.0)])
    weight.sum().backward()
    optimiser.step(1e-3)
