"""`dfp.infer` of any cells, in memory: what it gives for any array, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_in import recording
from stand_in import stand_in as stand_in  # a fixture

import dfp
from dfp.data.doubts.base import STOPS
from dfp.fitting.cell import cell_seed
from dfp.fitting.tables import _windowed_counts
from dfp.results.formats.base import KEYS

pytestmark = pytest.mark.usefixtures("stand_in")
#: the stand-in holds nothing that one example could leave to the next
ANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY
@given(
    frames=st.integers(2, 120),
    cells=st.integers(1, 4),
    rate=st.sampled_from([2.0, 7.5, 30.0, 500.0]),
    missing=st.floats(0, 0.45),
    seed=st.integers(0, 100),
)
def test_any_recording_gives_numbers_that_agree_with_each_other(
    frames: int, cells: int, rate: float, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(frames, cells)).astype(np.float32)
    gone = rng.random(x.shape) < missing
    gone[:2] &= False  # two numbers at least, and not more than half missing
    gone &= gone.mean(0) <= 0.5
    x[gone] = np.nan
    told = {"allow_nan": True, "orientation": "time_first", "confirm": [*STOPS]}
    got = dfp.infer(x, rate, samples=10, **told)
    spikes, table = got.spikes, got.cells
    assert list(spikes) == list(KEYS)
    for key, (kind, _) in KEYS.items():
        assert spikes[key].shape == (frames, cells) and spikes[key].dtype == kind
        assert np.isfinite(spikes[key]).all()
    assert np.array_equal(spikes["observed"], ~gone)
    assert (spikes["probability"] <= np.minimum(spikes["expected_count"] + 1e-6, 1)).all()
    assert (spikes["low_1s"] <= spikes["high_1s"]).all()
    assert np.allclose(got.time_s, np.arange(frames) / rate)
    assert np.allclose(table["spikes"], spikes["expected_count"].sum(0), atol=1e-3)
    assert (table["spikes_low"] <= table["spikes_high"]).all()
    assert table["missing_frames"].tolist() == gone.sum(0).tolist()
    for name in ("amplitude", "rise_s", "decay_s", "power"):
        assert table[f"{name}_low"].le(table[name]).all() and table[name].le(table[f"{name}_high"]).all()
    # arrays and table are of the samples that the object gives out
    for n in range(cells):
        counts = got.samples(n)
        assert counts.shape == (10, frames) and np.allclose(counts.mean(0), spikes["expected_count"][:, n])
        mean, low, high = _windowed_counts(counts.astype(np.int32), max(1, round(rate)))
        for key, mine in (("expected_count_1s", mean), ("low_1s", low), ("high_1s", high)):
            assert np.array_equal(spikes[key][:, n], mine.astype(np.float32))
        measured = counts[:, ~gone[:, n]].sum(1) * rate / (~gone[:, n]).sum()
        assert table["rate_hz"][n] == pytest.approx(measured.mean())
        assert table["rate_hz_high"][n] == pytest.approx(np.quantile(measured, 0.95))


def test_the_total_has_the_interval_of_the_joint_samples() -> None:
    x = np.random.default_rng(0).normal(size=(300, 4))
    got = dfp.infer(x, 30, samples=40)
    totals = sum(got.samples(n).sum(1, dtype=int) for n in range(4))
    assert got.record.spikes == (totals.mean(), *np.quantile(totals, [0.05, 0.95]))
    assert "4 cells, 300 frames at 30 Hz" in repr(got) and "with 90%" in repr(got)


def test_a_thousand_cells_of_few_frames_each_with_noise_of_its_own() -> None:
    x = np.tile(np.random.default_rng(0).normal(size=(150, 1)), 1000)
    got = dfp.infer(x, 30, samples=20, orientation="time_first")
    assert len(got.cells) == 1000 and got.cells["cell"].iloc[-1] == "cell999"
    # the trace is the same for all, the noise is not
    assert len(np.unique(got.spikes["expected_count"], axis=1).T) == 1000
    assert len({cell_seed(seed, n) for seed in range(30) for n in range(1000)}) == 30_000


def test_a_cell_is_the_same_alone_beside_others_and_in_any_number_of_processes() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5))
    whole, alone = dfp.infer(x, 30, samples=20), dfp.infer(x[:, :1], 30, samples=20)
    shared = dfp.infer(x, 30, samples=20, jobs=3)
    for key in KEYS:
        assert np.array_equal(whole.spikes[key][:, :1], alone.spikes[key])
        assert np.array_equal(whole.spikes[key], shared.spikes[key])
    pd.testing.assert_frame_equal(whole.cells, shared.cells)
    other = dfp.infer(x, 30, samples=20, seed=1)
    assert not np.array_equal(other.spikes["expected_count"], whole.spikes["expected_count"])


def test_arrays_come_by_place_or_by_name_and_what_is_told_reaches_the_posterior() -> None:
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 2)), columns=["a", "b"])
    made = dfp.infer(x, 30), dfp.infer(x, frame_rate=30), dfp.infer(x=x, frame_rate=30)
    for got in made:
        assert isinstance(got, dfp.Inferred) and list(got.cells["cell"]) == ["a", "b"]
        assert np.array_equal(got.spikes["expected_count"], made[0].spikes["expected_count"])
    told = dfp.infer(x, 30, indicator="GCaMP6f", amplitude=2.5, decay=4.0, weights="simulations")
    assert told.cells["amplitude"].between(2.2, 2.8).all() and told.cells["decay_s"].between(3.6, 4.4).all()
    asked = told.record.asked
    assert asked["told"]["indicator"] == "GCaMP6f" and asked["weights"] == "digest of simulations"
    assert told.record.provenance == {"data": ["simulations"]}


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        (
            ("mine.pt", np.zeros((9, 1)), 30),
            {"indicator": "GCaMP6f"},
            "indicator: found 'GCaMP6f' beside a post",
        ),
        (("mine.pt", np.zeros((9, 1)), 30), {"jobs": 2}, "jobs: found 2 beside a posterior"),
        ((np.zeros((9, 1)), np.zeros((9, 1)), 30), {}, "trained: found a ndarray, expected what fit or load"),
        ((np.eye(9), 30), {"device": "cuda"}, "device: found 'cuda' without a posterior"),
        ((np.eye(9), 30), {"samples": 1}, "samples: found 1, expected 2 to 65535"),
        ((np.eye(9), 30), {"amplitude": -1}, "amplitude: found -1, expected a number above 0"),
        ((np.eye(9), 30), {"weights": "none.npz"}, "none.npz: no such weights"),
        ((np.eye(9),), {}, "frame rate"),
        ((), {"frame_rate": 30}, "x: "),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    arguments: tuple[Any, ...], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(dfp.UserError) as refused:
        dfp.infer(*arguments, **options)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_a_cell_that_there_is_not() -> None:
    got = dfp.infer(np.random.default_rng(0).normal(size=(50, 2)), 30, names=["soma", "other"])
    with pytest.raises(dfp.UserError, match=r"found 'somma' \(did you mean 'soma'\?\)"):
        got.samples("somma")
    with pytest.raises(dfp.UserError, match="found 2, expected 0 to 1"):
        got.samples(2)


def test_a_trace_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stand_in.FEWEST", 10)
    x = np.random.default_rng(0).normal(size=(12, 2))
    x[:5, 1] = np.nan
    with pytest.raises(dfp.UserError, match=r"^dim: found 7 finite frames, expected at least 10$"):
        dfp.infer(x, 30, names=["bright", "dim"], allow_nan=True, confirm="constant")


def test_doubts_are_a_column_and_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubt(y: np.ndarray, frame_rate: float, told: Any, drawn: Any) -> tuple[Any, Any]:
        assert drawn.counts.shape == (20, len(y)) and told.indicator == "GCaMP6f" and frame_rate == 30
        found = [("down", "its transients go down"), ("short", "100 frames are few")]
        return {"snr": 2.0}, found if y[0] < 0 else []

    monkeypatch.setattr("dfp.fitting.pretrained.DOUBTS", doubt)
    x = np.random.default_rng(0).normal(size=(100, 2))
    x[0] = [-1, 1]
    got = dfp.infer(x, 30, indicator="GCaMP6f", samples=20)
    assert got.cells["doubts"].tolist() == ["down, short", ""] and got.cells["snr"].tolist() == [2.0, 2.0]
    assert got.doubts == ("cell0: its transients go down", "cell0: 100 frames are few")


def test_saving_twice_and_into_a_folder_of_something_else(tmp_path: Path) -> None:
    _, x = recording(tmp_path)
    got = dfp.infer(x, 30, samples=20)
    got.save(tmp_path / "more", keep_samples=True)
    assert sorted(path.name for path in (tmp_path / "more").iterdir()) == [
        "cells.csv", "infer.json", "posterior_samples.npz", "spikes.npz",
    ]  # fmt: skip
    with np.load(tmp_path / "more" / "posterior_samples.npz") as held:
        for n in range(3):
            counts, mine = np.zeros((20, len(x)), dtype=int), held["cell"] == n
            counts[held["sample"][mine], held["frame"][mine]] = held["count"][mine]
            assert np.array_equal(counts, got.samples(n))
        assert held["amplitude"].shape == (20, 3)
        assert np.allclose(np.median(held["amplitude"], 0), got.cells["amplitude"])
    (tmp_path / "more" / "notes.txt").write_text("mine")
    got.save(tmp_path / "more", format="csv")  # what the first left is taken away, what others left is not
    names = {path.name for path in (tmp_path / "more").iterdir()}
    assert names == {"cells.csv", "infer.json", "spikes.csv", "notes.txt"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(dfp.UserError, match=r"other: found thesis.tex in it and no infer.json"):
        got.save(tmp_path / "other")
    with pytest.raises(dfp.UserError, match="expected that of a folder"):
        got.save(tmp_path / "x.npz")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_the_page_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text(encoding="utf-8")
    (example,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "inferred" in one]
    monkeypatch.chdir(tmp_path)
    _, x = recording(tmp_path)
    pd.DataFrame(x, columns=["a", "b", "c"]).to_csv("mine.csv", index=False)
    names: dict[str, Any] = {"pd": pd, "dfp": dfp}
    exec(compile(example, "recordings.md", "exec"), names)
    assert names["counts"].shape == (400, 3) and names["joint"].shape == (100, 400)
    assert list(names["rates"].index) == ["a", "b", "c"]
    assert (tmp_path / "mine-inferred" / "spikes.npz").is_file()
