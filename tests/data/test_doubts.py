"""Doubts: each is raised by its fault, at any frame rate, and none by a clean recording."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from dfp.core.errors import UserError
from dfp.data.doubts.admit import Care, admit, mended
from dfp.data.doubts.base import NOTES, STOPS, Doubt, Expected
from dfp.data.doubts.find import doubts_of, unit_of
from dfp.data.doubts.mend import level_epochs
from dfp.data.doubts.quality import quality
from dfp.data.doubts.signs import flashes
from dfp.data.traces import Traces, cell_names

SECONDS = 60.0
RATES = (4.0, 15.0, 30.0, 120.0)


def calcium(
    rate: float = 30.0,
    cells: int = 3,
    seconds: float = SECONDS,
    level: float = 1.0,
    amplitude: float = 0.2,
    decay: float = 0.5,
    seed: int = 0,
) -> tuple[Traces, np.ndarray]:
    """Simulated dF/F with spikes at 0.7 Hz, ``level`` %/√Hz of noise, and the spikes ``(T, N)``."""
    rng, frames = np.random.default_rng(seed), int(seconds * rate)
    spikes = rng.poisson(0.7 / rate, (frames, cells))
    x = amplitude * lfilter([1.0], [1.0, -np.exp(-1 / (rate * decay))], spikes, axis=0)
    x = x + level / 95.39 * np.sqrt(rate) * rng.normal(size=x.shape)
    return of(x, rate), spikes


def of(x: np.ndarray, rate: float = 30.0) -> Traces:
    return Traces(np.asarray(x, dtype=np.float32), rate, cell_names(None, x.shape[1], ""))


def stops(traces: Traces, expected: Expected = Expected()) -> dict[str, Doubt]:
    return {one.name: one for one in doubts_of(traces, expected) if one.severity == "stop"}


@settings(max_examples=25)
@given(
    rate=st.floats(2, 500),
    level=st.floats(0.3, 9),
    amplitude=st.floats(0.05, 0.6),
    decay=st.floats(0.1, 1.5),
    seed=st.integers(0, 10_000),
)
def test_a_clean_recording_stops_at_no_rate_and_no_noise(
    rate: float, level: float, amplitude: float, decay: float, seed: int
) -> None:
    traces, _ = calcium(rate, 2, min(60.0, 8000 / rate), level, amplitude, decay, seed)
    assert stops(traces) == {}


@settings(max_examples=10)
@given(rate=st.floats(5, 500), tail=st.integers(3, 9), seed=st.integers(0, 10_000))
def test_heavy_tailed_noise_is_no_light(rate: float, tail: int, seed: int) -> None:
    traces, _ = calcium(rate, 1, min(60.0, 8000 / rate), seed=seed)
    noise = np.random.default_rng(seed).standard_t(tail, traces.x.shape) * 0.01 * np.sqrt(rate)
    assert "outliers" not in stops(replace(traces, x=traces.x + noise.astype(np.float32)))


@pytest.mark.parametrize("rate", RATES)
def test_units_are_guessed_and_doubted(rate: float) -> None:
    traces, _ = calcium(rate)
    assert unit_of(traces) == "dF/F"
    scored = (traces.x - traces.x.mean(0)) / traces.x.std(0)
    scaled = (traces.x - traces.x.min(0)) / np.ptp(traces.x, axis=0)
    for unit, x in (
        ("percent", 100 * traces.x), ("counts", 800 * (1 + traces.x)), ("z-score", scored), ("0 to 1", scaled)
    ):  # fmt: skip
        other = replace(traces, x=x.astype(np.float32))
        assert unit_of(other) == unit and "unit" in stops(other)
    # an amplitude in the same unit says that it is meant
    assert stops(replace(traces, x=100 * traces.x), Expected(amplitude=20)) == {}
    assert "unit" in stops(replace(traces, x=100 * traces.x), Expected(amplitude=0.2))
    assert "unit" in stops(replace(traces, x=10 + 100 * traces.x), Expected(amplitude=0.2))
    assert stops(replace(traces, x=800 * (1 + traces.x)), Expected(amplitude=160)) == {}


@pytest.mark.parametrize("rate", RATES)
def test_an_amplitude_of_another_unit_is_doubted(rate: float) -> None:
    traces, _ = calcium(rate)
    assert stops(traces, Expected(amplitude=0.2)) == {}
    assert {*stops(traces, Expected(amplitude=20))} == {"amplitude"}
    assert {*stops(traces, Expected(amplitude=0.0005))} == {"amplitude"}


@pytest.mark.parametrize("rate", RATES)
def test_transients_that_go_down_are_doubted(rate: float) -> None:
    traces, _ = calcium(rate)
    found = stops(replace(traces, x=-traces.x))
    assert {*found} == {"sign"} and found["sign"].cell is None and "turn the sign" in found["sign"].sentence
    # one such cell among others is that cell's
    x = traces.x.copy()
    x[:, 1] *= -1
    assert stops(replace(traces, x=x))["sign"].cell == "cell1"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [0.5, -0.4])
def test_joined_trials_are_found_where_they_are_joined(rate: float, size: float) -> None:
    traces, _ = calcium(rate)
    x, joints = traces.x.copy(), [int(20 * rate), int(41 * rate)]
    x[joints[0] :] += size
    x[joints[1] :] -= 2 * size
    found = stops(replace(traces, x=x))["steps"]
    assert found.cell is None and "--trials" in found.sentence
    assert len(found.frames) == 2 and np.abs(np.subtract(found.frames, joints)).max() <= max(2, 0.3 * rate)


def test_the_step_of_one_cell_is_that_cells() -> None:
    traces, _ = calcium(cells=4)
    x = traces.x.copy()
    x[900:, 2] += 1.0
    found = stops(replace(traces, x=x))["steps"]
    assert found.cell == "cell2" and abs(found.frames[0] - 900) <= 4


@pytest.mark.parametrize("rate", (15.0, 30.0, 120.0))
@pytest.mark.parametrize("height", [3.0, -3.0])
def test_light_that_nothing_decays_from_is_found_and_blanked(rate: float, height: float) -> None:
    traces, _ = calcium(rate, level=0.5)
    x, lit = traces.x.copy(), np.zeros(len(traces.x), dtype=bool)
    for start in range(int(5 * rate), len(x) - 5, int(6 * rate)):
        lit[start : start + max(1, int(0.08 * rate))] = True
    x[lit] += height
    faulty = replace(traces, x=x)
    assert {*stops(faulty)} == {"outliers"} and set(stops(faulty)["outliers"].frames) == {
        *np.flatnonzero(lit)
    }
    cured = mended(faulty, care=Care(blank=("outliers",)))
    assert np.array_equal(~np.isfinite(cured.x).any(1), lit)
    assert np.array_equal(cured.x[~lit], traces.x[~lit]) and stops(cured) == {}


def test_slow_frames_need_a_decay_to_tell_light_from_spikes() -> None:
    traces, _ = calcium(4.0, seconds=120, decay=0.9)
    x = traces.x.copy()
    x[40::60] += 3
    assert "outliers" not in stops(replace(traces, x=x))
    assert "outliers" in stops(replace(traces, x=x), Expected(decay=0.9))


def test_a_transient_is_no_flash() -> None:
    y = np.zeros(600)
    y[100:] += 3 * np.exp(-np.arange(500) / 5)  # a decay of 0.17 s
    y += 0.02 * np.random.default_rng(0).normal(size=600)
    assert flashes(y, 30.0) == []


@pytest.mark.parametrize("rate", RATES)
def test_frames_that_stand_still_are_found_and_blanked(rate: float) -> None:
    traces, _ = calcium(rate)
    x = traces.x.copy()
    x[int(10 * rate) : int(13 * rate)] = 0
    found = stops(replace(traces, x=x))
    assert {*found} == {"frozen"} and len(found["frozen"].frames) == int(3 * rate)
    cured = mended(replace(traces, x=x), care=Care(blank=("frozen",)))
    assert np.isnan(cured.x).sum() == 3 * int(3 * rate) and stops(cured) == {}


def test_clocks_that_skip_drift_or_go_back() -> None:
    traces, _ = calcium(30.0)
    even = np.arange(len(traces.x)) / 30
    assert stops(replace(traces, times=np.round(even, 3))) == {}, "milliseconds are fine enough"
    kept = np.arange(len(even)) % 30 != 7
    skips = stops(replace(traces, x=traces.x[kept], times=even[kept]))["clock"]
    assert f"skips {int((~kept).sum())} times" in skips.sentence and "--confirm" not in skips.sentence
    two = np.concatenate([even[:900], 30 + np.arange(len(even) - 900) / 24])
    assert "from 24 to 30" in stops(replace(traces, times=two))["clock"].sentence
    back = even.copy()
    back[500:] -= 1
    assert "go back at frame 500" in stops(replace(traces, times=back))["clock"].sentence
    assert "rate" in stops(replace(traces, times=even * 2))


@pytest.mark.parametrize("rate", [0.033, 1.0, 900.0])
def test_a_rate_that_nothing_was_trained_on_is_doubted(rate: float) -> None:
    traces, _ = calcium(30.0)
    assert "rate" in stops(replace(traces, frame_rate=rate))


@pytest.mark.parametrize("times", [2, 3, 5])
def test_frames_that_are_copies_or_interpolated_contradict_the_rate(times: int) -> None:
    traces, _ = calcium(6.0)
    copies = of(np.repeat(traces.x, times, 0), 6.0 * times)
    assert re.search(r"may be (6|5\.99) Hz", stops(copies)["rate"].sentence)
    at = np.arange(len(traces.x) * times - times) / times
    lines = np.stack([np.interp(at, np.arange(len(traces.x)), y) for y in traces.x.T], 1)
    assert "rate" in stops(of(lines, 6.0 * times))
    # few digits repeat values by chance
    assert stops(replace(traces, x=np.round(traces.x, 2))) == {}


def test_notes_do_not_stop() -> None:
    traces, _ = calcium(30.0, seconds=12)
    assert [(one.name, one.severity) for one in doubts_of(traces)] == [("short", "note")]
    traces, _ = calcium(30.0)
    slow = np.sin(np.arange(len(traces.x)) / len(traces.x) * 3)[:, None] * 3
    smooth = gaussian_filter1d(traces.x, 3.0, axis=0)
    twins = np.hstack([traces.x, 2 * traces.x[:, :1]])
    for name, x in (
        ("drift", traces.x + slow),
        ("smooth", smooth),
        ("duplicate", twins),
        ("noise", traces.x / 20),
    ):
        found = doubts_of(of(x))
        assert name in {one.name for one in found if one.severity == "note"}, name
        assert all(one.severity == "note" for one in found), name


def test_a_bad_cell_is_left_out_and_the_others_go_on() -> None:
    traces, _ = calcium(cells=6)
    x = traces.x.copy()
    x[:, 0] = 0.3
    x[:, 1] = np.arange(len(x))
    x[:, 2] *= 200  # F₀ near zero
    said: list[str] = []
    taken = admit(replace(traces, x=x), say=said.append)
    assert taken.names == ("cell3", "cell4", "cell5") and np.array_equal(taken.x, traces.x[:, 3:])
    assert [sentence.split(" is left out: ")[0] for sentence in said] == ["cell0", "cell1", "cell2"]
    assert taken.notes == ("left out: cell0, cell1, cell2",)
    kept = admit(replace(traces, x=x), care=Care(confirm=("unit",)))
    assert "cell2" in kept.names
    # a posterior of these very cells needs them all
    assert admit(replace(traces, x=x), keep=True).names == traces.names


def test_a_doubtful_recording_is_refused_until_it_is_confirmed() -> None:
    traces, _ = calcium()
    percent = replace(traces, x=100 * traces.x)
    with pytest.raises(
        UserError, match=r"^mine.npy: numbers that look like percent.*--confirm unit$"
    ) as raised:
        admit(percent, source="mine.npy")
    assert "\n" not in str(raised.value)
    said: list[str] = []
    assert np.array_equal(admit(percent, care=Care(confirm=("unit",)), say=said.append).x, percent.x)
    assert any("percent" in sentence for sentence in said)
    with pytest.raises(UserError, match=r"--confirm unit,sign; also doubted: sign"):
        admit(replace(traces, x=-100 * traces.x))
    with pytest.raises(UserError, match=r"found 'unti' \(did you mean 'unit'\?\)"):
        Care(confirm=("unti",))


def test_trials_get_a_baseline_of_their_own() -> None:
    traces, _ = calcium()
    x = traces.x.copy()
    x[600:1200] += [0.5, -0.4, 0.3]
    x[1200:] -= 0.2
    faulty = replace(traces, x=x)
    for told in ([600, 1200], [0, 600, 1200]):
        cured = mended(faulty, care=Care(trials=told))
        assert cured.epochs == ((0, 600), (600, 1200), (1200, 1800)) and stops(cured) == {}
        moved = cured.x - traces.x
        assert np.ptp(moved, axis=0).max() < 0.05, "a level for all, within a frame's noise"
    found = mended(faulty, care=Care(trials="found"))
    assert np.abs(np.subtract([start for start, _ in found.epochs], [0, 600, 1200])).max() <= 4
    # what the file tells of trials is among what is found
    assert (
        mended(replace(traces, epochs=((0, 700), (700, 1800))), care=Care(trials="found")).epochs[1][0] == 700
    )
    with pytest.raises(UserError, match=r"--trials: found frame 5000, expected 0 to 1799"):
        mended(faulty, care=Care(trials=[5000]))


def test_levels_of_trials_with_missing_frames() -> None:
    x = np.zeros((90, 2), dtype=np.float32)
    x[30:60] = 5
    x[60:, 0] = np.nan
    flat = level_epochs(x, [30, 60])
    assert np.isnan(flat[60:, 0]).all() and np.ptp(flat[:60], axis=0).max() < 1e-6


def test_missing_frames_are_no_doubt() -> None:
    traces, _ = calcium()
    x = traces.x.copy()
    x[300:345] = np.nan
    x[::50, 0] = np.nan
    assert doubts_of(replace(traces, x=x)) == []
    x[1000:, 1] = np.nan  # a column that ends early
    x[:400, 2] = np.nan
    assert doubts_of(replace(traces, x=x)) == []


@pytest.mark.parametrize("rate", RATES)
def test_transients_without_spikes_are_told(rate: float) -> None:
    traces, spikes = calcium(rate, 1, level=0.5, amplitude=0.5)
    y, counts = traces.x[:, 0], spikes[:, 0].astype(float)
    silent = quality(y, rate, np.zeros(len(y)), 0.5, 0.5)
    assert [name for name, _ in silent.doubts] == ["silent"] and "say --amplitude" in silent.doubts[0][1]
    right = quality(y, rate, counts, 0.5, 0.5)
    assert right.doubts == () and right.noise_residual < 1.3
    assert right.snr == pytest.approx(0.5 / right.noise) and right.outliers == 0
    assert {*right.columns()} == {"noise", "noise_residual", "drift", "outliers", "snr", "doubts"}


def test_spikes_at_other_times_leave_the_trace_unexplained() -> None:
    traces, spikes = calcium(30.0, 1, level=0.3, amplitude=0.5)
    rolled = quality(traces.x[:, 0], 30.0, np.roll(spikes[:, 0], 400).astype(float), 0.5, 0.5)
    assert "residual" in rolled.columns()["doubts"]  # type: ignore[operator]
    assert rolled.noise_residual > 3


def test_every_doubt_has_a_severity_of_its_own() -> None:
    assert not {*STOPS} & {*NOTES}
