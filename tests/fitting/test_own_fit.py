"""A recording fitted in memory: the same as the command, and as its own files."""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import dfp
from dfp.cli import main
from dfp.core.errors import UserError
from dfp.core.files import read_json
from dfp.data import own
from dfp.data.arrays import array_traces
from dfp.fitting.infer import unlike
from dfp.fitting.tables import cells_table

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


@pytest.mark.parametrize("connections", [False, True])
def test_a_result_saved_over_a_command_is_not_taken_for_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], connections: bool
) -> None:
    recording().to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "brief.yaml").write_text(yaml.safe_dump(BRIEF))
    asked = ["fit", "--decay", "0.4", "--frame-rate", "30", "--traces", str(tmp_path / "mine.csv")]
    asked += ["--settings", str(tmp_path / "brief.yaml"), "--out", str(tmp_path / "mine")]
    asked += ["--connections"] * connections
    assert main(asked) == 0
    tables = [path for path in (tmp_path / "mine").rglob("*.csv") if path.name != "history.csv"]
    written = {path: path.read_bytes() for path in tables}
    fitted(recording()[::-1].reset_index(drop=True), connections=connections).save(tmp_path / "mine")
    assert not [*(tmp_path / "mine").rglob("*.json"), *(tmp_path / "mine").rglob("history.csv")]
    assert all(path.read_bytes() != content for path, content in written.items())
    capsys.readouterr()
    assert main(asked) == 0 and "trained already" not in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tables} == written


def test_renamed_cells_are_another_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "brief.yaml").write_text(yaml.safe_dump(BRIEF))
    asked = ["fit", "--decay", "0.4", "--frame-rate", "30", "--traces", str(tmp_path / "mine.csv")]
    asked += ["--settings", str(tmp_path / "brief.yaml"), "--out", str(tmp_path / "mine")]
    for names in (["a", "b"], ["c", "d"]):
        recording().set_axis(names, axis=1).to_csv(tmp_path / "mine.csv", index=False)
        assert main(asked) == 0
        assert dfp.load(tmp_path / "mine" / "checkpoint.pt").facts.cells == tuple(names)
    assert "trained already" not in capsys.readouterr().err


def test_a_posterior_is_used_on_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is moved; with `auto` it stays where it is."""
    import dfp.fitting.infer as module

    x = recording()
    used: list[dfp.Fitted] = []
    here = fitted(x).fitted("cpu")

    def keep(fitted: dfp.Fitted, traces: Any) -> None:
        used.append(fitted)

    monkeypatch.setattr(module, "spikes_table", keep)
    monkeypatch.setattr(module, "choose_device", torch.device)
    for name in ("meta", "cpu"):
        dfp.infer(here, x, 30, device=name)
    monkeypatch.setattr(module, "choose_device", lambda name: torch.device("meta"))
    dfp.infer(here, x, 30)
    places = [[p.device.type for p in (*f.model.parameters(), *f.posterior.parameters())] for f in used]
    assert [set(each) for each in places] == [{"meta"}, {"cpu"}, {"cpu"}]
    assert here.model.value("bias").device.type == "cpu"


def test_a_model_without_amplitude_baseline_and_noise_has_a_table_and_no_warning() -> None:
    """What the record lists is what is told."""
    result = fitted(recording())
    plain = result.fitted("cpu")

    class Bare(SimpleNamespace):
        constants = ("decay", "gain")

    now = Bare(decay=np.array([0.4, 0.4]), gain=np.array([1.0, 2.0]), history=np.zeros((2, 1)))
    bare = SimpleNamespace(model=SimpleNamespace(parameters_now=lambda: now))
    traces = array_traces(recording(), 30)
    table = cells_table(bare, traces, result.spikes)  # type: ignore[arg-type]
    assert list(table) == ["cell", "rate_hz", "decay_s", "gain", "history_1"]
    assert unlike(bare, traces) == []  # type: ignore[arg-type]
    measured = ["amplitude", "baseline", "noise", "rise_s", "decay_s"]
    assert list(cells_table(plain, traces, result.spikes))[2:7] == measured


def test_a_run_in_wandb_is_named_only_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation adds to the run that is named, and would open one of nothing."""
    recording(1).to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "brief.yaml").write_text(yaml.safe_dump(BRIEF))
    run = SimpleNamespace(log=lambda *_, **__: None, summary={}, finish=lambda: None)
    opened: list[str] = []

    def init(**options: Any) -> SimpleNamespace:
        opened.append(options["id"])
        return run

    fake = SimpleNamespace(Settings=dict, Image=str, Table=dict, init=init)
    asked = ["fit", "--decay", "0.4", "--frame-rate", "30", "--traces", str(tmp_path / "mine.csv")]
    asked += ["--settings", str(tmp_path / "brief.yaml")]
    for mode, wandb in (("disabled", fake), ("offline", None), ("offline", fake)):
        monkeypatch.setitem(sys.modules, "wandb", wandb)
        out = tmp_path / f"{mode}_{wandb is None}"
        assert main([*asked, "--wandb", mode, "--out", str(out)]) == 0
        assert read_json(out / "config.json").get("wandb") == (opened[-1] if opened else None)
        shutil.rmtree(out)
    assert len(opened) == 1


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
    import dfp.stages.source as stage

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
        (recording()[:9], {}, "x: roi0: found 9 frames, expected at least 10"),
        (recording(), {"indicator": "GCaMP9"}, "indicator: unknown 'GCaMP9'"),
        (recording(), {"indicator": 5}, "indicator: unknown 5; known: GCaMP6f"),
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
    shifted = x.set_axis(["roi1", "roi2"], axis=1)
    with pytest.raises(UserError, match="x: found the cells in the order roi1, roi2, expected that of"):
        dfp.infer(result, shifted, 30)
    assert set(dfp.infer(result, x.set_axis(["new", "roi1"], axis=1), 30)["cell"]) == {"new", "roi1"}
    with pytest.warns(UserWarning, match="x: roi0 has a baseline near") as found:
        dfp.infer(result, 1000 + 200 * x, 30, confirm="unit")
    assert {one.filename for one in found} == {__file__}
    with pytest.raises(UserError, match="x: numbers that look like raw counts"):
        dfp.infer(result, 1000 + 200 * x, 30)


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
