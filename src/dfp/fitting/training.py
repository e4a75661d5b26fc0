"""Training a model and a posterior in memory, and what is kept of it: shown, thinned, summed up."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from dfp.data.dataset import Dataset
from dfp.fitting.fitted import Fitted
from dfp.training.loop import Trainer

#: rows of a history that a run is thinned to; each is the mean of its steps
HISTORY_ROWS = 250


def trainer_of(fitted: Fitted, data: Dataset, device: torch.device) -> Trainer:
    """What trains on a data set, with the windows and the noise of its seed and the run's."""
    x, seed = torch.as_tensor(data.x, device=device), fitted.spec.seed + int(data.seed[0])
    return Trainer(fitted.model, fitted.posterior, x, fitted.phases, seed=seed)


def shown(trainer: Trainer) -> Iterator[dict[str, Any]]:
    """The trainer's metrics, with a progress bar on stderr: loss, sweeps, time left."""
    interval = 0.5 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=trainer.steps, initial=trainer.step, mininterval=interval, unit="step", dynamic_ncols=True
    ) as bar:
        for metrics in trainer.run():
            bar.set_postfix(loss=f"{metrics['loss']:.4f}", sweeps=metrics["sweeps"], refresh=False)
            bar.update()
            yield metrics


def entry(metrics: dict[str, Any]) -> dict[str, Any]:
    """What a history keeps of a step's metrics."""
    return {key: value for key, value in metrics.items() if key != "loss_per_cell"}


def history_table(history: list[dict[str, Any]]) -> pd.DataFrame:
    """The steps thinned to means of equal stretches; a stretch never crosses from one phase into the next."""
    frame = pd.DataFrame(history)
    width = max(1, math.ceil(len(frame) / HISTORY_ROWS))
    stretch = frame["phase"] * 10**9 + frame["step"] // width
    frame["unconverged"] = ~frame.pop("converged").astype(bool)
    keep = {name: "mean" for name in frame.columns if name not in ("step", "seconds", "phase", "objective")}
    keep |= {"step": "max", "seconds": "max", "phase": "first", "objective": "first"}
    thinned = frame.groupby(stretch, sort=True).agg(keep)
    first = ["step", "phase", "objective", "seconds", "loss"]
    return thinned[first + [name for name in thinned.columns if name not in first]]


def summary_of(history: list[dict[str, Any]], trainer: Trainer, device: torch.device) -> dict[str, Any]:
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
