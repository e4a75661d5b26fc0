"""The posterior that was trained once for all cells, asked with what a user tells of theirs."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from dfp.fitting.cell import Asked, Doubts

#: of the weights that ship with the package, those learned from recordings with true spikes
DEFAULT = "cells"
#: joint samples of a cell's spikes
SAMPLES = 100
#: finds what is doubtful of a cell
DOUBTS: Doubts | None = None


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
