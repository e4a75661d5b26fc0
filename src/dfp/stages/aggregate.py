"""Stage: one tidy table of an experiment's runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dfp.core.errors import UserError
from dfp.core.files import atomic_path

COLUMNS = [
    "experiment",
    "scale",
    "run",
    "dataset",
    "seed",
    "posterior",
    "objective",
    "sampler",
    "metric",
    "value",
]


def aggregate(inputs: Sequence[Path], out: Path) -> None:
    """Stack the metrics of runs into ``out``, with the examples and training histories found beside them as
    ``examples.csv`` and ``history.csv`` beside it, and the weights of the first network of every setting
    as ``weights.csv``.

    Raises:
        UserError: when an input is missing or is not a table of metrics.
    """
    if not inputs:
        raise UserError("aggregate: found no inputs, expected at least one metrics.csv")
    tables = [read_table(path, COLUMNS) for path in inputs]
    table = pd.concat(tables, ignore_index=True)
    labels = [name for name in table.columns if name not in COLUMNS]
    write_table(table[COLUMNS[:-2] + labels + COLUMNS[-2:]], out)
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
            told = {
                name: first[name]
                for name in ["run", "dataset", *[c for c in metrics.columns if c not in COLUMNS]]
            }
            histories.append(pd.read_csv(history).assign(**told))
    if histories:
        write_table(pd.concat(histories, ignore_index=True), out.with_name("history.csv"))


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file that has ``columns``."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table ({' '.join(str(error).split())})") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UserError(f"{path}: found no column '{missing[0]}', expected {', '.join(columns)}")
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV file whole or not at all, with enough digits for a
    figure and few enough to be the same everywhere.
    """
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.8g")


def means(table: pd.DataFrame) -> dict[str, float]:
    """The mean of every metric of every run over seeds and data sets, by ``run/metric``."""
    named = table["run"].astype(str) + "/" + table["metric"].astype(str)
    return {str(name): float(value) for name, value in table["value"].groupby(named).mean().items()}
