"""A doubt about a recording: what it is, and when doubts about cells become one about the recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.read import read_yaml
from dfp.data.traces import Traces

#: every doubt: what it is about. Those that make numbers wrong stop a run unless their name is confirmed
STOPS = {
    "unit": "raw counts, percent or scaled numbers in place of dF/F",
    "amplitude": "an amplitude that the traces contradict",
    "sign": "transients that go down",
    "steps": "the level at rest moves at once and for good, as between joined trials",
    "outliers": "light that nothing decays from, or a detector that is blanked",
    "frozen": "runs of one and the same value",
    "clock": "frames at unequal times",
    "rate": "a frame rate that the traces contradict, or outside 2 to 500 Hz",
    "constant": "a trace that never changes, or has hardly a frame",
    "unusable": "a cell of which the file's numbers make no trace",
    "infinite": "values that are no numbers, as of a division by zero",
    "missing": "more than half of the frames missing",
    "counter": "a column that rises throughout: a clock or a counter",
}
NOTES = {
    "short": "less than 20 s",
    "drift": "a floor that moves more than the transients rise",
    "duplicate": "two cells of one trace",
    "noise": "a noise level outside that which the posterior knows",
    "smooth": "a trace that was filtered or denoised",
}


@dataclass(frozen=True)
class Doubt:
    """Something that is doubtful of a recording.

    Attributes:
        name: of ``STOPS`` or ``NOTES``; after inference also of ``data/quality.py``.
        severity: ``"stop"`` where it makes numbers wrong, else ``"note"``.
        cell: its name; None where the recording is meant.
        sentence: what was found, what was expected, the way out.
        cells: the cells meant, where ``cell`` is None and it is about traces.
        frames: where, if it is about frames.
    """

    name: str
    severity: Literal["stop", "note"]
    cell: str | None
    sentence: str
    cells: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        told = {"name": self.name, "severity": self.severity, "cell": self.cell, "sentence": self.sentence}
        return {**told, "cells": list(self.cells), "frames": list(self.frames)}


@dataclass(frozen=True)
class Expected:
    """What a user tells of the response to one spike.

    Attributes:
        amplitude: of its peak, in the traces' unit.
        decay: seconds.
    """

    amplitude: float | None = None
    decay: float | None = None

    @staticmethod
    def of(indicator: str | None, amplitude: float | None, decay: float | None) -> Expected:
        """As told; the decay else that of the indicator in ``fit.yaml``, where it is known there.

        Raises:
            UserError: for a decay that is not above 0.
        """
        if decay is not None and not (math.isfinite(decay) and decay > 0):
            raise UserError(f"decay: found {decay:g}, expected a number of seconds above 0")
        if decay is None and indicator is not None:
            # the file itself: the package that reads it loads torch, which takes longer than a look
            times = read_yaml(Path(str(files("dfp") / "config" / "fit.yaml")))["indicators"]
            known = {name.lower(): pair[1] for name, pair in times.items()}
            decay = known.get(indicator.lower().removeprefix("j"))
        return Expected(amplitude, decay)


@dataclass(frozen=True, eq=False)
class Cell:
    """One trace ``(T,)``, its place among the recording's and its name."""

    number: int
    name: str
    y: NDArray[Any]


def named(traces: Traces) -> Iterable[tuple[str, NDArray[Any]]]:
    """The name of every cell and its trace."""
    return zip(traces.names, np.asarray(traces.x).T, strict=True)


def enough(y: NDArray[Any]) -> bool:
    """Whether a trace has ten numbers, not all the same."""
    known = y[np.isfinite(y)]
    return len(known) >= 10 and known.min() < known.max()


def by_cell(
    name: str,
    traces: Traces,
    cells: list[Cell],
    sentence: Callable[[Cell], str],
    where: Callable[[Cell], Iterable[int]] = lambda _: (),
    among: int | None = None,
) -> list[Doubt]:
    """A stop for each cell, or one for the recording where half of the cells or more have it."""
    total = len(traces.names) if among is None else among
    frames = {cell.number: tuple(int(t) for t in where(cell)) for cell in cells}
    if cells and 2 * len(cells) >= total:
        some = f"{len(cells)} of {len(traces.names)} cells: " if len(traces.names) > 1 else ""
        every = tuple(sorted({t for one in frames.values() for t in one}))
        names = tuple(cell.name for cell in cells)
        return [Doubt(name, "stop", None, f"{some}{sentence(cells[0])}", names, every)]
    return [Doubt(name, "stop", cell.name, sentence(cell), (), frames[cell.number]) for cell in cells]


def recording(name: str, sentence: str, frames: Iterable[int] = ()) -> Doubt:
    """A doubt about the whole recording that stops a run."""
    return Doubt(name, "stop", None, sentence, (), tuple(int(t) for t in frames))


def listed(frames: Iterable[int]) -> str:
    """The first five, and how many more."""
    every = [str(int(frame)) for frame in frames]
    return ", ".join(every[:5]) + (f" and {len(every) - 5} more" if len(every) > 5 else "")
