"""Traces as Inscopix's software exports them: two lines of header, names and what became of the cells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfp.core.errors import UserError
from dfp.data.readers.base import UNNAMED, Part, Reader
from dfp.data.readers.clock import by_clock
from dfp.data.readers.columns import placed
from dfp.data.readers.table import fields_of, number_in

#: what stands over the times, below the names
_MARK = re.compile(r"\s*time\s*\(s\)\s*/\s*cell status\s*", re.IGNORECASE)


class Inscopix(Reader):
    """A CSV file of Inscopix: names in the first line, a status each in the second, times in the first
    column.

    Cells that were rejected are left out; those that are undecided are kept, as the program's own users do.
    """

    name: ClassVar[str] = "Inscopix"
    what: ClassVar[str] = "a table of Inscopix"
    summary: ClassVar[str] = (
        "the CSV of *Export Traces*, known by its second line (`Time(s)/Cell Status`): rejected cells are "
        "left out, accepted and undecided ones kept; the first column gives times and frame rate"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    looks_inside: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        if not path.is_file() or path.suffix.lower() != ".csv":
            return False
        with path.open("rb") as file:
            lines = file.read(100_000).decode("utf-8-sig", errors="replace").splitlines()
        return len(lines) > 1 and bool(_MARK.fullmatch(lines[1].split(",")[0]))

    def parts(self, path: Path) -> Mapping[str, Part]:
        rows, lines, _ = fields_of(path)
        names, status = [[field.strip() for field in row] for row in rows[:2]]
        wrong = next((n for n, row in zip(lines, rows, strict=True) if len(row) != len(names)), None)
        if wrong is not None:
            raise UserError(
                f"{path}: line {wrong} has not as many columns as the first, expected {len(names)}"
            )
        values = np.array([[number_in(field) for field in row] for row in rows[2:]], dtype=object)
        bad = np.argwhere(values == None)  # noqa: E711
        if len(bad):
            row, column = bad[0]
            raise UserError(
                f"{path}: line {lines[row + 2]}, column {column + 1} holds "
                f"'{rows[row + 2][column].strip()}', expected a number"
            )
        values = values.astype(float).reshape(-1, len(names))
        kept = [n for n in range(1, len(names)) if status[n].lower() != "rejected"]
        if not kept:
            raise UserError(f"{path}: all {len(names) - 1} cells were rejected, expected one that was not")
        out = [names[n] for n in range(1, len(names)) if n not in kept]
        notes = (f"rejected cells are left out: {', '.join(out)}",) if out else ()
        part = Part(
            values[:, kept],
            names=[names[n] for n in kept],
            orientation="time_first",
            notes=notes,
        )
        return {UNNAMED: placed(part, by_clock(path, values[:, 0], "the column of times"))}
