"""Stage: one tidy table of an experiment's runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dfp.core.errors import UserError
from dfp.results.tables import COLUMNS, in_order, read_table, write_table


def aggregate(inputs: Sequence[Path], out: Path) -> None:
    """Stack the metrics of runs into ``out``, and what lies beside them into files beside it.

    Those are ``examples.csv``, ``history.csv`` (the training histories) and ``weights.csv``, which has the
    weights of the first network of every setting.

    Raises:
        UserError: when an input is missing or is not a table of metrics.
    """
    if not inputs:
        raise UserError("aggregate: found no inputs, expected at least one metrics.csv")
    tables = [read_table(path) for path in inputs]
    table = pd.concat(tables, ignore_index=True)
    write_table(in_order(table), out)
    beside = [path.with_name("examples.csv") for path in inputs]
    found = [pd.read_csv(path) for path in beside if path.exists()]
    if found:
        write_table(pd.concat(found, ignore_index=True), out.with_name("examples.csv"))
    weights = [pd.read_csv(path) for path in (p.with_name("weights.csv") for p in inputs) if path.exists()]
    if weights:
        together = pd.concat(weights, ignore_index=True)
        first = together.groupby("setting")["dataset"].transform("first")
        write_table(together[together["dataset"] == first], out.with_name("weights.csv"))
    histories = []
    for path, metrics in zip(inputs, tables, strict=True):
        history = path.with_name("history.csv")
        if history.exists():
            first = metrics.iloc[0]
            labels = {
                name: first[name]
                for name in ["run", "dataset", *[c for c in metrics.columns if c not in COLUMNS]]
            }
            histories.append(pd.read_csv(history).assign(**labels))
    if histories:
        write_table(pd.concat(histories, ignore_index=True), out.with_name("history.csv"))


def means(table: pd.DataFrame) -> dict[str, float]:
    """The mean of every metric of every run over seeds and data sets, by ``run/metric``."""
    named = table["run"].astype(str) + "/" + table["metric"].astype(str)
    return {str(name): float(value) for name, value in table["value"].groupby(named).mean().items()}
