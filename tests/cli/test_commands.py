"""What every command leaves behind, on a tiny experiment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import CONFIG, Place, dfp

ROOT = Path(__file__).resolve().parents[2]


def test_every_run_leaves_its_files(place: Place) -> None:
    folder = place.run("factorised", "two")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "checkpoint.pt",
        "config.json",
        "history.csv",
        "summary.json",
        "metrics.csv",
        "examples.csv",
    }
    metrics = pd.read_csv(folder / "metrics.csv")
    assert set(metrics["seed"]) == {0, 1} and {"gap_per_bin", "elbo_per_bin"} <= set(metrics["metric"])
    assert set(metrics["family"]) == {"factorised"}
    assert json.loads((folder / "summary.json").read_text())["steps"] == 2


def test_from_metrics_to_figures_and_claims(place: Place, tmp_path: Path) -> None:
    inputs = [place.run("factorised") / "metrics.csv", place.run("fixed_point") / "metrics.csv"]
    table = tmp_path / "results" / "tiny" / "table.csv"
    assert dfp("aggregate", "--inputs", *inputs, "--out", table) == 0
    assert set(pd.read_csv(table)["run"]) == {"factorised", "fixed_point"}
    figures = tmp_path / "figures"
    asked = ("--experiment", place.config, "--results", table.parent, "--out", figures, "--figures", "gap")
    assert dfp("plot", *asked) == 0
    assert (figures / "gap.png").read_bytes().startswith(b"\x89PNG")
    assert (figures / "gap.pdf").read_bytes().startswith(b"%PDF")
    claims = tmp_path / "results" / "claims.csv"
    assert dfp("claims", "--results", tmp_path / "results", "--out", claims) == 0
    assert len(pd.read_csv(claims)) >= 5 and "| C1 |" in claims.with_suffix(".md").read_text()


def test_infer_on_traces_of_ones_own(place: Place, tmp_path: Path) -> None:
    traces, out = tmp_path / "mine.csv", tmp_path / "spikes.csv"
    x = np.random.default_rng(0).normal(size=(80, 1))
    traces.write_text("time,soma\n" + "".join(f"{t / 30},{value}\n" for t, (value,) in enumerate(x)))
    assert dfp("infer", "--checkpoint", place.checkpoint(), "--traces", traces, "--out", out) == 0
    table = pd.read_csv(out)
    assert len(table) == 80 and set(table["cell"]) == {"soma"}
    assert table["probability"].between(0, 1).all() and (table["low_1s"] <= table["high_1s"]).all()
    assert table["time_s"].iloc[-1] == pytest.approx(79 / 30)
    # the other way round, told so
    np.save(tmp_path / "rows.npy", x.T)
    again = tmp_path / "again.csv"
    given = ("--traces", tmp_path / "rows.npy", "--orientation", "cells_first", "--frame-rate", 30)
    assert dfp("infer", "--checkpoint", place.checkpoint(), "--out", again, *given) == 0
    assert np.allclose(pd.read_csv(again)["probability"], table["probability"])


def test_check_reads_all_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((ROOT / "experiments").glob("*/config.yaml"))
    for scale in ("smoke", "default", "paper"):
        assert dfp("check", *paths, "--scale", scale) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3 * len(paths)


def test_run_goes_from_nothing_to_figures_and_skips_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = ("run", "--only", "tiny", "--wandb", "disabled", "--device", "cpu")
    assert dfp(*asked) == 0
    assert (tmp_path / "figures/default/tiny/gap.png").exists()
    assert (tmp_path / "results/default/claims.md").exists()
    times = {path: path.stat().st_mtime_ns for path in place.results.glob("runs/*/*/checkpoint.pt")}
    assert len(times) == 4
    assert dfp(*asked) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}
    # a changed run is trained again, and what starts from it; a variation has folders of its own
    place.config.write_text(CONFIG.replace("history: 3}, labels", "history: 2}, labels"))
    assert dfp(*asked) == 0
    changed = {path.parent.parent.name for path in times if path.stat().st_mtime_ns != times[path]}
    assert changed == {"fixed_point", "warm"}
    times = {path: path.stat().st_mtime_ns for path in times}
    (tmp_path / "more.yaml").write_text("tiny: {defaults: {training: {steps: 3}}}\n")
    assert dfp(*asked, "--overrides", tmp_path / "more.yaml") == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}
    varied = tmp_path / "results/default-more/tiny/runs/factorised/one/summary.json"
    assert json.loads(varied.read_text())["steps"] == 3
