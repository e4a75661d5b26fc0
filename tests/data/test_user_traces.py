"""A user's own files: what is read, and what is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from dfp.core.errors import UserError
from dfp.data.arrays import array_traces
from dfp.data.doubts.admit import Care, admit
from dfp.data.readers.base import Request
from dfp.data.readers.registry import read_traces
from dfp.data.readers.suite2p import Suite2p
from dfp.data.traces import check_traces

AT_30_HZ = Request(frame_rate=30.0)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)


def test_npy(tmp_path: Path, x: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", x.astype(float))
    traces = read_traces(tmp_path / "a.npy", frame_rate=30.0)
    assert traces.x.dtype == np.float32 and np.array_equal(traces.x, x)
    assert traces.frame_rate == 30.0 and traces.names == ("cell0", "cell1", "cell2")
    np.save(tmp_path / "one.npy", x[:, 0])
    assert read_traces(tmp_path / "one.npy", frame_rate=30.0).x.shape == (50, 1)


def test_npz_by_key_and_with_its_own_frame_rate(tmp_path: Path, x: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, dff=x, frame_rate=25.0)
    assert read_traces(path).frame_rate == 25.0
    assert read_traces(path, frame_rate=25.1).frame_rate == 25.1
    with pytest.raises(UserError, match="holds a frame rate of 25 Hz, but frame_rate is given as 30 Hz"):
        read_traces(path, frame_rate=30.0)
    np.savez(path, dff=x, other=x + 1)
    assert np.array_equal(read_traces(path, frame_rate=25.0, key="other").x, x + 1)
    with pytest.raises(UserError, match=r"holds 2 arrays that could be traces \(dff, other\)"):
        read_traces(path, frame_rate=25.0)
    with pytest.raises(UserError, match=r"no key 'othr' \(did you mean 'other'\?\)"):
        read_traces(path, frame_rate=25.0, key="othr")
    np.savez(path, dff=x, labels=np.array(["a", None], dtype=object))
    assert np.array_equal(read_traces(path, frame_rate=25.0).x, x), "objects beside the traces do no harm"


def test_csv_with_header_and_time(tmp_path: Path, x: np.ndarray) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{t / 20.0},{a},{b},{c}" for t, (a, b, c) in enumerate(x)]
    path.write_text("Time,soma 1,soma 2,soma 3\n" + "\n".join(rows) + "\n")
    traces = read_traces(path)
    assert traces.frame_rate == pytest.approx(20.0) and traces.names == ("soma 1", "soma 2", "soma 3")
    assert np.allclose(traces.x, x)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_without_header(tmp_path: Path, x: np.ndarray, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(delimiter.join(str(value) for value in row) for row in x))
    assert np.allclose(read_traces(path, frame_rate=10.0).x, x)
    with pytest.raises(UserError, match="does not tell its frame rate"):
        read_traces(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n5,6", "line 3 has 1 columns, expected 2"),
        ("a,b\n1,2\n\n3,oops\n", "line 4, column 2 holds 'oops', expected a number"),
        ("", "an empty file"),
        ('a,b\n1,2\n3,"4\n5,6\n', "a quotation mark is not closed on its line"),
        ("time,a\n0,1\n1,2\n1,3\n", "does not rise"),
    ],
)
def test_csv_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_traces(tmp_path / "a.csv", frame_rate=1.0)


def test_csv_with_empty_fields_has_missing_frames(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n,3\n4,5\n6,NaN\n")
    with pytest.raises(UserError, match="2 NaN values in 2 of 2 cells, first at frame 1 of a"):
        read_traces(tmp_path / "a.csv", frame_rate=1.0)
    traces = read_traces(tmp_path / "a.csv", frame_rate=1.0, allow_nan=True)
    assert np.array_equal(np.isnan(traces.x), [[0, 0], [1, 0], [0, 0], [0, 1]])


def test_mat(tmp_path: Path, x: np.ndarray) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"dff": x, "fs": 15.0, "note": "made up"})
    traces = read_traces(path)
    assert traces.frame_rate == 15.0 and np.array_equal(traces.x, x)
    scipy.io.savemat(path, {"row": x[:, 0], "more": x})
    assert np.array_equal(read_traces(path, frame_rate=15.0, key="row").x[:, 0], x[:, 0])
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + b" " * 78 + b"\x00" * 8 + b"\x00\x02IM"
    path.write_bytes(header + b"\x89HDF" + b"\x00" * 400)
    with pytest.raises(UserError, match=r"a.mat: could not be read as a MATLAB file"):
        read_traces(path, frame_rate=15.0)


def test_a_transposed_array_is_noticed(tmp_path: Path, x: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    np.save(path, x.T)
    with pytest.raises(UserError, match=r"3 frames × 50 cells looks transposed.*'cells_first'.*'time_first'"):
        read_traces(path, frame_rate=30.0)
    assert np.array_equal(read_traces(path, frame_rate=30.0, orientation="cells_first").x, x)
    assert read_traces(path, frame_rate=30.0, orientation="time_first").x.shape == (3, 50)
    with pytest.raises(UserError, match="orientation is 'rows'"):
        read_traces(path, frame_rate=30.0, orientation="rows")  # type: ignore[arg-type]


def test_files_that_cannot_be_traces(tmp_path: Path, x: np.ndarray) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_traces(tmp_path / "absent.npy", frame_rate=30.0)
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(UserError, match=r"unknown kind of file '.xlsx', expected one of .*\.npy, "):
        read_traces(tmp_path / "a.xlsx", frame_rate=30.0)
    for name in ("bad.npy", "bad.npz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(UserError, match=f"{name}: could not be read"):
            read_traces(tmp_path / name, frame_rate=30.0)
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(UserError, match="expected real numbers"):
        read_traces(tmp_path / "words.npy", frame_rate=30.0)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="could not be read as an array"):
        read_traces(tmp_path / "objects.npy", frame_rate=30.0)
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(UserError, match=r"a frame rate of -1.0"):
        read_traces(tmp_path / "a.npy", frame_rate=-1.0)


def spoil(place: tuple[int | slice, int], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def apply(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[place] = value
        return x

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[None], r"shape \(1, 50, 3\), expected two dimensions"),
        (lambda x: x[:1], "expected at least 2 frames"),
        (spoil((4, 2), np.nan), "1 NaN values in 1 of 3 cells, first at frame 4 of cell2"),
    ],
)
def test_check_traces_refuses(
    x: np.ndarray, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    check_traces(x, "a.npy")
    with pytest.raises(UserError, match=f"^a.npy: .*{message}"):
        check_traces(change(x), "a.npy")


@pytest.mark.parametrize(
    ("change", "doubt", "sentence"),
    [
        (spoil((7, 1), np.inf), "infinite", "1 infinite values, first at frame 7"),
        (spoil((slice(None), 1), np.nan), "constant", "found 0 frames"),
        (spoil((slice(0, 30), 1), np.nan), "missing", "60% of its frames are missing, expected at most 50%"),
        (spoil((slice(None), 1), 3.0), "constant", "a value that never changes"),
    ],
)
def test_a_cell_that_is_of_no_use_is_left_out_and_named(
    tmp_path: Path, x: np.ndarray, change: Callable[[np.ndarray], np.ndarray], doubt: str, sentence: str
) -> None:
    """And the others are as they were; nothing has to be told for that."""
    np.save(tmp_path / "a.npy", change(x))
    said: list[str] = []
    found = admit(read_traces(tmp_path / "a.npy", frame_rate=30.0), say=said.append)
    assert found.names == ("cell0", "cell2") and np.array_equal(found.x, x[:, [0, 2]])
    (left,) = [one for one in said if "left out" in one]
    assert left.startswith("cell1 is left out") and sentence in left
    assert (f"--confirm {doubt}" in left) == (doubt != "constant")
    with pytest.raises(UserError, match=sentence):
        admit(array_traces(change(x)[:, 1], 30))
    kept = admit(array_traces(change(x), 30, allow_nan=True), care=Care(confirm=[doubt]))
    assert kept.names == ("cell0", "cell1", "cell2") and not np.isinf(kept.x).any()


def test_cells_are_chosen_by_name(tmp_path: Path, x: np.ndarray) -> None:
    """In the file's order; what is wrong with the others is then of no matter."""
    x[4, 1] = np.nan
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(UserError, match="1 NaN values"):
        read_traces(tmp_path / "a.npy", frame_rate=30.0)
    found = read_traces(tmp_path / "a.npy", frame_rate=30.0, cells=["cell2", "cell0"])
    assert found.names == ("cell0", "cell2") and np.array_equal(found.x, x[:, [0, 2]])
    with pytest.raises(
        UserError, match=r"a\.npy: --cells: no cell 'cel1' \(did you mean 'cell1'\?\), expected"
    ):
        read_traces(tmp_path / "a.npy", frame_rate=30.0, cells=["cel1"])
    assert array_traces(x, 30, cells=["cell0"]).names == ("cell0",)


def test_a_mark_of_the_byte_order_is_no_part_of_a_name(tmp_path: Path, x: np.ndarray) -> None:
    """What Excel saves as "CSV UTF-8" begins with one."""
    rows = [f"{t / 20.0},{a},{b}" for t, (a, b, _) in enumerate(x)]
    (tmp_path / "a.csv").write_text("\n".join(["time,a,b", *rows]) + "\n", encoding="utf-8-sig")
    traces = read_traces(tmp_path / "a.csv")
    assert traces.names == ("a", "b") and traces.frame_rate == pytest.approx(20.0)


@pytest.fixture
def suite2p(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    neuropil = 100 + 10 * np.sin(np.arange(900) / 15.0) + np.zeros((4, 1))
    rest = np.array([[500.0], [300.0], [200.0], [400.0]])
    transient = np.zeros((4, 900))
    transient[:, 300:330] = 0.5 * rest
    np.save(tmp_path / "F.npy", rest + transient + 0.7 * neuropil + 0.01 * rng.standard_normal((4, 900)))
    np.save(tmp_path / "Fneu.npy", neuropil)
    np.save(tmp_path / "iscell.npy", np.array([[1, 0.9], [0, 0.1], [1, 0.8], [1, 0.7]]))
    return tmp_path


def test_suite2p_gives_dff_of_the_accepted_cells(suite2p: Path) -> None:
    traces = read_traces(suite2p, frame_rate=30.0)
    assert traces.names == ("roi0", "roi2", "roi3") and traces.x.shape == (900, 3)
    assert np.allclose(traces.x[310], 0.5, atol=0.01), "half above rest, whatever the rest and the neuropil"
    assert np.abs(traces.x[:290]).max() < 0.01
    everything = Suite2p(cells_only=False).read(suite2p, AT_30_HZ)
    assert everything.names == ("roi0", "roi1", "roi2", "roi3")
    chosen = Suite2p(cells=[1]).read(suite2p, AT_30_HZ)
    assert np.array_equal(chosen.x[:, 0], everything.x[:, 1])
    mixed = Suite2p(neuropil_coefficient=0.0).read(suite2p, AT_30_HZ)
    assert mixed.x[:290].max() > 0.015, "without the subtraction the neuropil is left in"


def test_suite2p_says_what_is_wrong(suite2p: Path) -> None:
    with pytest.raises(UserError, match=r"'fs' in ops.npy"):
        read_traces(suite2p)
    with pytest.raises(UserError, match="no row 4, expected 0 to 3"):
        Suite2p(cells=[4]).read(suite2p, AT_30_HZ)
    np.save(suite2p / "iscell.npy", np.zeros((4, 2)))
    with pytest.raises(UserError, match="no cells are left"):
        Suite2p().read(suite2p, AT_30_HZ)
    (suite2p / "Fneu.npy").unlink()
    with pytest.raises(UserError, match=r"Fneu.npy: no such file"):
        Suite2p().read(suite2p, AT_30_HZ)


def written(path: Path, header: str, rows: np.ndarray, mark: str = ",", comma: bool = False) -> Path:
    """A table of ``rows`` with its number of the row in front where the header has one more name."""
    lines = [mark.join(f"{value:g}".replace(".", "," if comma else ".") for value in row) for row in rows]
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["frame,a,b", ",a,b", "index,a,b", ",0,1"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_column_that_counts_rows_is_no_cell(tmp_path: Path, x: np.ndarray, header: str, first: int) -> None:
    rows = np.column_stack([np.arange(50) + first, x[:, :2]])
    traces = read_traces(written(tmp_path / "a.csv", header, rows), frame_rate=10.0)
    assert list(traces.names) == header.split(",")[1:]
    assert np.allclose(traces.x, x[:, :2], atol=1e-5)


def test_a_cell_called_frame_stays(tmp_path: Path, x: np.ndarray) -> None:
    traces = read_traces(written(tmp_path / "a.csv", "frame,b", x[:, :2]), frame_rate=10.0)
    assert traces.names == ("frame", "b")


def test_column_numbers_are_a_header(tmp_path: Path, x: np.ndarray) -> None:
    traces = read_traces(written(tmp_path / "a.csv", "0,1,2", x), frame_rate=10.0)
    assert traces.names == ("0", "1", "2") and traces.x.shape == (50, 3)
    # but a frame of whole numbers that do not count is a frame
    assert read_traces(written(tmp_path / "b.csv", "0,2,1", x), frame_rate=10.0).x.shape == (51, 3)


@pytest.mark.parametrize(("name", "unit"), [("time_ms", 1000.0), ("Time [ms]", 1000.0), ("timestamp", 1.0)])
def test_time_in_its_unit(tmp_path: Path, x: np.ndarray, name: str, unit: float) -> None:
    rows = np.column_stack([np.arange(50) / 20.0 * unit, x])
    traces = read_traces(written(tmp_path / "a.csv", f"{name},a,b,c", rows))
    assert traces.frame_rate == pytest.approx(20.0) and traces.names == ("a", "b", "c")
    written(tmp_path / "b.csv", "time (weeks),a,b,c", rows)
    with pytest.raises(
        UserError, match=r"column 'time \(weeks\)' tells the time in a unit that is not known"
    ):
        read_traces(tmp_path / "b.csv", frame_rate=20.0)


def test_decimal_commas(tmp_path: Path, x: np.ndarray) -> None:
    for mark in (";", "\t"):
        path = written(tmp_path / "a.csv", "a;b;c".replace(";", mark), x, mark, comma=True)
        assert np.allclose(read_traces(path, frame_rate=10.0).x, x, atol=1e-5)
    (tmp_path / "b.csv").write_text("0,0512\n1,2500\n0,1312\n")
    with pytest.raises(UserError, match=r"0,0512 that look like decimal commas, expected decimal points"):
        read_traces(tmp_path / "b.csv", frame_rate=10.0)


def test_comments_trailing_commas_and_spaces(tmp_path: Path, x: np.ndarray) -> None:
    body = "\n".join(",".join(f"{value:g}" for value in row) + "," for row in x)
    (tmp_path / "a.csv").write_text(f"# exported by a tool\n% again\na,b,c,\n{body}\n")
    traces = read_traces(tmp_path / "a.csv", frame_rate=10.0)
    assert traces.names == ("a", "b", "c") and np.allclose(traces.x, x, atol=1e-5)
    np.savetxt(tmp_path / "a.txt", x)
    assert np.allclose(read_traces(tmp_path / "a.txt", frame_rate=10.0).x, x)
    (tmp_path / "one.txt").write_text("\n".join(f"{value:g}" for value in x[:, 0]))
    assert read_traces(tmp_path / "one.txt", frame_rate=10.0).x.shape == (50, 1)
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n3,4\n")
    with pytest.raises(UserError, match="two cells are named 'a'"):
        read_traces(tmp_path / "twice.csv", frame_rate=10.0)


def test_a_row_is_told_to_be_a_cell(tmp_path: Path, x: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", x[None, :, 0])
    with pytest.raises(UserError, match=r"1 frames × 50 cells looks transposed.*--orientation cells_first"):
        read_traces(tmp_path / "a.npy", frame_rate=30.0)


def test_a_struct_of_matlab(tmp_path: Path, x: np.ndarray) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"data": {"dff": x, "fs": 15.0, "note": "made up"}})
    traces = read_traces(path)
    assert traces.frame_rate == 15.0 and np.array_equal(traces.x, x)
    assert np.array_equal(read_traces(path, key="data.dff").x, x)
