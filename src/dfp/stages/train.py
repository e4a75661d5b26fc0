"""Stage: train one posterior on one data set."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from dfp.config import load_experiment
from dfp.config.schema import RecordingsSpec
from dfp.core.errors import NumericalError, UserError, suggest
from dfp.core.files import atomic_path, write_json
from dfp.data.dataset import Dataset
from dfp.data.own import Preparation
from dfp.fitting.fitted import Fitted, choose_device, fresh, warm_start
from dfp.stages.provenance import environment
from dfp.tracking.tracker import Tracker, open_tracker
from dfp.training.loop import Trainer

#: seconds between two saved states from which a killed run resumes
SAVE_EVERY = 20.0
#: rows of history.csv that a run is thinned to; each is the mean of its steps
HISTORY_ROWS = 250


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
    """Train ``run`` on ``data`` and write the checkpoint ``out``, with config.json, history.csv and
    summary.json beside it.

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
    settings = exp.raw_runs[run]
    facts = {"experiment": exp.name, "scale": scale, "run": run, "dataset": dataset, "settings": settings}
    facts["setting"] = exp.entries[dataset].setting
    spec = exp.datasets[dataset]
    if isinstance(spec, RecordingsSpec):
        facts["preparation"] = asdict(Preparation(spec.baseline_seconds, spec.bins_per_frame))
    train_on(Dataset.load(data), facts, exp.run_fingerprint(run, dataset), out, start, device, wandb)


def train_on(
    data: Dataset,
    facts: dict[str, Any],
    identity: str,
    out: Path,
    start: Path | None = None,
    device: str = "auto",
    wandb: str = "offline",
) -> None:
    """Train on a data set and write the checkpoint ``out``, with what else a run leaves beside it.

    Args:
        facts: plain facts about the run, kept in the checkpoint (see ``Fitted``): experiment, scale, run,
            dataset, the run's raw settings.
        identity: hash of all that the result depends on; what was cut off resumes only under the same one.
        start, device, wandb: as in ``train``.
    """
    where = choose_device(device)
    fitted = fresh(facts, data, where)
    if start is not None:
        warm_start(fitted, start, where)
    trainer = Trainer(
        fitted.model,
        fitted.posterior,
        torch.as_tensor(data.x, device=where),
        fitted.phases,
        seed=fitted.spec.seed + int(data.seed[0]),
    )
    folder = out.parent
    mirror = uuid.uuid4().hex[:12]  # a name for W&B, which the evaluation adds to
    told = {**facts, "fingerprint": identity, "environment": environment(), "wandb": mirror}
    write_json(folder / "config.json", told)
    tracker = _tracker(wandb, facts, fitted, data, mirror)
    try:
        history = _train(trainer, folder / "progress.pt", identity, tracker)
        summary = _summary(history, trainer, where)
        _write_history(history, folder / "history.csv")
        write_json(folder / "summary.json", summary)
        fitted.save(out, summary)
        tracker.summary(summary)
    except NumericalError as error:
        name = f"{facts['experiment']}: run {facts['run']} on {facts['dataset']}"
        raise NumericalError(f"{name}: {error}") from None
    finally:
        tracker.close()
    (folder / "progress.pt").unlink(missing_ok=True)


def _tracker(wandb: str, facts: dict[str, Any], fitted: Fitted, data: Dataset, mirror: str) -> Tracker:
    """The run's mirror in W&B, tagged by posterior, data set and seeds."""
    experiment, run, dataset = (str(facts[name]) for name in ("experiment", "run", "dataset"))
    seeds = [f"seed{seed}" for seed in sorted(set(data.seed.tolist()))]
    return open_tracker(
        wandb,
        group=f"{experiment}-{facts['scale']}",
        name=f"{experiment}/{run}/{dataset}",
        tags=[str(fitted.spec.posterior["kind"]), dataset, *seeds],
        config={**facts["settings"], "scale": facts["scale"], "run": run, "dataset": dataset},
        run_id=mirror,
    )


def _train(trainer: Trainer, progress: Path, identity: str, tracker: Tracker) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = _resume(trainer, progress, identity)
    saved = time.monotonic()
    for metrics in _shown(trainer):
        history.append({key: value for key, value in metrics.items() if key != "loss_per_cell"})
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


def _shown(trainer: Trainer) -> Iterator[dict[str, Any]]:
    """The trainer's metrics, with a progress bar: loss, sweeps, time left."""
    interval = 0.5 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=trainer.steps, initial=trainer.step, mininterval=interval, unit="step", dynamic_ncols=True
    ) as bar:
        for metrics in trainer.run():
            bar.set_postfix(loss=f"{metrics['loss']:.4f}", sweeps=metrics["sweeps"], refresh=False)
            bar.update()
            yield metrics


def _write_history(history: list[dict[str, Any]], path: Path) -> None:
    """Thin the steps to means of equal stretches; a stretch never crosses from one phase into the next."""
    frame = pd.DataFrame(history)
    width = max(1, math.ceil(len(frame) / HISTORY_ROWS))
    stretch = frame["phase"] * 10**9 + frame["step"] // width
    frame["unconverged"] = ~frame.pop("converged").astype(bool)
    keep = {name: "mean" for name in frame.columns if name not in ("step", "seconds", "phase", "objective")}
    keep |= {"step": "max", "seconds": "max", "phase": "first", "objective": "first"}
    thinned = frame.groupby(stretch, sort=True).agg(keep)
    first = ["step", "phase", "objective", "seconds", "loss"]
    thinned = thinned[first + [name for name in thinned.columns if name not in first]]
    with atomic_path(path) as temporary:
        thinned.to_csv(temporary, index=False, float_format="%.8g")


def _summary(history: list[dict[str, Any]], trainer: Trainer, device: torch.device) -> dict[str, Any]:
    """Plain numbers of the whole run. Times leave out imports, data loading and the first two steps."""
    seconds = np.diff([entry["seconds"] for entry in history[1:]]) if len(history) > 2 else np.zeros(1)
    sweeps = [entry["sweeps"] for entry in history]
    capped = [not entry["converged"] for entry in history]
    return {
        "steps": trainer.steps,
        "train_seconds": float(history[-1]["seconds"]),
        "seconds_per_step": float(np.median(seconds)),
        "train_sweeps_mean": float(np.mean(sweeps)),
        "train_sweeps_max": float(np.max(sweeps)),
        "train_capped_share": float(np.mean(capped)),
        "final_loss": float(np.mean([entry["loss"] for entry in history[-max(1, len(history) // 50) :]])),
        "threads": float(torch.get_num_threads()),
        "on_gpu": float(device.type == "cuda"),
    }
