"""Readers are found, told of in one place, and share what is not of their format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from dfp.arguments import make_parser
from dfp.core.errors import UserError
from dfp.data.readers.base import UNNAMED, Part, Reader, Request
from dfp.data.readers.mat_elements import check_elements
from dfp.data.readers.registry import known_files, read_traces, readers

ROOT = Path(__file__).resolve().parents[2]
X = np.random.default_rng(0).standard_normal((50, 3))


def row_of(reader: type[Reader]) -> str:
    """The reader's row of the table in docs/recordings.md."""
    files = ", ".join(f"`{suffix}`" for suffix in reader.suffixes)
    if reader.looks_inside:
        files += f" of {reader.name}"
    return f"| {files or f'a folder of {reader.name}'} | {reader.summary} |"


def test_the_table_of_formats_is_that_of_the_readers() -> None:
    page = (ROOT / "docs" / "recordings.md").read_text(encoding="utf-8")
    table = page[page.index("| file | what is read |") :].split("\n\n")[0].splitlines()[2:]
    assert sorted(table) == sorted(row_of(reader) for reader in readers().values())


@pytest.mark.parametrize("command", ["fit", "infer"])
def test_the_help_names_every_format(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args([command, "--help"])
    assert known_files() in " ".join(capsys.readouterr().out.split())


def test_the_readme_names_no_format_that_is_not_read() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"trains on the traces \(([^)]*)\)", page)
    named = set(re.findall(r"`(\.\w+)`", listed))
    assert named and named <= {suffix for reader in readers().values() for suffix in reader.suffixes}


class Whole(Reader):
    """A format that is given its part."""

    name: ClassVar[str] = "whole"
    what: ClassVar[str] = "a whole"
    summary: ClassVar[str] = "what it is given"

    def __init__(self, part: Part) -> None:
        self.part = part

    def parts(self, path: Path) -> Mapping[str, Part]:
        return {UNNAMED: self.part}


def test_a_format_may_know_more_than_numbers() -> None:
    part = Part(
        X.T, names=("a", "b", "c"), orientation="cells_first", frame_rate=20.0, rate_from="its header",
        times=np.arange(50) / 20, notes=("halved",), finish=lambda x, rate: (x * rate).astype(np.float32),
    )  # fmt: skip
    traces = Whole(part).read(Path("x.whole"))
    assert np.array_equal(traces.x, (X * 20.0).astype(np.float32))
    assert traces.names == ("a", "b", "c") and traces.times is part.times
    assert (traces.frame_rate, traces.rate_from, traces.notes) == (20.0, "its header", ("halved",))
    assert Whole(part).read(Path("x.whole"), Request(orientation="cells_first")).x.shape == (50, 3)
    with pytest.raises(UserError, match=r"x.whole: orientation is given as 'time_first'.*format fixes it"):
        Whole(part).read(Path("x.whole"), Request(orientation="time_first"))
    with pytest.raises(UserError, match="2 names for 3 cells, expected one for each"):
        Whole(Part(X, names=("a", "b"))).read(Path("x.whole"), Request(frame_rate=1.0))


def test_names_and_times_are_of_the_columns_and_rows_that_stay() -> None:
    wide = Part(X.T, names=[f"frame {n}" for n in range(50)], times=np.arange(3.0))
    traces = Whole(wide).read(Path("x"), Request(orientation="cells_first", frame_rate=1.0))
    assert traces.names == ("cell0", "cell1", "cell2") and traces.times is None


class Foreign(Whole):
    """A format whose library is not there."""

    install: ClassVar[str] = "pip install 'dfp[foreign]'"

    def parts(self, path: Path) -> Mapping[str, Part]:
        import a_library_that_is_not_there  # type: ignore[import-not-found]

        return {UNNAMED: Part(a_library_that_is_not_there.load(path))}


def test_a_library_that_is_not_there_is_named_with_its_command() -> None:
    told = r"needs a_library_that_is_not_there, which is not installed; install it with `pip install 'dfp"
    with pytest.raises(UserError, match=rf"^x.foreign: reading a whole {told}"):
        Foreign(Part(X)).read(Path("x.foreign"))


def test_what_was_left_out_is_noted(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n / 20},{a},{b}\n" for n, (a, b, _) in enumerate(X))
    (tmp_path / "a.csv").write_text(f"frame,time,a,b\n{rows}")
    traces = read_traces(tmp_path / "a.csv")
    assert traces.notes == ("the column 'frame' numbers the frames", "the column 'time' tells the time")
    assert traces.rate_from == "the column 'time'"
    assert traces.times is not None and np.array_equal(traces.times, np.arange(50) / 20)


MATLAB = {
    "x": X,
    "whole": np.arange(3, dtype=np.int8),
    "struct": {"a": 1, "b": "text", "deep": {"q": [1, 2]}},
    "structs": np.zeros(3, dtype=[("x", "f8"), ("y", "O")]),
    "nothing": np.zeros((0, 3)),
    "imaginary": np.ones(3) * 1j,
    "sparse": scipy.sparse.csc_matrix(np.eye(4)),
    "words": np.array(["ab", "cd"]),
    "word": "é日",
    "cells": np.array([1, "a", {"k": 2}], dtype=object),
    "logical": np.array([True, False]),
}


@pytest.mark.parametrize("compressed", [True, False])
def test_all_that_matlab_holds_passes_the_check_of_its_elements(tmp_path: Path, compressed: bool) -> None:
    scipy.io.savemat(tmp_path / "a.mat", MATLAB, do_compression=compressed)
    check_elements(tmp_path / "a.mat")
    assert np.allclose(read_traces(tmp_path / "a.mat", key="x", frame_rate=1.0).x, X)
    scipy.io.savemat(tmp_path / "old.mat", {"x": X}, format="4")
    check_elements(tmp_path / "old.mat")


def test_a_damaged_matlab_file_does_not_end_the_process(tmp_path: Path) -> None:
    """SciPy 1.17 reads past its memory where the type of an array's data is not known."""
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"dff": X})
    whole = path.read_bytes()
    tag = np.array([9, X.nbytes], dtype="<u4").tobytes()
    assert whole.count(tag) == 1
    for wrong in ([255, X.nbytes], [9, X.nbytes - 8], [9, 2**31]):
        path.write_bytes(whole.replace(tag, np.array(wrong, dtype="<u4").tobytes()))
        with pytest.raises(
            UserError, match=r"a.mat: could not be read as a MATLAB file \(an (array|element) of"
        ):
            read_traces(path, frame_rate=30.0)
