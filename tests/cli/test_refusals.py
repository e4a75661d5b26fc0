"""What is refused: one sentence and an exit code, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import Place, dfp

ROOT = Path(__file__).resolve().parents[2]
UNCERTAINTY = ROOT / "experiments" / "uncertainty" / "config.yaml"


@pytest.mark.parametrize(
    ("laid_over", "told"),
    [
        ("{figurs: []}", "unknown key 'figurs' (did you mean 'figures'?)"),
        ("{datasets: {panel: {nois: 1}}}", "datasets.panel: unknown key 'nois' (did you mean 'noise'?)"),
        ("{datasets: {panel: {noise: -1}}}", "datasets.panel: noise: found -1, expected a number above 0"),
        ("{datasets: {panel: {noise: loud}}}", "datasets.panel.noise: found text 'loud', expected a number"),
        ("{datasets: {panel: {noise: .nan}}}", "datasets.panel.noise: found nan, expected a finite number"),
        (
            "{datasets: {panel: {bins: 3.5}}}",
            "datasets.panel.bins: found the number 3.5, expected a whole number",
        ),
        ("{datasets: {panel: {seeds: 3}}}", "datasets.panel.seeds: found the number 3, expected a list"),
        ("{datasets: {panel: 3}}", "datasets.panel: found the number 3, expected a mapping"),
        (
            "{datasets: {panel: {network: {rate: 4}}}}",
            "network: unknown key 'rate' (did you mean 'rate_hz'?)",
        ),
        ("{datasets: {panel: {network: {rate_hz: -4}}}}", "network: independent: rate -4 Hz"),
        (
            "{datasets: {panel: {seeds: [0], network: {kind: sparse}}}}",
            "network.kind: unknown network 'sparse'",
        ),
        (
            "{runs: {factorised: {posterior: {kind: factorized}}}}",
            "unknown posterior 'factorized' (did you mean 'factorised'?)",
        ),
        ("{runs: {factorised: {warm_start: nothing}}}", "runs.factorised.warm_start: unknown run 'nothing'"),
        (
            "{runs: {logistic_flow: {training: {objective: {kind: relaxed_pmf}}}}}",
            "expected logistic_density (for spikes",
        ),
        ("{defaults: {training: {steps: -1}}}", "phases[0]: steps: found -1, expected at least 1"),
        ("{defaults: {training: {batch: 0}}}", "phases[0]: batch: found 0, expected at least 1"),
        ("{defaults: {training: {learning_rate: fast}}}", "phases[0].learning_rate: found text 'fast'"),
        ("{defaults: {training: {learning_rate: {start: -1}}}}", "learning_rate: found -1"),
        ("{scales: {smok: {}}}", "found 'scales', expected the settings themselves"),
        ("3", "uncertainty: found the number 3, expected a mapping"),
    ],
)
def test_a_wrong_setting(refused: Callable[..., str], tmp_path: Path, laid_over: str, told: str) -> None:
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text(f"uncertainty: {laid_over}\n")
    sentence = refused("check", UNCERTAINTY, "--scale", "smoke", "--overrides", overrides)
    assert told in sentence
    assert str(overrides) in sentence


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("uncertanty: {order: 2}", "unknown experiment 'uncertanty' (did you mean 'uncertainty'?)"),
        ("a: [", "not valid YAML"),
        ("- 1", "found no mapping, expected keys and values"),
        (None, "no such file"),
    ],
)
def test_a_wrong_file_of_overrides(
    refused: Callable[..., str], tmp_path: Path, text: str | None, told: str
) -> None:
    overrides = tmp_path / "overrides.yaml"
    if text is not None:
        overrides.write_text(text)
    assert f"{overrides}: {told}" in refused("check", UNCERTAINTY, "--overrides", overrides)


def test_a_wrong_scale_in_a_configuration(refused: Callable[..., str], tmp_path: Path) -> None:
    config = tmp_path / "mine" / "config.yaml"
    config.parent.mkdir()
    config.write_text(yaml.safe_dump({"question": "?", "scales": {"smok": {}}}))
    assert "unknown scale 'smok' (did you mean 'smoke'?)" in refused("check", config)


def test_names_that_are_not_there(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    asked = ("simulate", "--experiment", place.config, "--out", tmp_path / "x.npz", "--dataset")
    assert "unknown data set 'ones' (did you mean 'one'?)" in refused(*asked, "ones")
    out = tmp_path / "checkpoint.pt"
    assert "unknown run 'fixed_pont' (did you mean 'fixed_point'?)" in refused(
        *place.train("fixed_pont", out=out)
    )
    assert "unknown data set 'ones' (did you mean 'one'?)" in refused(
        *place.train("factorised", "ones", out=out)
    )
    assert refused("run", "--only", "tinny").count("unknown experiment 'tinny'") == 1
    assert not any(tmp_path.iterdir())


def test_a_scale_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        dfp("check", UNCERTAINTY, "--scale", "smok")
    assert stopped.value.code == 2 and "invalid choice: 'smok'" in capsys.readouterr().err


def test_warm_starts_that_do_not_fit(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    out = tmp_path / "checkpoint.pt"
    assert "expected the checkpoint of 'fixed_point'" in refused(*place.train("warm", out=out))
    start = ("--warm-start", place.checkpoint())
    assert "expected none" in refused(*place.train("factorised", "one", out, *start))
    start = ("--warm-start", tmp_path / "none.pt")
    assert "none.pt: no such checkpoint" in refused(*place.train("warm", "one", out, *start))
    start = ("--warm-start", place.checkpoint("factorised", "two"))
    assert "warm start from 2 cells, expected 1" in refused(*place.train("warm", "one", out, *start))


@pytest.mark.parametrize("command", ["evaluate", "infer"])
def test_checkpoints_that_are_none(
    refused: Callable[..., str], place: Place, tmp_path: Path, command: str
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 1)))
    given: tuple[object, ...] = ("--traces", tmp_path / "x.npy", "--frame-rate", 30)
    if command == "evaluate":
        given = ("--data", place.data())
    path, sound = tmp_path / "checkpoint.pt", place.checkpoint()

    def sentence() -> str:
        return refused(command, "--checkpoint", path, *given, "--out", tmp_path / "out.csv")

    assert sentence().endswith("checkpoint.pt: no such checkpoint (make it with `dfp train`)")
    for content in (b"", b"hello", sound.read_bytes()[:2000], place.data().read_bytes()):
        path.write_bytes(content)
        assert "checkpoint.pt: not a checkpoint of dfp, or a damaged one" in sentence()
    torch.save({"weights": torch.zeros(3)}, path)
    assert "found checkpoint format None, expected 1" in sentence()
    payload: dict[str, Any] = torch.load(sound)
    torch.save({key: value for key, value in payload.items() if key != "facts"}, path)
    assert "found no 'facts' in it" in sentence()
    other: dict[str, Any] = torch.load(place.checkpoint("factorised"))
    torch.save({**payload, "posterior": other["posterior"]}, path)
    assert "a checkpoint of another posterior" in sentence()
    assert not (tmp_path / "out.csv").exists()


def test_a_checkpoint_of_other_cells(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    asked = ("evaluate", "--checkpoint", place.checkpoint("factorised", "two"), "--out", tmp_path / "out.csv")
    told = refused(*asked, "--data", place.data())
    assert "trained on 2 cells, found 1 in" in told


def test_data_sets_that_are_none(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    asked = ("evaluate", "--checkpoint", place.checkpoint(), "--out", tmp_path / "out.csv", "--data", path)
    assert "data.npz: no such data set (make it with `dfp simulate`)" in refused(*asked)
    for content in (b"", b"hello", place.data().read_bytes()[:3000]):
        path.write_bytes(content)
        assert "data.npz: not a data set, or a damaged one" in refused(*asked)
    np.savez(path, x=np.zeros(3))
    assert "data.npz: found no 'x_test' in it" in refused(*asked)


def test_traces_that_do_not_fit(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    traces, out = tmp_path / "x.npy", tmp_path / "out.csv"
    asked = ("infer", "--checkpoint", place.checkpoint(), "--traces", traces, "--out", out)
    x = np.random.default_rng(0).normal(size=(60, 1))
    assert "x.npy: no such file" in refused(*asked, "--frame-rate", 30)
    np.save(traces, x)
    assert "does not tell its frame rate" in refused(*asked)
    assert "found 60 Hz, expected 30 Hz" in refused(*asked, "--frame-rate", 60)
    assert "expected a positive number of Hz" in refused(*asked, "--frame-rate", -30)
    np.save(traces, x.T)
    assert "1 frames × 60 cells" in refused(*asked, "--frame-rate", 30)
    np.save(traces, np.tile(x.T, (2, 1)))
    assert "2 frames × 60 cells looks transposed" in refused(*asked, "--frame-rate", 30)
    np.save(traces, np.tile(x, 2))
    assert "found 2 cells, expected 1" in refused(*asked, "--frame-rate", 30)
    x[7] = np.nan
    np.save(traces, x)
    assert "1 NaN values in 1 of 1 cells, first at frame 7" in refused(*asked, "--frame-rate", 30)
    assert not out.exists()


def test_recordings_that_are_not_there(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFP_RECORDINGS", str(tmp_path / "nowhere"))
    config = ROOT / "experiments" / "recordings" / "config.yaml"
    told = refused(
        "simulate",
        "--experiment",
        config,
        "--dataset",
        "cells",
        "--out",
        tmp_path / "x.npz",
        "--scale",
        "smoke",
    )
    assert "nowhere: no such folder of recordings" in told and "HelmchenLabSoftware/Cascade" in told


def test_tables_that_are_none(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    path, out = tmp_path / "metrics.csv", tmp_path / "table.csv"
    asked = ("aggregate", "--out", out, "--inputs", path)
    assert "metrics.csv: no such table" in refused(*asked)
    path.write_text("a,b\n1,2\n3,4,5,6\n")
    assert "metrics.csv: not a table" in refused(*asked)
    path.write_text("run,seed\na,0\n")
    assert "metrics.csv: expected the column 'experiment', found run, seed" in refused(*asked)
    told = refused(
        "plot", "--experiment", place.config, "--results", tmp_path, "--out", tmp_path, "--figures", "gap"
    )
    assert "table.csv: no such table" in told
    assert "no such folder" in refused("claims", "--results", tmp_path / "none", "--out", tmp_path / "c.csv")


def test_a_place_that_cannot_be_written_to(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told = refused(
        "simulate", "--experiment", place.config, "--dataset", "one", "--out", tmp_path / "file" / "x.npz"
    )
    assert str(tmp_path / "file") in told


def test_a_device_that_is_not_there(refused: Callable[..., str], place: Place, tmp_path: Path) -> None:
    asked = place.train("factorised", "one", tmp_path / "checkpoint.pt")
    asked[asked.index("cpu")] = "gpu"
    assert "device: found 'gpu', expected auto, cpu or cuda" in refused(*asked)
    if not torch.cuda.is_available():
        asked[asked.index("gpu")] = "cuda"
        assert "without a usable CUDA device" in refused(*asked)


def test_numbers_that_blow_up_are_told_with_their_step(
    refused: Callable[..., str], place: Place, tmp_path: Path
) -> None:
    overrides = tmp_path / "hot.yaml"
    overrides.write_text("tiny: {defaults: {training: {learning_rate: {start: 1.0e+30}, steps: 9}}}\n")
    out = tmp_path / "run" / "checkpoint.pt"
    told = refused(*place.train("factorised", "one", out, "--overrides", overrides), code=3)
    assert "tiny: run factorised on one: step " in told and not out.exists()


def test_the_process_ends_with_the_code_and_one_line(place: Place, tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "dfp.cli", *place.train("factorised", "one", tmp_path / "c.pt")]
    asked[asked.index(str(place.data()))] = str(tmp_path / "none.npz")
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr == f"dfp train: {tmp_path / 'none.npz'}: no such data set (make it with `dfp simulate`)\n"
    )
