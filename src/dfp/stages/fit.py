"""Stage: a model and a posterior for a user's own recording, and what they say of it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dfp.config.experiment import fingerprint
from dfp.config.fitting import Fit
from dfp.config.schema import RunSpec
from dfp.core.errors import UserError
from dfp.core.files import read_json
from dfp.core.parse import build
from dfp.data.dataset import Dataset
from dfp.data.own import Preparation, Response, own_dataset
from dfp.data.readers.registry import read_traces
from dfp.data.traces import Orientation, Traces
from dfp.fitting.fitted import Fitted, choose_device, load
from dfp.models.base import Parameters
from dfp.models.calcium import CalciumParameters
from dfp.results.tables import write_table
from dfp.stages.infer import spikes_table
from dfp.stages.train import train_on


@dataclass(frozen=True)
class Source:
    """A file of traces, and what it does not tell itself; see ``read_traces``."""

    path: Path
    frame_rate: float | None = None
    orientation: Orientation | None = None
    key: str | None = None
    allow_nan: bool = False

    def read(self) -> Traces:
        """The traces, checked."""
        return read_traces(
            self.path,
            key=self.key,
            orientation=self.orientation,
            frame_rate=self.frame_rate,
            allow_nan=self.allow_nan,
        )


def fit(
    source: Source,
    out: Path,
    plan: Fit,
    response: Response,
    device: str = "auto",
    wandb: str = "disabled",
) -> None:
    """Train on a file of traces and write into the folder ``out``: ``checkpoint.pt`` (for `dfp infer`),
    ``spikes.csv`` (``spikes_table``), ``cells.csv`` (``cells_table``) and, where weights between cells are
    learned, ``connections.csv`` (``connections_table``), beside what every training leaves.

    Connections start from a fit of the cells, in the folder ``cells`` below, and keep what it says of the
    measurement. The same command again resumes what was cut off, and trains nothing that is there already.

    Args:
        plan: the settings, of ``load_fit``.
        response: to one spike, of ``plan.response``; an amplitude that is told is not learned.

    Raises:
        UserError: for traces that cannot be read or made sense of.
        NumericalError: when training meets a number that is not finite.
    """
    plan = plan.told(response)
    traces = source.read()
    if plan.coupled and traces.x.shape[1] < 2:
        raise UserError(f"{source.path}: found one cell, expected at least two to learn connections between")
    try:
        data = own_dataset(traces, plan.data, response, plan.coupled)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    observation = build(RunSpec, plan.raw, plan.name).model.observation()
    data = replace(data, start=observation.parameters(data.start))
    if plan.before is not None:
        fit(source, out / "cells", plan.before, response, device, wandb)
        data = replace(data, start=_measured(data.start, out / "cells" / "cells.csv"))
    preparation = plan.data.preparation(traces.frame_rate)
    checkpoint = _trained(source, out, plan, traces, data, preparation, device, wandb)
    fitted = load(checkpoint, choose_device(device))
    levelled = Traces(preparation.levelled(traces.x, traces.frame_rate), traces.frame_rate, traces.names)
    spikes = spikes_table(fitted, levelled, preparation)
    write_table(spikes, out / "spikes.csv")
    write_table(cells_table(fitted, traces, spikes), out / "cells.csv")
    if plan.coupled:
        write_table(connections_table(fitted, traces), out / "connections.csv")


def _measured(start: Parameters, cells: Path) -> Parameters:
    """Parameters with amplitude, baseline, noise and what else a kind has as another fit found them."""
    table = pd.read_csv(cells)
    known = [name for name in start.constants if name in table]
    return replace(start, **{name: table[name].to_numpy(float, copy=True) for name in known})


def _trained(
    source: Source,
    out: Path,
    plan: Fit,
    traces: Traces,
    data: Dataset,
    preparation: Preparation,
    device: str,
    wandb: str,
) -> Path:
    """The checkpoint of this fit of these traces, trained unless it is there."""
    checkpoint = out / "checkpoint.pt"
    start = {name: getattr(data.start, name).tolist() for name in data.start.constants}
    held = hashlib.sha256(np.ascontiguousarray(data.x).tobytes()).hexdigest()
    identity = fingerprint([plan.raw, asdict(plan.data), start, data.frame_rate, held])
    config = out / "config.json"
    if checkpoint.exists() and config.exists() and read_json(config).get("fingerprint") == identity:
        print(f"{checkpoint}: trained already with these settings and traces", file=sys.stderr)
        return checkpoint
    facts = {
        "experiment": "fit",
        "scale": "own",
        "run": plan.name,
        "dataset": source.path.stem,
        "setting": "",
        "settings": plan.raw,
        "preparation": asdict(preparation),
        "cells": list(traces.names),
    }
    # what an earlier fit said must not stand beside this one's
    for name in ("checkpoint.pt", "spikes.csv", "cells.csv", "connections.csv"):
        (out / name).unlink(missing_ok=True)
    train_on(data, facts, identity, checkpoint, None, device, wandb)
    return checkpoint


def cells_table(fitted: Fitted, traces: Traces, spikes: pd.DataFrame) -> pd.DataFrame:
    """A row a cell: ``cell``, ``rate_hz`` (posterior mean of the spikes per second of recording),
    ``amplitude`` (of one spike), ``baseline``, ``noise`` (sd of a frame) in the traces' unit, ``rise_s``,
    ``decay_s``, what else the observation model has (``freedom``), and the model's own history,
    ``history_1``, …, in logits per spike.
    """
    now = fitted.model.parameters_now()
    seconds = len(traces.x) / traces.frame_rate
    counts = spikes.groupby("cell", sort=False)["expected_count"].sum()
    more = {name: getattr(now, name) for name in now.constants if name not in CalciumParameters.constants}
    history = {f"history_{lag + 1}": now.history[:, lag] for lag in range(now.history.shape[1])}
    return pd.DataFrame(
        {
            "cell": traces.names,
            "rate_hz": [counts[name] / seconds for name in traces.names],
            "amplitude": now.amplitude,
            "baseline": now.baseline,
            "noise": now.noise,
            "rise_s": now.rise,
            "decay_s": now.decay,
            **more,
            **history,
        }
    )


def connections_table(fitted: Fitted, traces: Traces) -> pd.DataFrame:
    """A row for every ordered pair of different cells and every lag: ``source``, ``target``, ``lag_bins``,
    ``lag_s`` and ``weight``: what a spike of the source adds to the logit of a spike of the target that much
    later.
    """
    coupling = fitted.model.parameters_now().coupling
    lag, target, source = np.nonzero(np.broadcast_to(~np.eye(coupling.shape[1], dtype=bool), coupling.shape))
    names = np.array(traces.names, dtype=object)
    return pd.DataFrame(
        {
            "source": names[source],
            "target": names[target],
            "lag_bins": lag + 1,
            "lag_s": (lag + 1) / fitted.model.frame_rate,
            "weight": coupling[lag, target, source],
        }
    )
