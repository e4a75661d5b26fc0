"""Doubts about cells: the sign of their transients, steps, light, what repeats, noise, drift."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.data.doubts.base import Cell, Doubt, Expected, by_cell, enough, listed, recording
from dfp.data.doubts.signs import counts_up, direction, drift, frozen, outliers, smoothed, step_scores
from dfp.data.preprocess import noise_level
from dfp.data.traces import MOST_MISSING, Traces

#: %/√Hz that the shipped posterior was trained on (0.3 to 9), with a margin
NOISE_LEVELS = (0.25, 10.0)


def dead(cell: Cell) -> Doubt | None:
    """A trace that never changes, has infinite values or hardly a frame, or a clock."""
    infinite = np.flatnonzero(np.isinf(cell.y))
    if len(infinite):
        text = f"{len(infinite)} infinite values, first at frame {infinite[0]}, expected finite numbers"
        return Doubt(
            "infinite", "stop", cell.name, f"{text}; leave the cell out", (), tuple(map(int, infinite))
        )
    frames = int(np.isfinite(cell.y).sum())
    if frames < 10:
        text = f"found {frames} frames, expected at least 10 (and minutes of them, to learn anything)"
        return Doubt("constant", "stop", cell.name, text)
    if not enough(cell.y):
        text = "a value that never changes, expected fluorescence that does; leave the cell out"
        return Doubt("constant", "stop", cell.name, text)
    if frames < (1 - MOST_MISSING) * len(cell.y):
        text = (
            f"{1 - frames / len(cell.y):.0%} of its frames are missing, expected at most {MOST_MISSING:.0%}"
        )
        return Doubt("missing", "stop", cell.name, text)
    if counts_up(cell.y):
        text = (
            "its numbers rise or fall throughout, expected a trace that goes up and down; it is a clock or a "
        )
        return Doubt("counter", "stop", cell.name, f"{text}counter: leave the column out")
    return None


def sign(traces: Traces, alive: list[Cell]) -> list[Doubt]:
    """Transients that go down."""
    signs = {cell.number: direction(cell.y, traces.frame_rate) for cell in alive}
    down = [cell for cell in alive if signs[cell.number] < 0]
    clear = sum(sign != 0 for sign in signs.values())
    text = "transients that go down, falling faster than they rise again, expected them to go up"
    return by_cell("sign", traces, down, lambda _: f"{text}; turn the sign (multiply by −1)", among=clear)


def steps(traces: Traces, alive: list[Cell]) -> list[Doubt]:
    """Steps of single cells (six seconds at rest on either side), and those that several cells share."""
    rate = traces.frame_rate
    alone = {cell.number: _peaks(*step_scores(cell.y, rate), 7.0, rate) for cell in alive}
    shared: list[int] = []
    if len(alive) > 1:
        near = [_peaks(*step_scores(cell.y, rate, 4.0), 4.0, rate) for cell in alive]
        every = np.sort(np.concatenate(near)).astype(np.int64)
        reach = max(2, round(0.15 * rate))
        for frame in every:
            together = sum(bool((np.abs(one - frame) <= reach).any()) for one in near)
            if together >= max(2, 0.15 * len(alive)) and not (shared and frame - shared[-1] <= 6 * reach):
                inside = [int(one[np.abs(one - frame).argmin()]) for one in near if len(one)]
                shared.append(int(np.median([t for t in inside if abs(t - frame) <= reach])))
    way = "say where trials begin (--trials FRAME,FRAME or --trials found): each gets its own baseline"
    if shared:
        text = (
            f"the level of several cells moves at once at frame {listed(shared)}, expected one level at rest"
        )
        return [recording("steps", f"{text}; if trials are joined there, {way}", shared)]
    moved = [cell for cell in alive if len(alone[cell.number])]
    return by_cell(
        "steps", traces, moved, lambda cell: "its level at rest moves at once at frame "
        f"{listed(alone[cell.number])}, expected one level; if trials are joined there, {way}",
        where=lambda cell: alone[cell.number],
    )  # fmt: skip


def _peaks(frames: NDArray[np.int64], scores: NDArray[Any], least: float, rate: float) -> NDArray[np.int64]:
    """Frames of the largest scores, no two within a second."""
    kept: list[int] = []
    for place in np.argsort(-scores):
        if scores[place] < least:
            break
        if all(abs(frames[place] - other) > rate for other in kept):
            kept.append(int(frames[place]))
    return np.array(sorted(kept), dtype=np.int64)


def still(traces: Traces, alive: list[Cell]) -> list[Doubt]:
    """Cells that hold one value for runs of frames."""
    runs = {cell.number: frozen(cell.y, traces.frame_rate) for cell in alive}
    many = [cell for cell in alive if len(runs[cell.number]) > 0.005 * len(cell.y)]
    return by_cell(
        "frozen", traces, many, lambda cell: f"{len(runs[cell.number])} frames in runs of one and the same "
        f"value, first at frame {runs[cell.number][0]}, expected frames that were measured, with noise; take "
        "them as missing (--blank frozen)", where=lambda cell: runs[cell.number],
    )  # fmt: skip


def light(traces: Traces, alive: list[Cell], expected: Expected) -> list[Doubt]:
    """Light that nothing decays from."""
    lit = {cell.number: outliers(cell.y, traces.frame_rate, expected.decay) for cell in alive}
    some = [cell for cell in alive if len(lit[cell.number])]
    return by_cell(
        "outliers", traces, some, lambda cell: f"{len(lit[cell.number])} frames that jump and are gone again "
        f"faster than any indicator decays, first at frame {lit[cell.number][0]}, expected none (light of a "
        "stimulation, a blanked detector); take them as missing (--blank outliers)",
        where=lambda cell: lit[cell.number],
    )  # fmt: skip


def duplicates(alive: list[Cell]) -> list[Doubt]:
    """Cells whose frame-to-frame changes are those of an earlier cell, at any scale."""
    steps = np.stack([np.nan_to_num(np.diff(cell.y[:3000])) for cell in alive])
    steps -= steps.mean(1, keepdims=True)
    steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-30)
    alike = np.argwhere(np.triu(steps @ steps.T > 0.995, 1))
    first: dict[int, int] = {}
    for one, other in alike:
        first.setdefault(int(other), int(one))
    return [
        Doubt("duplicate", "note", alive[n].name, f"the trace of {alive[m].name}, expected a cell of its own")
        for n, m in first.items()
    ]


def levels(traces: Traces, alive: list[Cell], doubted: Container[str]) -> list[Doubt]:
    """Notes on noise, drift and filtering, where no doubt of the names ``doubted`` explains them."""
    found, rate = [], traces.frame_rate
    low, high = NOISE_LEVELS
    for cell in alive:
        nu = noise_level(cell.y, rate)
        if "unit" not in doubted and (nu < low or nu > high):  # NaN: cannot be told
            text = (
                f"a noise level of {nu:.2g} %/√Hz, expected {low:g} to {high:g}, which is what was trained on"
            )
            found.append(Doubt("noise", "note", cell.name, f"{text}; its counts are less sure"))
        sds, share = drift(cell.y, rate)
        if sds > 6 and share > 0.5 and "steps" not in doubted:
            text = f"a floor that moves by {share:.1f} times the height of its transients, expected less"
            found.append(Doubt("drift", "note", cell.name, f"{text}; correct bleaching and neuropil first"))
        if smoothed(cell.y, rate):
            text = (
                "neighbouring frames share their noise, expected it independent; give the trace as measured"
            )
            found.append(Doubt("smooth", "note", cell.name, f"{text}, not filtered or denoised"))
    return found
