"""A training that was killed, or interrupted, goes on to the same result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny import Place

import dfp.stages.train as train_stage
from dfp.cli import main


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
    shown = train_stage.shown

    def interrupted(trainer: Any) -> Iterator[dict[str, Any]]:
        for metrics in shown(trainer):
            yield metrics
            if metrics["step"] == steps:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_stage, "SAVE_EVERY", -1.0)
        patch.setattr(train_stage, "shown", interrupted)
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
