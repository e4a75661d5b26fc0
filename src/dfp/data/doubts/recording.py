"""Doubts about a recording as a whole: its clock, its frame rate, how long it is, its unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.data.doubts.base import Cell, Doubt, Expected, by_cell, recording
from dfp.data.doubts.signs import repeats
from dfp.data.preprocess import noise_level
from dfp.data.traces import Traces

#: Hz
FRAME_RATES = (2.0, 500.0)
#: above this noise level in %/√Hz a trace is no fraction: real cells have 0.26 to 7
PERCENT_FROM = 25.0
#: a level at rest above this is no dF/F
COUNTS_FROM = 3.0
SHORT_SECONDS = 20.0


def clock(traces: Traces) -> list[Doubt]:
    """Times of the file that do not go on evenly."""
    if traces.times is None or len(traces.times) < 3:
        return []
    times = np.asarray(traces.times, dtype=float)
    steps = np.diff(times)
    within = np.ones(len(steps), dtype=bool)  # between epochs time may pass as it likes
    if traces.epochs:
        within[:] = False
        for start, end in traces.epochs:
            within[start : end - 1] = True
    usual = float(np.median(steps[within])) if within.any() else 0.0
    out = "the posterior takes frames as equally spaced: put missing frames in as NaN or resample"
    if not (np.isfinite(steps).all() and usual > 0 and steps.min() > 0):
        back = np.flatnonzero(~(steps > 0))
        text = f"times that stand still or go back at frame {int(back[0]) + 1}, expected them to rise"
        return [recording("clock", f"{text}; {out}", back + 1)]
    late = np.flatnonzero(within & (steps > 1.5 * usual))
    if len(late):
        lost = int(np.round(steps[late] / usual).sum() - len(late))
        text = f"the clock skips {len(late)} times, {lost} frames in all, first after {times[late[0]]:.4g} s"
        return [recording("clock", f"{text}, expected a frame every {usual:.4g} s; {out}", frames=late + 1)]
    steps = steps[within]
    even = [float(part.mean()) for part in np.array_split(steps, min(10, len(steps)))]
    if max(even) > 1.02 * min(even) and len(steps) >= 20 and _apart(steps, even):
        slow, fast = 1 / max(even), 1 / min(even)
        text = f"the clock drifts, from {slow:.4g} to {fast:.4g} frames a second, expected one rate"
        return [recording("clock", f"{text}; {out}")]
    return []


def _apart(steps: NDArray[Any], means: list[float]) -> bool:
    """Whether the means of parts differ by more than the jitter of single steps explains."""
    jitter = float(np.median(np.abs(steps - np.median(steps)))) * 1.5 / math.sqrt(len(steps) / len(means))
    return max(means) - min(means) > 6 * jitter


def rate(traces: Traces, alive: list[Cell]) -> list[Doubt]:
    """A frame rate outside those that are known, and frames that were not measured at that rate."""
    rate, found = traces.frame_rate, []
    low, high = FRAME_RATES
    if not 0.99 * low <= rate <= 1.01 * high:
        way = (
            "average frames to 500 Hz or fewer" if rate > high else "say the frames a second, not the seconds"
        )
        text = f"{rate:.4g} Hz (from {traces.rate_from}), expected {low:g} to {high:g} Hz, which is what was "
        found.append(recording("rate", f"{text}trained on; {way}"))
    if traces.times is not None and len(traces.times) > 2 and not clock(traces):
        own = 1.0 / float(np.median(np.diff(traces.times)))
        if own > 0 and abs(own / rate - 1) > 0.02:
            text = f"{rate:.4g} Hz (from {traces.rate_from}) where the times of the frames say {own:.4g} Hz"
            found.append(recording("rate", f"{text}, expected the same; say the frame rate of these frames"))
    shares = [repeats(cell.y) for cell in alive]
    if shares and (share := float(np.median(shares))) > 0:
        text = f"{share:.0%} of the frames repeat their neighbours or lie on the line between them, expected "
        text += (
            f"each to be measured; the true frame rate may be {rate * (1 - share):.3g} Hz: take the frames "
        )
        found.append(recording("rate", f"{text}that were measured, and say their rate"))
    return found


def short(traces: Traces) -> list[Doubt]:
    """Too few seconds to learn from."""
    seconds = len(traces.x) / traces.frame_rate
    if seconds >= SHORT_SECONDS:
        return []
    text = f"{seconds:.3g} s, expected at least {SHORT_SECONDS:g} s to learn a cell's constants from; "
    way = "counts then rest on what is told (--indicator, --amplitude)"
    return [Doubt("short", "note", None, text + way)]


def looks_like(cells: list[Cell], rate: float) -> str:
    """The unit of most cells; ``unit_of`` names them."""
    ends = np.array([[np.nanmin(cell.y), np.nanmax(cell.y)] for cell in cells])
    means, sds = (np.array([f(cell.y) for cell in cells]) for f in (np.nanmean, np.nanstd))
    rest = np.median([_rest(cell) for cell in cells])
    nu = np.median([noise_level(cell.y, rate) for cell in cells])
    if rest > COUNTS_FROM or (nu > PERCENT_FROM and all(_whole(cell.y) for cell in cells)):
        return "counts"
    if (np.abs(means) < 0.005).all() and (np.abs(sds - 1) < 0.005).all():
        return "z-score"
    if len(cells) > 1 and np.array_equal(ends, np.tile([0.0, 1.0], (len(cells), 1))):
        return "0 to 1"
    return "percent" if nu > PERCENT_FROM else "dF/F"


def _rest(cell: Cell) -> float:
    return float(np.nanpercentile(cell.y, 10))


def _whole(y: NDArray[Any]) -> bool:
    known = y[np.isfinite(y)]
    return bool((known == np.round(known)).all())


def unit(traces: Traces, alive: list[Cell], expected: Expected) -> list[Doubt]:
    """The unit of the recording, an amplitude that contradicts it, cells of another unit than the rest."""
    rate, told = traces.frame_rate, expected.amplitude
    unit = looks_like(alive, rate)
    nu = {cell.number: noise_level(cell.y, rate) for cell in alive}
    typical, rest = float(np.median([*nu.values()])), float(np.median([_rest(cell) for cell in alive]))
    tallest = max(float(np.nanmax(cell.y) - np.nanmedian(cell.y)) for cell in alive)
    sd = typical * math.sqrt(rate) / 95.39  # of a frame
    if unit != "dF/F":
        least = {"percent": 1.0, "counts": max(1.0, 0.02 * rest), "z-score": 0.0}
        agrees = told is not None and told > least.get(unit, math.inf)
        what = {
            "percent": f"numbers that look like percent or background-subtracted counts (noise of {sd:.3g} a "
            "frame)",
            "counts": f"numbers that look like raw counts (a level at rest of {rest:.4g})",
            "z-score": "z-scored numbers (mean 0 and sd 1 in every cell)",
            "0 to 1": "numbers scaled to 0 to 1 in every cell",
        }[unit]
        if told is not None:
            what += f", where an amplitude of {told:g} was told, {told / sd:.2g} of a frame's noise"
        if not agrees:
            way = "take (F − F₀) / F₀"
            if unit == "percent":
                way = "divide by 100, or say --amplitude in percent"
            return [recording("unit", f"{what}, expected dF/F as a fraction (0.1 is 10%); {way}")]
    elif told is not None and told > 2 and told > 2 * tallest:
        text = f"an amplitude of {told:g} a spike where the traces rise by {tallest:.3g} at most, expected"
        return [recording("amplitude", f"{text} it in the traces' unit (0.15 for 15%); say --amplitude anew")]
    elif told is not None and told < 0.1 * typical / 100:
        text = f"an amplitude of {told:g} a spike, {told / sd:.1%} of a frame's noise ({sd:.3g}), expected it"
        return [recording("amplitude", f"{text} in the traces' unit; say --amplitude anew")]
    odd = [cell for cell in alive if nu[cell.number] > max(PERCENT_FROM, 5 * typical)]
    return by_cell(
        "unit", traces, odd, lambda cell: f"a noise level of {nu[cell.number]:.3g} %/√Hz where the median is "
        f"{typical:.3g}, expected cells of one unit; its F₀ may be near 0: leave it out"
    )  # fmt: skip
