"""A recording fitted in memory: the same as the command, and as its own files."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import dfp
from dfp.cli import main
from dfp.core.errors import UserError
from dfp.data import own

BRIEF: dict[str, Any] = {
    "cells": {
        "posterior": {"nonlinear_hidden": 2},
        "recognition": {"window": 4, "hidden": 4},
        "phases": [{"steps": 3, "objective": {"kind": "relaxed_pmf"}}],
        "evaluation": {"samples": 8, "iwae_samples": 4},
    },
    "connections": {
        "recognition": {"window": 4, "hidden": 4, "cross_channels": 1},
        "training": {"steps": 3},
        "evaluation": {"samples": 8, "iwae_samples": 4},
    },
}


def recording(cells: int = 2) -> pd.DataFrame:
    """Simulated traces at 30 Hz, to the digits of a file."""
    network = dfp.sparse_random(cells, np.random.default_rng(1), density=0.5)
    x = dfp.simulate(network, [1], bin_rate=30, bins=150, amplitude=0.3, noise=0.1).x[0]
    return pd.DataFrame(np.round(x, 6), columns=[f"roi{n}" for n in range(cells)])


def fitted(x: Any, **given: Any) -> dfp.Result:
    return dfp.fit(x, 30, settings=BRIEF, **{"indicator": "gcamp6f", "progress": False, **given})


@pytest.mark.parametrize("connections", [False, True])
def test_a_fit_in_python_is_the_command_byte_by_byte(tmp_path: Path, connections: bool) -> None:
    x = recording()
    x.to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "brief.yaml").write_text(yaml.safe_dump(BRIEF))
    asked = ["fit", "--traces", "mine.csv", "--frame-rate", "30", "--indicator", "GCaMP6f"]
    asked += ["--settings", "brief.yaml", "--out", "command"] + ["--connections"] * connections
    asked = [str(tmp_path / word) if "." in word or word == "command" else word for word in asked]
    assert main(asked) == 0
    result = fitted(x, connections=connections)
    result.save(tmp_path / "python")
    tables = sorted(path.relative_to(tmp_path / "python") for path in (tmp_path / "python").rglob("*.csv"))
    assert len(tables) == (5 if connections else 2)
    for path in tables:
        assert (tmp_path / "python" / path).read_bytes() == (tmp_path / "command" / path).read_bytes(), path
    here, there = (dfp.load(tmp_path / name / "checkpoint.pt", "cpu") for name in ("python", "command"))
    for name, weights in here.posterior.state_dict().items():
        assert torch.equal(weights, there.posterior.state_dict()[name]), name
    assert here.facts.cells == there.facts.cells == ("roi0", "roi1")


def test_the_result_says_what_it_holds_and_infers_alike_from_memory_and_from_disk(tmp_path: Path) -> None:
    x = recording()
    result = fitted(x)
    told = repr(result)
    assert told.startswith("Result of fitting 2 cells, 150 frames at 30 Hz\n  spikes: 300 rows, ")
    assert "roi0, roi1; " in told and "connections: None (connections=True learns them)" in told
    assert result.connections is None and result.before is None
    result.save(tmp_path)
    fresh = dfp.load(tmp_path / "checkpoint.pt")
    before = copy.deepcopy(fresh.posterior.state_dict())
    for trained in (result, fresh, tmp_path / "checkpoint.pt", str(tmp_path / "checkpoint.pt")):
        pd.testing.assert_frame_equal(dfp.infer(trained, x, 30), result.spikes)
    # cells without names are those of the training, and what was read stays as it was
    pd.testing.assert_frame_equal(dfp.infer(fresh, x.to_numpy(), 30), result.spikes)
    for name, weights in fresh.posterior.state_dict().items():
        assert weights.dtype == before[name].dtype and torch.equal(weights, before[name])


def test_a_fit_repeats_itself_and_leaves_what_is_global_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, state, legacy = recording(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    values = x.to_numpy()
    kept = values.copy()
    pd.testing.assert_frame_equal(fitted(values).spikes, fitted(values).spikes)
    assert np.array_equal(values, kept) and list(tmp_path.iterdir()) == []
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002
    assert capsys.readouterr() == ("", "") and "wandb" not in sys.modules


@pytest.mark.parametrize(("connections", "times"), [(False, 1), (True, 1)])
def test_a_baseline_is_taken_away_once(
    monkeypatch: pytest.MonkeyPatch, connections: bool, times: int
) -> None:
    calls: list[int] = []
    correct: Callable[..., Any] = own.correct_baseline

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(1)
        return correct(*given, **named)

    monkeypatch.setattr(own, "correct_baseline", counted)
    fitted(recording(), connections=connections)
    assert len(calls) == 2 * times  # two cells


def test_the_command_reads_its_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dfp.stages.fit as stage

    recording().to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "brief.yaml").write_text(yaml.safe_dump(BRIEF))
    reads: list[Any] = []
    read = stage.read_traces
    monkeypatch.setattr(stage, "read_traces", lambda *a, **k: reads.append(a) or read(*a, **k))
    asked = ["fit", "--connections", "--decay", "0.4", "--frame-rate", "30", "--traces"]
    asked += [str(tmp_path / "mine.csv"), "--settings", str(tmp_path / "brief.yaml"), "--out", str(tmp_path)]
    assert main(asked) == 0 and len(reads) == 1


@pytest.mark.parametrize(
    ("x", "given", "told"),
    [
        (recording(1), {"connections": True}, "x: found one cell, expected at least two"),
        (recording()[:9], {}, "x: roi0 has 9 frames, expected at least 10"),
        (recording(), {"indicator": "GCaMP9"}, "indicator: unknown 'GCaMP9'"),
        (recording(), {"indicator": None}, "decay: found none, expected the decay"),
        (recording(), {"amplitude": -1.0}, "amplitude: found -1, expected a number above 0"),
        (recording(), {"device": "tpu"}, "device: found 'tpu', expected auto, cpu or cuda"),
    ],
)
def test_what_a_fit_refuses(x: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        fitted(x, **given)


def test_settings_are_a_mapping_or_a_file_and_refused_alike(tmp_path: Path) -> None:
    x = recording()
    with pytest.raises(UserError, match=r"settings: unknown key 'cels' \(did you mean 'cells'"):
        dfp.fit(x, 30, decay=0.4, settings={"cels": {}}, progress=False)
    path = tmp_path / "s.yaml"
    path.write_text("cels: {}")
    with pytest.raises(UserError, match=r"s.yaml: unknown key 'cels'"):
        dfp.fit(x, 30, decay=0.4, settings=path, progress=False)


def test_what_inference_refuses_and_warns_of() -> None:
    x = recording()
    result = fitted(x)
    with pytest.raises(UserError, match="x: found 1 cells, expected 2 as the posterior was trained on"):
        dfp.infer(result, x[["roi0"]], 30)
    with pytest.raises(UserError, match="x: found 20 Hz, expected 30 Hz"):
        dfp.infer(result, x, 20)
    with pytest.raises(UserError, match="x: found the cells in the order roi1, roi0, expected that of"):
        dfp.infer(result, x[["roi1", "roi0"]], 30)
    with pytest.warns(UserWarning, match="x: roi0 has a baseline near") as found:
        dfp.infer(result, 1000 + 200 * x, 30)
    assert found[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda facts: facts.pop("run"), "facts: the key 'run' is missing"),
        (lambda facts: facts.update(colour="red"), "facts: unknown key 'colour'"),
        (lambda facts: facts.update(cells=3), "facts.cells: found the number 3, expected a list"),
        (lambda facts: facts["preparation"].update(bins=2), "facts.preparation: unknown key 'bins'"),
    ],
)
def test_a_checkpoint_of_other_facts_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    fitted(recording()).save(tmp_path)
    payload = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    change(payload["facts"])
    torch.save(payload, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=told) as refused:
        dfp.load(tmp_path / "checkpoint.pt")
    assert "checkpoint.pt" in str(refused.value) and "expected a checkpoint of this version" in str(
        refused.value
    )


def test_facts_of_before_they_were_a_record_are_read(tmp_path: Path) -> None:
    result = fitted(recording())
    payload = copy.deepcopy(result.payload)
    for name in ("preparation", "cells", "setting"):
        del payload["facts"][name]
    torch.save(payload, tmp_path / "checkpoint.pt")
    facts = dfp.load(tmp_path / "checkpoint.pt").facts
    assert facts.cells == () and facts.preparation.bins_per_frame == 1 and facts.run == "cells"
