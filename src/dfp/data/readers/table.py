"""A table of text: a column a cell, with or without a header, a time column, a column of counts."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import UNNAMED, Part, Reader

Array = NDArray[np.float64]

#: names of a time column → seconds in its unit
_TIME_NAMES = {
    **dict.fromkeys(("t", "time", "timestamp", "timestamps", "seconds"), 1.0),
    **{f"{name}{unit}": 1.0 for name in ("t", "time") for unit in ("_s", " (s)", " [s]", "_sec", " (sec)")},
    **{f"{name}{unit}": 1e-3 for name in ("t", "time") for unit in ("_ms", " (ms)", " [ms]")},
}
#: names of a column that only counts the rows; a nameless first one is what pandas writes
_COUNT_NAMES = {"", "frame", "frames", "frame_number", "frame number", "index", "#", "slice"}
_NAN_WORDS = {"", "nan", "na", "null", "none"}
_DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)


def _number(field: str) -> float | None:
    word = field.strip()
    if word.lower() in _NAN_WORDS:
        return float("nan")
    try:
        return float(word)
    except ValueError:
        return None


class Table(Reader):
    """A column a cell.

    Fields are separated by semicolons, tabs, commas or spaces; with any but commas, decimal commas are
    understood. Lines that begin with # or % are left out, and so are a column that only counts the rows and
    an empty one at the end. A column named ``time`` or ``t`` holds seconds, ``time_ms`` milliseconds, and
    gives the frame rate. Empty fields are NaN.
    """

    name: ClassVar[str] = "table"
    what: ClassVar[str] = "a table of numbers"
    summary: ClassVar[str] = (
        "a column a cell, with or without names; columns separated by commas, semicolons, tabs or spaces; "
        "decimal commas where the separator is no comma. A column `time` (seconds) or `time_ms` gives the "
        "frame rate; `frame`, `index` or the nameless first column of pandas is left out. Lines after `#` or "
        "`%` are comments"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".txt")

    def parts(self, path: Path) -> Mapping[str, Part]:
        """Read the columns of the table, and refuse with line and column what cannot be understood.

        Refused are: a field that is not a number, a line of another width, a time column in an unknown unit
        or without a constant frame rate, and numbers that look like decimal commas taken apart.
        """
        return {UNNAMED: read_table(path)}


def read_table(path: Path) -> Part:
    """Values ``(T, N)``, names if there is a header, frame rate (Hz) and times if there is a time column."""
    rows, lines = _fields(path)
    names: list[str] | None = None
    if _is_header(rows[0]):
        names = [field.strip() for field in rows[0]]
        rows, lines = rows[1:], lines[1:]
    width = len(names) if names is not None else len(rows[0])
    values = np.empty((len(rows), width))
    for row, (line, fields) in enumerate(zip(lines, rows, strict=True)):
        if len(fields) != width:
            raise UserError(
                f"{path}: line {line} has {len(fields)} columns, expected {width} as in the first line"
            )
        for column, field in enumerate(fields):
            number = _number(field)
            if number is None:
                raise UserError(
                    f"{path}: line {line}, column {column + 1} holds '{field.strip()}', expected a number"
                )
            values[row, column] = number
    if width > 1 and all(not fields[-1].strip() for fields in rows) and not (names and names[-1]):
        values, names = values[:, :-1], names[:-1] if names is not None else None
    return without_clocks(path, values, names) if names is not None else Part(values)


def _fields(path: Path) -> tuple[list[list[str]], list[int]]:
    """The lines that hold something, taken apart, and their numbers in the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text, expected comma-separated numbers") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    lines = [(n, line) for n, line in lines if line.lstrip()[0] not in "#%"]
    if not lines:
        raise UserError(f"{path}: an empty file, expected rows of numbers")
    first = lines[0][1]
    delimiter = next((mark for mark in ";\t," if mark in first), "")
    if delimiter:
        rows = list(csv.reader((line for _, line in lines), delimiter=delimiter))
        if len(rows) != len(lines):
            raise UserError(f"{path}: a quotation mark is not closed on its line, expected rows of numbers")
    else:
        rows = [line.split() if _number(first) is None else [line] for _, line in lines]
    if delimiter != ",":
        rows = [[f.replace(",", ".") if _DECIMAL_COMMA.fullmatch(f) else f for f in row] for row in rows]
    elif "." not in text and any(re.match(r"0\d", field) for row in rows for field in row[1:]):
        raise UserError(
            f"{path}: holds numbers such as {first.strip()[:20]} that look like decimal commas, expected "
            "decimal points, or columns separated by semicolons or tabs"
        )
    return rows, [n for n, _ in lines]


def _is_header(row: list[str]) -> bool:
    """Whether names stand in the first line; bare column numbers, as pandas writes them, are names too."""
    if any(_number(field) is None for field in row):
        return True
    named = row[1:] if not row[0].strip() else row
    least = 1 if len(named) < len(row) else 3
    return len(named) >= least and [field.strip() for field in named] in (
        [str(n) for n in range(len(named))],
        [str(n) for n in range(1, len(named) + 1)],
    )


def without_clocks(path: Path, values: Array, names: list[str]) -> Part:
    """Take away the columns that count rows or hold the time; the frame rate comes from the latter."""
    rate: float | None = None
    times: Array | None = None
    clock = ""
    kept, notes = [], []
    for column, name in enumerate(names):
        if name.lower() in _TIME_NAMES:
            times = values[:, column] * _TIME_NAMES[name.lower()]
            rate, clock = rate_of(path, times), f"the column '{name}'"
            notes.append(f"the column '{name}' tells the time")
        elif re.match(r"time(stamp)?s?\b|time_", name.lower()):
            raise UserError(
                f"{path}: column '{name}' tells the time in a unit that is not known, expected 'time' in "
                "seconds or 'time_ms'"
            )
        elif name.lower() in _COUNT_NAMES and _counts(values[:, column]):
            notes.append(f"the column '{name}' only counts the rows")
        else:
            kept.append(column)
    return Part(
        values[:, kept],
        names=[names[column] for column in kept],
        frame_rate=rate,
        rate_from=clock,
        times=times,
        notes=tuple(notes),
    )


def _counts(column: Array) -> bool:
    """Whether a column only counts the rows."""
    with np.errstate(invalid="ignore"):  # infinite numbers
        return len(column) > 1 and column[0] in (0, 1) and bool(np.all(np.diff(column) == 1))


def seconds_of(name: str, labels: NDArray[Any]) -> Array | None:
    """Seconds along an axis labelled with dates, or with rising decimals under a name of time; else None."""
    if labels.dtype.kind in "mM":
        return np.asarray((labels - labels[:1]) / np.timedelta64(1, "s"))
    unit = _TIME_NAMES.get(name.lower())
    if unit is None or labels.dtype.kind != "f" or _counts(labels) or not (np.diff(labels) > 0).all():
        return None
    return labels * unit


def rate_of(path: Path, seconds: Array, what: str = "the time column") -> float:
    """Frames a second. Raises ``UserError`` where ``seconds`` do not rise evenly, to half a step."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite numbers
        steps = np.diff(seconds)
    if len(steps) == 0 or not np.all(np.isfinite(steps)) or not np.all(steps > 0):
        raise UserError(f"{path}: {what} does not rise from row to row, expected seconds in order")
    interval = float(seconds[-1] - seconds[0]) / len(steps)
    worst = int(np.abs(steps / interval - 1).argmax())
    if abs(steps[worst] / interval - 1) > 0.5:
        raise UserError(
            f"{path}: {what} steps by {steps[worst]:.4g} s at row {worst + 1} and by "
            f"{interval:.4g} s on average, "
            "expected a constant frame rate; put empty rows where frames are missing"
        )
    return 1 / interval
