"""An experiment: its data sets, its runs, its figures, at one scale."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dfp.config.datasets import DataEntry, make_datasets
from dfp.config.peers import PeersSpec
from dfp.config.runs import left_out, make_runs, raw_runs
from dfp.config.schema import (
    KINDS,
    SCALES,
    RecordingsSpec,
    RunSpec,
    SimulationSpec,
    TablesSpec,
)
from dfp.core.errors import UserError, suggest
from dfp.core.parse import build, convert, merge
from dfp.core.read import read_yaml
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
        kind: ``simulated``, ``recordings``, ``study`` or ``tables``.
        order: place among the experiments.
        recordings: a study that reads real recordings.
        in_all: part of ``snakemake all``.
        minutes: estimated time on two CPU cores, by scale.
        datasets, runs: by name. A data set may start from another's settings (``extends``), of this document
            or of ``experiments/datasets.yaml``.
        defaults: settings that every run starts from: ``model``, ``posterior``, ``recognition``,
            ``training``, ``evaluation``, ….
        axes: runs made by combination: label → value → settings; every combination is a run.
        only: label → values: of that axis, keep these values only (at a smaller scale, say).
        peers: other tools run on the same data sets.
        figures: names of the figures that the experiment's ``plot.py`` makes.
        alone: a study that is measured with the machine to itself: its job takes every core.
        study: the settings of an experiment of kind ``study``, as its ``study.py`` names them.
        tables: of which other experiments, and what of them, a table of kind ``tables`` is made.
        scales: for each scale but ``default``, settings laid over the whole document.
        skip: combinations of the axes' values that are left out.
        steps_scale: all phases' steps are multiplied by this (at least 1 step each).
    """

    question: str
    kind: str = "simulated"
    recordings: bool = False
    order: int = 0
    in_all: bool = True
    minutes: dict[str, float] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    axes: dict[str, dict[str, dict[str, Any] | None]] = field(default_factory=dict)
    only: dict[str, list[str]] = field(default_factory=dict)
    skip: list[dict[str, str]] = field(default_factory=list)
    peers: PeersSpec | None = None
    figures: list[str] = field(default_factory=list)
    alone: bool = False
    study: dict[str, Any] = field(default_factory=dict)
    tables: TablesSpec | None = None
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(
                f"kind: found {self.kind!r}{suggest(self.kind, KINDS)}, expected one of {', '.join(KINDS)}"
            )
        if (self.kind == "tables") != (self.tables is not None):
            raise UserError(
                f"tables: expected this key in an experiment of kind tables only, found {self.kind}"
            )
        if self.recordings and self.kind != "study":
            raise UserError(
                f"recordings: expected this key in an experiment of kind study only, found {self.kind}"
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
    entries: dict[str, DataEntry]
    runs: dict[str, RunSpec]
    raw_runs: dict[str, dict[str, Any]]
    run_datasets: dict[str, list[str]]

    @property
    def datasets(self) -> dict[str, SimulationSpec | RecordingsSpec]:
        """All data sets by name, those that peers are tuned on included."""
        return {name: entry.spec for name, entry in self.entries.items()}

    @property
    def scored(self) -> list[str]:
        """Data sets that some run is trained on; peers are scored on them too."""
        used = {name for names in self.run_datasets.values() for name in names}
        return [name for name in self.entries if name in used]

    @property
    def peers(self) -> list[str]:
        """Names of the peers."""
        return list(self.document.peers.methods) if self.document.peers else []

    def peers_on(self, dataset: str) -> list[str]:
        """Names of the peers that are scored on a data set."""
        kept = self.document.peers.only if self.document.peers else {}
        here = {dataset, self.entries[dataset].setting}
        return [name for name in self.peers if name not in kept or here & set(kept[name])]

    def tuned_on(self, dataset: str) -> str | None:
        """The data set that peers choose their settings on before they are scored on ``dataset``."""
        setting = self.entries[dataset].setting
        found = [name for name, entry in self.entries.items() if entry.tuning and entry.setting == setting]
        return found[0] if found else None

    @property
    def kind(self) -> str:
        """``simulated``, ``recordings``, ``study`` or ``tables``."""
        return self.document.kind

    @property
    def recorded(self) -> bool:
        """Whether it reads real recordings."""
        return self.kind == "recordings" or self.document.recordings

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
        return [(run, data) for run in self.runs for data in self.run_datasets[run]]

    def warm_start(self, run: str) -> str | None:
        """The run whose checkpoint ``run`` starts from, if any."""
        return self.runs[run].warm_start

    def data_fingerprint(self, dataset: str) -> str:
        """Hash of all settings that the data set's file depends on."""
        return fingerprint(self.entries[dataset].raw)

    def run_fingerprint(self, run: str, dataset: str) -> str:
        """Hash of all settings that the run's checkpoint and metrics depend on."""
        start = self.runs[run].warm_start
        below = self.run_fingerprint(start, dataset) if start else ""
        own = {key: value for key, value in self.raw_runs[run].items() if key != "datasets"}
        return fingerprint([own, self.entries[dataset].raw, below])

    @property
    def sources(self) -> list[str]:
        """Experiments whose tables this one's table is made of; none unless its kind is ``tables``."""
        return list(self.document.tables.of) if self.document.tables else []

    def tables_fingerprint(self) -> str:
        """Hash of all settings that a table of other tables depends on, the runs' warm starts among them."""
        sources = [load_experiment(self._beside(name), self.scale) for name in self.sources]
        starts = [{run: source.warm_start(run) for run in source.runs} for source in sources]
        return fingerprint([asdict(self.document.tables) if self.document.tables else None, starts])

    def _beside(self, name: str) -> Path:
        return self.path.parent.parent / name / "config.yaml"

    def study_fingerprint(self) -> str:
        """Hash of all settings that a study's table depends on, its runs' and data sets' among them."""
        data = {name: entry.raw for name, entry in self.entries.items()}
        return fingerprint([self.document.study, self.raw_runs, data])

    def available(self) -> tuple[bool, str]:
        """Whether the experiment's data can be had; if not, a sentence that says how to get them."""
        if not self.recorded:
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
    over = f" with {overrides}" if overrides else ""
    document = build(Document, raw, f"{path}{over}")
    where = f"{path} ({scale}){over}"
    _check_sources(document, path)
    entries = make_datasets(document.datasets, document.kind, document.peers, path, where)
    raw = raw_runs(document, where)
    runs, used = make_runs(raw, _callable(entries), where, left_out(document))
    return Experiment(
        name=name,
        path=path,
        scale=scale,
        document=document,
        entries=entries,
        runs=runs,
        raw_runs=raw,
        run_datasets=used,
    )


def _check_sources(document: Document, path: Path) -> None:
    """Refuse tables of experiments that are not there beside this one."""
    known = sorted(other.parent.name for other in path.resolve().parent.parent.glob("*/config.yaml"))
    for name in document.tables.of if document.tables else ():
        if name not in known or name == path.parent.name:
            raise UserError(
                f"{path}: tables.of: unknown experiment {name!r}{suggest(name, known)}; known: "
                f"{', '.join(known)}"
            )


def _callable(entries: Mapping[str, DataEntry]) -> dict[str, list[str]]:
    """Data sets by the names that runs may call them by; under the empty name, all but those for tuning."""
    found: dict[str, list[str]] = {"": []}
    for name, entry in entries.items():
        for called in {"", name, entry.setting} if not entry.tuning else ():
            found.setdefault(called, []).append(name)
    return found


def _overrides(overrides: Path, path: Path) -> dict[str, Any]:
    """What a file of overrides lays over the experiment at ``path``.

    The keys of the file are experiments beside that one.
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
