"""Spikes in traces of any cells, or in further traces of cells that were trained on; in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, overload

import numpy as np
import pandas as pd
import torch

from dfp.core.errors import UserError
from dfp.data.doubts.admit import admit_array
from dfp.data.doubts.base import Expected
from dfp.data.doubts.mend import Trials
from dfp.data.preprocess import initial_estimates
from dfp.data.traces import Orientation, Traces, cell_names
from dfp.fitting.fitted import Fitted, choose_device, load
from dfp.fitting.inferred import Inferred, infer_recording
from dfp.fitting.pretrained import ask
from dfp.fitting.result import Result
from dfp.fitting.tables import spikes_table

#: noise sd, or distance of the baselines in noise sds, this many times off: traces of another kind or unit
UNLIKE = 5.0


@overload
def infer(
    trained: Result | Fitted | str | PathLike[str],
    x: Any,
    frame_rate: float | None = None,
    *,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    cells: str | Sequence[str] | None = None,
    allow_nan: bool = False,
    confirm: str | Sequence[str] = (),
    trials: Trials | None = None,
    blank: str | Sequence[str] = (),
    device: str = "auto",
) -> pd.DataFrame: ...


@overload
def infer(
    x: Any,
    frame_rate: float | None = None,
    *,
    indicator: str | None = None,
    amplitude: float | None = None,
    rise: float | None = None,
    decay: float | None = None,
    weights: str | PathLike[str] | None = None,
    samples: int | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    cells: str | Sequence[str] | None = None,
    allow_nan: bool = False,
    confirm: str | Sequence[str] = (),
    trials: Trials | None = None,
    blank: str | Sequence[str] = (),
) -> Inferred: ...


def infer(  # type: ignore[misc]  # traces come first where there is nothing trained
    trained: Any = None,
    x: Any = None,
    frame_rate: Any = None,
    *,
    indicator: str | None = None,
    amplitude: float | None = None,
    rise: float | None = None,
    decay: float | None = None,
    weights: str | PathLike[str] | None = None,
    samples: int | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    cells: str | Sequence[str] | None = None,
    allow_nan: bool = False,
    confirm: str | Sequence[str] = (),
    trials: Trials | None = None,
    blank: str | Sequence[str] = (),
    device: str = "auto",
) -> Inferred | pd.DataFrame:
    """The spikes in traces ``(T, N)``.

    ``infer(x, frame_rate)`` asks a posterior that ships with dfp and serves any cells,
    ``infer(trained, x, frame_rate)`` one that ``fit`` trained on the same cells. Either is what the command
    ``dfp infer`` writes, number by number.

    Args:
        trained: what ``fit`` or ``load`` returned, or the path of a checkpoint; left out for any cells.
        x, frame_rate, names, orientation, cells, allow_nan, confirm, trials, blank: as in ``fit``; cells
            without names are taken to be those of a training in their order, and none of these is left out.
        indicator: ``GCaMP6f``, ``GCaMP6s``, …, where it is known: narrows what the constants may be.
        amplitude: peak of the response to one spike in the traces' unit, where it is known; else inferred.
        rise, decay: seconds, where they are known; else inferred.
        weights: ``cells`` (learned from recordings with true spikes, the default), ``simulations`` (from
            simulated cells alone), or a file.
        samples: joint samples of a cell's spikes; 100 by default.
        seed: of their noise; 0 by default.
        jobs: processes; 1 by default, and the same result for any number.
        device: of what was trained: ``auto``, ``cpu`` or ``cuda``; what ``load`` returned stays where it is
            with ``auto``, and is else used as a copy there.

    Returns:
        An ``Inferred``. For a posterior that was trained, a table with a row a frame and cell: ``time_s``,
        ``cell``, ``probability`` (of at least one spike in the frame), ``expected_count`` (of spikes in the
        frame), and of the spikes in the second around the frame the mean, ``expected_count_1s``, and the
        central 90% interval, ``low_1s`` and ``high_1s``; ``observed``, false where the frame is missing.
        Traces far from those of the training bring a warning.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 1))
        >>> dfp.infer(x, 30, indicator="GCaMP6f", samples=20).spikes["probability"].shape
        (200, 1)
        >>> brief = {"cells": {"phases": [{"steps": 2}], "evaluation": {"samples": 4, "iwae_samples": 4}}}
        >>> result = dfp.fit(x[:100], 30, decay=0.4, settings=brief, progress=False)
        >>> dfp.infer(result, x[100:], 30).shape
        (100, 8)

    Raises:
        UserError: for traces that are not as expected, a posterior for other cells or another rate, or what
            is told to a posterior that was trained.
    """
    told = {"indicator": indicator, "amplitude": amplitude, "rise": rise, "decay": decay, "weights": weights}
    told |= {"samples": samples, "seed": seed}
    how: dict[str, Any] = {"names": names, "orientation": orientation, "cells": cells}
    how |= {"allow_nan": allow_nan, "confirm": confirm, "trials": trials, "blank": blank}
    if isinstance(trained, Result | Fitted | str | PathLike):
        for name, value in (told | {"jobs": jobs}).items():
            if value is not None:
                raise UserError(
                    f"{name}: found {value!r} beside a posterior that was trained, expected one of the two "
                    "(`infer(x, frame_rate, …)` asks the posterior of the package)"
                )
        return _by_training(trained, x, frame_rate, device, how)
    if trained is not None:  # traces, and then their rate
        if x is not None and frame_rate is not None:
            raise UserError(
                f"trained: found a {type(trained).__name__}, expected what fit or load returned, or the path "
                "of a checkpoint"
            )
        trained, x, frame_rate = None, trained, frame_rate if x is None else x
    if device not in ("auto", "cpu"):
        raise UserError(
            f"device: found {device!r} without a posterior that was trained, expected auto or cpu"
        )
    asked = ask(**told)  # type: ignore[arg-type]
    traces = admit_array(x, frame_rate, **how, expected=Expected.of(asked.told.indicator, amplitude, decay))
    return infer_recording(asked, traces, 1 if jobs is None else jobs)


def _by_training(
    trained: Result | Fitted | str | PathLike[str],
    x: Any,
    frame_rate: float | None,
    device: str,
    how: dict[str, Any],
) -> pd.DataFrame:
    """``spikes_table`` of an array."""
    where = choose_device(device)
    if isinstance(trained, Fitted):
        fitted, checkpoint = trained, "the posterior"
    elif isinstance(trained, Result):
        fitted, checkpoint = trained.fitted(where), "the posterior"
    else:
        fitted, checkpoint = load(str(trained), where), str(trained)
    traces = admit_array(x, frame_rate, **how, keep=True, level=4)
    unnamed = traces.names == cell_names(None, len(traces.names), "")
    if unnamed and len(fitted.facts.cells) == len(traces.names):
        traces = replace(traces, names=fitted.facts.cells)
    return infer_traces(
        fitted,
        traces,
        checkpoint=checkpoint,
        source="x",
        device=None if isinstance(trained, Fitted) and device == "auto" else where,
        warn=lambda sentence: warnings.warn(f"x: {sentence}", stacklevel=5),
    )


def infer_traces(
    fitted: Fitted,
    traces: Traces,
    *,
    checkpoint: object,
    source: object,
    warn: Callable[[str], None],
    device: torch.device | None = None,
) -> pd.DataFrame:
    """``spikes_table`` of traces as a user has them, prepared as those of the training were.

    Args:
        checkpoint, source: what messages call the posterior and the traces.
        warn: called with a sentence about traces far from those of the training.
        device: to draw on; by default the posterior's own.

    Raises:
        UserError: for other cells or another rate than the posterior's.
    """
    _check(fitted, traces, checkpoint, source)
    levelled = fitted.facts.preparation.levelled(traces)
    for sentence in unlike(fitted, levelled):
        warn(sentence)
    return spikes_table(fitted.double(device), levelled)


def unlike(fitted: Fitted, traces: Traces) -> list[str]:
    """A sentence for the first cell whose noise or baseline is far from the fitted one; none if all are near.

    An observation model without the two has none to compare.

    Args:
        traces: without their slow baseline.
    """
    now = fitted.model.parameters_now()
    if not {"baseline", "noise"} <= {*now.constants}:
        return []
    for n, name in enumerate(traces.names):
        if np.isfinite(traces.x[:, n]).sum() < 10:
            continue
        found = initial_estimates(traces.x[:, n], traces.frame_rate)
        noise, baseline = float(now.noise[n]), float(now.baseline[n])
        apart = abs(found.baseline - baseline) / max(noise, found.noise)
        if not 1 / UNLIKE < found.noise / noise < UNLIKE or apart > UNLIKE:
            return [
                f"{name} has a baseline near {found.baseline:.3g} and noise of {found.noise:.2g}, the "
                f"checkpoint was trained on {baseline:.3g} and {noise:.2g}: what it says of others "
                "is not to be trusted (`dfp fit` trains on these)"
            ]
    return []


def _check(fitted: Fitted, traces: Traces, checkpoint: object, source: object) -> None:
    """Refuse traces of other cells or of another rate than the checkpoint's."""
    if traces.x.shape[1] != fitted.model.cells:
        raise UserError(
            f"{source}: found {traces.x.shape[1]} cells, expected {fitted.model.cells} as {checkpoint} was "
            "trained on (`dfp fit` trains on traces of your own)"
        )
    expected = fitted.model.bin_rate / fitted.facts.preparation.bins_per_frame
    if abs(traces.frame_rate / expected - 1.0) > 0.02:
        raise UserError(
            f"{source}: found {traces.frame_rate:g} Hz, expected {expected:g} Hz as {checkpoint} was trained "
            "at; resample the traces or train at their rate"
        )
    known = fitted.facts.cells or traces.names
    elsewhere = any(mine != name and name in known for mine, name in zip(known, traces.names, strict=True))
    if elsewhere and traces.names != cell_names(None, len(known), ""):
        raise UserError(
            f"{source}: found the cells in the order {', '.join(traces.names)}, expected that of "
            f"{checkpoint}, {', '.join(known)}"
        )
