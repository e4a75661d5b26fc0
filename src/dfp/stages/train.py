"""Stage: train one posterior on one data set."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import torch

from dfp.config import load_experiment
from dfp.config.schema import RecordingsSpec
from dfp.core.errors import NumericalError, UserError, suggest
from dfp.core.files import atomic_path, write_json
from dfp.data.dataset import Dataset
from dfp.data.own import Preparation
from dfp.fitting.facts import Facts
from dfp.fitting.fitted import Fitted, choose_device, fresh, warm_start
from dfp.fitting.training import HISTORY_ROWS, entry, history_table, shown, summary_of, trainer_of
from dfp.stages.provenance import environment
from dfp.tracking.tracker import Tracker, WandbTracker, open_tracker
from dfp.training.loop import Trainer

#: seconds between two saved states from which a killed run resumes
SAVE_EVERY = 20.0


def train(
    experiment: Path,
    scale: str,
    run: str,
    dataset: str,
    data: Path,
    out: Path,
    start: Path | None = None,
    device: str = "auto",
    wandb: str = "offline",
    overrides: Path | None = None,
) -> None:
    """Train ``run`` on ``data`` and write the checkpoint ``out``.

    config.json, history.csv and summary.json go beside it.

    A run that was cut off resumes from ``progress.pt`` beside the checkpoint, to the same result.

    Args:
        start: checkpoint to start from, for runs with a ``warm_start``.
        wandb: ``offline``, ``online`` or ``disabled``; never the place that results are read from.

    Raises:
        UserError, NumericalError: see the library; nothing half-written stays behind.
    """
    exp = load_experiment(experiment, scale, overrides)
    if run not in exp.runs:
        raise UserError(
            f"{experiment}: unknown run {run!r}{suggest(run, exp.runs)}; known: {', '.join(exp.runs)}"
        )
    if dataset not in exp.datasets:
        hint = suggest(dataset, exp.datasets)
        raise UserError(
            f"{experiment}: unknown data set {dataset!r}{hint}; known: {', '.join(exp.datasets) or 'none'}"
        )
    if (exp.warm_start(run) is None) != (start is None):
        expected = f"the checkpoint of '{exp.warm_start(run)}'" if exp.warm_start(run) else "none"
        raise UserError(f"{experiment}: runs.{run}: found warm start {start}, expected {expected}")
    spec, prepared = exp.datasets[dataset], Preparation()
    if isinstance(spec, RecordingsSpec):
        prepared = Preparation(spec.baseline_seconds, spec.bins_per_frame)
    setting = exp.entries[dataset].setting
    facts = Facts(exp.name, scale, run, dataset, exp.raw_runs[run], setting, prepared)
    train_on(Dataset.load(data), facts, exp.run_fingerprint(run, dataset), out, start, device, wandb)


def train_on(
    data: Dataset,
    facts: Facts,
    identity: str,
    out: Path,
    start: Path | None = None,
    device: str = "auto",
    wandb: str = "offline",
) -> None:
    """Train on a data set and write the checkpoint ``out``, with what else a run leaves beside it.

    Args:
        facts: of the run, kept in the checkpoint.
        identity: hash of all that the result depends on; what was cut off resumes only under the same one.
        start, device, wandb: as in ``train``.
    """
    where = choose_device(device)
    fitted = fresh(facts, data, where)
    if start is not None:
        warm_start(fitted, start, where)
    trainer = trainer_of(fitted, data, where)
    folder = out.parent
    mirror = uuid.uuid4().hex[:12]  # a name for W&B, which the evaluation adds to
    tracker = _tracker(wandb, facts, fitted, data, mirror)
    record = {**facts.plain(), "fingerprint": identity, "environment": environment()}
    if isinstance(tracker, WandbTracker):  # else there is no run to add to
        record["wandb"] = mirror
    try:
        write_json(folder / "config.json", record)
        history = _train(trainer, folder / "progress.pt", identity, tracker)
        summary = summary_of(history, trainer, where)
        _write_history(history, folder / "history.csv")
        write_json(folder / "summary.json", summary)
        fitted.save(out, summary)
        tracker.summary(summary)
    except NumericalError as error:
        raise NumericalError(f"{facts.experiment}: run {facts.run} on {facts.dataset}: {error}") from None
    finally:
        tracker.close()
    (folder / "progress.pt").unlink(missing_ok=True)


def _tracker(wandb: str, facts: Facts, fitted: Fitted, data: Dataset, mirror: str) -> Tracker:
    """The run's mirror in W&B, tagged by posterior, data set and seeds."""
    seeds = [f"seed{seed}" for seed in sorted(set(data.seed.tolist()))]
    return open_tracker(
        wandb,
        group=f"{facts.experiment}-{facts.scale}",
        name=f"{facts.experiment}/{facts.run}/{facts.dataset}",
        tags=[str(fitted.spec.posterior["kind"]), facts.dataset, *seeds],
        config={**facts.settings, "scale": facts.scale, "run": facts.run, "dataset": facts.dataset},
        run_id=mirror,
    )


def _train(trainer: Trainer, progress: Path, identity: str, tracker: Tracker) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = _resume(trainer, progress, identity)
    saved = time.monotonic()
    for metrics in shown(trainer):
        history.append(entry(metrics))
        if metrics["step"] % max(1, trainer.steps // HISTORY_ROWS) == 0:
            tracker.log(
                {key: value for key, value in history[-1].items() if key != "step"}, step=metrics["step"]
            )
        if time.monotonic() - saved > SAVE_EVERY:
            with atomic_path(progress) as temporary:
                torch.save({"identity": identity, "trainer": trainer.state(), "history": history}, temporary)
            saved = time.monotonic()
    return history


def _resume(trainer: Trainer, progress: Path, identity: str) -> list[dict[str, Any]]:
    if not progress.exists():
        return []
    try:
        state = torch.load(progress, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file only costs the time that it would have saved
        print(f"{progress}: not readable, training starts anew", file=sys.stderr)
        return []
    if state.get("identity") != identity:
        print(f"{progress}: belongs to other settings, training starts anew", file=sys.stderr)
        return []
    trainer.load_state(state["trainer"])
    print(f"{progress}: resuming after step {trainer.step} of {trainer.steps}", file=sys.stderr)
    return list(state["history"])


def _write_history(history: list[dict[str, Any]], path: Path) -> None:
    with atomic_path(path) as temporary:
        history_table(history).to_csv(temporary, index=False, float_format="%.8g")
