"""Whole experiments without Snakemake: the same functions, one after the other, skipping what is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dfp.config import Experiment, list_experiments, load_experiment
from dfp.core.errors import UserError, suggest
from dfp.stages.aggregate import aggregate
from dfp.stages.claims import claims
from dfp.stages.collect import collect
from dfp.stages.evaluate import evaluate
from dfp.stages.mirror import mirror_evaluation
from dfp.stages.peers import peers, tune_peers
from dfp.stages.plot import plot
from dfp.stages.simulate import simulate
from dfp.stages.study import study
from dfp.stages.train import train


def run(
    root: Path,
    scale: str,
    only: Sequence[str] = (),
    device: str = "auto",
    wandb: str = "offline",
    overrides: Path | None = None,
    figures: bool = True,
) -> None:
    """Run experiments at ``scale`` into ``results/<scale>`` and ``figures/<scale>`` below ``root``.

    With overrides the folders are ``<scale>-<name of the file>``, so that a variation does not overwrite its
    scale.

    A run whose checkpoint was made with the same settings is not trained again; one that was cut off resumes.

    Args:
        only: names of experiments; empty for all that are part of ``all`` and whose data are there.
    """
    names = list_experiments(root)
    for name in only:
        if name not in names:
            raise UserError(
                f"--only: unknown experiment {name!r}{suggest(name, names)}; known: {', '.join(names)}"
            )
    experiments = [
        load_experiment(root / "experiments" / name / "config.yaml", scale, overrides) for name in names
    ]
    place = scale + (f"-{overrides.stem}" if overrides else "")
    results = root / "results" / place
    for exp in experiments:
        if (only and exp.name not in only) or (not only and not exp.in_all):
            continue
        available, sentence = exp.available()
        if not available:
            print(sentence, file=sys.stderr)
            continue
        _run_one(exp, results / exp.name, device, wandb, overrides)
        if figures:
            plot(exp.path.parent, results / exp.name, root / "figures" / place / exp.name, exp.figures)
    claims(results, results / "claims.csv", results / "claims.md", root / "experiments")


def _run_one(exp: Experiment, folder: Path, device: str, wandb: str, overrides: Path | None) -> None:
    if exp.kind == "study":
        print(f"{exp.name}: study", file=sys.stderr)
        study(exp.path, exp.scale, folder / "table.csv", device, overrides)
        return
    if exp.kind == "tables":
        sources = [folder.parent / name / "table.csv" for name in exp.sources]
        collect(exp.path, exp.scale, sources, folder / "table.csv", overrides)
        return
    for dataset in [*exp.scored, *dict.fromkeys(filter(None, map(exp.tuned_on, exp.scored)))]:
        target, mark = folder / "data" / f"{dataset}.npz", folder / "data" / f".{dataset}.made"
        if not (target.exists() and mark.exists() and mark.read_text() == exp.data_fingerprint(dataset)):
            print(f"{exp.name}: simulate {dataset}", file=sys.stderr)
            simulate(exp.path, exp.scale, dataset, target, overrides)
            mark.write_text(exp.data_fingerprint(dataset))
    tables = []
    for name, dataset in _in_order(exp):
        run_folder, data = folder / "runs" / name / dataset, folder / "data" / f"{dataset}.npz"
        checkpoint, metrics = run_folder / "checkpoint.pt", run_folder / "metrics.csv"
        if not (metrics.exists() and _made_with(run_folder, exp.run_fingerprint(name, dataset))):
            print(f"{exp.name}: train {name} on {dataset}", file=sys.stderr)
            above = exp.warm_start(name)
            start = folder / "runs" / above / dataset / "checkpoint.pt" if above else None
            train(exp.path, exp.scale, name, dataset, data, checkpoint, start, device, wandb, overrides)
            evaluate(checkpoint, data, metrics, device)
            mirror_evaluation(checkpoint, metrics, wandb)
        tables.append(metrics)
    tuned: set[str] = set()
    for dataset in filter(exp.peers_on, exp.scored):
        tables.append(folder / "peers" / dataset / "metrics.csv")
        tuning, chosen = exp.tuned_on(dataset), None
        if tuning:
            chosen = folder / "peers" / tuning / "settings.json"
            if tuning not in tuned:
                tune_peers(exp.path, exp.scale, folder / "data" / f"{tuning}.npz", chosen, overrides)
                tuned.add(tuning)
        peers(exp.path, exp.scale, dataset, folder / "data" / f"{dataset}.npz", tables[-1], chosen, overrides)
    aggregate(tables, folder / "table.csv")


def _in_order(exp: Experiment) -> list[tuple[str, str]]:
    """All jobs, runs that others start from first."""

    def depth(name: str) -> int:
        above = exp.warm_start(name)
        return 0 if above is None else 1 + depth(above)

    return sorted(exp.jobs(), key=lambda job: depth(job[0]))


def _made_with(folder: Path, fingerprint: str) -> bool:
    config = folder / "config.json"
    return config.exists() and json.loads(config.read_text()).get("fingerprint") == fingerprint
