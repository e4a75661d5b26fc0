"""Stage: a data set from an experiment's configuration."""

from __future__ import annotations

from pathlib import Path

from dfp.config import load_experiment
from dfp.config.experiment import Experiment, recordings_folder
from dfp.config.networks import write_simulated
from dfp.config.schema import RecordingsSpec, SimulationSpec
from dfp.core.errors import UserError, suggest
from dfp.stages.recorded import recorded


def simulate(experiment: Path, scale: str, dataset: str, out: Path, overrides: Path | None = None) -> None:
    """Write the data set ``dataset`` of an experiment to ``out`` (``.npz``).

    It is simulated, or converted from recordings.
    """
    exp = load_experiment(experiment, scale, overrides)
    spec = _spec(exp, dataset)
    if isinstance(spec, RecordingsSpec):
        recorded(spec, recordings_folder()).save(out)
        return
    where = f"{experiment} ({scale}): datasets.{dataset}"
    write_simulated(spec, where, out)


def _spec(exp: Experiment, dataset: str) -> SimulationSpec | RecordingsSpec:
    if dataset not in exp.datasets:
        hint = suggest(dataset, exp.datasets)
        raise UserError(
            f"{exp.path}: unknown data set {dataset!r}{hint}; known: {', '.join(exp.datasets) or 'none'}"
        )
    return exp.datasets[dataset]
