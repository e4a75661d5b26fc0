"""Stage: a fit of a user's own recording, from its file to tables in a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dfp.config.fitting import Fit
from dfp.core.files import read_json
from dfp.data.own import Response
from dfp.fitting.fit import Job, fits
from dfp.fitting.fitted import read_payload
from dfp.fitting.result import TABLES
from dfp.stages.source import Source
from dfp.stages.train import train_on


def fit(
    source: Source,
    out: Path,
    plan: Fit,
    response: Response,
    device: str = "auto",
    wandb: str = "disabled",
) -> None:
    """Fit a file of traces (``dfp.fitting.fit``) and write the result into the folder ``out``.

    That is ``checkpoint.pt`` (for `dfp infer`), ``spikes.csv``, ``cells.csv`` and, where weights between
    cells are learned, ``connections.csv`` (see ``Result``), beside what every training leaves.

    Connections start from a fit of the cells, which is kept in the folder ``cells`` below. The same command
    again resumes what was cut off, and trains nothing that is there already.

    Args:
        plan: the settings, of ``load_fit``.
        response: to one spike, of ``plan.response``; an amplitude that is told is not learned.

    Raises:
        UserError: for traces that cannot be read or made sense of.
        NumericalError: when training meets a number that is not finite.
    """

    def folder(run: str) -> Path:
        return out if run == plan.name else out / run

    results = fits(
        source.read(),
        plan,
        response,
        lambda job: _trained(job, folder(job.plan.name), device, wandb),
        device=device,
        recording=source.path.stem,
        source=str(source.path),
    )
    for result in results:
        result.write_tables(folder(result.facts.run))


def _trained(job: Job, folder: Path, device: str, wandb: str) -> dict[str, Any]:
    """What the checkpoint in a folder holds, trained unless it is there."""
    checkpoint, config, identity = folder / "checkpoint.pt", folder / "config.json", job.identity
    if checkpoint.exists() and config.exists() and read_json(config).get("fingerprint") == identity:
        print(f"{checkpoint}: trained already with these settings and traces", file=sys.stderr)
        return read_payload(checkpoint)
    # what an earlier fit said must not stand beside this one's
    for name in ("checkpoint.pt", *(f"{table}.csv" for table in TABLES)):
        (folder / name).unlink(missing_ok=True)
    train_on(job.data, job.facts, identity, checkpoint, None, device, wandb)
    return read_payload(checkpoint)
