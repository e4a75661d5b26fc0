"""What one trace shows that no calcium indicator makes: signs of trouble, each a function of the trace.

Traces are ``(T,)``, NaN where a frame is missing; rates are in Hz. Thresholds were chosen on real cells and
on simulated ones with planted faults (docs/doubts.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dfp.data.preprocess import noise_sd, rolling_percentile

Array = NDArray[np.float64]
Frames = NDArray[np.int64]

#: seconds: no indicator's response decays faster
FASTEST_DECAY = 0.06
#: a decay that is told may be this many times too long (two standard deviations between cells)
DECAY_FACTOR = 0.4
#: frames a second that are enough to see a step by
_COARSE_HZ = 15.0


def direction(y: NDArray[Any], frame_rate: float) -> int:
    """−1 where transients go down, +1 where they go up, 0 where it cannot be told.

    Calcium rises fast and decays slowly. Turned over, it falls further than it rises, and falls faster than
    it rises again; dips by movement do the first only.
    """
    from scipy.ndimage import uniform_filter1d

    x = filled(y - rolling_percentile(y, frame_rate, 50.0, 30.0))
    width, lag = max(1, round(0.1 * frame_rate)), max(1, round(0.2 * frame_rate))
    if len(x) < 4 * lag + 10:
        return 0
    smooth, sd = uniform_filter1d(x, width), noise_sd(x) / np.sqrt(width)
    low, middle, high = np.percentile(smooth, [0.5, 50.0, 99.5])
    fall, rise = np.percentile(smooth[lag:] - smooth[:-lag], [0.5, 99.5])
    far = (high + low - 2 * middle) / max(high - low, 1e-30)
    fast = (rise + fall) / max(rise - fall, 1e-30)
    if far < -0.15 and fast < -0.02 and middle - low > 5 * sd:
        return -1
    return int(far > 0.15 and fast > 0.02 and high - middle > 5 * sd)


def flashes(
    y: NDArray[Any], frame_rate: float, decay: float | None = None, least: float = 15.0
) -> list[tuple[int, int, float]]:
    """Runs of frames that jump up and fall again faster than any indicator decays.

    Above the floor b (rolling 20th percentile), a response that decays with τ keeps c = exp(−1/(rate · τ)) of
    itself a frame later; the last frame t of such a run keeps less: h[t + 1] < c h[t] − 4 sd, h = y − b. What
    follows is where the run started from.

    Args:
        decay: seconds, where it is told; else that of the fastest indicator. Slow frames need it: a
            fast response is over in one.
        least: height in sd of a frame's noise.

    Returns:
        First and last frame of every run (half a second at most), and its height in sd.
    """
    sd = noise_sd(y)
    if not sd > 0:
        return []
    tau = FASTEST_DECAY if decay is None else max(FASTEST_DECAY, DECAY_FACTOR * decay)
    keeps, longest = np.exp(-1.0 / (frame_rate * tau)), max(1, int(0.5 * frame_rate))
    height = np.asarray(y, dtype=float) - rolling_percentile(y, frame_rate, 20.0, 20.0)
    with np.errstate(invalid="ignore"):
        ends = np.flatnonzero((height[:-1] > least * sd) & (height[1:] < keeps * height[:-1] - 4 * sd))
    found: list[tuple[int, int, float]] = []
    for end in ends:
        if found and end <= found[-1][1]:
            continue
        first = int(end)
        while first and end - first < longest and not height[first - 1] <= 0.5 * height[end]:
            first -= 1
        before, after = _known(height[max(0, first - 3) : first]), _known(height[end + 1 : end + 4])
        if end - first >= longest or not (before.size and after.size):
            continue
        start, back = float(np.median(before)), float(np.median(after))
        if back - start <= 0.25 * height[end] + 2 * sd and start <= 0.4 * height[end]:
            found.append((first, int(end), float(height[end] / sd)))
    return found


def outliers(y: NDArray[Any], frame_rate: float, decay: float | None = None) -> Frames:
    """Frames of light that is not calcium's, or of a blanked detector; none where they are few or noise.

    Heavy-tailed noise throws single frames both up and down; what is doubted goes one way, three times or
    more (twice where it stands out by 40 sd). Dips have to be deeper: two transients leave one between them.
    """
    x = np.asarray(y, dtype=float)
    up, down = flashes(x, frame_rate, decay), flashes(-x, frame_rate, decay)
    deep = [run for run in down if run[2] > 30]
    for sign, runs, others in ((1, up, down), (-1, deep, up)):
        enough = len(runs) >= 3 or sum(run[2] > 40 for run in runs) >= 2
        if enough and len(runs) > 2 * len(others):
            return _widened(sign * x, runs, frame_rate)
    return np.zeros(0, dtype=np.int64)


def _widened(x: Array, runs: Sequence[tuple[int, int, float]], frame_rate: float) -> Frames:
    """The frames of the runs, and those beside them that were lit for a part of their time."""
    sd, height = noise_sd(x), x - rolling_percentile(x, frame_rate, 20.0, 20.0)
    marked = set()
    for first, last, size in runs:
        lit = max(6.0, 0.1 * size) * sd
        beside = [(t, t + step) for t, step in ((first - 1, -1), (last + 1, 1)) if 0 < t < len(x) - 1]
        marked |= {*range(first, last + 1), *(t for t, far in beside if x[t] - x[far] > lit < height[t])}
    return np.array(sorted(marked), dtype=np.int64)


def step_scores(y: NDArray[Any], frame_rate: float, window: float = 6.0) -> tuple[Frames, Array]:
    """How much the level at rest moves at each frame, at once and for good: frames, and sds of noise.

    Frames are averaged to at most 22 a second. The level of a window is the middle of the narrowest interval
    that holds 55% of it; a window is at rest where that interval is as narrow as noise makes it. The score is
    |difference of the levels| before and after, where both windows are at rest and the jump within a quarter
    of a second is as large; else 0. A bout of spikes does not rest at its level, and decays.

    Args:
        window: seconds on either side.
    """
    per = coarse(frame_rate)
    x = averaged(y, per)
    rate, sd = frame_rate / per, noise_sd(x)
    width, near = max(10, round(window * rate)), max(2, round(0.25 * rate))
    if len(x) < 2 * width + 2 or not sd > 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    held = int(np.ceil(0.55 * width))
    level, spread = np.empty(len(x) - width + 1), np.empty(len(x) - width + 1)
    for start in range(0, len(level), 4096):  # sorted copies of an hour would be large
        part = np.sort(sliding_window_view(x, width)[start : start + 4096], axis=1)
        size = part[:, held - 1 :] - part[:, : width - held + 1]
        row, first = np.arange(len(part)), size.argmin(1)
        spread[start : start + 4096] = size[row, first]
        level[start : start + 4096] = 0.5 * (part[row, first] + part[row, first + held - 1])
    at = np.arange(width, len(x) - width + 1)
    moved = level[at] - level[at - width]
    short = np.median(sliding_window_view(x, near), axis=1)
    jump = np.sign(moved) * (short[at] - short[at - near])
    size = np.abs(moved)
    rests = np.maximum(spread[at], spread[at - width]) <= 2.2 * sd + 0.12 * size
    # what is filled in rests as nothing that was measured does
    gone = np.concatenate([[0], np.cumsum(~np.isfinite(parts(y, per)).any(1))])
    there = np.maximum(gone[at] - gone[at - width], gone[at + width] - gone[at]) <= 0.3 * width
    good = there & rests & (jump > 0.7 * size) & (jump < 1.4 * size)
    return at * per, np.where(good, np.minimum(size, jump), 0.0) / sd


def repeats(y: NDArray[Any]) -> float:
    """The share of frames that are copies of the frame before, or lie on the line between two others.

    A coarsely digitised trace repeats its few values by chance; it is not counted.
    """
    x = _known(np.asarray(y, dtype=float))
    if len(x) < 20:
        return 0.0
    same = float((np.diff(x) == 0).mean())
    distinct = len(np.unique(x)) / len(x)
    if same > 0.3 and distinct < 0.8 * (1 - same):
        return 0.0
    steps = np.abs(np.diff(x))
    scale = np.median(steps[steps > 0]) if (steps > 0).any() else 1.0
    between = float((np.abs(np.diff(x, 2)) < 1e-3 * scale).mean())
    return same if same > 0.3 else between if between > 0.3 else 0.0


def frozen(y: NDArray[Any], frame_rate: float) -> Frames:
    """Frames of runs of one and the same value, a tenth of a second and five frames long at least."""
    x = np.asarray(y, dtype=float)
    edges = np.flatnonzero(np.diff(x) != 0) + 1  # NaN differs from itself
    first = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([first, [len(x)]]))
    long = lengths >= max(5, round(0.1 * frame_rate))
    runs = [np.arange(a, a + n) for a, n in zip(first[long], lengths[long], strict=True)]
    return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)


def counts_up(y: NDArray[Any]) -> bool:
    """Whether the numbers rise throughout, or fall: a clock or a counter, and no cell."""
    steps = np.diff(_known(np.asarray(y, dtype=float)))
    return len(steps) >= 9 and max(float((steps > 0).mean()), float((steps < 0).mean())) > 0.995


def drift(y: NDArray[Any], frame_rate: float) -> tuple[float, float]:
    """How far the floor moves (20th percentile of 30 s): in sd of noise, and as a share of the transients."""
    floor, sd = rolling_percentile(y, frame_rate, 20.0, 30.0), noise_sd(y)
    low, high = np.percentile(floor, [2.5, 97.5])
    tall = np.nanpercentile(y - floor, 99.5)
    return float((high - low) / max(sd, 1e-30)), float((high - low) / max(float(tall), 1e-30))


def smoothed(y: NDArray[Any], frame_rate: float) -> bool:
    """Whether neighbouring frames share their noise: the trace was filtered or denoised (20 Hz and above)."""
    x = _known(np.asarray(y, dtype=float))
    if frame_rate < 20 or len(x) < 50:
        return False
    near, far = (np.median(np.abs(x[lag:] - x[:-lag])) for lag in (1, 3))
    return bool(0 < near < 0.45 * far)


def filled(y: NDArray[Any]) -> Array:
    """Missing frames on the line between their neighbours."""
    x = np.asarray(y, dtype=float)
    known = np.flatnonzero(np.isfinite(x))
    return np.interp(np.arange(len(x)), known, x[known])


def coarse(frame_rate: float) -> int:
    """Frames to average for 11 to 22 a second; 1 where they are slower."""
    return max(1, round(frame_rate / _COARSE_HZ))


def parts(y: NDArray[Any], per: int) -> Array:
    """Runs of ``per`` frames, ``(T // per, per)``."""
    return np.asarray(y, dtype=float)[: len(y) // per * per].reshape(-1, per)


def averaged(y: NDArray[Any], per: int) -> Array:
    """Means of ``per`` frames, of those that are there."""
    some = parts(y, per)
    known = np.isfinite(some)
    total = np.where(known, some, 0.0).sum(1)
    means = np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)
    return filled(means) if np.isfinite(means).any() else means


def _known(values: NDArray[Any]) -> Array:
    return values[np.isfinite(values)]
