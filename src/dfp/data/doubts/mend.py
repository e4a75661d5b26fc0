"""Faults that can be mended: levels of joined trials, frames of light or of a detector that stood still."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.data.doubts.base import Expected
from dfp.data.doubts.signs import frozen, outliers
from dfp.data.preprocess import initial_estimates
from dfp.data.traces import Traces

#: what can be taken as missing
BLANKED = ("outliers", "frozen")
#: frames at which trials begin, or where they are found
Trials = Sequence[int] | Literal["found"]


def level_epochs(x: NDArray[Any], starts: Iterable[int]) -> NDArray[np.float32]:
    """Traces ``(T, N)`` whose epochs all rest at one level, the median of their own levels.

    ``x[t] − b[epoch of t] + median(b)``, with b the level at rest of each epoch (``initial_estimates``).

    Args:
        starts: first frames of the epochs; the first epoch begins at 0 whether it is named or not.
    """
    inner = sorted({int(start) for start in starts} - {0})
    parts = np.split(np.asarray(x, dtype=float), inner)
    levels = np.array([[_level(column) for column in part.T] for part in parts])
    middle = np.nanmedian(levels, axis=0)
    level = [part - np.nan_to_num(own - middle) for part, own in zip(parts, levels, strict=True)]
    return np.concatenate(level).astype(np.float32)


def blank(traces: Traces, what: Sequence[str], expected: Expected = Expected()) -> tuple[Traces, list[str]]:
    """Frames of light (``outliers``) or of one and the same value (``frozen``) as missing ones.

    Light that half of the cells show is taken out of all.

    Returns:
        The traces, and a sentence on each kind.

    Raises:
        UserError: for another word than those of ``BLANKED``.
    """
    x, said = np.array(traces.x, dtype=np.float32), []
    for kind in what:
        if kind not in BLANKED:
            raise UserError(
                f"--blank: found '{kind}'{suggest(kind, BLANKED)}, expected {' or '.join(BLANKED)}"
            )
        marked: NDArray[np.bool_] = np.zeros(x.shape, dtype=bool)
        for n, y in enumerate(x.T):
            if np.isfinite(y).sum() >= 10:
                rate = traces.frame_rate
                marked[frozen(y, rate) if kind == "frozen" else outliers(y, rate, expected.decay), n] = True
        if kind == "outliers" and 2 * marked.any(0).sum() >= marked.shape[1]:
            marked |= np.asarray(marked.any(1))[:, None]
        x[marked] = np.nan
        said.append(f"{int(marked.any(1).sum())} frames taken as missing (--blank {kind})")
    return replace(traces, x=x), said


def trial_starts(trials: Trials, frames: int, found: Iterable[int]) -> tuple[int, ...]:
    """First frames of the epochs that are told, or found.

    Raises:
        UserError: for a frame that the recording does not have.
    """
    starts = sorted({0, *(found if trials == "found" else (int(one) for one in trials))})
    if starts[0] < 0 or starts[-1] >= frames:
        wrong = starts[0] if starts[0] < 0 else starts[-1]
        raise UserError(f"--trials: found frame {wrong}, expected 0 to {frames - 1}, counted from 0")
    return tuple(starts)


def _level(column: NDArray[Any]) -> float:
    known = column[np.isfinite(column)]
    if len(known) >= 10:
        return initial_estimates(column, 1.0).baseline
    return float(np.median(known)) if len(known) else float("nan")
