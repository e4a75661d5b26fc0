"""What becomes of doubts: faults are mended where that is asked for, cells left out, runs stopped."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dfp.core.errors import UserError, suggest
from dfp.data.arrays import array_traces
from dfp.data.doubts.base import STOPS, Doubt, Expected
from dfp.data.doubts.find import doubts_of
from dfp.data.doubts.mend import Trials, blank, level_epochs, trial_starts
from dfp.data.traces import Orientation, Traces

#: doubts of cells that nothing could be made of if they were confirmed
HOPELESS = {"constant", "unusable"}


@dataclass(frozen=True)
class Care:
    """What a user says about doubts.

    Attributes:
        confirm: names of doubts that are no faults here.
        trials: first frames of trials, each with a baseline of its own; ``"found"`` takes those of the file
            and the steps that are found; None for one baseline.
        blank: ``outliers``, ``frozen``: frames that are taken as missing.
    """

    confirm: Sequence[str] = ()
    trials: Trials | None = None
    blank: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.confirm:
            if name not in STOPS:
                raise UserError(
                    f"--confirm: found '{name}'{suggest(name, STOPS)}, expected a doubt: {', '.join(STOPS)}"
                )


def mended(traces: Traces, expected: Expected = Expected(), care: Care = Care()) -> Traces:
    """Traces with blanked frames missing and trials at one level, as ``care`` asks; notes say what was done.

    Raises:
        UserError: for a frame that there is not, or another kind of frames.
    """
    traces, said = blank(traces, care.blank, expected)
    if care.trials is not None:
        own = [start for start, _ in traces.epochs]
        if care.trials == "found":
            steps = (doubt for doubt in doubts_of(traces, expected) if doubt.name == "steps")
            own += [frame for doubt in steps for frame in doubt.frames]
        starts = trial_starts(care.trials, len(traces.x), own)
        ends = (*starts[1:], len(traces.x))
        traces = replace(
            traces, x=level_epochs(traces.x, starts), epochs=tuple(zip(starts, ends, strict=True))
        )
        said.append(f"{len(starts)} trials, each with a baseline of its own (--trials)")
    return replace(traces, notes=(*traces.notes, *said))


def admit(
    traces: Traces,
    expected: Expected = Expected(),
    care: Care = Care(),
    *,
    source: object = "x",
    say: Callable[[str], object] = lambda _: None,
    keep: bool = False,
) -> Traces:
    """The traces that a run may take: mended as asked, without the cells that are doubted.

    A doubt about the recording stops the run; one about a cell leaves the cell out, and the others go on.

    Args:
        expected: of the response to one spike.
        source: what messages call the traces.
        say: called with a sentence for every kind of doubt: cells left out, notes, what was confirmed.
        keep: leave no cell out, as a posterior of these very cells needs them all; say the doubt only.

    Raises:
        UserError: for a doubt about the recording that is not confirmed, or where no cell is left.
    """
    traces = mended(traces, expected, care)
    found = doubts_of(traces, expected)
    stops = [doubt for doubt in found if doubt.severity == "stop" and doubt.name not in care.confirm]
    whole = [doubt for doubt in stops if doubt.cell is None]
    if whole:
        raise UserError(refusal(source, whole))
    if keep:
        stops = []
    out = {doubt.cell: doubt for doubt in reversed(stops)}
    if out and len(out) == len(traces.names):
        raise UserError(refusal(source, stops))
    for kind, some in _by_name(doubt for name in traces.names if (doubt := out.get(name))).items():
        cells = ", ".join(str(doubt.cell) for doubt in some)
        way = "" if kind in HOPELESS else f" (--confirm {kind} keeps {'it' if len(some) == 1 else 'them'})"
        say(f"{cells} {'is' if len(some) == 1 else 'are'} left out: {some[0].sentence}{way}")
    for some in _by_name(doubt for doubt in found if doubt not in stops).values():
        who = f"{some[0].cell}: " if some[0].cell else ""
        more = f" (and {len(some) - 1} more of this kind; `dfp look` lists them)" if len(some) > 1 else ""
        say(f"{who}{some[0].sentence}{more}")
    kept = _without(traces, out)
    infinite = np.isinf(kept.x)  # confirmed: as missing
    return replace(kept, x=np.where(infinite, np.float32(np.nan), kept.x)) if infinite.any() else kept


def admit_array(
    x: Any,
    frame_rate: float | None,
    *,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    cells: str | Sequence[str] | None = None,
    allow_nan: bool = False,
    confirm: str | Sequence[str] = (),
    trials: Trials | None = None,
    blank: str | Sequence[str] = (),
    expected: Expected = Expected(),
    keep: bool = False,
    level: int = 3,
) -> Traces:
    """``admit`` of an array (``array_traces``); what is said are warnings.

    Args:
        level: of the warnings: 3 where the user called the caller.
    """
    care = Care(
        (confirm,) if isinstance(confirm, str) else tuple(confirm),
        trials,
        (blank,) if isinstance(blank, str) else tuple(blank),
    )
    wanted = (cells,) if isinstance(cells, str) else cells
    traces = array_traces(
        x, frame_rate, names=names, orientation=orientation, cells=wanted, allow_nan=allow_nan
    )
    said: list[str] = []
    admitted = admit(traces, expected, care, say=said.append, keep=keep)
    for sentence in said:
        warnings.warn(f"x: {sentence}", stacklevel=level)
    return admitted


def refusal(source: object, stops: Sequence[Doubt]) -> str:
    """The sentence that stops a run: the first doubt, the names of the others, and how to go on."""
    first, names = stops[0], list(dict.fromkeys(doubt.name for doubt in stops))
    who = f"{first.cell}: " if first.cell else ""
    more = f"; also doubted: {', '.join(names[1:])} (`dfp look` tells)" if len(names) > 1 else ""
    way = "" if set(names) <= HOPELESS else f"; if it is right as it is, --confirm {','.join(names)}"
    return f"{source}: {who}{first.sentence}{way}{more}"


def _by_name(doubts: Iterable[Doubt]) -> dict[str, list[Doubt]]:
    found: dict[str, list[Doubt]] = {}
    for doubt in doubts:
        found.setdefault(doubt.name, []).append(doubt)
    return found


def _without(traces: Traces, out: Container[str | None]) -> Traces:
    kept = [n for n, name in enumerate(traces.names) if name not in out]
    if len(kept) == len(traces.names):
        return traces
    left = f"left out: {', '.join(name for name in traces.names if name in out)}"
    return replace(
        traces,
        x=np.ascontiguousarray(traces.x[:, kept]),
        names=tuple(traces.names[n] for n in kept),
        notes=(*traces.notes, left),
    )
