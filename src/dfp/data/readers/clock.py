"""Clocks and counters of a recording: names and units of time, frames that are missing, epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfp.core.errors import UserError

Array = NDArray[np.float64]

#: a pause of this many seconds or more begins a new epoch
EPOCH_SECONDS = 2.0
#: the frames of a longer pause are not filled in; this many seconds of missing frames part its epochs
FILLED_SECONDS, PARTED_SECONDS = 60.0, 5.0
#: frames a second that time may plausibly mean where its unit is not said
PLAUSIBLE_HZ = (0.5, 2000.0)

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
}
#: units that are a name of their own: a column `sec`, but not one `s`, which may be a cell
_LONG_UNITS = {word for word in _UNITS if len(word) > 2 and word not in ("min", "mins")} | {"ms", "us", "µs"}
_TIME = {"t", "time", "times", "timestamp", "timestamps", "stamp", "clock", "elapsed"}
_BESIDE = {
    "in",
    "of",
    "frame",
    "relative",
    "rel",
    "start",
    "since",
    "recording",
    "session",
    "experiment",
    "the",
}
#: a column that numbers the frames; a nameless first one is what pandas writes
_COUNTERS = {"", "frame", "frames", "framenumber", "frameid", "index", "idx", "slice", "sample", "samples"}
_COUNTERS |= {
    "n",
    "i",
    "#",
    "row",
    "timepoint",
    "timepoints",
    "tick",
    "ticks",
    "unnamed",
    "frameindex",
    "framenum",
}
_TRIALS = {"trial", "trials", "epoch", "epochs", "block", "session", "sweep", "run", "repetition", "repeat"}
_TRIALS |= {"trialnumber", "trialid", "epochid", "sessionid", "trialindex", "blockid"}


@dataclass(frozen=True, eq=False)
class Rows:
    """Where the rows of a table lie in time.

    Attributes:
        frame_rate: Hz; None where no clock tells it.
        frames: ``(rows,)`` the number of each row's frame, rising; those in between are missing. None where
            every row follows the one before.
        starts: first rows of epochs, without the first of all.
        times: ``(rows,)`` seconds; None where there is no clock.
        notes: sentences on what was filled in.
        told_by: the clock, in words.
    """

    frame_rate: float | None = None
    frames: NDArray[np.int64] | None = None
    starts: tuple[int, ...] = ()
    times: Array | None = None
    notes: tuple[str, ...] = ()
    told_by: str = ""


def words_of(name: str) -> list[str]:
    """The words of a column's name, in lower case, without marks: ``"Time Stamp (ms)"`` → time, stamp, ms."""
    return re.findall(r"[a-zµμ]+|#", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name)).lower())


def seconds_per_unit(name: str) -> float | None:
    """Seconds in the unit of a column that is named after time (1 where it names none); None for other names.

    Example:
        >>> seconds_per_unit("Time Stamp (ms)"), seconds_per_unit("t"), seconds_per_unit("cell 3")
        (0.001, 1.0, None)
    """
    words = words_of(name)
    units = [word for word in words if word in _UNITS]
    if len(words) == 1 and words[0] in _LONG_UNITS:
        return _UNITS[words[0]]
    if not any(word in _TIME for word in words) or len(units) > 1:
        return None
    rest = [word for word in words if word not in _TIME and word not in _BESIDE and word not in _UNITS]
    return None if rest else _UNITS[units[0]] if units else 1.0


def names_time(name: str) -> bool:
    """Whether a name begins as those of clocks do."""
    return bool(words_of(name)) and words_of(name)[0] in _TIME - {"t", "stamp", "clock"}


def names_unit(name: str) -> bool:
    """Whether a name of time says its unit."""
    return any(word in _UNITS for word in words_of(name))


def names_counter(name: str) -> bool:
    """Whether a column of this name numbers frames."""
    return "".join(words_of(name)) in _COUNTERS and not re.search(r"\d", str(name).replace("Unnamed: 0", ""))


def names_trial(name: str) -> bool:
    """Whether a column of this name numbers trials."""
    return "".join(words_of(name)) in _TRIALS


def rises(column: NDArray[Any]) -> bool:
    """Whether every number is above the one before, and there are some."""
    known = column[np.isfinite(column)]
    return len(known) > 1 and len(known) > 0.5 * len(column) and bool((np.diff(known) > 0).all())


def are_whole(column: NDArray[Any]) -> bool:
    """Whether all are finite whole numbers."""
    values = np.asarray(column, dtype=float)
    return bool(np.isfinite(values).all()) and not (values % 1).any()


def steps_of_one(column: NDArray[Any]) -> bool:
    """Whether whole numbers follow each other."""
    with np.errstate(invalid="ignore"):  # infinite numbers
        return len(column) > 1 and float(column[0]).is_integer() and bool(np.all(np.diff(column) == 1))


def dates(column: NDArray[Any]) -> Array | None:
    """Seconds from the first of ``(rows,)`` dates and times of day, as text or as dates; None for others."""
    if column.dtype.kind not in "mM":
        known = [str(one) for one in column if str(one).strip()]
        if not known or not all(re.search(r"\d+:\d\d", one) for one in (known[0], known[-1])):
            return None
        try:
            marks = pd.to_datetime(pd.Series(column.astype(str)), format="mixed", utc=True)
        except (ValueError, TypeError, OverflowError):
            return None
        column = marks.dt.tz_convert(None).to_numpy("datetime64[ns]")
    told = ~np.isnat(column)
    first = column[told][:1] if told.any() else column[:1]
    return np.asarray((column - first) / np.timedelta64(1, "s"), dtype=float)


def by_clock(source: Path, times: Array, what: str, starts: tuple[int, ...] = ()) -> Rows:
    """The rows of a clock: a frame rate, and missing frames where it skips whole frames.

    The interval between frames is the largest u of which nearly all steps are multiples, to 0.3 u; where
    there is none the clock is left as it is, for the doubts to say. A clock that begins anew at a trial
    goes on from the trial before.

    Args:
        times: ``(rows,)`` seconds; NaN where a row tells none.
        what: how messages call the clock.
        starts: first rows of trials.

    Raises:
        UserError: for a clock that does not rise.
    """
    times, starts, notes = _going_on(np.asarray(times, dtype=float), starts)
    rate_of(source, times, what)
    steps = np.diff(times)
    interval = _interval(times, steps)
    if interval is None:
        return Rows(1 / float(np.median(steps)), None, starts, times, notes, what)
    counts = np.maximum(np.round(steps / interval), 1).astype(np.int64)
    return _filled(times, counts, 1 / interval, starts, what, notes)


def by_counter(
    source: Path, counter: Array, what: str, times: Array | None, starts: tuple[int, ...] = ()
) -> Rows:
    """The rows of a column that numbers the frames: the numbers left out are missing frames.

    A counter that begins anew begins a trial.

    Args:
        times: of the rows, where a clock tells them.

    Raises:
        UserError: for numbers that are not whole, stand still, or step by two or more throughout.
    """
    with np.errstate(invalid="ignore"):  # infinite numbers
        steps = np.diff(counter)
    anew = np.flatnonzero(steps < 0) + 1
    within = np.delete(steps, anew - 1)
    if not are_whole(counter) or (within < 1).any():
        raise UserError(f"{source}: {what} does not number the rows, expected whole numbers that rise")
    least = int(within.min()) if len(within) else 1
    if least > 1 and times is None:
        raise UserError(
            f"{source}: {what} counts in steps of {least}, expected 1; leave the column out and say the "
            "frame rate of the rows (--frame-rate)"
        )
    starts = tuple(sorted({*starts, *anew.tolist()}))
    counts = np.where(steps < 0, 1, steps // least).astype(np.int64)
    counts[[start - 1 for start in starts]] = np.minimum(counts[[start - 1 for start in starts]], 1)
    if times is None:
        return _filled(None, counts, None, starts, what, ())
    clock = by_clock(source, times, "the time", starts)
    if clock.frames is not None or clock.times is None or not (counts > 1).any():
        return clock
    rate = float(counts.sum() / (clock.times[-1] - clock.times[0]))
    return _filled(clock.times, counts, rate, clock.starts, what, clock.notes)


def rate_of(source: Path, seconds: Array, what: str = "the time column") -> float:
    """Frames a second in the mean. Raises ``UserError`` where ``seconds`` do not rise."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite numbers
        steps = np.diff(seconds)
    if len(steps) == 0 or not np.all(np.isfinite(steps)) or not np.all(steps > 0):
        raise UserError(f"{source}: {what} does not rise from row to row, expected seconds in order")
    return len(steps) / float(seconds[-1] - seconds[0])


def _going_on(times: Array, starts: tuple[int, ...]) -> tuple[Array, tuple[int, ...], tuple[str, ...]]:
    """Times without gaps between rows that tell some, and going on where they begin anew; where they do."""
    known = np.isfinite(times)
    if not known.all() and known[0] and known[-1] and known.sum() > 1:
        rows = np.arange(len(times))
        times = np.interp(rows, rows[known], times[known])
    steps = np.diff(times)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    # back to the first time, or near it, after a stretch of frames: a trial
    anew = [int(t) + 1 for t in np.flatnonzero(steps < 0) if abs(times[t + 1] - times[0]) < EPOCH_SECONDS]
    anew = [start for start in anew if start >= 10]
    if not anew or len(anew) != int((steps <= 0).sum()):
        return times, starts, ()
    times = times.copy()
    for start in anew:
        times[start:] += times[start - 1] + usual - times[start]
    note = f"the clock begins anew {len(anew)} times: trials, put one after the other"
    return times, tuple(sorted({*starts, *anew})), (note,)


def _interval(times: Array, steps: Array) -> float | None:
    """Seconds between frames; None where no interval fits."""
    mean = float(steps.mean())
    grain = _grain(times)
    even = times[0] + mean * np.arange(len(times))
    if grain >= 0.25 * mean and np.abs(times - even).max() <= 0.75 * grain + 0.02 * mean:
        return mean  # evenly spaced, to the digits that were written
    found = []
    for first in {float(np.median(steps)), float(np.quantile(steps, 0.25)), float(np.quantile(steps, 0.02))}:
        u = first
        for _ in range(5):
            counts = np.maximum(np.round(steps / u), 1)
            near = np.abs(steps / u - counts) < 0.3
            if not near.any():
                break
            u = float(steps[near].sum() / counts[near].sum())
        counts = np.maximum(np.round(steps / u), 1)
        long = counts > EPOCH_SECONDS / u  # a pause need not be a whole number of frames
        if np.mean((np.abs(steps / u - counts) < 0.3) | long) >= 0.95 and (counts == 1).mean() > 0.2:
            found.append(u)
    return max(found, default=None)


def _grain(times: Array) -> float:
    """Of the digits that times were written with, the smallest: 0.001 for milliseconds, 0 for many digits."""
    for digits in range(7):
        scaled = times * 10.0**digits
        if np.abs(scaled - np.round(scaled)).max() < 1e-6 * max(1.0, float(np.abs(scaled).max()) * 1e-6):
            return float(10.0**-digits)
    return 0.0


def _filled(
    times: Array | None,
    counts: NDArray[np.int64],
    rate: float | None,
    starts: tuple[int, ...],
    what: str,
    notes: tuple[str, ...],
) -> Rows:
    """The rows on a grid, ``counts`` frames from each to the next; a long pause is not filled in."""
    lost = int((counts - 1).sum())
    if not lost:
        return Rows(rate, None, starts, times, notes, what)
    if rate is None:
        pauses = counts > max(600, len(counts))  # without a clock: nothing says how long a frame is
        parted = 100
    else:
        pauses, parted = counts > FILLED_SECONDS * rate, max(2, round(PARTED_SECONDS * rate))
        breaks = np.flatnonzero(counts > max(2.0, EPOCH_SECONDS * rate)) + 1
        starts = tuple(sorted({*starts, *breaks.tolist()}))
    starts = tuple(sorted({*starts, *(np.flatnonzero(pauses) + 1).tolist()}))
    left = int(pauses.sum())
    filled = int((counts[~pauses] - 1).sum())
    counts = np.where(pauses, parted + 1, counts)
    said = [f"{filled} frames that {what} leaves out are filled in as missing"] * (filled > 0)
    said += [f"{left} pauses of more than {FILLED_SECONDS:g} s part epochs, and are not filled in"] * (
        left > 0
    )
    frames = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Rows(rate, frames, starts, times, (*notes, *said), what)
