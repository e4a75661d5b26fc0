"""Stage: one table from the tables of other experiments, which trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dfp.config import Experiment, load_experiment
from dfp.core.errors import UserError
from dfp.results.tables import UNIT, in_order, read_table, write_table

#: seconds of a run's training with those of the runs that it started from
TOTAL = "total_train_seconds"


def collect(
    experiment: Path, scale: str, inputs: Sequence[Path], out: Path, overrides: Path | None = None
) -> None:
    """Write the rows that an experiment of kind ``tables`` asks for to ``out``.

    A column ``of`` names the experiment that a row comes from, and ``total_train_seconds`` stands beside
    ``train_seconds``.

    Args:
        inputs: a table for each experiment of ``tables.of``, in that order.

    Raises:
        UserError: for another kind of experiment, a missing table, or one without any metric asked for.
    """
    exp = load_experiment(experiment, scale, overrides)
    spec = exp.document.tables
    if exp.kind != "tables" or spec is None:
        raise UserError(f"{experiment}: found kind {exp.kind!r}, expected 'tables' with a key 'tables'")
    if len(inputs) != len(spec.of):
        raise UserError(
            f"{experiment}: found {len(inputs)} tables, expected one for each of {', '.join(spec.of)}"
        )
    pieces = []
    for name, path in zip(spec.of, inputs, strict=True):
        source = load_experiment(experiment.parent.parent / name / "config.yaml", scale, overrides)
        table = read_table(path)
        table = pd.concat([table, total_seconds(table, source)], ignore_index=True)
        kept = table[table["metric"].isin(spec.metrics)]
        if kept.empty:
            raise UserError(f"{path}: found no metric of {', '.join(spec.metrics)}, expected at least one")
        pieces.append(kept.assign(of=name, experiment=exp.name))
    found = pd.concat(pieces, ignore_index=True)
    write_table(in_order(found).dropna(axis=1, how="all"), out)


def total_seconds(table: pd.DataFrame, source: Experiment) -> pd.DataFrame:
    """``total_train_seconds`` of every row of ``train_seconds``.

    Its own seconds and those of its warm starts on the same data set.
    """
    rows = table[table["metric"] == "train_seconds"]
    seconds = rows.drop_duplicates(["run", *UNIT]).set_index(["run", *UNIT])["value"]
    totals = []
    for run, dataset, seed in zip(rows["run"], rows["dataset"], rows["seed"], strict=True):
        total, now = 0.0, str(run)
        while now:
            total += float(seconds.get((now, dataset, seed), float("nan")))
            now = (source.warm_start(now) if now in source.runs else None) or ""
        totals.append(total)
    return rows.assign(metric=TOTAL, value=totals)
