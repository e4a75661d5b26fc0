"""Reading tidy tables: pairing, labels, and a sentence for every broken table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plot_tables import tidy

from dfp.core.errors import UserError
from dfp.plotting import style
from dfp.results.tables import IncompleteTable, MissingResult, ResultTables


def table(folder: Path, rows: list[dict[str, object]]) -> ResultTables:
    tidy(rows, "toy").to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def row(run: str, seed: int, value: object, metric: str = "gap", **labels: object) -> dict[str, object]:
    return {"run": run, "dataset": "d", "seed": seed, "metric": metric, "value": value, **labels}


def test_pairs_join_on_dataset_and_seed_whatever_the_order(tmp_path: Path) -> None:
    results = table(
        tmp_path, [row("a", 2, 20), row("a", 1, 10), row("b", 1, 1), row("b", 3, 3), row("b", 2, 2)]
    )
    both = results.pair("gap", {"run": "a"}, {"run": "b"})
    assert list(both["first"] - both["second"]) == [9, 18]
    assert list(both.index) == [("d", 1), ("d", 2)]


def test_pairs_without_a_common_seed(tmp_path: Path) -> None:
    results = table(tmp_path, [row("a", 1, 10), row("b", 2, 1)])
    with pytest.raises(MissingResult, match="no seed has 'gap'"):
        results.pair("gap", {"run": "a"}, {"run": "b"})


def test_wide_keeps_labels_and_only_complete_rows(tmp_path: Path) -> None:
    rows = [row("a", 1, 10, sweeps="4"), row("a", 2, 11, sweeps="4"), row("a", 2, 0.5, "count", sweeps="4")]
    frame = table(tmp_path, rows).wide(["gap", "count"])
    assert frame[["run", "seed", "gap", "count"]].to_numpy().tolist() == [["a", 2, 11.0, 0.5]]
    assert list(frame["sweeps"].astype(str)) == ["4"]


def test_rows_without_a_value_are_left_out(tmp_path: Path) -> None:
    results = table(tmp_path, [row("a", 1, 10), row("a", 2, np.nan)])
    assert len(results.values("gap", run="a")) == 1


def test_several_runs_need_a_choice(tmp_path: Path) -> None:
    results = table(tmp_path, [row("a", 1, 10), row("b", 1, 11)])
    with pytest.raises(UserError, match="expected one run for 'gap', found a, b"):
        results.values("gap")


def test_several_values_of_a_seed_need_a_label(tmp_path: Path) -> None:
    results = table(tmp_path, [row("a", 1, 10, bins=300), row("a", 1, 20, bins=500)])
    assert list(results.values("gap", bins=500)) == [20]
    with pytest.raises(UserError, match="expected one 'gap' per seed of run 'a', found several"):
        results.values("gap", run="a")
    with pytest.raises(UserError, match="labels to choose by: bins"):
        results.wide(["gap"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="sampler"), "expected the column 'sampler'"),
        (lambda frame: frame.assign(value="much"), "expected a number for 'gap' of run 'a', found 'much'"),
        (
            lambda frame: pd.concat([frame, frame]),
            "expected one row per run, dataset, seed, label and metric",
        ),
    ],
)
def test_broken_tables(change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path) -> None:
    change(tidy([row("a", 1, 10)], "toy")).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError, match=message):
        ResultTables(tmp_path)


def test_absent_and_empty_tables(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"table\.csv: no such table"):
        ResultTables(tmp_path)
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(UserError, match="not a table"):
        ResultTables(tmp_path)


def test_a_mistyped_metric_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(IncompleteTable, match=r"no metric 'gaps' \(did you mean 'gap'\?\)"):
        table(tmp_path, [row("a", 1, 10)]).rows("gaps")


def test_what_was_not_run_is_missing_and_what_was_lost_is_an_error(tmp_path: Path) -> None:
    rows = [row("a", 1, 10, bins=300), row("b", 1, 3, "count", bins=300), row("c", 1, np.nan, bins=500)]
    results = table(tmp_path, rows)
    for where, message in (
        ({"run": "d"}, "nothing of run 'd' is in the table"),
        ({"run": "a", "bins": 500}, "nothing of run 'a', bins '500' is in the table"),
        ({"run": "c"}, "'gap' for run 'c' has no value"),
        ({"bins": 500}, "'gap' for bins '500' has no value"),
    ):
        with pytest.raises(MissingResult, match=message):
            results.rows("gap", **where)
    for where, message in (
        ({"run": "b"}, "no metric 'gap' for run 'b', which is in the table"),
        ({"run": "b", "bins": 500}, "no metric 'gap' for run 'b', bins '500', which is in the table"),
        ({"cells": 1}, r"no label column 'cells' \(found bins\)"),
    ):
        with pytest.raises(IncompleteTable, match=message):
            results.rows("gap", **where)
    assert results.has_run(run="c") and results.metrics_of(run="b") == {"count"}
    assert (
        not results.has_run(run="d") and not results.has("gap", run="c") and not results.has("gap", cells=1)
    )
    assert results.conditions("bins") == [300, 500] and results.conditions("run", bins=500) == ["c"]
    with pytest.raises(MissingResult, match="nothing of run 'd'"):
        results.conditions("bins", run="d")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"family": "logistic_flow", "posterior": "autoregressive"}, "logistic_flow"),
        ({"posterior": "factorised", "sampler": "fixed_point"}, "factorised"),
        ({"posterior": "gradient_refined"}, "refined"),
        ({"posterior": "autoregressive", "objective": "logistic_density"}, "logistic_flow"),
        ({"posterior": "autoregressive", "sampler": "sequential"}, "sequential"),
        ({"posterior": "autoregressive", "sampler": "fixed_point"}, "fixed_point"),
        ({"run": "oasis", "posterior": ""}, "oasis"),
    ],
)
def test_families_are_told_from_columns(labels: dict[str, str], expected: str) -> None:
    assert style.family(labels) == expected


def test_every_family_has_a_colour_of_its_own() -> None:
    assert len({style.colour(name) for name in style.FAMILIES}) == len(style.FAMILIES)
