"""`dfp infer` without a checkpoint: from a file to a folder, cut off and gone on, told at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stand_in import ByThreshold, recording
from stand_in import stand_in as stand_in  # a fixture
from tiny import dfp

import dfp as door
from dfp.results.formats.base import KEYS

pytestmark = pytest.mark.usefixtures("stand_in")
TESTS = Path(__file__).parents[1]


def held(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def infer(path: Path, out: Path, *more: object) -> int:
    return dfp("infer", "--traces", path, "--frame-rate", 30, "--out", out, "--samples", 20, *more)


def test_the_command_writes_what_python_gives_to_the_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, x = recording(tmp_path, missing=True)
    told = ("--indicator", "GCaMP6f", "--amplitude", 0.4, "--keep-samples", "--allow-nan")
    assert infer(path, tmp_path / "more", *told) == 0
    said = capsys.readouterr()
    got = door.infer(x, 30, indicator="GCaMP6f", amplitude=0.4, samples=20, allow_nan=True)
    got.save(tmp_path / "python", keep_samples=True)
    assert contents(tmp_path / "more") == contents(tmp_path / "python")
    found = held(tmp_path / "more" / "spikes.npz")
    for key in KEYS:
        assert np.array_equal(found[key], got.spikes[key])
    assert not found["observed"][50:90, 0].any() and found["observed"].sum() == x.size - 40
    mean, low, high = got.record.spikes
    out = tmp_path / "more"
    assert said.out.splitlines() == [
        f"3 cells, 400 frames at 30 Hz: {mean:.5g} spikes expected, {low:.5g} to {high:.5g} with 90%",
        "doubts: none",
        f"written: {out}/spikes.npz, {out}/cells.csv, {out}/posterior_samples.npz",
        f"next: dfp fit --traces {path} --frame-rate 30 --allow-nan --connections --indicator GCaMP6f "
        f"--out {out}-connections",
    ]
    assert "3/3" in said.err and {one.name for one in tmp_path.iterdir()} == {"mine.npy", "more", "python"}
    record = json.loads((tmp_path / "more" / "infer.json").read_text())
    assert record["provenance"] == {"data": ["cells"]} and record["asked"]["told"]["amplitude"] == 0.4


def test_the_folder_may_be_the_one_that_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = recording(tmp_path, cells=1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert infer(path, Path(".")) == 0
    assert {one.name for one in Path(".").iterdir()} == {"cells.csv", "infer.json", "spikes.npz"}
    assert {one.name for one in tmp_path.iterdir()} == {"here", "mine.npy"}
    assert infer(path, tmp_path / "new" / "deep") == 0
    assert contents(Path(".")) == contents(tmp_path / "new" / "deep")
    # one cell has no connections: the next thing are its samples
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("next: dfp infer") and said.endswith(
        f"--keep-samples --out {tmp_path}/new/deep-samples"
    )


def test_the_same_bytes_for_any_number_of_processes(tmp_path: Path) -> None:
    path, _ = recording(tmp_path, cells=5)
    for jobs in (1, 2, 4):
        assert infer(path, tmp_path / f"jobs{jobs}", "--jobs", jobs, "--keep-samples") == 0
    assert contents(tmp_path / "jobs1") == contents(tmp_path / "jobs2") == contents(tmp_path / "jobs4")


def test_a_file_is_written_as_its_name_says(tmp_path: Path) -> None:
    path, _ = recording(tmp_path)
    for name in ("folder", "x.npz", "x.csv"):
        assert infer(path, tmp_path / name) == 0
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "folder" / "spikes.npz").read_bytes()
    arrays, table = held(tmp_path / "x.npz"), pd.read_csv(tmp_path / "x.csv")
    assert list(table)[:7] == [
        "time_s", "cell", "probability", "expected_count", "expected_count_1s", "low_1s", "high_1s",
    ]  # fmt: skip
    for key in KEYS:
        assert np.allclose(table[key].to_numpy().reshape(3, 400).T, arrays[key], rtol=1e-6)
    assert infer(path, tmp_path / "wide", "--format", "csv-wide") == 0
    wide = pd.read_csv(tmp_path / "wide" / "expected_count.csv")
    assert list(wide) == ["time_s", "cell0", "cell1", "cell2"]
    assert np.allclose(wide.iloc[:, 1:], arrays["expected_count"], rtol=1e-6)


def test_the_same_command_again_does_nothing_and_another_one_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x = recording(tmp_path)
    out = tmp_path / "more"
    assert infer(path, out, "--jobs", 1) == 0
    first, before = capsys.readouterr().out, contents(out)
    drawn = []
    sample = ByThreshold.sample
    monkeypatch.setattr(ByThreshold, "sample", lambda *given: drawn.append(1) or sample(*given))
    assert infer(path, out, "--jobs", 1) == 0
    said = capsys.readouterr()
    assert said.out == first and "inferred already" in said.err and not drawn
    assert infer(path, out, "--jobs", 1, "--seed", 1) == 0
    assert len(drawn) == 3 and contents(out)["spikes.npz"] != before["spikes.npz"]
    x[0, 0] += 1
    np.save(path, x)
    assert infer(path, out, "--jobs", 1) == 0 and len(drawn) == 6
    (out / "cells.csv").unlink()  # no longer whole
    assert infer(path, out, "--jobs", 1) == 0 and len(drawn) == 9
    # another format takes the place of the first
    assert infer(path, out, "--jobs", 1, "--format", "csv") == 0
    assert {one.name for one in out.iterdir()} == {"spikes.csv", "cells.csv", "infer.json"}


SLOW = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
import stand_in
from dfp.cli import main
stand_in.install()
sample = stand_in.ByThreshold.sample
def slow(*given):
    time.sleep(0.2)
    return sample(*given)
stand_in.ByThreshold.sample = slow
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = recording(tmp_path, cells=30)
    out, given = tmp_path / "more", ("--jobs", "2", "--keep-samples")
    asked = [
        "infer",
        "--traces",
        str(path),
        "--frame-rate",
        "30",
        "--out",
        str(out),
        "--samples",
        "20",
        *given,
    ]
    running = subprocess.Popen([sys.executable, "-c", SLOW, str(TESTS), *asked], stderr=subprocess.DEVNULL)
    pieces = tmp_path / ".more.partial"
    until = time.monotonic() + 60
    while len([*pieces.glob("[0-9]*.npz")]) < 4:
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    processes = [int(one) for one in children.read_text().split()] if children.exists() else []
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists()  # nothing that is not whole
    for process in processes:  # those of the pool go with it
        while Path(f"/proc/{process}").exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert not Path(f"/proc/{process}").exists()
    done = len([*pieces.glob("[0-9]*.npz")])
    assert 4 <= done < 30
    drawn = []
    sample = ByThreshold.sample
    monkeypatch.setattr(ByThreshold, "sample", lambda *given: drawn.append(1) or sample(*given))
    assert dfp(*asked[:-2], "1", "--keep-samples") == 0
    assert len(drawn) == 30 - done and not pieces.exists()
    assert dfp(*[str(tmp_path / "straight") if one == str(out) else one for one in asked]) == 0
    assert contents(out) == contents(tmp_path / "straight")
    # what another command left there is not taken for this one's
    pieces.mkdir()
    (pieces / "manifest.json").write_text("{}")
    (pieces / "000000.npz").write_bytes(b"of another")
    assert dfp(*asked, "--seed", "3") == 0 and not pieces.exists()


def test_an_interrupt_is_one_sentence_and_ends_all_processes(tmp_path: Path) -> None:
    path, _ = recording(tmp_path, cells=60)
    asked = [
        "infer",
        "--traces",
        str(path),
        "--frame-rate",
        "30",
        "--out",
        str(tmp_path / "more"),
        "--jobs",
        "2",
    ]
    command = [sys.executable, "-c", SLOW, str(TESTS), *asked]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    pieces, until = tmp_path / ".more.partial", time.monotonic() + 60
    while len([*pieces.glob("[0-9]*.npz")]) < 2:
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in told
    assert told.splitlines()[-1] == "dfp infer: interrupted; run the same command again to resume"
    with pytest.raises(ProcessLookupError):  # nobody is left in its group
        os.killpg(running.pid, 0)
    assert len([*pieces.glob("[0-9]*.npz")]) >= 2


def test_doubts_are_named_up_to_five(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dfp.fitting.pretrained.DOUBTS",
        lambda y, *more: ({}, [("steps", f"a step of {y[0]:.2f}"), ("few", "few")]),
    )
    path, x = recording(tmp_path, cells=4)
    assert infer(path, tmp_path / "more") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["doubts:", f"  cell0: a step of {x[0, 0]:.2f}"]
    assert lines[7] == f"  and 3 more (column doubts of {tmp_path}/more/cells.csv)" and len(lines) == 10
    cells = pd.read_csv(tmp_path / "more" / "cells.csv")
    assert cells["doubts"].tolist() == ["steps, few"] * 4


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            ("--checkpoint", "c.pt", "--indicator", "GCaMP6f"),
            "--indicator: found beside --checkpoint, expected",
        ),
        (("--checkpoint", "c.pt", "--keep-samples"), "--keep-samples: found beside --checkpoint, expected"),
        (("--checkpoint", "c.pt", "--seed", 0), "--seed: found beside --checkpoint"),
        (("--device", "cuda"), "--device: found cuda without --checkpoint"),
        (("--format", "xls"), "format: unknown format 'xls'"),
        (("--weights", "none.npz"), "none.npz: no such weights"),
        (("--amplitude", -1), "amplitude: found -1"),
        (("--samples", 1), "samples: found 1, expected 2 to 65535"),
        (("--jobs", 0), "jobs: found 0, expected at least 1"),
        (("--key", "dff"), "mine.npy"),
    ],
)
def test_what_contradicts_itself_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, refused: Callable[..., str], more: tuple[Any, ...], sentence: str
) -> None:
    path, _ = recording(tmp_path)
    given = ("infer", "--traces", path, "--frame-rate", 30, "--out", tmp_path / "more")
    assert sentence in refused(*given, *more)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.npy"]


def test_a_place_that_holds_something_else(tmp_path: Path, refused: Callable[..., str]) -> None:
    path, _ = recording(tmp_path, frames=700)  # a shorter one brings a note
    given = ("infer", "--traces", path, "--frame-rate", 30, "--out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "cells.csv").write_text("mine")
    assert "found cells.csv in it and no infer.json" in refused(*given, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "cells.csv").read_text() == "mine"
    assert "expected a folder" in refused(*given, tmp_path / "x.npz", "--keep-samples")
    (tmp_path / ".more.partial").mkdir()
    (tmp_path / ".more.partial" / "mine").write_text("")
    assert "expected this name to be free" in refused(*given, tmp_path / "more")
    told = refused(*given, tmp_path / "x.npz", "--checkpoint", "c.pt")
    assert (
        "x.npz: found the name of another format beside --checkpoint, expected one that ends in .csv" in told
    )
