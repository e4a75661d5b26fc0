"""`dfp fit`: a recording of one's own, from the file to its spikes, cells and connections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import dfp

from dfp.data.networks import sparse_random
from dfp.data.simulate import simulate

BRIEF = """
cells:
  posterior: {nonlinear_hidden: 2}
  recognition: {window: 4, hidden: 4}
  phases: [{steps: 2, objective: {kind: relaxed_pmf}}]
  evaluation: {samples: 8, iwae_samples: 4}
connections:
  recognition: {window: 4, hidden: 4, cross_channels: 1}
  training: {steps: 2}
  evaluation: {samples: 8, iwae_samples: 4}
"""


def recording(folder: Path, cells: int = 2, frames: int = 300, rate: float = 30.0) -> tuple[Path, np.ndarray]:
    """A CSV file of simulated dF/F (0.3 a spike, drifting baseline) and its true spikes ``(T, N)``."""
    network = sparse_random(
        generator=np.random.default_rng(1),
        bin_rate=rate,
        cells=cells,
        density=0.5,
        rate_hz=2,
        history=[-2.0],
    )
    data = simulate(
        network, [1], bin_rate=rate, bins=frames, trials=1, test_trials=0, rise=0.05, decay=0.4,
        amplitude=0.3, baseline=0.1, noise=0.1, kernel_bins=0,
    )  # fmt: skip
    assert data.z is not None
    x = data.x[0] + 0.1 * np.sin(np.arange(frames) / rate / 30)[:, None]
    header = ",".join(f"roi{n}" for n in range(cells))
    np.savetxt(folder / "mine.csv", x, delimiter=",", header=header, comments="", fmt="%.6f")
    return folder / "mine.csv", data.z[0]


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    path = tmp_path / "brief.yaml"
    path.write_text(BRIEF)
    return path


def test_from_a_file_to_its_spikes_and_back(
    tmp_path: Path, brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = recording(tmp_path)
    out, given = tmp_path / "fit", ("--traces", path, "--frame-rate", 30)
    asked = ("fit", *given, "--indicator", "gcamp6f", "--out", out, "--settings", brief)
    assert dfp(*asked) == 0
    cells, spikes = pd.read_csv(out / "cells.csv"), pd.read_csv(out / "spikes.csv")
    assert list(cells["cell"]) == ["roi0", "roi1"] and np.allclose(cells["decay_s"], 0.4)
    # 30 frames a second are 60 latent bins, but rows are frames, and counts may exceed their probability
    assert len(spikes) == 600 and spikes["time_s"].max() == pytest.approx(299 / 30)
    assert spikes["probability"].between(0, 1).all() and spikes["expected_count"].between(0, 2).all()
    assert (spikes["low_1s"] <= spikes["high_1s"]).all()
    rates = spikes.groupby("cell")["expected_count"].sum() / 10
    assert np.allclose(cells["rate_hz"], rates, rtol=1e-5)
    # the checkpoint says the same of the same file, in the file's own frame rate
    again = tmp_path / "again.csv"
    assert dfp("infer", "--checkpoint", out / "checkpoint.pt", *given, "--out", again) == 0
    assert again.read_text() == (out / "spikes.csv").read_text()
    # once more trains nothing
    times = (out / "checkpoint.pt").stat().st_mtime_ns
    capsys.readouterr()
    assert dfp(*asked) == 0 and "trained already" in capsys.readouterr().err
    assert (out / "checkpoint.pt").stat().st_mtime_ns == times
    # other settings do, and an amplitude that is told is kept
    assert dfp(*asked, "--amplitude", 0.25) == 0
    assert np.allclose(pd.read_csv(out / "cells.csv")["amplitude"], 0.25)
    assert not np.allclose(cells["amplitude"], 0.25)


def test_counts_and_spikes_of_a_cell_come_out_where_the_amplitude_is_told(tmp_path: Path) -> None:
    path, z = recording(tmp_path, cells=1, frames=2400)
    settings = tmp_path / "shorter.yaml"
    relaxed = "{steps: 200, objective: {kind: relaxed_pmf}}"
    hard = "{steps: 500, objective: {kind: score_function, samples: 4}, relaxation: hard, average: 0.5, "
    hard += "learning_rate: {start: 0.006, end: 0.0003, shape: cosine}}"
    network = "{window: 20, hidden: 16}"
    settings.write_text(f"cells: {{recognition: {network}, phases: [{relaxed}, {hard}]}}\n")
    out = tmp_path / "fit"
    told = ("--rise", 0.05, "--decay", 0.4, "--amplitude", 0.3, "--settings", settings)
    assert dfp("fit", "--traces", path, "--frame-rate", 30, *told, "--out", out) == 0
    spikes = pd.read_csv(out / "spikes.csv")
    second = np.convolve(z[:, 0], np.ones(30), "same")
    assert np.corrcoef(spikes["expected_count_1s"], second)[0, 1] > 0.94
    assert np.corrcoef(spikes["probability"], z[:, 0])[0, 1] > 0.4
    assert spikes["expected_count"].sum() == pytest.approx(z.sum(), rel=0.15)


def test_connections_are_told_by_source_and_target(tmp_path: Path, brief: Path) -> None:
    path, _ = recording(tmp_path, cells=3)
    out = tmp_path / "fit"
    asked = ("--traces", path, "--frame-rate", 30, "--decay", 0.4, "--settings", brief)
    assert dfp("fit", "--connections", *asked, "--out", out) == 0
    table = pd.read_csv(out / "connections.csv")
    learned = torch.load(out / "checkpoint.pt", weights_only=True)["parameters"]["coupling"].numpy()
    assert len(table) == 6 and set(table["lag_bins"]) == {1} and np.allclose(table["lag_s"], 1 / 30)
    assert np.abs(learned).max() > 0
    for row in table.itertuples():
        source, target = (int(str(name).removeprefix("roi")) for name in (row.source, row.target))
        assert row.weight == pytest.approx(learned[0, target, source], rel=1e-6)
    # amplitude, baseline and noise are those that the cells have alone
    alone, together = pd.read_csv(out / "cells" / "cells.csv"), pd.read_csv(out / "cells.csv")
    for name in ("amplitude", "baseline", "noise"):
        assert np.allclose(alone[name], together[name], rtol=1e-6)
    # a fit of the cells alone leaves no table of another fit beside it
    assert dfp("fit", *asked, "--out", out) == 0
    assert not (out / "connections.csv").exists()


def test_a_fit_that_was_cut_off_resumes(
    tmp_path: Path, brief: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = recording(tmp_path)
    asked = ("fit", "--traces", path, "--frame-rate", 30, "--decay", 0.4, "--settings", brief, "--out")
    assert dfp(*asked, tmp_path / "whole") == 0
    monkeypatch.setattr("dfp.stages.train.SAVE_EVERY", 0.0)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr("dfp.stages.train._write_history", stop)
        assert dfp(*asked, tmp_path / "cut") == 130
    assert not (tmp_path / "cut" / "spikes.csv").exists()
    capsys.readouterr()
    assert dfp(*asked, tmp_path / "cut") == 0 and "resuming after step" in capsys.readouterr().err
    whole, resumed = (tmp_path / name / "spikes.csv" for name in ("whole", "cut"))
    assert whole.read_text() == resumed.read_text()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "decay: found none, expected the decay of the response to one spike in seconds"),
        (("--indicator", "GCaMP6g"), "indicator: unknown 'GCaMP6g' (did you mean 'GCaMP6"),
        (("--decay", 0), "rise, decay: found 0 and 0 s"),
        (("--decay", 0.4, "--amplitude", -1), "amplitude: found -1, expected a number above 0"),
        (("--decay", 0.4, "--connections"), "mine.csv: found one cell, expected at least two"),
    ],
)
def test_what_is_refused(
    refused: Callable[..., str], tmp_path: Path, given: tuple[object, ...], told: str
) -> None:
    path, _ = recording(tmp_path, cells=1)
    out = tmp_path / "fit"
    assert told in refused("fit", "--traces", path, "--frame-rate", 30, "--out", out, *given)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cels: {}", "unknown key 'cels' (did you mean 'cells'?)"),
        ("cells: {data: {histroy: 1}}", "cells.data: unknown key 'histroy' (did you mean 'history'?)"),
        ("cells: {trainig: {}}", "cells: unknown key 'trainig' (did you mean 'training'?)"),
        (
            "cells: {data: {rate_guess_hz: 500}}",
            "rate_guess_hz: found 500 Hz, expected less than the 60 bins",
        ),
        ("indicators: {mine: [1]}", "indicators.mine: found [1.0], expected [rise, decay] in seconds"),
    ],
)
def test_settings_that_are_refused(refused: Callable[..., str], tmp_path: Path, text: str, told: str) -> None:
    path, _ = recording(tmp_path)
    (tmp_path / "s.yaml").write_text(text)
    asked = ("--traces", path, "--frame-rate", 30, "--decay", 0.4, "--out", tmp_path / "fit")
    assert told in refused("fit", *asked, "--settings", tmp_path / "s.yaml")


def test_inference_notices_traces_of_another_kind(
    refused: Callable[..., str], tmp_path: Path, brief: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = recording(tmp_path)
    out = tmp_path / "fit"
    asked = ("--traces", path, "--frame-rate", 30)
    assert dfp("fit", *asked, "--decay", 0.4, "--settings", brief, "--out", out) == 0
    table = pd.read_csv(path)
    (1000 + 200 * table).to_csv(path, index=False)
    given = ("--checkpoint", out / "checkpoint.pt", *asked, "--out", tmp_path / "spikes.csv")
    capsys.readouterr()
    assert "look like raw counts" in refused("infer", *given)
    assert dfp("infer", *given, "--confirm", "unit") == 0
    assert "roi0 has a baseline near" in capsys.readouterr().err
    table[["roi1", "roi0"]].to_csv(path, index=False)
    assert "found the cells in the order roi1, roi0" in refused("infer", *given)


def test_too_few_frames_are_told_with_the_file(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("a\n1\n2\n3\n2\n1\n")
    told = refused("fit", "--traces", path, "--frame-rate", 30, "--decay", 0.4, "--out", tmp_path / "fit")
    assert "short.csv: a: found 5 frames, expected at least 10" in told
