"""Stage: a data set from an experiment's configuration."""

from __future__ import annotations

from pathlib import Path

from dfp.config import load_experiment
from dfp.config.experiment import Experiment, recordings_folder
from dfp.config.networks import make_network, measurement
from dfp.config.schema import RecordingsSpec, SimulationSpec
from dfp.core.errors import UserError, suggest
from dfp.data.simulate import simulate as draw
from dfp.stages.recorded import recorded


def simulate(experiment: Path, scale: str, dataset: str, out: Path, overrides: Path | None = None) -> None:
    """Write the data set ``dataset`` of an experiment to ``out``
    (``.npz``): simulated, or converted from recordings.
    """
    exp = load_experiment(experiment, scale, overrides)
    spec = _spec(exp, dataset)
    if isinstance(spec, RecordingsSpec):
        recorded(spec, recordings_folder()).save(out)
        return
    where = f"{experiment} ({scale}): datasets.{dataset}"
    network = make_network(spec, where)
    try:
        data = draw(
            network,
            spec.seeds,
            frame_rate=spec.frame_rate,
            bins=spec.bins,
            trials=spec.trials,
            test_trials=spec.test_trials,
            rise=spec.rise,
            amplitude=spec.amplitude,
            baseline=spec.baseline,
            kernel_bins=spec.kernel_bins,
            allow_supercritical=spec.allow_supercritical,
            **measurement(spec),
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    data.save(out)


def _spec(exp: Experiment, dataset: str) -> SimulationSpec | RecordingsSpec:
    if dataset not in exp.datasets:
        hint = suggest(dataset, exp.datasets)
        raise UserError(
            f"{exp.path}: unknown data set {dataset!r}{hint}; known: {', '.join(exp.datasets) or 'none'}"
        )
    return exp.datasets[dataset]
