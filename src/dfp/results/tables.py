"""Tidy result tables, read and checked once, then asked by metric and label.

A table has one row per run, seed and metric (`docs/architecture.md`). Two runs are paired on `(dataset,
seed)`: a seed is a network, its data and an initialisation, so a difference between two runs of one seed is a
difference of methods.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfp.core.errors import UserError, suggest
from dfp.core.files import atomic_path

KEYS = ("experiment", "scale", "run", "dataset", "seed", "posterior", "objective", "sampler")
COLUMNS = [*KEYS, "metric", "value"]
EXAMPLE_COLUMNS = ("run", "dataset", "seed", "trial", "time_s", "x", "spike", "exact", "probability")
UNIT = ["dataset", "seed"]

#: a row of a tidy table by its columns, labels among them
Row = dict[str, Any]
#: a measured figure before its labels: seed, metric, value
Measured = tuple[int, str, float]


class MissingResult(UserError):
    """What was asked about is not in the table.

    A run or condition was not part of it, or a metric has no value there. Nothing is hidden: who asked can
    say that it was not tested.
    """


class IncompleteTable(UserError):
    """A run or condition is in the table, but without a metric or label that was asked of it.

    The table is broken or of another version. This is an error, since going on without the number would hide
    it.
    """


def _written(where: dict[str, Any]) -> str:
    return ", ".join(f"{column} '{value}'" for column, value in where.items())


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a tidy table in their order: the keys, then the labels as they come, then the value."""
    labels = [name for name in table.columns if name not in COLUMNS]
    return table[[*COLUMNS[:-2], *labels, *COLUMNS[-2:]]]


def read_table(path: Path, columns: Iterable[str] = COLUMNS) -> pd.DataFrame:
    """A CSV file that has ``columns``; a run called NA is a name. Raises ``UserError`` for another."""
    path, columns = Path(path), list(columns)
    if not path.is_file():
        raise MissingResult(f"{path}: no such table, expected a CSV file (run the experiment first)")
    try:
        table = pd.read_csv(
            path, dtype={"run": str, "dataset": str}, keep_default_na=False, na_values=["", "nan", "NaN"]
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a table ({' '.join(str(error).split())})") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise UserError(f"{path}: expected the column '{missing[0]}', found {found}")
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV file whole or not at all.

    Its digits are enough for a figure and few enough to be the same everywhere.
    """
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.8g")


class ResultTables:
    """The tables of one experiment at one scale.

    They are `table.csv` and, where they exist, `examples.csv` and `history.csv`.

    Rows without a value (a metric that does not apply to a run) are left out on reading. Raises `UserError`
    for a missing file or column, a value that is no number, or a row that is there twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "table.csv"
        table = read_table(self.path, COLUMNS)
        values = pd.to_numeric(table["value"], errors="coerce")
        wrong = values.isna() & table["value"].notna()
        if wrong.any():
            row = table[wrong].iloc[0]
            raise UserError(
                f"{self.path}: expected a number for '{row['metric']}' of run '{row['run']}', found "
                f"'{row['value']}'"
            )
        labels = [name for name in table.columns if name not in COLUMNS]
        twice = table.duplicated(["run", "dataset", "seed", "metric", *labels])
        if twice.any():
            row = table[twice].iloc[0]
            raise UserError(
                f"{self.path}: expected one row per run, dataset, seed, label and metric, found "
                f"'{row['metric']}' "
                "of run "
                f"'{row['run']}', dataset '{row['dataset']}', seed {row['seed']} twice"
            )
        table = table.assign(value=values)
        self.table = table[np.isfinite(values)].reset_index(drop=True)
        #: what each row of the file is about, those without a value among them
        self._asked_of = table.drop(columns="value")

    @property
    def experiment(self) -> str:
        return self._only("experiment")

    @property
    def scale(self) -> str:
        return self._only("scale")

    def _only(self, column: str) -> str:
        found = [str(value) for value in self.table[column].unique()]
        if len(found) != 1:
            raise UserError(f"{self.path}: expected one {column}, found {', '.join(found) or 'no rows'}")
        return found[0]

    @property
    def labels(self) -> list[str]:
        """The label columns: all but the fixed ones."""
        return [name for name in self.table.columns if name not in COLUMNS]

    @property
    def runs(self) -> list[str]:
        """Run names in the order of the table."""
        return list(self.table["run"].unique())

    @property
    def metrics(self) -> list[str]:
        return list(self.table["metric"].unique())

    def has(self, metric: str, **where: Any) -> bool:
        """Whether any row holds a value of `metric` under the labels `where`.

        A figure chooses by it what it draws. A claim asks `has_run`: an unknown metric is no reason to leave
        out a finding.
        """
        return all(column in self.table.columns for column in where) and not self._select(metric, where).empty

    def has_run(self, **where: Any) -> bool:
        """Whether a run or condition is in the table, whatever was measured of it."""
        return bool(self.metrics_of(**where))

    def metrics_of(self, **where: Any) -> set[str]:
        """The metrics that the table has under `where`, with or without a value; empty where it has nothing.
        Raises `IncompleteTable` for a label column that the table lacks."""
        return set(self._about(where)["metric"])

    def conditions(self, column: str, **where: Any) -> list[Any]:
        """The values of a label under `where`, whatever was measured, in the order of the table.

        Raises `MissingResult` where nothing is there under `where`, `IncompleteTable` for a label column that
        the table lacks.
        """
        self.need(column)
        about = self._about(where)
        if about.empty:
            raise MissingResult(f"{self.path}: nothing of {_written(where)} is in the table")
        return list(about[column].dropna().unique())

    def need(self, *labels: str) -> None:
        """Raises `IncompleteTable` for a label column that the table lacks."""
        for column in labels:
            if column not in self.table.columns:
                found = ", ".join(self.labels) or "none"
                raise IncompleteTable(f"{self.path}: no label column '{column}' (found {found})")

    def _about(self, where: dict[str, Any]) -> pd.DataFrame:
        self.need(*where)
        keep = np.ones(len(self._asked_of), dtype=bool)
        for column, value in where.items():
            keep &= (self._asked_of[column] == value).to_numpy()
        return self._asked_of[keep]

    def _select(self, metric: str, where: dict[str, Any]) -> pd.DataFrame:
        self.need(*where)
        keep = self.table["metric"] == metric
        for column, value in where.items():
            keep &= self.table[column] == value
        return self.table[keep]

    def rows(self, metric: str, **where: Any) -> pd.DataFrame:
        """All rows of `metric` whose columns equal `where`.

        Raises `MissingResult` where the run, or the condition `where`, is not in the table, or the metric has
        no value there (it does not apply); `IncompleteTable` where the run or the condition is in the table
        without the metric, or the table lacks a label column or, of whatever run, the metric.
        """
        found = self._select(metric, where)
        if found.empty:
            raise self._missing(metric, where)
        return found

    def _missing(self, metric: str, where: dict[str, Any]) -> UserError:
        """Why there is no row of a metric: see `rows`."""
        known = set(self._asked_of["metric"])
        under = f" for {_written(where)}" if where else ""
        run = {"run": where["run"]} if "run" in where else None
        if run and not self.has_run(**run):
            return MissingResult(f"{self.path}: nothing of {_written(run)} is in the table")
        if metric not in known:
            return IncompleteTable(f"{self.path}: no metric '{metric}'{under}{suggest(metric, known)}")
        there = self.metrics_of(**where)
        if metric in there:
            return MissingResult(f"{self.path}: '{metric}'{under} has no value")
        if there or (run and metric not in self.metrics_of(**run)):
            return IncompleteTable(f"{self.path}: no metric '{metric}'{under}, which is in the table")
        return MissingResult(f"{self.path}: nothing of {_written(where)} is in the table")

    def values(self, metric: str, **where: Any) -> pd.Series[float]:
        """One value per `(dataset, seed)`, sorted.

        Raises `UserError` when `where` still leaves several runs.
        """
        rows = self.rows(metric, **where)
        if len(rows["run"].unique()) > 1:
            found = ", ".join(rows["run"].unique())
            raise UserError(f"{self.path}: expected one run for '{metric}', found {found}")
        self._one_each(rows, metric)
        return rows.set_index(UNIT)["value"].sort_index()

    def _one_each(self, rows: pd.DataFrame, metric: str) -> None:
        twice = rows.duplicated(["run", *UNIT])
        if twice.any():
            row = rows[twice].iloc[0]
            raise UserError(
                f"{self.path}: expected one '{metric}' per seed of run '{row['run']}', found several; "
                f"labels to choose by: {', '.join(self.labels) or 'none'}"
            )

    def wide(self, metrics: Iterable[str], **where: Any) -> pd.DataFrame:
        """One row per run, dataset and seed, one column per metric, the labels beside them.

        Only rows with all `metrics` are there.
        """
        metrics = list(metrics)
        parts = [self.rows(metric, **where) for metric in metrics]
        frame = parts[0].drop(columns=["metric", "value"]).drop_duplicates(["run", *UNIT])
        for metric, part in zip(metrics, parts, strict=True):
            self._one_each(part, metric)
            column = part[["run", *UNIT, "value"]].rename(columns={"value": metric})
            frame = frame.merge(column, on=["run", *UNIT], how="inner", validate="one_to_one")
        if frame.empty:
            raise MissingResult(f"{self.path}: no run has all of {', '.join(metrics)}")
        return frame

    def pair(self, metric: str, first: dict[str, Any], second: dict[str, Any]) -> pd.DataFrame:
        """Columns `first` and `second`, one row per `(dataset, seed)` that both have.

        Raises `MissingResult` where they share none.
        """
        both = pd.concat(
            {"first": self.values(metric, **first), "second": self.values(metric, **second)},
            axis=1,
            join="inner",
        ).sort_index()
        if both.empty:
            raise MissingResult(f"{self.path}: no seed has '{metric}' for both {first} and {second}")
        return both

    def examples(self) -> pd.DataFrame:
        """`examples.csv`: traces, spikes, exact and posterior marginals (`exact` may be empty)."""
        return read_table(self.folder / "examples.csv", EXAMPLE_COLUMNS)

    def history(self) -> pd.DataFrame | None:
        """`history.csv`, or None where training curves were not aggregated."""
        path = self.folder / "history.csv"
        return read_table(path, ("run", "step")) if path.is_file() else None
