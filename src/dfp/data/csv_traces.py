"""Reading a table of traces: a column a cell, with or without a header, with or without a time column."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError

Array = NDArray[np.float64]

_TIME_NAMES = {"t", "time", "time_s", "time (s)", "time [s]", "t (s)", "seconds"}
_NAN_WORDS = {"", "nan", "na", "null", "none"}


def _number(field: str) -> float | None:
    word = field.strip()
    if word.lower() in _NAN_WORDS:
        return float("nan")
    try:
        return float(word)
    except ValueError:
        return None


def read_csv(path: Path) -> tuple[Array, list[str] | None, float | None]:
    """Values ``(T, N)``, cell names if there is a header, and the frame rate (Hz) if there is a time column.

    Raises:
        UserError: naming the line and column of a field that is not a number, a line of another width, or a
            time column that does not tell a constant frame rate.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text, expected comma-separated numbers") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise UserError(f"{path}: an empty file, expected rows of numbers")
    delimiter = max(",;\t", key=lines[0][1].count)
    rows = list(csv.reader((line for _, line in lines), delimiter=delimiter))
    names: list[str] | None = None
    if any(_number(field) is None for field in rows[0]):
        names = [field.strip() for field in rows[0]]
        rows, lines = rows[1:], lines[1:]
    width = len(names) if names is not None else len(rows[0])
    values = np.empty((len(rows), width))
    for row, ((line, _), fields) in enumerate(zip(lines, rows, strict=True)):
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
    rate: float | None = None
    timed = [n for n, name in enumerate(names or []) if name.lower() in _TIME_NAMES]
    if timed:
        rate = _rate_of(path, values[:, timed[0]])
        values = np.delete(values, timed[0], axis=1)
        names = [name for n, name in enumerate(names or []) if n != timed[0]]
    return values, names, rate


def _rate_of(path: Path, seconds: Array) -> float:
    steps = np.diff(seconds)
    if len(steps) == 0 or not np.all(np.isfinite(steps)) or not np.all(steps > 0):
        raise UserError(f"{path}: the time column does not rise from row to row, expected seconds in order")
    interval = float(seconds[-1] - seconds[0]) / len(steps)
    worst = int(np.abs(steps / interval - 1).argmax())
    if abs(steps[worst] / interval - 1) > 0.5:
        raise UserError(
            f"{path}: the time column steps by {steps[worst]:.4g} s at row {worst + 1} and by "
            f"{interval:.4g} s on average, "
            "expected a constant frame rate; put empty rows where frames are missing"
        )
    return 1 / interval
