"""What inferred spikes are, whatever file they are written as."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.extras import optional

#: arrays of T frames × N cells → their type, and what they hold
KEYS: dict[str, tuple[type[np.generic], str]] = {
    "probability": (np.float32, "of at least one spike in the frame"),
    "expected_count": (np.float32, "of spikes in the frame; the sum over frames is that of the recording"),
    "expected_count_1s": (np.float32, "mean number of spikes in the second around the frame"),
    "low_1s": (np.float32, "lower end of the central 90% interval of that number"),
    "high_1s": (np.float32, "upper end of it"),
    "observed": (np.bool_, "false where the trace has no number in that frame: the spikes are the prior's"),
}
#: what is beside them
BESIDE = {
    "time_s": "(T,) seconds, the beginning of the frame",
    "cells": "(N,) names",
    "frame_rate": "frames a second",
}


def key_list() -> str:
    """The keys and what they hold, a line each; it is written into files that have a place for it."""
    lines = [f"{name}: {text}" for name, text in BESIDE.items()]
    return "\n".join(lines + [f"{name}: (T, N) {text}" for name, (_, text) in KEYS.items()])


@dataclass(frozen=True, eq=False)
class SpikeArrays:
    """What is inferred of N cells in T frames, given out cell by cell so that memory need not hold it.

    Attributes:
        cells: N names.
        time_s: ``(T,)`` seconds of the frames' beginnings.
        frame_rate: Hz.
        cell: n → the arrays of cell n, ``(T,)`` each, by the names of ``KEYS``.
    """

    cells: tuple[str, ...]
    time_s: NDArray[np.float64]
    frame_rate: float
    cell: Callable[[int], Mapping[str, NDArray[Any]]]

    def columns(self, key: str) -> Iterator[NDArray[Any]]:
        """An array of ``KEYS``, a cell after the other."""
        for n in range(len(self.cells)):
            yield self.cell(n)[key]

    @property
    def shape(self) -> tuple[int, int]:
        """T, N."""
        return len(self.time_s), len(self.cells)


class Writer(ABC):
    """A format that inferred spikes are written as.

    Attributes:
        name: what ``--format`` calls it.
        suffixes: of a file that ``--out`` may name; none where the format is of several files.
        files: that it writes into a folder.
        library: that it needs, where dfp itself does not.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[str, ...]]
    library: ClassVar[str | None] = None

    def ready(self) -> None:
        """Raise ``UserError`` where the library is missing, before anything is computed."""
        if self.library:
            with optional():
                importlib.import_module(self.library)

    @abstractmethod
    def write(self, spikes: SpikeArrays, path: Path) -> None:
        """Write one file, whole or not at all."""

    def write_into(self, spikes: SpikeArrays, folder: Path) -> None:
        """Write ``files`` into a folder."""
        self.write(spikes, folder / self.files[0])


def time_format(time_s: NDArray[Any]) -> str:
    """A format of the times that keeps a tenth of a millisecond, and eight digits at least."""
    whole = len(f"{int(np.abs(time_s).max(initial=0.0))}")
    return f"%.{max(8, whole + 4)}g"
