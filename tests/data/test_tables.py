"""Tables as laboratories' programs leave them: clocks, counters, trials, long ones, cells in rows."""

from __future__ import annotations

import string
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfp.core.errors import UserError
from dfp.data.arrays import array_traces
from dfp.data.doubts.find import doubts_of
from dfp.data.readers.clock import by_clock, seconds_per_unit
from dfp.data.readers.columns import names_cell
from dfp.data.readers.registry import read_traces
from dfp.data.traces import Traces

RATE = 30.0
T = 600
X = np.round(np.random.default_rng(0).normal(0, 0.1, (T, 3)), 6).astype(np.float32)
CLOCK = np.arange(T) / RATE
TABLE = pd.DataFrame(X, columns=list("abc"))
KEPT = np.delete(np.arange(T), [100, 200, 201, 202])


def stops(traces: Traces) -> list[str]:
    return [doubt.name for doubt in doubts_of(traces) if doubt.severity == "stop"]


def read(folder: Path, table: pd.DataFrame, rate: float | None = None, **how: object) -> Traces:
    index = bool(how.pop("index", False))
    table.to_csv(folder / "a.csv", index=index, **how)  # type: ignore[call-overload]
    return read_traces(folder / "a.csv", frame_rate=rate)


@pytest.mark.parametrize(
    ("name", "clock", "rate"),
    [
        ("time", CLOCK, None),
        ("sec", CLOCK, None),
        ("Time (s)", CLOCK, None),
        ("timestamp", CLOCK + 1234.5, None),
        ("t_ms", 1000 * CLOCK, None),
        ("Time Stamp (ms)", np.round(1000 * CLOCK), None),
        ("time", np.round(1000 * CLOCK), None),  # in milliseconds: seconds make no sense
        ("elapsed time [µs]", 1e6 * CLOCK, None),
        ("time (min)", CLOCK / 60, None),
        ("", CLOCK, None),
        ("date", pd.date_range("2024-05-01 12:00", periods=T, freq=pd.Timedelta(1 / RATE, "s")), None),
        ("frame", np.arange(T), RATE),
        ("Frame Number", np.arange(T) + 500, RATE),
        ("timepoint", np.arange(T), RATE),
        ("depth_of_z", CLOCK + 2, RATE),  # whatever it is, no fluorescence rises throughout
    ],
)
def test_a_clock_or_a_counter_is_never_a_cell(
    tmp_path: Path, name: str, clock: np.ndarray, rate: float | None
) -> None:
    table = TABLE.copy()
    table.insert(0, name, clock)
    traces = read(tmp_path, table, rate)
    assert traces.names == ("a", "b", "c") and np.array_equal(traces.x, X)
    assert traces.frame_rate == pytest.approx(RATE, rel=1e-3)
    assert any(
        "tells the time" in note or "numbers the frames" in note or "left out" in note
        for note in traces.notes
    )
    assert not stops(traces)
    python = array_traces(table, rate)
    assert python.names == traces.names and np.array_equal(python.x, traces.x)
    assert python.frame_rate == pytest.approx(traces.frame_rate)


def test_a_first_column_of_times_without_a_header(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", np.c_[CLOCK, X], delimiter=",", fmt="%.6f")
    traces = read_traces(tmp_path / "a.csv")
    assert traces.x.shape == (T, 3) and traces.frame_rate == pytest.approx(RATE)
    assert traces.names == ("cell0", "cell1", "cell2")


@pytest.mark.parametrize("name", ["time", "frame"])
def test_frames_that_a_clock_or_a_counter_leaves_out_are_missing(tmp_path: Path, name: str) -> None:
    """They are told, nothing has to be allowed for that, and times stay those of the file."""
    table = TABLE.assign(**{name: CLOCK if name == "time" else np.arange(T)}).iloc[KEPT]
    traces = read(tmp_path, table, RATE)
    assert traces.x.shape == (T, 3) and np.array_equal(traces.x[KEPT], X[KEPT])
    assert np.flatnonzero(np.isnan(traces.x[:, 0])).tolist() == [100, 200, 201, 202]
    assert any("4 frames" in note and "missing" in note for note in traces.notes)
    if name == "time":
        assert traces.times is not None and np.allclose(traces.times, CLOCK, atol=1e-6)
    assert not stops(traces)


def test_a_camera_that_loses_every_third_frame(tmp_path: Path) -> None:
    kept = np.arange(T) % 3 != 2
    traces = read(tmp_path, TABLE.assign(time=CLOCK)[kept])
    assert traces.frame_rate == pytest.approx(RATE) and len(traces.x) == T - 1
    assert np.array_equal(traces.x[::3], X[::3]) and np.isnan(traces.x[2::3]).all()


def test_times_with_few_digits_are_even(tmp_path: Path) -> None:
    """60 Hz in hundredths of a second steps by 0.01 and 0.02."""
    traces = read(tmp_path, TABLE.assign(time=np.round(np.arange(T) / 60, 2)))
    assert traces.frame_rate == pytest.approx(60, rel=1e-3) and len(traces.x) == T


def test_a_clock_that_changes_is_doubted(tmp_path: Path) -> None:
    clock = np.r_[CLOCK[:300], CLOCK[300] + np.arange(300) / 22]
    assert stops(read(tmp_path, TABLE.assign(time=clock))) == ["clock"]


def test_pauses_part_epochs(tmp_path: Path) -> None:
    """Short ones are filled in with missing frames; an hour is not."""
    clock = CLOCK + np.where(np.arange(T) >= 200, 10.0, 0) + np.where(np.arange(T) >= 400, 3600.0, 0)
    traces = read(tmp_path, TABLE.assign(time=clock))
    assert traces.epochs == ((0, 200), (500, 700), (850, 1050)) and len(traces.x) == 1050
    assert traces.times is not None
    measured = np.isfinite(traces.x[:, 0])
    assert np.allclose(traces.times[measured], clock, atol=1e-6) and (np.diff(traces.times) > 0).all()
    assert traces.frame_rate == pytest.approx(RATE) and not stops(traces)


def test_a_clock_or_counter_that_begins_anew_begins_a_trial(tmp_path: Path) -> None:
    within = np.tile(np.arange(200), 3)
    for name, marks in (("time", within / RATE), ("frame", within)):
        traces = read(tmp_path, TABLE.assign(**{name: marks}), RATE)
        assert traces.epochs == ((0, 200), (200, 400), (400, 600)) and np.array_equal(traces.x, X), name


def test_trials_are_epochs(tmp_path: Path) -> None:
    for marks in (np.repeat([1, 2, 3], 200), np.repeat(["left", "right", "left"], 200)):
        traces = read(tmp_path, TABLE.assign(trial=marks), RATE)
        assert traces.names == ("a", "b", "c") and traces.epochs == ((0, 200), (200, 400), (400, 600))


def test_a_counter_by_two_is_refused_without_a_clock(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the column 'frame' counts in steps of 2.*leave the column out"):
        read(tmp_path, TABLE.assign(frame=np.arange(T))[::2], RATE)
    traces = read(tmp_path, TABLE.assign(frame=np.arange(T), time=CLOCK)[::2])
    assert traces.frame_rate == pytest.approx(RATE / 2) and np.array_equal(traces.x, X[::2])


def test_blank_lines_are_missing_frames(tmp_path: Path) -> None:
    """As Excel, R and MATLAB write an empty field of a single column; one after every row is none."""
    fields = [f"{value}" for value in X[:, 0]]
    fields[7] = fields[8] = ""
    (tmp_path / "a.csv").write_text("cell\n" + "\n".join(fields) + "\n\n")
    traces = read_traces(tmp_path / "a.csv", frame_rate=RATE)
    assert traces.x.shape == (T, 1) and np.flatnonzero(np.isnan(traces.x[:, 0])).tolist() == [7, 8]
    assert any("2 blank lines" in note for note in traces.notes)
    (tmp_path / "a.csv").write_text("cell\n\n" + "\n\n".join(f"{value}" for value in X[:, 0]) + "\n\n")
    assert np.array_equal(read_traces(tmp_path / "a.csv", frame_rate=RATE).x, X[:, :1])
    rows = [f"{t},{a}" for t, a in zip(CLOCK, X[:, 0], strict=True)]
    rows[7] = ","
    (tmp_path / "a.csv").write_text("time,cell\n" + "\n".join(rows) + "\n")
    traces = read_traces(tmp_path / "a.csv", allow_nan=True)
    assert traces.times is not None and np.allclose(traces.times, CLOCK)


LONG = pd.DataFrame(
    {"unit_id": np.repeat([3, 17, 42], T), "frame": np.tile(np.arange(T), 3), "C": X.T.ravel()}
)


@pytest.mark.parametrize("order", [["unit_id", "frame"], ["frame", "unit_id"]])
def test_a_long_table_is_turned(tmp_path: Path, order: list[str]) -> None:
    """In the order in which the cells come, not sorted as text."""
    table = LONG.sort_values(order, kind="stable")
    for traces in (read(tmp_path, table, RATE), array_traces(table, RATE)):
        assert traces.names == ("3", "17", "42") and np.array_equal(traces.x, X)
        assert any("a long table: 3 cells" in note for note in traces.notes)
    series = table.set_index(["unit_id", "frame"])["C"]
    assert np.array_equal(array_traces(series, RATE).x, X)
    many = pd.DataFrame({"roi": np.repeat([f"r{n}" for n in range(12)], 50), "t": np.tile(CLOCK[:50], 12)})
    many["dff"] = np.random.default_rng(1).normal(size=600)
    assert read(tmp_path, many).names == tuple(f"r{n}" for n in range(12))


def test_what_else_stands_in_a_long_table(tmp_path: Path) -> None:
    table = LONG.assign(height=np.repeat([1.5, 2.5, 9.5], T), S=0.5 * LONG["C"], time=LONG["frame"] / RATE)
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=r"holds 2 arrays that could be traces \(C, S\).*--key"):
        read_traces(tmp_path / "a.csv")
    traces = read_traces(tmp_path / "a.csv", key="C")
    assert np.array_equal(traces.x, X) and traces.frame_rate == pytest.approx(RATE)
    lacking = LONG.drop(index=[5, T + 7])
    found = read_traces(_written(tmp_path, lacking), frame_rate=RATE, allow_nan=True)
    assert np.argwhere(np.isnan(found.x)).tolist() == [[5, 0], [7, 1]]
    with pytest.raises(UserError, match="cell 3 has two rows at frame 4"):
        read_traces(_written(tmp_path, LONG.replace({"frame": {5: 4}})), frame_rate=RATE)
    with pytest.raises(UserError, match="without a column of numbers beside cells and time"):
        read_traces(_written(tmp_path, LONG[["unit_id", "frame"]]), frame_rate=RATE)


def _written(folder: Path, table: pd.DataFrame) -> Path:
    table.to_csv(folder / "b.csv", index=False)
    return folder / "b.csv"


@pytest.mark.parametrize("told", [None, "cells_first"])
def test_cells_in_rows_have_their_ids_for_names(tmp_path: Path, told: str | None) -> None:
    pd.DataFrame(X.T, index=pd.Index([3, 17, 42], name="unit_id")).to_csv(tmp_path / "a.csv")
    traces = read_traces(tmp_path / "a.csv", frame_rate=RATE, orientation=told)  # type: ignore[arg-type]
    assert traces.names == ("3", "17", "42") and np.array_equal(traces.x, X)
    pd.DataFrame(X.T, index=["n1", "n2", "n3"], columns=CLOCK).to_csv(tmp_path / "a.csv")
    traces = read_traces(tmp_path / "a.csv", orientation=told)  # type: ignore[arg-type]
    assert traces.names == ("n1", "n2", "n3") and traces.frame_rate == pytest.approx(RATE)
    pd.DataFrame(X.T, index=["n1", "n2", "n3"]).to_csv(tmp_path / "a.csv", header=False)
    traces = read_traces(tmp_path / "a.csv", frame_rate=RATE, orientation=told)  # type: ignore[arg-type]
    assert traces.names == ("n1", "n2", "n3") and np.array_equal(traces.x, X)


def test_statuses_of_inscopix(tmp_path: Path) -> None:
    rows = "\n".join(f"{t:.6f}, {a}, {b}, {c}" for t, (a, b, c) in zip(CLOCK, X, strict=True))
    header = " , C00, C01, C02\nTime(s)/Cell Status, accepted, rejected, undecided\n"
    (tmp_path / "a.csv").write_text(header + rows + "\n")
    traces = read_traces(tmp_path / "a.csv")
    assert traces.names == ("C00", "C02") and np.array_equal(traces.x, X[:, [0, 2]])
    assert traces.notes[0] == "rejected cells are left out: C01"
    (tmp_path / "a.csv").write_text(
        header.replace("accepted", "rejected").replace("undecided", "rejected") + rows
    )
    with pytest.raises(UserError, match="all 3 cells were rejected"):
        read_traces(tmp_path / "a.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    table = TABLE.rename(columns={"a": "Zelle µ"})
    table.to_csv(tmp_path / "a.csv", index=False, encoding=encoding)
    assert read_traces(tmp_path / "a.csv", frame_rate=RATE).names == ("Zelle µ", "b", "c")


def test_words_of_names() -> None:
    assert seconds_per_unit("Time") == 1 and seconds_per_unit("time_in_ms") == 1e-3
    assert seconds_per_unit("t [min]") == 60 and seconds_per_unit("timestamps") == 1
    for cell in ("cell 3", "s", "h", "time (weeks)", "tone", "trial", "C1", "min", "t1 dff"):
        assert seconds_per_unit(cell) is None, cell
    for name in ("unit_id", "cell", "ROI", "Cell Name", "cellID", "neuron_idx", "roi number", "id"):
        assert names_cell(name), name
    for name in ("cell 3", "frame", "dff", "C", "cell_a", "unit3"):
        assert not names_cell(name), name


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_lossy_clock_gives_the_frames_back(data: st.DataObject) -> None:
    """Whatever frames are lost, with jitter of a tenth of a frame and times written to a hundredth of one."""
    rate = data.draw(st.floats(2, 500), "rate")
    frames = data.draw(st.integers(30, 300), "frames")
    seed = data.draw(st.integers(0, 10_000), "seed")
    rng = np.random.default_rng(seed)
    kept = rng.random(frames) > data.draw(st.floats(0, 0.4), "lost")
    kept[[0, 1, 2, -1]] = True
    start = data.draw(st.floats(0, 1e5), "start")
    clock = start + (np.arange(frames) + rng.uniform(-0.1, 0.1, frames)) / rate
    digits = int(np.ceil(np.log10(100 * rate)))
    rows = by_clock(Path("a"), np.round(clock[kept], digits), "the clock")
    assert rows.frame_rate == pytest.approx(rate, rel=0.02)
    found = np.arange(kept.sum()) if rows.frames is None else rows.frames
    assert np.array_equal(found, np.flatnonzero(kept))


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_any_table_is_read_or_refused_in_a_sentence(data: st.DataObject) -> None:
    """Nothing that a file may hold makes a traceback."""
    field = st.one_of(
        st.floats(width=32).map(str),
        st.integers(-3, 400).map(str),
        st.sampled_from(
            ["", "nan", "oops", "1,5", "2024-05-01 12:00:01", "-", "NaN", '"7"', "0x1f", "True", "#"]
        ),
    )
    names = st.sampled_from(
        ["time", "frame", "cell", "trial", "", "a", "b", "t_ms", "unit_id", "time (weeks)", "0", "1"]
    )
    width = data.draw(st.integers(1, 5), "width")
    rows = data.draw(st.lists(st.lists(field, min_size=width, max_size=width), max_size=14), "rows")
    header = data.draw(st.none() | st.lists(names, min_size=width, max_size=width), "header")
    mark = data.draw(st.sampled_from([",", ";", "\t", " "]), "mark")
    noise = data.draw(st.text(string.printable, max_size=5), "noise")
    lines = [mark.join(row) for row in [*([header] if header else []), *rows]]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text("\n".join(lines) + noise, encoding="utf-8")
        try:
            traces = read_traces(path, frame_rate=30, allow_nan=True)
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            assert not str(error).startswith(f"{path}: could not be read as"), "a sentence of its own"
        else:
            assert (
                traces.x.dtype == np.float32 and traces.x.ndim == 2 and len(traces.names) == traces.x.shape[1]
            )
