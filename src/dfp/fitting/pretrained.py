"""The posterior that was trained once for all cells, asked with what a user tells of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.data.doubts.quality import quality
from dfp.fitting.cell import Asked, Doubts

#: of the weights that ship with the package, those learned from recordings with true spikes
DEFAULT = "cells"
#: joint samples of a cell's spikes
SAMPLES = 100


def doubts_of_cell(
    y: NDArray[Any], frame_rate: float, told: Any, drawn: Any
) -> tuple[Mapping[str, float], Sequence[tuple[str, str]]]:
    """``quality`` of a cell, by the medians of its constants (or as told) and the mean of its counts."""
    middle = {name: float(np.median(values)) for name, values in drawn.constants.items()}
    amplitude, decay, rise = (
        getattr(told, name) or middle.get(name) or other
        for name, other in (("amplitude", float("nan")), ("decay", 0.5), ("rise", 0.0))
    )
    found = quality(y, frame_rate, drawn.expected, amplitude, decay, rise)
    named = {"noise_residual": found.noise_residual, "drift": found.drift}
    return {**named, "outliers": found.outliers, "snr": found.snr}, found.doubts


#: finds what is doubtful of a cell
DOUBTS: Doubts | None = doubts_of_cell


def ask(
    indicator: str | None = None,
    amplitude: float | None = None,
    rise: float | None = None,
    decay: float | None = None,
    weights: str | PathLike[str] | None = None,
    samples: int | None = None,
    seed: int | None = None,
) -> Asked:
    """The weights and what is told, checked.

    Args:
        weights: ``cells`` (the default), ``simulations``, or a file of weights.

    Raises:
        UserError: for an unknown indicator, constants that are not above 0, weights that cannot be read, or
            fewer than two samples.
    """
    from dfp.amortised import Told, load_pretrained

    if weights is None:
        weights = DEFAULT
    told = Told(indicator=indicator, amplitude=amplitude, rise=rise, decay=decay)
    return Asked(
        load_pretrained(weights=weights if isinstance(weights, str) else Path(weights)),
        told,
        SAMPLES if samples is None else samples,
        0 if seed is None else seed,
        DOUBTS,
    )
