"""The benchmarks' common table: turns, medians, columns, and the committed tables."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("tables", monkeypatch)


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_calls_take_turns_and_the_warm_up_is_left_out(tables: ModuleType) -> None:
    called: list[str] = []

    def call(name: str) -> int:
        called.append(name)
        return len(called)

    found = tables.in_turn({name: lambda name=name: call(name) for name in "abc"}, 3, 1, {"c": 2})
    assert called == list("abcbcacabab")  # c had its two rounds
    assert found == {"a": [6, 8, 10], "b": [4, 9, 11], "c": [5, 7]}


def test_a_row_is_a_median_and_its_range(tables: ModuleType) -> None:
    case = tables.Case("small", chains=2, bins=3, cells=4)
    rows = case.times("one", [(1.0, 10.0), (3.0, 30.0), (2.0, 70.0)], "draw")
    frame = tables.table("name", [*rows, case.row("one", "differ", "spikes", [5])])
    assert list(frame)[: len(tables.COLUMNS)] == list(tables.COLUMNS)
    assert {"device", "threads", "torch", "commit", "triton", "cuda"} <= set(frame)
    assert frame["measure"].tolist() == ["cpu_seconds", "wall_seconds", "differ"]
    assert frame["value"].tolist() == [2, 30, 5] and frame["most"].tolist() == [3, 70, 5]
    assert frame["least"].tolist() == [1, 10, 5] and frame["rounds"].tolist() == [3, 3, 1]
    assert frame["part"].tolist() == ["draw", "draw", "whole"] and set(frame["bins"]) == {3}


def test_a_table_is_written_and_read_again(
    tables: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = tables.table("name", [tables.Case("no size").row("one", "error", "1", [0.5])])
    tables.write(frame, tmp_path / "out.csv")
    assert "no size" in capsys.readouterr().out
    again = pd.read_csv(tmp_path / "out.csv")
    assert list(again) == list(frame) and again["value"].tolist() == [0.5] and again["bins"].isna().all()


@pytest.mark.parametrize("name", ["samplers", "relaxed_gradients"])
def test_a_small_benchmark_has_the_columns(
    name: str, tables: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(name, monkeypatch)
    if name == "samplers":
        monkeypatch.setattr(made, "ROUND_SECONDS", 0.0)
        monkeypatch.setitem(made.CASES, "small", made.Size("own", 20, 1, 2, 3))
        rows = list(made.rows(["small"], 2, False))
    else:
        monkeypatch.setattr(made, "SIZES", ((2, 20, 1),))
        rows = list(made.times(2))
    assert all({"benchmark", *row} == set(tables.COLUMNS) for row in rows)
    assert all(row["least"] <= row["value"] <= row["most"] and row["rounds"] == 2 for row in rows)
    ratio = {row["method"]: row["value"] for row in rows if row["measure"] == "over_compiled"}
    assert ratio.get("compiled", 1.0) == 1.0


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results" / "reference" / "benchmarks").glob("*.csv")), ids=str
)
def test_committed_tables_have_the_columns(path: Path, tables: ModuleType) -> None:
    frame = pd.read_csv(path)
    assert list(frame)[: len(tables.COLUMNS)] == list(tables.COLUMNS)
    assert len(set(frame["benchmark"])) == 1 and frame["value"].notna().all() and len(frame) > 50
    assert {"device", "cpu", "cores", "threads", "torch", "commit"} <= set(frame)
    key = ["case", "method", "part", "measure", "threads"]
    assert not frame.duplicated(key).any()
