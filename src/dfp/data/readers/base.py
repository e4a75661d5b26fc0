"""What a reader is: it turns a file into named arrays. All that comes after is here, alike for every format.

Which array is taken, which way round it lies, where the frame rate comes from, what is refused: a reader says
only what its format fixes (``Part``).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.data.traces import Orientation, Traces, cell_names, check_traces, chosen_cells

#: the name of the one array of a format that gives its array no name
UNNAMED = ""
#: a number of one of these names beside an array is its frame rate in Hz
RATE_NAMES = ("frame_rate", "framerate", "fs", "fr", "sampling_rate", "imaging_rate")


@dataclass(frozen=True)
class Request:
    """What a user may tell of a file; it means the same for every format.

    Attributes:
        key: name of the array to take, where a file holds several.
        orientation: ``"time_first"`` (rows are frames) or ``"cells_first"`` (rows are cells). When it is not
            given, rows are what the format says, or frames; more cells than frames are then refused.
        frame_rate: Hz; needed where the file does not tell it, and refused where it contradicts the file by
            more than 1%.
        allow_nan: as in ``check_traces``.
        cells: names of those to take; all where none are named.
    """

    key: str | None = None
    orientation: Orientation | None = None
    frame_rate: float | None = None
    allow_nan: bool = False
    cells: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """One array of a file, and what the format itself says of it.

    Attributes:
        values: ``(T,)``, ``(T, N)`` or ``(N, T)``: an array, or anything with a ``dtype`` and a ``shape``
            that NumPy can turn into one (it is asked to for the array that is taken only).
        names: of the columns; of the cells where ``orientation`` is set.
        orientation: where the format fixes it; else the user's word or frames in rows.
        frame_rate: Hz, where the file tells it for this array.
        rate_from: what it tells it in.
        rate_hint: where a user finds the frame rate that the file does not tell.
        times: ``(T,)`` seconds of the rows.
        frames: ``(T,)`` the number of each row's frame, rising from 0; those in between are missing frames.
            None where every row follows the one before.
        starts: first rows of epochs, without the first of all.
        notes: as in ``Traces``.
        finish: ``(T, N)`` values and the frame rate in Hz → traces ``(T, N)``, for a format whose numbers are
            not traces yet.
        preferred: take it where several could be traces and no key is told.
        told_missing: of the shape of ``values``, true where the format itself says that there is no frame:
            NaN there needs no leave of the user.
        unusable: cells that ``finish`` could make nothing of, and why; it fills this in.
        source: the file inside a folder, for the messages on its values.
    """

    values: Any
    names: Sequence[str] | None = None
    orientation: Orientation | None = None
    frame_rate: float | None = None
    rate_from: str = "the file"
    rate_hint: str = ""
    times: NDArray[np.float64] | None = None
    frames: NDArray[np.int64] | None = None
    starts: Sequence[int] = ()
    notes: tuple[str, ...] = ()
    finish: Callable[[NDArray[Any], float], NDArray[np.float32]] | None = None
    preferred: bool = False
    told_missing: NDArray[np.bool_] | None = None
    unusable: Mapping[str, str] = field(default_factory=dict)
    source: Path | None = None


class Reader(ABC):
    """A format of recordings: a file of its own in this package, found without being listed anywhere.

    Class attributes:
        name: what the format is called, in messages and documents.
        what: one file of it, after "could not be read as".
        summary: what is read, in one line for the table of docs/recordings.md.
        suffixes: of its files, with the dot, in lower case; none where it reads folders.
        looks_inside: whether ``recognises`` goes by what is in a file. Such a reader is asked before those
            that go by the suffix, so that it may take files of theirs.
        install: the command that installs what ``parts`` imports beyond dfp's requirements.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    looks_inside: ClassVar[bool] = False
    install: ClassVar[str] = ""

    def recognises(self, path: Path) -> bool:
        """Whether the file or folder is of this format. It has to be quick; what it raises means no."""
        return path.is_file() and path.suffix.lower() in self.suffixes

    @abstractmethod
    def parts(self, path: Path) -> Mapping[str, Part]:
        """The arrays of a file by their names; a single one without a name is called ``UNNAMED``.

        Libraries that dfp does not require are imported here. Anything may be raised for a damaged file:
        the user gets a sentence of it.
        """

    def read(self, path: Path, request: Request = Request()) -> Traces:
        """The traces of a file, checked.

        Raises:
            UserError: for a file that cannot be read, a key that it lacks, an orientation or frame rate that
                contradicts it, an unknown frame rate, or what ``check_traces`` refuses.
        """
        if request.orientation not in (None, "time_first", "cells_first"):
            raise UserError(
                f"{path}: orientation is '{request.orientation}', expected 'time_first' or 'cells_first'"
            )
        try:
            part = _chosen(path, self.parts(path), request.key)
            values = real(path, np.asarray(part.values))
        except UserError:
            raise
        except ModuleNotFoundError as error:
            command = self.install or f"pip install {error.name}"
            raise UserError(
                f"{path}: reading {self.what} needs {error.name}, which is not installed; install it with "
                f"`{command}`"
            ) from error
        except Exception as error:
            # What a damaged file makes a library raise depends on where it gives up.
            raise UserError(f"{path}: could not be read as {self.what} ({reason(error)})") from error
        return understood(path, part, values, request)


def check_readable(path: Path) -> None:
    """Raise ``OSError`` with the system's own reason, which HDF5's library does not tell."""
    with path.open("rb"):
        pass


def real(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """``values``; raises ``UserError`` where they are not real numbers."""
    if values.dtype.kind not in "fiub":
        raise UserError(f"{path}: values of type {values.dtype}, expected real numbers")
    return values


def reason(error: Exception) -> str:
    """What an exception says, in one line."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split())[:300] or type(error).__name__


def _chosen(path: Path, parts: Mapping[str, Part], key: str | None) -> Part:
    """The array to take; its frame rate, if it tells none, from a number beside it."""
    if set(parts) == {UNNAMED}:
        if key is not None:
            raise UserError(f"{path}: no key '{key}', expected none (--key): the file has one array, unnamed")
        return parts[UNNAMED]
    listed = ", ".join(sorted(parts)) or "nothing"
    if key is None:
        likely = [
            name
            for name, part in parts.items()
            if part.values.dtype.kind in "fiub" and np.prod(part.values.shape) > 1
        ]
        likely = [name for name in likely if parts[name].preferred] or likely
        likely = likely or (list(parts) if len(parts) == 1 else [])  # what is wrong with it is said later
        if len(likely) != 1:
            raise UserError(
                f"{path}: holds {len(likely)} arrays that could be traces ({listed}), expected 'key' "
                "(--key) to name one"
            )
        key = likely[0]
    elif key not in parts:
        raise UserError(f"{path}: no key '{key}'{suggest(key, parts)}, expected one of {listed}")
    return _with_rate(parts[key], parts)


def _with_rate(part: Part, parts: Mapping[str, Part]) -> Part:
    if part.frame_rate is not None:
        return part
    for name, other in parts.items():
        values = other.values
        if (
            re.split(r"[./]", name)[-1].lower() in RATE_NAMES
            and values.dtype.kind in "fiu"
            and np.prod(values.shape) == 1
        ):
            return replace(part, frame_rate=float(np.asarray(values).ravel()[0]), rate_from=f"'{name}'")
    return part


def understood(path: Path, part: Part, values: NDArray[Any], request: Request) -> Traces:
    """What a file holds as ``(T, N)`` traces, or a sentence on what is wrong with it."""
    source = str(part.source or path)
    names, how = part.names, part.orientation or request.orientation
    told = np.zeros(values.shape, bool) if part.told_missing is None else part.told_missing
    if values.ndim == 1:
        values, told, how = values[:, None], told[:, None], "time_first"
    elif part.orientation and request.orientation not in (None, part.orientation):
        raise UserError(
            f"{source}: orientation is given as '{request.orientation}', expected '{part.orientation}' or "
            "none: the format fixes it"
        )
    elif how == "cells_first" and values.ndim == 2:
        # the names of the columns are then those of frames
        values, told, names = values.T, told.T, names if part.orientation else None
    if part.finish is None:
        values = _single(values)
    check_traces(values, source, orientation=how, allow_nan=True, names=names)
    labels = cell_names(names, values.shape[1], source)
    wanted = chosen_cells(labels, request.cells, source)
    check_traces(
        np.where(told, 0, values)[:, wanted],
        source,
        orientation="time_first",
        allow_nan=request.allow_nan,
        names=[labels[n] for n in wanted],
    )
    rate, rate_from = _frame_rate(path, part, request.frame_rate)
    x = values if part.finish is None else _single(part.finish(values, rate))
    if len(wanted) < len(labels):
        x, labels = np.ascontiguousarray(x[:, wanted]), tuple(labels[n] for n in wanted)
    x, times, epochs = _in_time(x, part)
    unusable = {name: why for name, why in part.unusable.items() if name in labels}
    return Traces(x, rate, labels, rate_from, times, part.notes, path, epochs, unusable)


def _in_time(
    x: NDArray[np.float32], part: Part
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None, tuple[tuple[int, int], ...]]:
    """The rows at their frames, missing ones between them; the times of all frames, and the epochs."""
    rows = len(x)
    times = part.times if part.times is not None and len(part.times) == rows else None
    frames = part.frames if part.frames is not None and len(part.frames) == rows else np.arange(rows)
    first = [0, *part.starts]
    last = [*(start - 1 for start in part.starts), rows - 1]
    epochs = tuple((int(frames[a]), int(frames[b]) + 1) for a, b in zip(first, last, strict=True))
    if rows and frames[-1] >= rows:
        wide = np.full((int(frames[-1]) + 1, x.shape[1]), np.nan, dtype=np.float32)
        wide[frames] = x
        x = wide
        times = None if times is None else np.interp(np.arange(len(x)), frames, times)
    return x, times, epochs if len(epochs) > 1 else ()


def _single(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a number too large becomes infinite, and is refused as that
        return np.ascontiguousarray(values, dtype=np.float32)


def _frame_rate(path: Path, part: Part, given: float | None) -> tuple[float, str]:
    """The frame rate in Hz, and where it came from."""
    stored = part.frame_rate
    rate = stored if given is None else float(given)
    if rate is None:
        raise UserError(
            f"{path}: does not tell its frame rate, expected frame_rate (--frame-rate) in Hz to be "
            f"given{part.rate_hint}"
        )
    if not (np.isfinite(rate) and rate > 0):
        raise UserError(f"{path}: a frame rate of {rate}, expected a positive number of Hz")
    if given is not None and stored is not None and not abs(stored / rate - 1) <= 0.01:
        raise UserError(
            f"{path}: holds a frame rate of {stored:.4g} Hz, but frame_rate is given as {rate:.4g} Hz"
        )
    return rate, "given" if given is not None else part.rate_from
