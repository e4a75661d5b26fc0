"""Stage: other people's methods on the same traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.evaluation.peers import oasis_deconvolve
from dfp.stages.aggregate import write_table
from dfp.stages.scores import named_scores


def peers(
    experiment: Path, scale: str, dataset: str, data: Path, out: Path, overrides: Path | None = None
) -> None:
    """Write the scores of OASIS on the frames of a data set of recordings to ``out``, in the form of a run
    called ``oasis``.

    OASIS deconvolves with an L1 penalty, an AR(1) calcium model and noise and decay found by itself; its
    output has arbitrary units.

    Source: Friedrich, Zhou & Paninski 2017; package oasis-deconv.
    """
    exp = load_experiment(experiment, scale, overrides)
    loaded = Dataset.load(data)
    traces, spikes = loaded.evaluation
    if loaded.known or spikes is None:
        raise UserError(f"{data}: a simulated data set, expected recordings with spikes to score a peer on")
    step = int(loaded.facts.get("bins_per_frame", 1))
    rows = []
    for n, name in enumerate(loaded.names):
        frames = traces[0, step - 1 :: step, n]
        last = int(np.flatnonzero(np.isfinite(frames))[-1]) + 1
        found = oasis_deconvolve(frames[:last], penalty=1)
        recorded = spikes[0, step - 1 :: step, n][:last].astype(float)
        for _, metric, value in named_scores(n, np.ravel(found.spikes), recorded, loaded.frame_rate / step):
            rows.append({"seed": int(loaded.seed[n]), "cell": name, "metric": metric, "value": value})
    told = {
        "experiment": exp.name, "scale": scale, "run": "oasis", "dataset": dataset,
        "posterior": "oasis", "objective": "none", "sampler": "none",
    }  # fmt: skip
    write_table(pd.DataFrame(rows).assign(**told), out)
