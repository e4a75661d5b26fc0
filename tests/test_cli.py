"""The commands on a tiny experiment; what is refused, in one sentence; and a training that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import dfp.stages.train as train_stage
from dfp.cli import main

ROOT = Path(__file__).resolve().parent.parent
UNCERTAINTY = ROOT / "experiments" / "uncertainty" / "config.yaml"

CONFIG = """
question: Do the commands work?
datasets:
  one: &one
    {network: {kind: independent}, seeds: [0], bins: 50, trials: 6, test_trials: 2, kernel_bins: 6}
  two: {<<: *one, seeds: [0, 1]}
defaults:
  recognition: {window: 4, hidden: 4, per_cell: true}
  training: {steps: 2, batch: 4, temperature: {start: 0.5, end: 0.2, shape: linear}}
  evaluation: {samples: 8, iwae_samples: 4, two_sample: true, two_sample_samples: 4}
runs:
  factorised: {posterior: {kind: factorised}, labels: {family: factorised}}
  fixed_point: {posterior: {kind: autoregressive, history: 3}, labels: {family: fixed_point}, datasets: [one]}
  warm:
    posterior: {kind: autoregressive, history: 3}
    datasets: [one]
    warm_start: fixed_point
    model: {learn: [bias, noise], start: data}
    phases:
      - {steps: 6}
      - {steps: 6, objective: {kind: score_function, samples: 2}, relaxation: hard}
figures: [gap]
"""
PLOT = '''
"""One figure of one number a run."""
from matplotlib.figure import Figure

def figures(results):
    figure = Figure(figsize=(2, 2))
    table = results.table
    rows = table[table["metric"] == "gap_per_bin"]
    figure.subplots().bar(rows["run"], rows["value"])
    return {"gap": figure}
'''


class Place:
    """A folder with the experiment ``tiny``, and the paths of its results."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "experiments" / "tiny" / "config.yaml"
        self.config.parent.mkdir(parents=True)
        self.config.write_text(CONFIG)
        (self.config.parent / "plot.py").write_text(PLOT)
        self.results = root / "results" / "default" / "tiny"

    def data(self, name: str = "one") -> Path:
        return self.results / "data" / f"{name}.npz"

    def run(self, name: str, data: str = "one") -> Path:
        return self.results / "runs" / name / data

    def checkpoint(self, name: str = "fixed_point", data: str = "one") -> Path:
        return self.run(name, data) / "checkpoint.pt"

    def train(self, name: str, data: str = "one", out: Path | None = None, *more: object) -> list[str]:
        """The arguments of ``dfp train``."""
        target = out or self.checkpoint(name, data)
        given = [
            "train",
            "--experiment",
            self.config,
            "--run",
            name,
            "--dataset",
            data,
            "--data",
            self.data(data),
        ]
        return [
            str(item) for item in (*given, "--out", target, "--wandb", "disabled", "--device", "cpu", *more)
        ]


def dfp(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The tiny experiment, trained and evaluated command by command."""
    made = Place(tmp_path_factory.mktemp("place"))
    for data in ("one", "two"):
        assert dfp("simulate", "--experiment", made.config, "--dataset", data, "--out", made.data(data)) == 0
    for name, data in (("factorised", "one"), ("factorised", "two"), ("fixed_point", "one")):
        assert main(made.train(name, data)) == 0
        checkpoint, out = made.checkpoint(name, data), made.run(name, data) / "metrics.csv"
        assert dfp("evaluate", "--checkpoint", checkpoint, "--data", made.data(data), "--out", out) == 0
    return made


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to be refused; its one sentence."""

    def run(*arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        assert dfp(*arguments) == code
        told = capsys.readouterr()
        assert told.out == ""
        lines = told.err.splitlines()
        # a progress bar may stand before the sentence
        assert lines[-1].startswith(f"dfp {arguments[0]}: ") and "Traceback" not in told.err
        assert len(lines) == 1 or code == 3, told.err
        return lines[-1]

    return run


# --- what works


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


# --- what is refused


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
    assert "config.yaml" in sentence or "overrides.yaml" in sentence


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
    assert "metrics.csv: no such file" in refused(*asked)
    path.write_text("a,b\n1,2\n3,4,5,6\n")
    assert "metrics.csv: not a table" in refused(*asked)
    path.write_text("run,seed\na,0\n")
    assert "metrics.csv: found no column 'experiment'" in refused(*asked)
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


# --- kill and resume


def contents(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint: the posterior's weights and the model's parameters."""
    payload = torch.load(path)
    return {
        f"{part}.{name}": value
        for part in ("posterior", "parameters")
        for name, value in payload[part].items()
    }


def assert_same_run(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    histories = [pd.read_csv(path.with_name("history.csv")).drop(columns="seconds") for path in (one, other)]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize("steps", [1, 6, 8])  # in the first phase, between the two, in the second
def test_an_interrupted_training_resumes_to_the_same_result(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    steps: int,
) -> None:
    start = ("--warm-start", place.checkpoint())
    whole, cut = tmp_path / "whole" / "checkpoint.pt", tmp_path / "cut" / "checkpoint.pt"
    assert main(place.train("warm", "one", whole, *start)) == 0
    assert not torch.equal(
        contents(whole)["parameters.noise"], contents(place.checkpoint())["parameters.noise"]
    )
    shown = train_stage._shown

    def interrupted(trainer: Any) -> Iterator[dict[str, Any]]:
        for metrics in shown(trainer):
            yield metrics
            if metrics["step"] == steps:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_stage, "SAVE_EVERY", -1.0)
        patch.setattr(train_stage, "_shown", interrupted)
        assert main(place.train("warm", "one", cut, *start)) == 130
    assert not cut.exists() and cut.with_name("progress.pt").exists()
    assert "run the same command again to resume" in capsys.readouterr().err
    assert main(place.train("warm", "one", cut, *start)) == 0
    assert f"resuming after step {steps} of 12" in capsys.readouterr().err
    assert not cut.with_name("progress.pt").exists()
    assert_same_run(whole, cut)


def test_a_killed_training_resumes_to_the_same_result(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = tmp_path / "long.yaml"
    overrides.write_text("tiny: {defaults: {training: {steps: 200}}}\n")
    whole, cut = tmp_path / "whole" / "checkpoint.pt", tmp_path / "cut" / "checkpoint.pt"
    asked = place.train("fixed_point", "one", cut, "--overrides", overrides)
    # slow steps, so that there is time to kill it, and a state saved whenever a tenth of a second has gone by
    slow = f"""
import time
import dfp.stages.train as stage
from dfp.cli import main
from dfp.training.loop import Trainer
stage.SAVE_EVERY, advance = 0.1, Trainer._advance
def slowly(*given):
    time.sleep(0.03)
    return advance(*given)
Trainer._advance = slowly
main({asked!r})
"""
    killed = subprocess.Popen([sys.executable, "-c", slow], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not cut.with_name("progress.pt").exists():
            assert time.monotonic() < deadline and killed.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    assert killed.returncode == -signal.SIGKILL and not cut.exists()
    assert main(asked) == 0
    assert "resuming after step" in capsys.readouterr().err
    assert main(place.train("fixed_point", "one", whole, "--overrides", overrides)) == 0
    assert_same_run(whole, cut)


@pytest.mark.parametrize("left", ["damaged", "of other settings"])
def test_a_state_that_is_no_use_is_left_aside(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    out = tmp_path / "checkpoint.pt"
    if left == "damaged":
        out.with_name("progress.pt").write_bytes(b"half a state")
    else:
        torch.save({"identity": "another", "trainer": {}, "history": []}, out.with_name("progress.pt"))
    assert main(place.train("factorised", "one", out)) == 0
    assert "training starts anew" in capsys.readouterr().err
    assert_same_run(place.checkpoint("factorised"), out)
