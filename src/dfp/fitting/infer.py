"""Spikes from further traces of the same cells, in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import torch

from dfp.core.errors import UserError
from dfp.data.arrays import array_traces
from dfp.data.preprocess import initial_estimates
from dfp.data.traces import Orientation, Traces, cell_names
from dfp.fitting.fitted import Fitted, choose_device, load
from dfp.fitting.result import Result
from dfp.fitting.tables import spikes_table

#: noise sd, or distance of the baselines in noise sds, this many times off: traces of another kind or unit
UNLIKE = 5.0


def infer(
    trained: Result | Fitted | str | PathLike[str],
    x: Any,
    frame_rate: float | None = None,
    *,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    allow_nan: bool = False,
    device: str = "auto",
) -> pd.DataFrame:
    """The spikes in further traces ``(T, N)`` of the cells that a posterior was trained on.

    This is what the command ``dfp infer`` writes. Traces far from those of the training bring a warning.

    Args:
        trained: what ``fit`` or ``load`` returned, or the path of a checkpoint.
        x, frame_rate, names, orientation, allow_nan: as in ``fit``; cells without names are taken to be those
            of the training in their order.
        device: ``auto``, ``cpu`` or ``cuda``; what ``load`` returned stays where it is with ``auto``, and is
            else used as a copy there.

    Returns:
        A row a frame and cell: ``time_s``, ``cell``, ``probability`` (of at least one spike in the frame),
        ``expected_count`` (of spikes in the frame), and of the spikes in the second around the frame the
        mean, ``expected_count_1s``, and the central 90% interval, ``low_1s`` and ``high_1s``.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 1))
        >>> brief = {"cells": {"phases": [{"steps": 2}], "evaluation": {"samples": 4, "iwae_samples": 4}}}
        >>> result = dfp.fit(x[:100], 30, decay=0.4, settings=brief, progress=False)
        >>> dfp.infer(result, x[100:], 30).shape
        (100, 7)

    Raises:
        UserError: for traces that are not as expected, or a posterior for other cells or another rate.
    """
    where = choose_device(device)
    if isinstance(trained, Fitted):
        fitted, checkpoint = trained, "the posterior"
    elif isinstance(trained, Result):
        fitted, checkpoint = trained.fitted(where), "the posterior"
    else:
        fitted, checkpoint = load(str(trained), where), str(trained)
    traces = array_traces(x, frame_rate, names=names, orientation=orientation, allow_nan=allow_nan)
    unnamed = traces.names == cell_names(None, len(traces.names), "")
    if unnamed and len(fitted.facts.cells) == len(traces.names):
        traces = replace(traces, names=fitted.facts.cells)
    return infer_traces(
        fitted,
        traces,
        checkpoint=checkpoint,
        source="x",
        device=None if isinstance(trained, Fitted) and device == "auto" else where,
        warn=lambda sentence: warnings.warn(f"x: {sentence}", stacklevel=4),
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
