"""Inferred spikes as tables of text: a row a frame and cell, or a column a cell."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from dfp.core.files import atomic_path
from dfp.results.formats.base import KEYS, SpikeArrays, Writer, time_format

#: rows of a wide table that are made text at a time
ROWS = 4096


class Csv(Writer):
    """A row a frame and cell, cell after cell: ``time_s``, ``cell`` and the arrays' names as columns."""

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    files: ClassVar[tuple[str, ...]] = ("spikes.csv",)

    def write(self, spikes: SpikeArrays, path: Path) -> None:
        """Write one file, whole or not at all; a cell in memory at a time."""
        form = time_format(spikes.time_s)
        time = [form % second for second in spikes.time_s]
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as text:
            for n, name in enumerate(spikes.cells):
                held = spikes.cell(n)
                columns = {key: np.asarray(held[key]) for key in KEYS}
                columns["observed"] = columns["observed"].astype(np.int8)
                table = pd.DataFrame({"time_s": time, "cell": name, **columns})
                table.to_csv(text, index=False, header=n == 0, float_format="%.8g", lineterminator="\n")


class CsvWide(Writer):
    """A table an array, ``probability.csv``, …: a row a frame, ``time_s`` and a column a cell."""

    name: ClassVar[str] = "csv-wide"
    suffixes: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = tuple(f"{key}.csv" for key in KEYS)

    def write(self, spikes: SpikeArrays, path: Path) -> None:
        """Write the table of the array that ``path`` is named after, whole or not at all."""
        kind, _ = KEYS[path.stem]
        values = np.empty(spikes.shape, kind, order="F")
        for n, column in enumerate(spikes.columns(path.stem)):
            values[:, n] = column
        form = time_format(spikes.time_s)
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as text:
            for first in range(0, max(len(values), 1), ROWS):
                rows = values[first : first + ROWS]
                table = pd.DataFrame(rows.astype(np.int8) if kind is np.bool_ else rows, columns=spikes.cells)
                time = [form % second for second in spikes.time_s[first : first + ROWS]]
                table.insert(0, "time_s", time, allow_duplicates=True)
                table.to_csv(text, index=False, header=first == 0, float_format="%.8g", lineterminator="\n")

    def write_into(self, spikes: SpikeArrays, folder: Path) -> None:
        """Write a table an array."""
        for name in self.files:
            self.write(spikes, folder / name)
