"""Arrays of a user's own: what is understood of them, and what is refused in a sentence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dfp.core.errors import UserError
from dfp.data.arrays import array_traces

X = np.random.default_rng(0).normal(size=(40, 3))
NAMES = ("a", "b", "c")


def labelled(values: np.ndarray, dims: tuple[str, str], **coords: Any) -> Any:
    """What is read of an xarray DataArray: its axes' names, and labels along them."""

    class Labelled(SimpleNamespace):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return values

    return Labelled(
        dims=dims, coords={name: SimpleNamespace(values=np.array(v)) for name, v in coords.items()}
    )


@pytest.mark.parametrize(
    ("x", "names"),
    [
        (X, ("cell0", "cell1", "cell2")),
        (X.tolist(), ("cell0", "cell1", "cell2")),
        (torch.tensor(X, requires_grad=True), ("cell0", "cell1", "cell2")),
        (pd.DataFrame(X, columns=list(NAMES)), NAMES),
        (pd.DataFrame(X), ("0", "1", "2")),
        (pd.DataFrame(X, columns=list(NAMES)).rename_axis("frame"), NAMES),
        (pd.DataFrame(X.T, index=list(NAMES)).rename_axis("roi"), NAMES),
        (pd.DataFrame(X.T, index=list(NAMES)).rename_axis(columns="time"), NAMES),
        (labelled(X, ("time", "cell"), cell=NAMES), NAMES),
        (labelled(X.T, ("Cell", "Time"), Cell=NAMES), NAMES),
        (labelled(X.T, ("neuron", "time")), ("cell0", "cell1", "cell2")),
    ],
)
def test_every_form_of_the_same_array_gives_the_same_traces(x: Any, names: tuple[str, ...]) -> None:
    traces = array_traces(x, 30)
    assert traces.x.dtype == np.float32 and traces.names == names and traces.frame_rate == 30.0
    assert np.array_equal(traces.x, X.astype(np.float32)) and traces.x.flags.c_contiguous
    again = array_traces(traces)
    assert again.names == names and again.frame_rate == 30.0 and np.array_equal(again.x, traces.x)


def test_one_trace_told_names_and_told_orientation() -> None:
    assert array_traces(X[:, 0], 30).x.shape == (40, 1)
    assert array_traces(pd.Series(X[:, 0], name="mine"), 30).names == ("mine",)
    turned = array_traces(X.T, 30, orientation="cells_first", names=NAMES)
    assert turned.names == NAMES and np.array_equal(turned.x, X.astype(np.float32))
    assert array_traces(pd.DataFrame(X.T, index=NAMES), 30, orientation="cells_first").names == NAMES


def test_a_time_column_gives_the_frame_rate_as_in_a_file() -> None:
    frame = pd.DataFrame(X, columns=list(NAMES))
    frame.insert(0, "time", np.arange(40) / 20)
    traces = array_traces(frame)
    assert traces.names == NAMES and traces.frame_rate == pytest.approx(20)
    with pytest.raises(UserError, match="x: holds a frame rate of 20 Hz, but frame_rate is given as 30 Hz"):
        array_traces(frame, 30)


def test_a_row_of_time_is_no_cell() -> None:
    rows = pd.DataFrame(np.vstack([np.arange(40) / 20, X.T]), index=["time", *NAMES])
    for frame in (rows, rows.rename_axis("roi")):
        traces = array_traces(frame, orientation="cells_first")
        assert traces.names == NAMES and traces.frame_rate == pytest.approx(20)
        assert np.array_equal(traces.x, X.astype(np.float32))


def test_a_table_without_an_index_is_read_by_its_columns() -> None:
    """A polars DataFrame has names of columns, as text, and no index."""

    class Columns(SimpleNamespace):
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.column_stack([np.arange(40) / 20, X])

    traces = array_traces(Columns(columns=["time", *NAMES]))
    assert traces.names == NAMES and traces.frame_rate == pytest.approx(20)
    assert np.array_equal(traces.x, X.astype(np.float32))


SECONDS = np.arange(40) / 10
DATES = pd.date_range("2024-05-01", periods=40, freq="100ms")


@pytest.mark.parametrize(
    "x",
    [
        pd.DataFrame(X, index=pd.Index(SECONDS, name="time")),
        pd.DataFrame(X, index=pd.Index(1000 * SECONDS, name="Time_ms")),
        pd.DataFrame(X, index=DATES),
        pd.DataFrame(X, index=DATES.tz_localize("Europe/Berlin")),
        pd.DataFrame(X, index=DATES - DATES[0]),
        pd.DataFrame(X.T, columns=pd.Index(SECONDS, name="time")),
        pd.Series(X[:, 0], index=pd.Index(SECONDS, name="t")),
        labelled(X, ("time", "cell"), time=SECONDS),
        labelled(X.T, ("cell", "time"), time=DATES.values, cell=NAMES),
    ],
)
def test_an_axis_of_times_gives_the_frame_rate_and_must_not_contradict_it(x: Any) -> None:
    traces = array_traces(x)
    assert traces.frame_rate == pytest.approx(10) and traces.rate_from != "given"
    assert traces.times == pytest.approx(SECONDS)
    assert array_traces(x, 10).rate_from == "given"
    with pytest.raises(UserError, match="x: holds a frame rate of 10 Hz, but frame_rate is given as 30 Hz"):
        array_traces(x, 30)


@pytest.mark.parametrize(
    "x",
    [
        pd.DataFrame(X, index=pd.Index(SECONDS, name="depth")),
        pd.DataFrame(X, index=pd.Index(np.arange(40), name="time")),
        pd.DataFrame(X, index=pd.Index(np.arange(40.0), name="time")),
        labelled(X, ("frame", "cell"), frame=np.arange(40)),
    ],
)
def test_an_axis_that_only_counts_or_is_none_of_time_tells_no_rate(x: Any) -> None:
    assert array_traces(x, 30).frame_rate == 30
    with pytest.raises(UserError, match="x: does not tell its frame rate"):
        array_traces(x)


def test_a_nameless_index_that_rises_is_taken_for_seconds() -> None:
    """As pandas writes it into a file."""
    assert array_traces(pd.DataFrame(X, index=pd.Index(SECONDS))).frame_rate == pytest.approx(10)


def test_a_clock_that_begins_anew_begins_a_trial() -> None:
    traces = array_traces(pd.DataFrame(X, index=pd.Index(np.tile(SECONDS[:20], 2), name="time")))
    assert traces.frame_rate == pytest.approx(10) and traces.epochs == ((0, 20), (20, 40))
    assert traces.times is not None and np.allclose(traces.times, SECONDS)


def test_units_of_an_axis_are_heeded_and_gaps_filled() -> None:
    in_ms = labelled(X, ("time", "cell"), time=1000 * SECONDS)
    in_ms.coords["time"].attrs = {"units": "ms"}
    assert array_traces(in_ms).frame_rate == pytest.approx(10)
    in_ms.coords["time"].attrs = {"units": "fortnights"}
    assert array_traces(in_ms, 30).frame_rate == 30
    holed = pd.DataFrame(X, index=pd.Index(np.delete(np.arange(45) / 10, range(20, 25)), name="time"))
    traces = array_traces(holed, 10)
    assert np.isnan(traces.x[20:25]).all() and np.isfinite(np.delete(traces.x, range(20, 25), 0)).all()
    assert traces.times is not None and np.allclose(traces.times, np.arange(45) / 10)
    assert any("5 frames" in note and "missing" in note for note in traces.notes)
    dropped = pd.DataFrame(X, index=pd.Index(np.delete(np.arange(41), 7), name="frame"))
    assert np.flatnonzero(np.isnan(array_traces(dropped, 10).x[:, 0])).tolist() == [7]


def test_masked_values_are_missing_frames() -> None:
    for values in (X, (1000 * X).astype(int)):
        spoiled = values.copy()
        spoiled[3, 1] = 999
        masked = np.ma.masked_array(spoiled, mask=spoiled == 999)
        with pytest.raises(UserError, match=r"x: 1 NaN values in 1 of 3 cells, first at frame 3 of cell1"):
            array_traces(masked, 30)
        found = array_traces(masked, 30, allow_nan=True).x
        assert np.isnan(found[3, 1]) and np.isnan(found).sum() == 1
        assert np.array_equal(array_traces(np.ma.masked_array(values), 30).x, values.astype(np.float32))


def test_missing_frames_are_allowed_where_it_is_said() -> None:
    holed = X.copy()
    holed[3, 1] = np.nan
    with pytest.raises(UserError, match=r"x: 1 NaN values in 1 of 3 cells, first at frame 3 of cell1"):
        array_traces(holed, 30)
    assert np.isnan(array_traces(holed, 30, allow_nan=True).x[3, 1])


@pytest.mark.parametrize(
    ("x", "given", "told"),
    [
        (X[None], {}, r"x: an array of shape \(1, 40, 3\), expected two dimensions"),
        (X.T, {}, "x: 3 frames × 40 cells looks transposed"),
        (X.astype(str), {}, "x: values of type <U32, expected real numbers"),
        (
            pd.DataFrame({"a": ["x"] * 40, "b": X[:, 0]}),
            {},
            "x: the column 'a' holds 'x', expected a number",
        ),
        ([[1.0, 2.0], [3.0]], {}, "x: not an array of numbers"),
        (X, {"frame_rate": None}, "x: does not tell its frame rate, expected frame_rate"),
        (X, {"frame_rate": 0}, "x: a frame rate of 0.0, expected a positive number of Hz"),
        (X, {"frame_rate": "30"}, "frame_rate: found '30', expected a number of Hz"),
        (X, {"names": "ab"}, "x: 2 names for 3 cells, expected one for each"),
        (X, {"names": "aba"}, "x: two cells are named 'a'"),
        (pd.DataFrame(X, columns=list("aba")), {}, "x: two cells are named 'a'"),
        (X, {"orientation": "rows"}, "orientation: found 'rows', expected 'time_first' or 'cells_first'"),
        (
            pd.DataFrame(X).rename_axis("time"),
            {"orientation": "cells_first"},
            "x: orientation is given as 'cells_first', expected 'time_first' or none",
        ),
    ],
)
def test_what_is_refused(x: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        array_traces(x, **{"frame_rate": 30, **given})
