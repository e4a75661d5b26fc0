"""Weights & Biases as a mirror: what goes wrong there stops no training and loses no result.

Results are in files of our own; nothing is ever read back from W&B. The package is optional and is imported
when a run is opened.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: seconds that an online run may take to start before it is kept offline instead
INIT_TIMEOUT = 20
#: seconds that the end of an online run waits for its upload; what is missing stays on disk for ``wandb
#: sync``
FINISH_TIMEOUT = 60
#: least seconds between two records sent; of those in between the newest is kept, and sent with the next or
#: at the end
LOG_EVERY = 0.1


class Tracker:
    """A tracker that does nothing: for W&B disabled, missing or broken."""

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Metrics of one step; steps rise from call to call."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final numbers."""

    def figure(self, name: str, path: Path) -> None:
        """A picture, from a file."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table, row by row."""

    def close(self) -> None:
        """End the run."""


class WandbTracker(Tracker):
    """One W&B run. The first failure is reported in one sentence; from then on nothing is sent."""

    def __init__(
        self, run: Any, image: Callable[[str], Any], every: float, table: Callable[..., Any] = dict
    ) -> None:
        self._run, self._image, self._every, self._table = run, image, every, table
        self._waiting: tuple[dict[str, Any], int] | None = None
        self._sent = float("-inf")

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        self._waiting = (dict(metrics), step)
        if time.monotonic() - self._sent >= self._every:
            self._send()

    def summary(self, values: Mapping[str, Any]) -> None:
        self._send()
        self._safely(lambda: self._run.summary.update(dict(values)))

    def figure(self, name: str, path: Path) -> None:
        self._send()
        self._safely(lambda: self._run.log({name: self._image(str(path))}))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._send()
        data = [list(row) for row in rows]
        self._safely(lambda: self._run.log({name: self._table(columns=list(columns), data=data)}))

    def close(self) -> None:
        self._send()
        self._safely(lambda: self._run.finish())
        self._run = None

    def _send(self) -> None:
        if self._waiting is None:
            return
        (metrics, step), self._waiting = self._waiting, None
        self._sent = time.monotonic()
        self._safely(lambda: self._run.log(metrics, step=step))

    def _safely(self, call: Callable[[], Any]) -> None:
        if self._run is None:
            return
        try:
            call()
        except Exception as error:  # whatever W&B raises, results are in our own files
            _warn(error)
            self._run = None


def _warn(error: BaseException) -> None:
    said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    print(
        f"W&B failed ({said}), so nothing more is sent to it; all results are in the run's own files",
        file=sys.stderr,
    )


def open_tracker(
    mode: str,
    *,
    group: str,
    name: str,
    tags: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    project: str = "dfp",
    folder: Path | None = None,
    run_id: str | None = None,
) -> Tracker:
    """A W&B run, or a tracker that does nothing where W&B is disabled, missing or broken; never raises.

    Args:
        mode: ``offline`` (files below ``wandb/``, sent later by ``wandb sync``), ``online`` or ``disabled``.
            An online run that cannot be started within ``INIT_TIMEOUT`` seconds (no network, no login) is
            kept offline.
        group, name, tags, config: of the run.
        run_id: of a run that other processes add to; offline each adds a folder, and ``wandb sync`` sends all
            of one id to one run.
        folder: where W&B's folder ``wandb/`` goes; by default WANDB_DIR, else the current folder.
    """
    if mode == "disabled":
        return Tracker()
    options: dict[str, Any] = {
        "project": project,
        "group": group,
        "name": name,
        "tags": [tag[:64] for tag in tags],  # longer ones are refused by W&B
        "config": dict(config or {}),
        "dir": str(folder or os.environ.get("WANDB_DIR", ".")),
        "reinit": "create_new",
    }
    if run_id:
        options |= {"id": run_id, "resume": "allow"}
    try:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=INIT_TIMEOUT,
            login_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
        )
        run: Any = None
        if mode == "online":
            try:
                run = wandb.init(mode="online", settings=settings, **options)
            except Exception as error:
                print(
                    f"W&B is not to be reached ({type(error).__name__}), so the run is kept offline",
                    file=sys.stderr,
                )
        if run is None:
            run = wandb.init(mode="offline", settings=settings, **options)
        return WandbTracker(run, wandb.Image, LOG_EVERY, wandb.Table)
    except Exception as error:  # a missing or broken installation included
        _warn(error)
        return Tracker()


def mirror_metrics(facts: Mapping[str, Any], metrics: Mapping[str, float], mode: str) -> None:
    """Add a trained posterior's metrics on held-out trials to the W&B run of its training.

    Args:
        facts: what ``train`` wrote to config.json: ``experiment``, ``scale``, ``run``, ``dataset`` and
            ``wandb``, the id of the run; nothing is sent without one.
        metrics: by name, one number each; kept as ``heldout/<name>``.
    """
    if not facts.get("wandb"):
        return
    tracker = open_tracker(
        mode,
        group=f"{facts['experiment']}-{facts['scale']}",
        name=f"{facts['experiment']}/{facts['run']}/{facts['dataset']}",
        tags=["evaluated"],
        run_id=str(facts["wandb"]),
    )
    tracker.summary({f"heldout/{name}": value for name, value in metrics.items()})
    tracker.close()


def mirror_figures(
    experiment: str,
    folder: Path,
    names: Sequence[str],
    mode: str,
    results: Mapping[str, float] | None = None,
    table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
) -> None:
    """Show an experiment's figures, ``folder/<name>.png``, in a W&B run of their own.

    ``results``, the final metrics of the experiment's runs by ``run/metric``, are its summary; ``table``, the
    columns and rows of the experiment's table, is shown beside the figures.
    """
    scale = folder.resolve().parent.name
    tracker = open_tracker(
        mode, group=f"{experiment}-{scale}", name=f"{experiment}/figures", tags=["figures"]
    )
    for name in names:
        tracker.figure(name, folder / f"{name}.png")
    if table:
        tracker.table("table", *table)
    tracker.summary(results or {})
    tracker.close()
