"""Which reader a file is for: the readers of this package, found as posteriors are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import dfp.data.readers
from dfp.core.discovery import discover
from dfp.core.errors import UserError
from dfp.data.readers.base import Reader, Request
from dfp.data.traces import Orientation, Traces


@cache
def readers() -> dict[str, type[Reader]]:
    """All readers by name; those that look into a file come first."""
    found = discover(dfp.data.readers, Reader)  # type: ignore[type-abstract]
    return dict(sorted(found.items(), key=lambda item: not item[1].looks_inside))


def known_files() -> str:
    """The formats in words: suffixes, and whose folders."""
    suffixes = sorted({suffix for reader in readers().values() for suffix in reader.suffixes})
    folders = [f"a folder of {name}" for name, reader in sorted(readers().items()) if not reader.suffixes]
    return f"{', '.join(suffixes)}" + "".join(f" or {folder}" for folder in folders)


def reader_of(path: Path) -> Reader:
    """The reader for a file or folder.

    Raises:
        UserError: where there is none, naming the known formats.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file, expected traces as {known_files()}")
    for kind in readers().values():
        reader = kind()
        try:
            if reader.recognises(path):
                return reader
        except Exception:
            # a damaged file: the reader that goes by its suffix says what is wrong with it
            continue
    if path.is_dir():
        raise UserError(f"{path}: a folder of no known kind, expected {known_files()}")
    raise UserError(f"{path}: unknown kind of file '{path.suffix}', expected one of {known_files()}")


def read_traces(
    path: Path | str,
    *,
    key: str | None = None,
    orientation: Orientation | None = None,
    frame_rate: float | None = None,
    allow_nan: bool = False,
    cells: Sequence[str] | None = None,
) -> Traces:
    """Read and check the traces of a recording; docs/recordings.md has a table of the formats.

    Args:
        path: a file, or a folder that a pipeline left.
        key: name of the array, where the file holds several.
        orientation: ``"time_first"`` (rows are frames) or ``"cells_first"`` (rows are cells), where the
            format does not fix it. When it is not given, rows are frames, and more cells than frames are
            refused as looking transposed.
        frame_rate: Hz; needed when the file does not tell it, and refused when it contradicts the file by
            more than 1%.
        allow_nan: as in ``check_traces``.
        cells: names of those to take; all where none are named.

    Returns:
        Traces ``(T, N)`` float32, frames before cells, with their frame rate in Hz.

    Raises:
        UserError: for a missing, unknown or unreadable file, a key that it lacks, an orientation or frame
            rate that contradicts it, an unknown frame rate, or what ``check_traces`` refuses.

    Example:
        >>> import tempfile, numpy as np
        >>> from dfp.data.readers.registry import read_traces
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/mine.npz", dff=np.random.default_rng(0).random((50, 3)), fs=30.0)
        ...     traces = read_traces(f"{folder}/mine.npz")
        >>> traces.x.shape, traces.frame_rate, traces.rate_from, traces.names
        ((50, 3), 30.0, "'fs'", ('cell0', 'cell1', 'cell2'))
    """
    path = Path(path)
    request = Request(key, orientation, frame_rate, allow_nan, cells)
    return reader_of(path).read(path, request)
