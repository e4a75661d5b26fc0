"""A table of text: a column a cell, with or without a header, a time column, a column of counts."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import UNNAMED, Part, Reader
from dfp.data.readers.clock import are_whole, by_clock, rises, seconds_per_unit, steps_of_one
from dfp.data.readers.columns import Column, names_cell, placed
from dfp.data.readers.long_table import parts_of

_NAN_WORDS = {"", "nan", "na", "null", "none"}
_DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)


def number_in(field: str) -> float | None:
    """The number in a field, NaN for an empty one or a word for missing; None for other text."""
    word = field.strip()
    if word.lower() in _NAN_WORDS:
        return float("nan")
    try:
        return float(word)
    except ValueError:
        return None


def _floats(fields: Sequence[str]) -> NDArray[np.float64]:
    """Numbers in fields that hold nothing else."""
    return np.array([number_in(field) for field in fields], dtype=float)


class Table(Reader):
    """A column a cell.

    Fields are separated by semicolons, tabs, commas or spaces; with any but commas, decimal commas are
    understood. Lines that begin with # or % are left out, and so is an empty column at the end; a blank line
    between rows is a missing frame. What the columns are, ``columns.py`` says. Empty fields are NaN.
    """

    name: ClassVar[str] = "table"
    what: ClassVar[str] = "a table of numbers"
    summary: ClassVar[str] = (
        "a column a cell, with or without names, or a row a cell under frame numbers or times, or long: a "
        "row a frame and cell, with columns such as `cell`, `frame` or `time`, and one of values (`--key` "
        "where there are more). Separated by commas, semicolons, tabs or spaces; decimal commas where the "
        "separator is no comma; lines after `#` or `%` are comments. A column of time (`time`, `t_ms`, "
        "`Time Stamp (ms)`, dates; seconds unless it says otherwise) gives the frame rate, and with `frame`"
        " tells which frames are missing; `trial` begins epochs; what rises throughout is never a cell"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".txt")

    def parts(self, path: Path) -> Mapping[str, Part]:
        """Read the columns of the table, and refuse with line and column what cannot be understood.

        Refused are: a field that is not a number, a line of another width, a time column in an unknown unit
        or that does not rise, and numbers that look like decimal commas taken apart.
        """
        return read_table(path)


def read_table(path: Path) -> dict[str, Part]:
    """The arrays of a table by name."""
    rows, lines, blank = fields_of(path)
    names: list[str] | None = None
    if _is_header(rows):
        names = [field.strip() for field in rows[0]]
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise UserError(f"{path}: a header without rows, expected rows of numbers")
    width = len(names) if names is not None else len(rows[0])
    for line, fields in zip(lines, rows, strict=True):
        if len(fields) != width:
            raise UserError(
                f"{path}: line {line} has {len(fields)} columns, expected {width} as in the first line"
            )
    if width > 1 and all(not fields[-1].strip() for fields in rows) and not (names and names[-1]):
        rows, names = [fields[:-1] for fields in rows], names[:-1] if names is not None else None
    columns = _columns(rows, lines, names)
    if (cells := _cells_in_rows(columns, names)) is not None:
        return {UNNAMED: _turned(path, cells, columns, names)}
    parts = parts_of(path, columns, named=names is not None)
    timed = all(part.times is not None or part.frames is not None for part in parts.values())
    return parts if timed else {name: _with_blank(part, lines, blank) for name, part in parts.items()}


def _columns(rows: list[list[str]], lines: list[int], names: list[str] | None) -> list[Column]:
    """The columns of fields: numbers where all are, else text, and where the first that is none stands."""
    columns = []
    for place, fields in enumerate(zip(*rows, strict=True)):
        values = [number_in(field) for field in fields]
        name = "" if names is None else names[place]
        if None in values:
            row = values.index(None)
            where = f"line {lines[row]}, column {place + 1} holds '{fields[row].strip()}'"
            columns.append(Column(name, np.array([field.strip() for field in fields], dtype=object), where))
        else:
            columns.append(Column(name, np.array(values, dtype=float)))
    return columns


def _cells_in_rows(columns: list[Column], names: list[str] | None) -> Column | None:
    """The column that names the cells, where rows are cells and columns frames."""
    first, others = columns[0], columns[1:]
    if len(others) < 2 or any(column.is_text for column in others):
        return None
    whole = not first.is_text and are_whole(first.data)
    if names is None:
        labels = first.is_text or (
            whole
            and len(set(first.data)) == len(first.data)
            and len(others) >= 10 * len(first.data)
            and not all(float(v).is_integer() for column in others for v in column.data[:1])
        )
        return first if labels and len(others) > len(first.data) else None
    marks = [number_in(name) for name in names[1:]]
    if None in marks or not rises(np.array(marks, dtype=float)) or not len(others) > len(first.data):
        return None
    return first if first.is_text or whole or names_cell(first.name) else None


def _turned(path: Path, cells: Column, columns: list[Column], names: list[str] | None) -> Part:
    """The array of a table whose rows are cells."""
    values = np.column_stack([column.data for column in columns[1:]])
    named = [str(v) if cells.is_text else f"{v:g}" for v in cells.data]
    note = "rows are cells, named by the first column"
    part = Part(values, names=named, orientation="cells_first", notes=(note,))
    if names is None:
        return part
    marks = _floats(names[1:])
    if steps_of_one(marks):
        return part
    seconds = marks * (seconds_per_unit(names[0]) or 1.0)
    return placed(part, by_clock(path, seconds, "the header"))


def _with_blank(part: Part, lines: list[int], blank: list[int]) -> Part:
    """Blank lines between rows as missing frames."""
    inner = [line for line in blank if lines[0] < line < lines[-1]]
    if not inner or len(part.values) != len(lines) or len(inner) == len(lines) - 1:
        return part  # a blank line after each row is a way to end lines
    frames = np.arange(len(lines)) + np.searchsorted(inner, lines)
    note = f"{len(inner)} blank lines are taken as missing frames, first at line {inner[0]}"
    return replace(part, frames=frames.astype(np.int64), notes=(*part.notes, note))


def fields_of(path: Path) -> tuple[list[list[str]], list[int], list[int]]:
    """The lines that hold something, taken apart, and their numbers; the numbers of blank lines."""
    text = _text(path)
    every = [(n, line) for n, line in enumerate(text.splitlines(), start=1)]
    blank = [n for n, line in every if not line.strip()]
    lines = [(n, line) for n, line in every if line.strip() and line.lstrip()[0] not in "#%"]
    if not lines:
        raise UserError(f"{path}: an empty file, expected rows of numbers")
    first = lines[0][1]
    delimiter = next((mark for mark in ";\t," if mark in first), "")
    if delimiter:
        rows = list(csv.reader((line for _, line in lines), delimiter=delimiter))
        if len(rows) != len(lines):
            raise UserError(f"{path}: a quotation mark is not closed on its line, expected rows of numbers")
    else:
        rows = [line.split() if number_in(first) is None else [line] for _, line in lines]
    if delimiter != ",":
        rows = [[f.replace(",", ".") if _DECIMAL_COMMA.fullmatch(f) else f for f in row] for row in rows]
    elif "." not in text and any(re.match(r"0\d", field) for row in rows for field in row[1:]):
        raise UserError(
            f"{path}: holds numbers such as {first.strip()[:20]} that look like decimal commas, expected "
            "decimal points, or columns separated by semicolons or tabs"
        )
    return rows, [n for n, _ in lines], blank


def _text(path: Path) -> str:
    """The text of a file: UTF-8, UTF-16 where it says so, else that of Windows."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if "\x00" in text or "\ufffd" in text:
        raise UserError(f"{path}: not UTF-8 text, expected comma-separated numbers")
    return text


def _is_header(rows: list[list[str]]) -> bool:
    """Whether names stand in the first line; bare column numbers, as pandas writes them, are names too."""
    row = rows[0]
    words = [number_in(field) is None for field in row]
    if any(words):
        # a name before numbers, in every row: rows are cells, without a header
        named = [number_in(other[0]) is None and number_in(other[-1]) is not None for other in rows if other]
        if words[0] and not any(words[1:]) and len(row) > 3 and all(named) and len(rows) < len(row):
            return rises(_floats(row[1:]))
        return True
    named_row = row[1:] if not row[0].strip() else row
    least = 1 if len(named_row) < len(row) else 3
    if len(named_row) >= least and [field.strip() for field in named_row] in (
        [str(n) for n in range(len(named_row))],
        [str(n) for n in range(1, len(named_row) + 1)],
    ):
        return True
    # times or frame numbers above cells in rows: even steps, nothing before them
    return least == 1 and len(row) > 2 * len(rows) and rises(_floats(named_row))
