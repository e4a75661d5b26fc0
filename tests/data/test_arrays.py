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
            "x: values of type object, expected real numbers",
        ),
        ([[1.0, 2.0], [3.0]], {}, "x: not an array of numbers"),
        (X, {"frame_rate": None}, "x: does not tell its frame rate, expected frame_rate"),
        (X, {"frame_rate": 0}, "x: a frame rate of 0.0, expected a positive number of Hz"),
        (X, {"frame_rate": "30"}, "frame_rate: found '30', expected a number of Hz"),
        (X, {"names": "ab"}, "x: 2 names for 3 cells, expected one for each"),
        (X, {"names": "aba"}, "x: two cells are named 'a'"),
        (pd.DataFrame(X, columns=list("aba")), {}, "x: two cells are named 'a'"),
        (X, {"orientation": "rows"}, "orientation: found 'rows', expected 'time_first' or 'cells_first'"),
        (np.ones((40, 1)), {}, "x: the trace of cell0 is constant"),
        (np.where(X > 2, np.inf, X), {}, "x: . infinite values, first at frame"),
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
