"""What every reader has to do, whatever its format: run over each one that is found."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reader_files import FORMATS, Content, Format

from dfp.core.errors import UserError
from dfp.data.doubts.admit import admit
from dfp.data.readers.registry import read_traces, reader_of, readers
from dfp.data.traces import Orientation, Traces

RATE = 30.0
NAMES = ("soma1", "soma 2", "dendrite")

each = pytest.mark.parametrize("name", list(FORMATS))


def transients(form: Format, seed: int = 0) -> np.ndarray:
    """``(T, N)`` float32 with a resting level of exactly 0, of as many cells as the format holds."""
    noise = np.random.default_rng(seed).standard_normal((120, 3)).astype(np.float32)
    return np.maximum(noise, 0.0)[:, : form.cells]


def folder_in(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent))


def given_rate(form: Format) -> dict[str, float]:
    """The frame rate, where the file has none."""
    return {} if form.needs_rate else {"frame_rate": RATE}


def same(form: Format, found: np.ndarray, expected: np.ndarray) -> bool:
    if form.relative == 0:
        return np.array_equal(found, expected, equal_nan=True)
    scale = float(np.nanmax(np.abs(expected)))
    return np.allclose(found, expected, rtol=0, atol=form.relative * scale, equal_nan=True)


@contextmanager
def refused(path: Path, sentence: str = "expected|be read") -> Iterator[None]:
    """A ``UserError`` of one line that begins with the path, or one inside it."""
    with pytest.raises(UserError, match=sentence) as caught:
        yield
    assert str(caught.value).startswith(str(path)), "the sentence names the file"
    assert "\n" not in str(caught.value)


def test_every_reader_has_files_here() -> None:
    assert {name.split(",")[0] for name in FORMATS} == set(readers())


def test_suffixes_and_summaries_fit_into_a_table() -> None:
    for reader in readers().values():
        assert reader.summary and not set("|\n") & set(reader.summary)
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in reader.suffixes)


@each
def test_a_file_goes_to_its_own_reader(name: str, tmp_path: Path) -> None:
    path = FORMATS[name].write(tmp_path, Content(transients(FORMATS[name])))
    assert reader_of(path).name == name.split(",")[0]
    inside = [kind.name for kind in readers().values() if kind.looks_inside and kind().recognises(path)]
    assert len(inside) <= 1, "two readers that look inside would each take it"


@each
def test_the_numbers_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    x = transients(form)
    path = form.write(tmp_path, Content(x))
    traces = read_traces(path, **given_rate(form))
    assert traces.x.dtype == np.float32 and traces.x.shape == x.shape and traces.source == path
    assert same(form, traces.x, x)
    again = read_traces(str(path), **given_rate(form))
    assert np.array_equal(again.x, traces.x), "a path as text is the same file"


@each
def test_rows_may_be_cells_where_that_is_told(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    x = transients(form)
    if form.fixes_orientation:
        path = form.write(tmp_path, Content(x))
        right, wrong = 0, 0
        for orientation in ("time_first", "cells_first"):
            try:
                traces = read_traces(path, orientation=orientation, **given_rate(form))  # type: ignore[arg-type]
                right += same(form, traces.x, x)
            except UserError as error:
                wrong += "the format fixes it" in str(error)
        assert (right, wrong) == (1, 1)
        return
    if form.cells == 1:
        for orientation in ("time_first", "cells_first"):  # there is one way to read a single trace
            path = form.write(tmp_path, Content(x))
            traces = read_traces(path, orientation=orientation, **given_rate(form))  # type: ignore[arg-type]
            assert same(form, traces.x, x)
        return
    x = np.random.default_rng(2).standard_normal((120, 3)).astype(np.float32)
    path = form.write(tmp_path, Content(x.T))
    assert same(form, read_traces(path, orientation="cells_first", **given_rate(form)).x, x)
    assert same(form, read_traces(path, orientation="time_first", **given_rate(form)).x, x.T)
    with refused(path, r"3 frames × 120 cells looks transposed.*--orientation"):
        read_traces(path, **given_rate(form))
    with refused(path, "orientation is 'rows', expected 'time_first' or 'cells_first'"):
        read_traces(path, orientation="rows", **given_rate(form))  # type: ignore[arg-type]


@each
def test_the_frame_rate_is_told_or_in_the_file(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    if not form.needs_rate:
        path = form.write(folder_in(tmp_path), Content(transients(form)))
        traces = read_traces(path, frame_rate=12.5)
        assert (traces.frame_rate, traces.rate_from) == (12.5, "given")
        with refused(path, r"does not tell its frame rate, expected frame_rate \(--frame-rate\) in Hz"):
            read_traces(path)
        for wrong in (0.0, -1.0, float("nan"), float("inf")):
            with refused(path, "expected a positive number of Hz"):
                read_traces(path, frame_rate=wrong)
    if form.tells_rate:
        path = form.write(tmp_path, Content(transients(form), frame_rate=25.0))
        traces = read_traces(path)
        assert traces.frame_rate == pytest.approx(25.0) and traces.rate_from not in ("", "given")
        near = read_traces(path, frame_rate=25.1)
        assert (near.frame_rate, near.rate_from) == (25.1, "given")
        for wrong in (25.3, 24.7, 2.5):
            with refused(path, rf"holds a frame rate of 25 Hz, but frame_rate is given as {wrong:g} Hz"):
                read_traces(path, frame_rate=wrong)


@each
def test_times_are_those_of_the_frames(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    times = read_traces(
        form.write(tmp_path, Content(transients(form), frame_rate=RATE)), frame_rate=RATE
    ).times
    assert times is None or np.allclose(np.diff(times), 1 / RATE)


@each
def test_missing_frames_stay_missing(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    x = transients(form)
    x[:7, 0], x[40, -1], x[50:60] = np.nan, np.nan, np.nan
    path = form.write(tmp_path, Content(x))
    traces = read_traces(path, allow_nan=True, **given_rate(form))
    assert np.array_equal(np.isnan(traces.x), np.isnan(x)) and same(form, traces.x, x)
    with refused(path, r"NaN values in . of . cells, first at frame 0 of .*--allow-nan"):
        read_traces(path, **given_rate(form))


@each
def test_cells_have_names_of_their_own(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    x = transients(form)
    made = read_traces(form.write(tmp_path, Content(x)), **given_rate(form)).names
    assert len(set(made)) == x.shape[1] and all(made)
    if form.names:
        path = form.write(tmp_path, Content(x, names=NAMES))
        assert read_traces(path, **given_rate(form)).names == NAMES
        path = form.write(tmp_path, Content(x, names=("a", "b", "a")))
        with refused(path, "two cells are named 'a'"):
            read_traces(path, **given_rate(form))


@each
def test_a_key_names_the_array(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    x, other = transients(form), transients(form, seed=1)
    if form.key is None:
        path = form.write(tmp_path, Content(x))
        with refused(path, "no key 'dff', expected"):
            read_traces(path, key="dff", **given_rate(form))
        return
    path = form.write(tmp_path, Content(x, beside={"other": other}))
    assert same(form, read_traces(path, key=form.key, **given_rate(form)).x, x)
    with refused(path, rf"holds 2 arrays that could be traces \({form.key}, .*--key"):
        read_traces(path, **given_rate(form))
    with refused(
        path, rf"no key '{form.key}x' \(did you mean '{form.key}'\?\), expected one of {form.key}, "
    ):
        read_traces(path, key=f"{form.key}x", **given_rate(form))


#: what no format may pass on, whatever its reader does: how traces are spoiled, what the sentence says
SPOILED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "one frame": (lambda x: x[:1, :1], "expected"),
    "no frames": (lambda x: x[:0], "expected"),
    "no cells": (lambda x: x[:, :0], "expected"),
    "complex": (lambda x: x.astype(complex) + 1j, "expected (real numbers|a number)|convert string"),
    "text": (lambda x: np.full(x.shape, "oops"), "expected (real numbers|a number)|convert string"),
}


@each
def test_what_cannot_be_traces_is_refused(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    for what, (spoil, sentence) in SPOILED.items():
        if form.numbers_only and what in ("complex", "text"):
            continue
        path = form.write(folder_in(tmp_path), Content(spoil(transients(form))))
        with refused(path, sentence):
            read_traces(path, key=form.key, allow_nan=True, frame_rate=RATE)


BAD_CELLS = {
    "constant": np.full(60, 0.5),
    "nothing but NaN": np.full(60, np.nan),
    "infinite": np.where(np.arange(60) == 7, np.inf, np.sin(np.arange(60))),
    "mostly missing": np.where(np.arange(60) < 31, np.nan, np.sin(np.arange(60))),
}


@each
def test_one_bad_cell_never_refuses_the_others(name: str, tmp_path: Path) -> None:
    """It is left out by the doubts, and named."""
    form = FORMATS[name]
    if form.cells is not None:
        return
    for what, column in BAD_CELLS.items():
        noise = np.random.default_rng(3).standard_normal((600, 3)).astype(np.float32)
        x = 0.02 * np.maximum(noise + 1.2, 0)  # a ninth of the frames at rest, at exactly 0
        x[:, 1] = np.resize(column, len(x))
        path, said = form.write(folder_in(tmp_path), Content(x)), []
        traces = admit(read_traces(path, key=form.key, **given_rate(form)), say=said.append)
        names = [one.split(" is left out")[0] for one in said if "left out" in one]
        assert len(names) == 1 and names[0] not in traces.names, (what, said)
        assert np.allclose(traces.x, np.delete(x, 1, axis=1), rtol=0, atol=form.relative), what


@each
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    path = form.write(tmp_path, Content(transients(form)))
    body = form.body(path)
    whole = body.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.99) if not form.text else (0.0,):
        body.write_bytes(whole[: int(share * len(whole))])
        with refused(path):
            read_traces(path, frame_rate=RATE)
    body.unlink()
    with refused(path):
        read_traces(path, frame_rate=RATE)
    body.mkdir()
    with refused(path):
        read_traces(path, frame_rate=RATE)


@each
def test_a_file_that_may_not_be_read_is_refused(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    path = form.write(tmp_path, Content(transients(form)))
    denied = mock.Mock(side_effect=PermissionError(13, "Permission denied", str(form.body(path))))
    with (
        mock.patch("builtins.open", denied),
        mock.patch("io.open", denied),
        refused(path, "Permission denied"),
    ):
        read_traces(path, frame_rate=RATE)
    assert denied.called


@each
def test_any_numbers_come_back_as_they_were(name: str) -> None:
    form = FORMATS[name]
    if form.relative:
        return  # it computes its traces
    finite = st.floats(-(2.0**100), 2.0**100, width=32)
    shapes = st.tuples(st.integers(2, 6), st.integers(1, form.cells or 3))

    @settings(max_examples=max(2, 30 // form.slow))
    @given(arrays(np.float32, shapes, elements=finite))
    def check(x: np.ndarray) -> None:
        assume(not form.rows_are_cells or len(x) > x.shape[1])
        names = NAMES[: x.shape[1]] if form.names else None
        with tempfile.TemporaryDirectory() as folder:
            path = form.write(Path(folder), Content(x, names=names))
            how: Orientation = "cells_first" if form.rows_are_cells else "time_first"
            found = read_traces(path, orientation=how, **given_rate(form)).x
        assert found.tobytes() == np.ascontiguousarray(x).tobytes() or np.array_equal(found, x)

    check()


def sound(traces: Traces) -> bool:
    """Whether a reading can be made use of, whatever the file was."""
    frames, cells = traces.x.shape
    return (
        traces.x.dtype == np.float32
        and frames >= 2
        and cells >= 1
        and not np.isinf(traces.x).any()
        and np.isfinite(traces.x).any(0).all()
        and len(set(traces.names)) == cells
        and traces.frame_rate > 0
        and (traces.times is None or len(traces.times) == frames)
    )


@each
def test_any_bytes_are_traces_or_a_sentence(name: str) -> None:
    form = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = form.write(Path(folder), Content(transients(form)[:20]))
        body = form.body(path)
        whole = body.read_bytes()
        places = st.integers(0, len(whole))
        spliced = st.tuples(places, places, st.binary(max_size=8)).map(
            lambda cut: whole[: min(cut[:2])] + cut[2] + whole[max(cut[:2]) :]
        )
        flipped = st.tuples(places, st.binary(min_size=1, max_size=4)).map(
            lambda cut: whole[: cut[0]] + cut[1] + whole[cut[0] + len(cut[1]) :]
        )
        words = st.text(alphabet='0123456789.,;\t\n "#-+eEnaif_tx\x00é').map(lambda text: text.encode())

        @settings(max_examples=max(2, 120 // form.slow))
        @given(st.one_of(st.binary(max_size=300), flipped, spliced, words))
        def check(content: bytes) -> None:
            body.write_bytes(content)
            for key in (None, form.key):
                try:
                    traces = read_traces(path, key=key, allow_nan=True)
                except UserError as error:
                    assert re.match(re.escape(str(path)), str(error)) and "\n" not in str(error)
                else:
                    assert sound(traces)

        check()
