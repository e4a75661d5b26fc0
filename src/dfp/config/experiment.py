"""An experiment: its data sets, its runs, its figures, at one scale."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dfp.config.networks import check_network
from dfp.config.parse import build, convert, merge
from dfp.config.schema import KINDS, SCALES, RecordingsSpec, RunSpec, SimulationSpec, TimingSpec
from dfp.core.errors import UserError, suggest
from dfp.data.recordings import has_recordings

RECORDINGS_HELP = (
    "the folder is set by `--config recordings=FOLDER` or DFP_RECORDINGS; the recordings are those of "
    "github.com/HelmchenLabSoftware/Cascade, folder Ground_truth/ (README, 'Real recordings')"
)


@dataclass(frozen=True)
class Document:
    """The keys of a ``config.yaml``.

    Attributes:
        question: what the experiment asks, one sentence.
        kind: ``simulated``, ``recordings`` or ``timing``.
        order: place among the experiments.
        in_all: part of ``snakemake all``.
        minutes: estimated time on two CPU cores, by scale.
        datasets, runs: by name.
        defaults: settings that every run starts from: ``model``, ``posterior``, ``recognition``,
            ``training``, ``evaluation``, ….
        axes: runs made by combination: label → value → settings; every combination is a run.
        only: label → values: of that axis, keep these values only (at a smaller scale, say).
        figures: names of the figures that the experiment's ``plot.py`` makes.
        timing: settings of a timing experiment.
        scales: for each scale but ``default``, settings laid over the whole document.
        steps_scale: all phases' steps are multiplied by this (at least 1 step each).
    """

    question: str
    kind: str = "simulated"
    order: int = 0
    in_all: bool = True
    minutes: dict[str, float] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    axes: dict[str, dict[str, dict[str, Any] | None]] = field(default_factory=dict)
    only: dict[str, list[str]] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)
    timing: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(
                f"kind: found {self.kind!r}{suggest(self.kind, KINDS)}, expected one of {', '.join(KINDS)}"
            )
        if not self.steps_scale > 0:
            raise UserError(f"steps_scale: found {self.steps_scale}, expected a number above 0")


@dataclass(frozen=True)
class Experiment:
    """A configuration at one scale, ready to be run. Made by ``load_experiment``."""

    name: str
    path: Path
    scale: str
    document: Document
    datasets: dict[str, SimulationSpec | RecordingsSpec]
    runs: dict[str, RunSpec]
    raw_runs: dict[str, dict[str, Any]]
    timing: TimingSpec | None

    @property
    def kind(self) -> str:
        """``simulated``, ``recordings`` or ``timing``."""
        return self.document.kind

    @property
    def in_all(self) -> bool:
        """Whether ``snakemake all`` runs it."""
        return self.document.in_all

    @property
    def figures(self) -> list[str]:
        """Names of its figures."""
        return list(self.document.figures)

    @property
    def minutes(self) -> float:
        """Estimated minutes on two CPU cores at this scale."""
        return float(self.document.minutes.get(self.scale, 0.0))

    def jobs(self) -> list[tuple[str, str]]:
        """All (run, data set) pairs."""
        return [
            (run, data) for run, spec in self.runs.items() for data in (spec.datasets or list(self.datasets))
        ]

    def warm_start(self, run: str) -> str | None:
        """The run whose checkpoint ``run`` starts from, if any."""
        return self.runs[run].warm_start

    def data_fingerprint(self, dataset: str) -> str:
        """Hash of all settings that the data set's file depends on."""
        return fingerprint(self.document.datasets[dataset])

    def run_fingerprint(self, run: str, dataset: str) -> str:
        """Hash of all settings that the run's checkpoint and metrics depend on."""
        start = self.runs[run].warm_start
        below = self.run_fingerprint(start, dataset) if start else ""
        return fingerprint([self.raw_runs[run], self.document.datasets[dataset], below])

    def available(self) -> tuple[bool, str]:
        """Whether the experiment's data can be had; if not, a sentence that says how to get them."""
        if self.kind != "recordings":
            return True, ""
        folder = recordings_folder()
        if has_recordings(folder):
            return True, ""
        return False, f"{self.name}: no recordings in '{folder}', so it is skipped; {RECORDINGS_HELP}"


def recordings_folder() -> Path:
    """Where real recordings are looked for: ``DFP_RECORDINGS``, else ``recordings``."""
    return Path(os.environ.get("DFP_RECORDINGS", "recordings"))


def fingerprint(value: Any) -> str:
    """A short hash of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def list_experiments(root: Path | str = ".") -> list[str]:
    """Names of the folders of ``experiments/`` that hold a ``config.yaml``, in their order."""
    folders = sorted(path.parent for path in (Path(root) / "experiments").glob("*/config.yaml"))
    orders = {folder.name: _order(read_yaml(folder / "config.yaml")) for folder in folders}
    return sorted(orders, key=lambda name: (orders[name], name))


def _order(raw: Mapping[str, Any]) -> int:
    order = raw.get("order", 0)
    return order if isinstance(order, int) else 0


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A YAML mapping. Raises ``UserError`` when the file is missing, is no YAML or is no mapping."""
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: not to be read ({error.strerror}), expected a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML ({told})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: found no mapping, expected keys and values")
    return raw


def load_experiment(
    path: Path | str, scale: str = "default", overrides: Path | str | None = None
) -> Experiment:
    """Read an experiment's ``config.yaml`` at one scale.

    Args:
        path: of the configuration; its folder's name is the experiment's.
        scale: ``smoke``, ``default`` or ``paper``.
        overrides: a YAML file laid over the configuration after the scale; its top-level keys are
            experiments.

    Raises:
        UserError: naming the file and the key for anything that is not understood.
    """
    path = Path(path)
    if scale not in SCALES:
        raise UserError(
            f"scale: found {scale!r}{suggest(scale, SCALES)}, expected one of {', '.join(SCALES)}"
        )
    raw = read_yaml(path)
    name = path.parent.name
    scales = convert(dict[str, dict[str, Any] | None], raw.get("scales") or {}, f"{path}: scales")
    for known in scales:
        if known not in SCALES:
            raise UserError(
                f"{path}: scales: unknown scale {known!r}{suggest(str(known), SCALES)}; known: "
                f"{', '.join(SCALES)}"
            )
    raw = merge(raw, scales.get(scale) or {})
    if overrides:
        raw = merge(raw, _overrides(Path(overrides), path))
    document = build(Document, raw, str(path))
    where = f"{path} ({scale})"
    raw_runs = {
        run: _scaled(settings, document.steps_scale) for run, settings in _raw_runs(document, where).items()
    }
    return Experiment(
        name=name,
        path=path,
        scale=scale,
        document=document,
        datasets={key: _dataset(document, key, f"{where}: datasets.{key}") for key in document.datasets},
        runs=_runs(document, raw_runs, where),
        raw_runs=raw_runs,
        timing=build(TimingSpec, document.timing, f"{where}: timing") if document.timing else None,
    )


def _overrides(overrides: Path, path: Path) -> dict[str, Any]:
    """What a file of overrides lays over the experiment at ``path``;
    its keys are experiments beside that one.
    """
    raw = read_yaml(overrides)
    known = sorted(
        {other.parent.name for other in path.resolve().parent.parent.glob("*/config.yaml")}
        | {path.parent.name}
    )
    for name in raw:
        if name not in known:
            raise UserError(
                f"{overrides}: unknown experiment {name!r}{suggest(str(name), known)}; known: "
                f"{', '.join(known)}"
            )
    own = convert(dict[str, Any], raw.get(path.parent.name) or {}, f"{overrides}: {path.parent.name}")
    if "scales" in own:
        raise UserError(
            f"{overrides}: {path.parent.name}: found 'scales', expected the settings themselves (they hold "
            "at any scale)"
        )
    return own


def _dataset(document: Document, name: str, where: str) -> SimulationSpec | RecordingsSpec:
    if document.kind == "recordings":
        return build(RecordingsSpec, document.datasets[name], where)
    spec = build(SimulationSpec, document.datasets[name], where)
    check_network(spec, where)
    if spec.network.get("kind") != "independent" and len(spec.seeds) != 1:
        raise UserError(
            f"{where}: seeds: found {len(spec.seeds)}, expected exactly one for a network (one data set per "
            "seed)"
        )
    return spec


def _raw_runs(document: Document, where: str) -> dict[str, dict[str, Any]]:
    """Every run's settings: defaults, then the settings of its place on each axis, then its own."""
    combined: dict[str, dict[str, Any]] = {}
    for label in document.only:
        if label not in document.axes:
            raise UserError(f"{where}: only: unknown axis {label!r}{suggest(label, document.axes)}")
    if document.axes:
        labels = list(document.axes)
        kept = [_kept(document, label, where) for label in labels]
        for values in itertools.product(*kept):
            settings: dict[str, Any] = {"labels": dict(zip(labels, values, strict=True))}
            for label, value in zip(labels, values, strict=True):
                settings = merge(settings, document.axes[label][value] or {})
            run = "_".join(_slug(value) for value in values)
            if run in combined:
                raise UserError(
                    f"{where}: axes: found two runs named '{run}', expected values that differ in more than "
                    "dots and spaces"
                )
            combined[run] = settings
    for run, own in document.runs.items():
        if run in combined:
            raise UserError(
                f"{where}: runs.{run}: found a run of that name made by the axes too, expected different "
                "names"
            )
        combined[run] = dict(own or {})
    return {
        run: _flatten(merge(document.defaults, settings), f"{where}: runs.{run}")
        for run, settings in combined.items()
    }


def _kept(document: Document, label: str, where: str) -> list[str]:
    """The values of an axis that ``only`` leaves."""
    axis = document.axes[label]
    for value in document.only.get(label, []):
        if value not in axis:
            raise UserError(f"{where}: only.{label}: unknown value {value!r}; known: {', '.join(axis)}")
    return document.only.get(label) or list(axis)


def _slug(value: object) -> str:
    return str(value).replace(".", "").replace(" ", "_")


def _flatten(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Fold ``training`` into the phases and ``recognition`` into the
    posterior, so that only RunSpec's keys remain.
    """
    settings = dict(settings)
    training = convert(dict[str, Any], settings.pop("training", None) or {}, f"{where}.training")
    phases = convert(list[dict[str, Any]], settings.get("phases") or [{}], f"{where}.phases")
    settings["phases"] = [merge(training, phase) for phase in phases]
    recognition = settings.pop("recognition", None)
    posterior = convert(dict[str, Any], settings.get("posterior") or {}, f"{where}.posterior")
    if recognition:
        shared = convert(dict[str, Any], recognition, f"{where}.recognition")
        posterior = _with_recognition(posterior, shared, f"{where}.posterior")
    settings["posterior"] = posterior
    return settings


def _with_recognition(posterior: dict[str, Any], recognition: dict[str, Any], where: str) -> dict[str, Any]:
    """The shared recognition network, laid under the posterior's own settings."""
    refined = posterior.get("kind") == "refined"
    key = str(posterior.get("of", "factorised")) if refined else "recognition"
    own = convert(dict[str, Any], posterior.get(key) or {}, f"{where}.{key}")
    laid = _with_recognition(own, recognition, f"{where}.{key}") if refined else merge(recognition, own)
    return merge(posterior, {key: laid})


def _scaled(settings: dict[str, Any], factor: float) -> dict[str, Any]:
    if factor == 1.0:
        return settings
    phases = [dict(phase) for phase in settings["phases"]]
    for phase in phases:
        steps = phase.get("steps", 1000)
        if isinstance(steps, int) and steps > 0:  # anything else is refused later, by its name
            phase["steps"] = max(1, round(steps * factor))
    return {**settings, "phases": phases}


def _runs(document: Document, raw_runs: dict[str, dict[str, Any]], where: str) -> dict[str, RunSpec]:
    from dfp.config.build import check_run

    runs = {}
    for name, raw in raw_runs.items():
        spec = build(RunSpec, raw, f"{where}: runs.{name}")
        for dataset in spec.datasets:
            if dataset not in document.datasets:
                raise UserError(
                    f"{where}: runs.{name}.datasets: unknown data set "
                    f"{dataset!r}{suggest(dataset, document.datasets)}"
                )
        if spec.warm_start is not None and spec.warm_start not in raw_runs:
            hint = suggest(spec.warm_start, raw_runs)
            raise UserError(f"{where}: runs.{name}.warm_start: unknown run {spec.warm_start!r}{hint}")
        check_run(spec, f"{where}: runs.{name}")
        runs[name] = spec
    for name in runs:
        _check_no_cycle(name, runs, where)
        _check_start_has_data(name, runs, document, where)
    return runs


def _check_start_has_data(name: str, runs: dict[str, RunSpec], document: Document, where: str) -> None:
    start = runs[name].warm_start
    if start is None:
        return
    known = runs[start].datasets or list(document.datasets)
    for dataset in runs[name].datasets or list(document.datasets):
        if dataset not in known:
            raise UserError(
                f"{where}: runs.{name}.warm_start: '{start}' is not trained on '{dataset}', expected a run "
                "on the same data sets"
            )


def _check_no_cycle(name: str, runs: dict[str, RunSpec], where: str) -> None:
    seen, now = [name], runs[name].warm_start
    while now is not None:
        if now in seen:
            raise UserError(
                f"{where}: runs.{name}.warm_start: found a circle ({' → '.join([*seen, now])}), expected a "
                "start"
            )
        seen.append(now)
        now = runs[now].warm_start
