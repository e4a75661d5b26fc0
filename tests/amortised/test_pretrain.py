"""`dfp pretrain`: from nothing, or from one's own ground truth, to weights that say what they are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dfp.stages.pretrain as stage
from dfp import __version__
from dfp.amortised import weights
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.amortised.training import Schedule, Trainer
from dfp.cli import main
from dfp.config.pretraining import NAMES, SETTINGS, load_pretrain
from dfp.core.errors import UserError
from dfp.core.read import read_yaml
from dfp.data.recordings import load_recordings

ROOT = Path(__file__).resolve().parent.parent.parent
Facts = dict[str, Any]


def pretrain(out: Path, *more: object) -> int:
    return main(["pretrain", "--out", str(out), "--scale", "smoke", *map(str, more)])


def facts_of(out: Path) -> Facts:
    return json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weights") / "simulations.npz"
    assert pretrain(out) == 0
    return out


def test_weights_from_simulations_alone(simulations: Path) -> None:
    facts = facts_of(simulations)
    assert facts["sha256"] == weights.digest(simulations)
    assert (
        facts["learned_from"] == "simulated cells of the prior 'published'"
        and facts["data_sets"] == facts["citations"] == []
    )
    assert facts["command"] == "dfp pretrain --out simulations.npz --scale smoke --threads 1"
    assert (facts["dfp"], facts["steps"], facts["seed"], facts["threads"]) == (__version__, 3, 0, 1)
    assert facts["settings"]["sizes"]["channels"] == [4, 4, 4]
    assert facts["torch"] == torch.__version__ and facts["numpy"] == np.__version__
    assert facts["cpu_seconds"] > 0 and facts["wall_seconds"] > 0 and np.isfinite(facts["loss"]["simulated"])
    assert sorted(path.name for path in simulations.parent.iterdir()) == [
        "simulations.json",
        "simulations.npz",
    ]
    # where files lie on this machine is nobody's business
    assert str(simulations.parent) not in simulations.with_suffix(".json").read_text()


def test_ones_own_ground_truth_in_one_command(
    simulations: Path, ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/recordings.md says: two recordings learned from, a third data set left out, drawn from."""
    out = tmp_path / "mine.npz"
    asked = ("--recordings", ground_truth, "--start", simulations, "--leave-out", "DS92")
    assert pretrain(out, *asked, "--seed", 5) == 0
    told = capsys.readouterr().out
    assert "of the prior 'published' and true recordings (DS91); from simulations.npz on" in told
    facts = facts_of(out)
    (own,) = facts["data_sets"]
    assert (own["data_set"], own["indicator"], own["cells"], own["recordings"]) == ("DS91", "GCaMP8m", 2, 2)
    assert own["seconds"] == 120.0 and own["spikes"] > 50 and own["publication"] is None
    assert facts["left_out"] == ["DS92"] and facts["seed"] == facts["settings"]["seed"] == 5
    assert facts["start"]["sha256"] == weights.digest(simulations)
    assert str(tmp_path) not in json.dumps(facts) and str(ground_truth.parent) not in json.dumps(facts)
    before, after = (weights.load(path)[0].state_dict() for path in (simulations, out))
    moved = max(float((before[name] - value).abs().max()) for name, value in after.items())
    assert 0 < moved < 0.1  # three steps away from where it started
    np.save(tmp_path / "more.npy", np.random.default_rng(0).normal(0, 0.1, (300, 2)))
    traces = ("--traces", tmp_path / "more.npy", "--frame-rate", 30, "--samples", 5, "--jobs", 1)
    asked = ("infer", "--weights", out, *traces, "--out", tmp_path / "more")
    assert main([str(word) for word in asked]) == 0
    with np.load(tmp_path / "more" / "spikes.npz") as spikes:
        assert spikes["expected_count"].shape == (300, 2)
    said = json.loads((tmp_path / "more" / "infer.json").read_text())
    assert weights.digest(out) in json.dumps(said)


def test_recordings_written_as_the_page_says_are_learned_from(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "recordings.md").read_text(encoding="utf-8")
    (example,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "_spk" in one]
    names: dict[str, Any] = {}
    exec(compile(example, "docs/recordings.md", "exec"), names)
    cell = Cell(amplitude=0.3, decay=0.3, rise=0.02, rate_hz=2.0, noise=0.01)
    trace, counts = simulate_cell(cell, 900, 1 / 30, 3)
    (tmp_path / "MY").mkdir()
    path = tmp_path / "MY" / "DS91-GCaMP8m-mine.npz"
    names["write_data_set"](path, [(trace, 30.0, np.repeat(np.arange(900), counts) / 30)])
    (read,) = load_recordings(tmp_path / "MY")
    assert (read.name, read.indicator, read.frame_rate) == ("DS91_c00_s00", "GCaMP8m", 30.0)
    assert np.array_equal(read.spike_counts, counts) and np.allclose(read.dff, trace, atol=1e-6)
    assert pretrain(tmp_path / "mine.npz", "--recordings", tmp_path / "MY") == 0
    assert facts_of(tmp_path / "mine.npz")["data_sets"][0]["spikes"] == counts.sum()


def interrupted_after(steps: int) -> Callable[[Trainer], Iterator[dict[str, float]]]:
    run = Trainer.run

    def cut(trainer: Trainer) -> Iterator[dict[str, float]]:
        for terms in run(trainer):
            yield terms
            if trainer.step == steps:
                raise KeyboardInterrupt

    return cut


def test_an_interrupted_training_resumes_to_the_same_bits(
    ground_truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole.npz", tmp_path / "cut.npz"
    asked = ("--recordings", ground_truth)
    assert pretrain(whole, *asked) == 0
    with monkeypatch.context() as patch:
        patch.setattr(stage, "SAVE_EVERY", -1.0)
        patch.setattr(Trainer, "run", interrupted_after(2))
        assert pretrain(cut, *asked) == 130
    assert not cut.exists() and cut.with_name("cut.progress.pt").exists()
    capsys.readouterr()
    assert pretrain(cut, *asked) == 0
    assert "resuming after step 2 of 3" in capsys.readouterr().err
    assert weights.digest(cut) == weights.digest(whole)
    assert facts_of(cut)["loss"] == facts_of(whole)["loss"]
    assert not cut.with_name("cut.progress.pt").exists()


def test_what_is_there_already_is_left_alone_and_other_settings_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.npz"
    assert pretrain(out) == 0
    made = out.stat().st_mtime_ns
    assert pretrain(out) == 0 and out.stat().st_mtime_ns == made
    assert "made already" in capsys.readouterr().err
    torch.save({"identity": "another"}, out.with_name("mine.progress.pt"))
    assert pretrain(out, "--seed", 1) == 0
    assert "belongs to other settings, training starts anew" in capsys.readouterr().err
    assert facts_of(out)["seed"] == 1
    out.with_name("mine.progress.pt").write_bytes(b"half a state")
    out.write_bytes(b"half a file")  # nor is what is damaged
    assert pretrain(out, "--seed", 1) == 0
    assert "not readable, training starts anew" in capsys.readouterr().err
    assert weights.load(out)[1]["seed"] == 1


def test_settings_of_ones_own_are_laid_over_the_packages(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "simulations: {steps: 2, sizes: {components: 3}}\ncells: {steps: 9}\n"
    )
    out = tmp_path / "mine.npz"
    assert pretrain(out, "--settings", tmp_path / "mine.yaml") == 0
    facts = facts_of(out)
    assert facts["steps"] == 2 and facts["settings"]["sizes"]["components"] == 3
    assert facts["settings"]["sizes"]["hidden"] == 8  # of the scale
    assert facts["command"].startswith("dfp pretrain --out mine.npz --settings mine.yaml")
    assert weights.load(out)[0].sizes.components == 3


def test_the_packages_own_settings_are_sound() -> None:
    assert set(read_yaml(SETTINGS)) == {*NAMES, "smoke"}
    for name in NAMES:
        assert isinstance(load_pretrain(name), Schedule)
        assert load_pretrain(name, scale="smoke").steps < 10
        assert load_pretrain(name, scale="paper") == load_pretrain(name)
        assert load_pretrain(name, {name: {"steps": 7}}, seed=3) == load_pretrain(
            name, {name: {"steps": 7, "seed": 3}}
        )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("cells: {steps: 0}", "cells.steps: found 0, expected at least 1"),
        ("cells: {bins: 100}", "cells.bins: found 100, expected at least 512, the shortest window"),
        ("cells: {learning_rate: 0}", "cells.learning_rate: found 0, expected above 0"),
        ("cells: {learning_rate: fast}", "cells.learning_rate: found text 'fast', expected a number"),
        ("cells: {recorded: 1.5}", "cells.recorded: found 1.5, expected a share from 0 to 1"),
        ("cells: {constants_weight: -1}", "cells.constants_weight: found -1, expected at least 0"),
        ("cells: {draws: 0}", "cells.draws: found 0, expected at least 1"),
        ("cells: {clip: 0}", "cells.clip: found 0, expected above 0"),
        ("cells: {seed: -1}", "cells.seed: found -1, expected at least 0"),
        ("cells: {stesp: 3}", "unknown key 'stesp' (did you mean 'steps'?)"),
        ("cell: {steps: 3}", "unknown key 'cell' (did you mean 'cells'?)"),
        ("cells: {sizes: {channels: [4]}}", "sizes.channels: found [4], expected at least two levels"),
        ("cells: {sizes: {kernels: [3, 4, 3]}}", "sizes.kernels: found [3, 4, 3], expected 3 odd widths"),
        ("cells: {sizes: {kernels: [3, 3]}}", "sizes.kernels: found [3, 3], expected 3 odd widths"),
        ("cells: {sizes: {hidden: 0}}", "sizes.hidden: found 0, expected at least 1"),
        ("cells: {sizes: {components: 0}}", "sizes.components: found 0, expected at least 1"),
        (
            "cells: {prior: opne}",
            "cells.prior: found 'opne' (did you mean 'open'?), expected published or open",
        ),
        ("- 3", "mine.yaml: found no mapping"),
    ],
)
def test_settings_without_a_meaning_are_one_sentence(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, sentence: str
) -> None:
    (tmp_path / "mine.yaml").write_text(settings)
    asked = ("--settings", tmp_path / "mine.yaml", "--recordings", ground_truth)
    assert pretrain(tmp_path / "mine.npz", *asked) == 2
    told = capsys.readouterr().err
    assert sentence in told and len(told.splitlines()) == 1 and "mine.yaml" in told
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--out", "mine.pt"), "mine.pt: found the suffix '.pt', expected a file of weights (.npz)"),
        (("--recordings", "nowhere"), "nowhere: no such folder of recordings"),
        (("--leave-out", "DS09"), "leave-out: found no --recordings"),
        (("--start", "simulation"), "simulation: no such weights (did you mean 'simulations'?)"),
        (("--threads", "0"), "threads: found 0, expected at least 1"),
        (("--seed", "-4"), "seed: found -4, expected at least 0"),
    ],
)
def test_arguments_without_a_meaning_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], sentence: str
) -> None:
    assert pretrain(tmp_path / "mine.npz", *more) == 2
    told = capsys.readouterr().err
    assert sentence in told and len(told.splitlines()) == 1


def test_the_threads_of_others_are_as_before() -> None:
    before = torch.get_num_threads()
    with stage._threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_name_that_is_no_training_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown training 'cell' \(did you mean 'cells'\?\)"):
        load_pretrain("cell")
