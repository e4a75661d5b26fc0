"""The reader of CONTRIBUTING.md is found as it stands there, and does what every reader has to do."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import reader_files
import test_reader_conformance as conformance

import dfp.data.readers
from dfp.core.errors import UserError
from dfp.data.readers.registry import known_files, read_traces, readers

PAGE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def block(mark: str) -> str:
    """The one block of Python of the page that holds ``mark``."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (one,) = [text for text in found if mark in text]
    return str(one)


@pytest.fixture
def tracetxt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the page's reader, which is in the package while the test runs."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "tracetxt.py").write_text(block("class TraceText("), encoding="utf-8")
    monkeypatch.setattr(dfp.data.readers, "__path__", [*dfp.data.readers.__path__, str(tmp_path / "package")])
    monkeypatch.setattr(reader_files, "FORMATS", reader_files.FORMATS.copy())
    exec(compile(block("def write_tracetxt("), str(PAGE), "exec"), {**vars(reader_files)})
    monkeypatch.setattr(conformance, "FORMATS", reader_files.FORMATS)
    readers.cache_clear()
    yield "tracetxt"
    readers.cache_clear()
    sys.modules.pop("dfp.data.readers.tracetxt", None)


def test_a_reader_is_added_in_one_file(tracetxt: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tracetxt"
    path.write_text("25\n0.5 nan 0.25\n")
    traces = read_traces(path, allow_nan=True)
    assert np.array_equal(traces.x[:, 0], [0.5, np.nan, 0.25], equal_nan=True)
    assert (traces.frame_rate, traces.rate_from) == (25.0, "the first line")
    path.write_text("25\n0.5 none 0.25\n")
    with pytest.raises(
        UserError, match=r"a.tracetxt: could not be read as a frame rate and a trace \(could not"
    ):
        read_traces(path)
    assert ".tracetxt" in known_files()


def test_every_conformance_test_runs_over_it(tracetxt: str, tmp_path: Path) -> None:
    run = 0
    for name, check in vars(conformance).items():
        if not name.startswith("test_"):
            continue
        folder = tmp_path / name
        folder.mkdir()
        given = {"name": tracetxt, "tmp_path": folder}
        check(**{one: given[one] for one in inspect.signature(check).parameters})
        run += 1
    assert run >= 14
