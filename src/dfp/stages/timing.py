"""Stage: wall-clock time of draws, training steps and whole trainings, in one process."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import torch

from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.core.files import write_json
from dfp.data.dataset import Dataset
from dfp.stages.aggregate import COLUMNS, write_table
from dfp.stages.fitted import choose_device
from dfp.stages.provenance import environment
from dfp.stages.simulate import simulate
from dfp.stages.timing_gibbs import gibbs_rows
from dfp.stages.timing_races import races
from dfp.stages.timing_steps import grids, run_steps
from dfp.training.optimiser import Adam


def timing(
    experiment: Path, scale: str, out: Path, device: str = "auto", overrides: Path | None = None
) -> None:
    """Measure an experiment of kind ``timing`` and write the tidy table ``out``, with ``environment.json``
    and, where anything raced, ``curves.csv`` beside it; the simulated data sets go to ``data/`` beside it.

    Imports, simulation, evaluation and first calls are left out. The machine has to be left alone meanwhile.
    """
    exp = load_experiment(experiment, scale, overrides)
    if exp.timing is None:
        raise UserError(
            f"{experiment}: the key 'timing' is missing, expected it in an experiment of kind timing"
        )
    where = choose_device(device)
    threads = exp.timing.threads or os.cpu_count() or 1
    data = {}
    for name in exp.datasets:
        path = out.with_name("data") / f"{name}.npz"
        simulate(experiment, scale, name, path, overrides)
        data[name] = Dataset.load(path)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _first_use(where)
        rows = [*grids(exp.timing, where), *run_steps(exp, data, where), *gibbs_rows(exp, where)]
        raced, curves = races(exp, data, where)
    finally:
        torch.set_num_threads(before)
    told = {"experiment": exp.name, "scale": scale, "device": where.type, "threads": threads}
    table = pd.DataFrame([{**row, **told} for row in [*rows, *raced]])
    labels = [name for name in table.columns if name not in COLUMNS]
    if curves:
        write_table(pd.concat(curves, ignore_index=True), out.with_name("curves.csv"))
    write_json(out.with_name("environment.json"), environment())
    write_table(table[COLUMNS[:-2] + labels + COLUMNS[-2:]], out)


def _first_use(device: torch.device) -> None:
    """A first backward pass and optimiser step load what later ones find: before the clock starts."""
    weight = torch.zeros(1, device=device, requires_grad=True)
    optimiser = Adam([([weight], 1.0)])
    weight.sum().backward()
    optimiser.step(1e-3)
