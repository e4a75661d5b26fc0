"""`dfp look`: what was understood of a recording, and the same doubts where a run starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter
from stand_in import stand_in as stand_in  # a fixture
from tiny import dfp

import dfp as door


def recording(folder: Path, name: str = "mine.npy", cells: int = 3, change: float = 1.0) -> Path:
    """60 s at 30 Hz of dF/F, times ``change``."""
    rng = np.random.default_rng(0)
    spikes = rng.poisson(0.7 / 30, (1800, cells))
    x = 0.3 * lfilter([1.0], [1.0, -np.exp(-1 / 12)], spikes, axis=0) + 0.05 * rng.normal(size=spikes.shape)
    np.save(folder / name, (change * x).astype(np.float32))
    return folder / name


def test_a_clean_recording_in_ten_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dfp("look", recording(tmp_path), "--frame-rate", 30) == 0
    told = capsys.readouterr()
    lines = {line.split(":")[0]: line.split(":", 1)[1].strip() for line in told.out.splitlines()}
    assert len(lines) <= 10 and told.err == ""
    assert lines["cells"] == "3: cell0, cell1, cell2" and lines["frames"] == "1800, 60 s"
    assert lines["rate"] == "30 Hz, from --frame-rate" and lines["unit"] == "looks like dF/F"
    assert lines["missing frames"] == "none" and lines["epochs"] == "one" and lines["doubts"] == "none"
    assert 0.8 < float(lines["noise"].split()[0]) < 1.0 and "%/√Hz" in lines["noise"]


def test_json_has_what_was_understood_and_every_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recording(tmp_path, change=100.0)
    x = np.load(path)
    x[100:160, 1] = np.nan
    np.save(path, x)
    assert dfp("look", path, "--frame-rate", 30, "--amplitude", 0.3, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert [*facts][:7] == ["cells", "frames", "rate_hz", "missing_frames", "epochs", "unit", "doubts"]
    assert (facts["cells"], facts["frames"], facts["rate_hz"]) == (3, 1800, 30.0)
    assert (facts["missing_frames"], facts["missing_frames_by_cell"]) == (60, [0, 60, 0])
    assert (facts["unit"], facts["epochs"]) == ("percent", 1)
    (doubt,) = facts["doubts"]
    assert (doubt["name"], doubt["severity"], doubt["cell"]) == ("unit", "stop", None)
    assert "amplitude of 0.3 was told" in doubt["sentence"]


def test_what_cannot_be_read_fails_and_doubts_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dfp("look", tmp_path / "none.npy") == 2
    assert dfp("look", recording(tmp_path)) == 2 and "--frame-rate" in capsys.readouterr().err
    assert dfp("look", recording(tmp_path, change=-1.0), "--frame-rate", 30) == 0
    assert "turn the sign" in capsys.readouterr().out
    assert dfp("look", recording(tmp_path), "--frame-rate", 30, "--confirm", "sgin") == 2
    assert "did you mean 'sign'" in capsys.readouterr().err
    assert dfp("look", recording(tmp_path), "--frame-rate", 30, "--trials", "some") == 2


def test_a_picture_marks_what_is_doubted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = recording(tmp_path, cells=40)
    x = np.load(path)
    x[900:] += 1
    np.save(path, x)
    picture = tmp_path / "seen.png"
    assert dfp("look", path, "--frame-rate", 30, "--picture", picture) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG" and not [*tmp_path.glob(".*")]


@pytest.mark.parametrize("command", ["fit", "infer"])
def test_a_run_stops_where_look_would_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, request: pytest.FixtureRequest
) -> None:
    if command == "infer":
        request.getfixturevalue("stand_in")
    path = recording(tmp_path, change=100.0)
    asked = ("--traces", path, "--frame-rate", 30, "--indicator", "GCaMP6f", "--out", tmp_path / "out")
    assert dfp(command, *asked) == 2
    said = capsys.readouterr().err
    assert "look like percent" in said and "--confirm unit" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_cell_is_left_out_of_an_inference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stand_in: None
) -> None:
    path = recording(tmp_path)
    x = np.load(path)
    x[:, 1] = np.linspace(0, 1, len(x))
    np.save(path, x)
    assert dfp("infer", "--traces", path, "--frame-rate", 30, "--out", tmp_path / "out", "--samples", 5) == 0
    told = capsys.readouterr()
    assert "cell1 is left out: its numbers rise" in told.err and "2 cells" in told.out
    rows = (tmp_path / "out" / "cells.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["cell", "cell0", "cell2"]
    assert {"noise_residual", "drift", "outliers", "snr", "doubts"} <= {*rows[0].split(",")}


def test_cells_are_chosen_and_the_same_from_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a cell that is not chosen is of no matter, and nothing is said of it."""
    path = recording(tmp_path)
    x = np.load(path)
    x[:, 1] = np.nan
    np.save(path, x)
    assert dfp("look", path, "--frame-rate", 30, "--cells", "cell2,cell0", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["names"], facts["doubts"]) == (["cell0", "cell2"], [])
    told = ("--frame-rate", 30, "--samples", 10, "--cells", "cell2")
    assert dfp("infer", "--traces", path, *told, "--out", tmp_path / "out") == 0
    assert "left out" not in capsys.readouterr().err
    held = np.load(tmp_path / "out" / "spikes.npz")
    inferred = door.infer(x, 30, samples=10, cells="cell2")
    assert [*held["cells"]] == ["cell2"] == [*inferred.cells["cell"]]
    assert np.array_equal(held["probability"], inferred.spikes["probability"])
    assert (
        dfp("infer", "--traces", path, "--frame-rate", 30, "--cells", "cell7", "--out", tmp_path / "b") == 2
    )
    assert "--cells: no cell 'cell7'" in capsys.readouterr().err
