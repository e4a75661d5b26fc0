"""Tables of other experiments put together, with the seconds of the runs that a run started from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from dfp.cli import main
from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.stages.collect import collect

PANEL = {"network": {"kind": "independent"}, "seeds": [0, 1], "bins": 50, "kernel_bins": 5}
SOURCE = {
    "question": "?",
    "datasets": {"panel": PANEL},
    "defaults": {"training": {"steps": 2}},
    "runs": {
        "first": {"posterior": {"kind": "factorised"}},
        "second": {"posterior": {"kind": "factorised"}, "warm_start": "first"},
        "third": {"posterior": {"kind": "factorised"}, "warm_start": "second"},
    },
}
ASKED = {
    "question": "?",
    "kind": "tables",
    "tables": {"of": ["one", "two"], "metrics": ["gap", "total_train_seconds"]},
}


def place(root: Path, asked: dict | None = None) -> tuple[Path, list[Path]]:
    """Two experiments with tables, and a third that asks for them."""
    tables = []
    for number, name in enumerate(("one", "two")):
        folder = root / "experiments" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(SOURCE))
        rows = []
        for place, run in enumerate(("first", "second", "third")):
            for seed in (0, 1):
                labels = {
                    "experiment": name,
                    "scale": "default",
                    "run": run,
                    "dataset": "panel",
                    "seed": seed,
                }
                labels |= {"posterior": "factorised", "objective": "relaxed_pmf", "sampler": "fixed_point"}
                labels |= {"family": "factorised"} if number else {"note": "kept"}
                values = {"gap": place + seed / 10, "train_seconds": 10.0**place, "other": 1.0}
                rows += [{**labels, "metric": key, "value": value} for key, value in values.items()]
        tables.append(root / "results" / name / "table.csv")
        tables[-1].parent.mkdir(parents=True)
        pd.DataFrame(rows).to_csv(tables[-1], index=False)
    config = root / "experiments" / "both" / "config.yaml"
    config.parent.mkdir()
    config.write_text(yaml.safe_dump(ASKED if asked is None else asked))
    return config, tables


def test_rows_of_both_and_the_seconds_of_what_they_started_from(tmp_path: Path) -> None:
    config, tables = place(tmp_path)
    out = tmp_path / "out.csv"
    options = ["--experiment", config, "--inputs", *tables, "--out", out]
    assert main(["collect", *map(str, options)]) == 0
    found = pd.read_csv(out)
    assert list(found["of"].unique()) == ["one", "two"] and set(found["experiment"]) == {"both"}
    assert set(found["metric"]) == {"gap", "total_train_seconds"} and len(found) == 2 * 2 * 3 * 2
    total = found[found["metric"] == "total_train_seconds"].groupby("run")["value"].unique()
    assert {run: list(values) for run, values in total.items()} == {
        "first": [1.0],
        "second": [11.0],
        "third": [111.0],
    }
    assert {"family", "note"} <= set(found.columns)
    assert main(["check", str(config)]) == 0


def test_what_a_table_depends_on_changes_its_fingerprint(tmp_path: Path) -> None:
    config, _ = place(tmp_path)
    before = load_experiment(config).tables_fingerprint()
    assert load_experiment(config).tables_fingerprint() == before
    source = tmp_path / "experiments" / "one" / "config.yaml"
    changed = {**SOURCE, "runs": {**SOURCE["runs"], "third": {"posterior": {"kind": "factorised"}}}}
    source.write_text(yaml.safe_dump(changed))
    assert load_experiment(config).tables_fingerprint() != before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tables": {"of": ["one", "tow"], "metrics": ["gap"]}}, "unknown experiment 'tow'"),
        ({"tables": {"of": ["one", "both"], "metrics": ["gap"]}}, "unknown experiment 'both'"),
        ({"tables": {"of": [], "metrics": ["gap"]}}, "of, metrics: found"),
        ({"tables": {"of": ["one", "two"], "metrics": ["gaap"]}}, "found no metric of gaap"),
        ({"tables": {"of": ["one"], "metrics": ["gap"]}}, "found 2 tables, expected one for each of one"),
        ({"kind": "simulated"}, "tables: expected"),
        ({"tables": None}, "tables: expected"),
    ],
)
def test_what_cannot_be_put_together_is_refused(tmp_path: Path, changes: dict, told: str) -> None:
    config, tables = place(tmp_path, {**ASKED, **changes})
    with pytest.raises(UserError) as refusal:
        collect(config, "default", tables, tmp_path / "out.csv")
    assert told in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "out.csv").exists()


def test_another_kind_and_a_missing_table_are_refused(tmp_path: Path) -> None:
    config, tables = place(tmp_path)
    with pytest.raises(UserError, match="found kind 'simulated', expected 'tables'"):
        collect(tmp_path / "experiments" / "one" / "config.yaml", "default", tables, tmp_path / "out.csv")
    tables[1].unlink()
    with pytest.raises(UserError, match="no such table"):
        collect(config, "default", tables, tmp_path / "out.csv")
