"""Stage: what was understood of a recording, and what is doubtful of it, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfp.core.files import atomic_path
from dfp.data.doubts.admit import HOPELESS, mended
from dfp.data.doubts.base import Doubt
from dfp.data.doubts.find import doubts_of, unit_of
from dfp.data.preprocess import noise_level
from dfp.data.traces import Traces
from dfp.stages.source import Source

#: doubts that are told one by one
TOLD = 12


def look(source: Source, as_json: bool = False, picture: Path | None = None) -> list[str]:
    """What there is to say of a file, line by line, or as one JSON object; and a picture where asked.

    Missing frames are told, not refused. Doubts do not make it fail.

    Raises:
        UserError: for a file that cannot be read.
    """
    traces = mended(source.raw(allow_nan=True), source.expected, source.care)
    doubts = doubts_of(traces, source.expected)
    if picture is not None:
        draw(traces, doubts, picture)
    facts = understood(traces, doubts)
    if as_json:
        return [json.dumps(facts, ensure_ascii=False, indent=1)]
    return lines(source.path, facts, source.care.confirm)


def understood(traces: Traces, doubts: Sequence[Doubt]) -> dict[str, Any]:
    """Everything that was understood, as plain values.

    Keys: ``cells``, ``frames`` (how many), ``rate_hz``, ``missing_frames`` (frames that some cell lacks),
    ``epochs`` (how many), ``unit``, ``doubts``; also ``seconds``, ``rate_from``, ``names``, ``epoch_starts``,
    ``missing_frames_by_cell``, ``noise_level`` (ν in %/√Hz of each cell, None without one), ``notes``.
    """
    missing = ~np.isfinite(traces.x)
    levels = [noise_level(column, traces.frame_rate) for column in traces.x.T]
    starts = [start for start, _ in traces.epochs] or [0]
    return {
        "cells": len(traces.names),
        "frames": len(traces.x),
        "rate_hz": traces.frame_rate,
        "missing_frames": int(missing.any(1).sum()),
        "epochs": len(starts),
        "unit": unit_of(traces),
        "doubts": [doubt.plain() for doubt in doubts],
        "seconds": len(traces.x) / traces.frame_rate,
        "rate_from": traces.rate_from,
        "names": list(traces.names),
        "epoch_starts": starts,
        "missing_frames_by_cell": missing.sum(0).tolist(),
        "noise_level": [float(f"{level:.4g}") if np.isfinite(level) else None for level in levels],
        "notes": list(traces.notes),
    }


def lines(path: Path, facts: dict[str, Any], confirmed: Sequence[str] = ()) -> list[str]:
    """The same in words."""
    levels = [level for level in facts["noise_level"] if level is not None]
    worst = max(facts["missing_frames_by_cell"])
    missing = f"{facts['missing_frames']} (at most {worst} of a cell)" if worst else "none"
    noise = (
        "none" if not levels else f"{np.median(levels):.3g} %/√Hz ({min(levels):.3g} to {max(levels):.3g})"
    )
    epochs = (
        "one" if facts["epochs"] == 1 else f"{facts['epochs']}, from frames {_some(facts['epoch_starts'])}"
    )
    told = [
        ("file", str(path)),
        ("cells", f"{facts['cells']}: {_some(facts['names'])}"),
        ("frames", f"{facts['frames']}, {facts['seconds']:.4g} s"),
        ("rate", f"{facts['rate_hz']:.5g} Hz, from {facts['rate_from'].replace('given', '--frame-rate')}"),
        ("unit", f"looks like {facts['unit']}"),
        ("epochs", epochs),
        ("missing frames", missing),
        ("noise", noise),
        *[("note", note) for note in facts["notes"]],
    ]
    doubts = facts["doubts"]
    stops = [one["name"] for one in doubts if one["severity"] == "stop" and one["name"] not in confirmed]
    asked = [name for name in dict.fromkeys(stops) if name not in HOPELESS]
    end = "none" if not doubts else f"{len(doubts)}, of which {len(stops)} stop a run or leave a cell out"
    said = [f"  {_doubt(one)}" for one in doubts[:TOLD]]
    said += [f"  and {len(doubts) - TOLD} more (--json lists all)"] * (len(doubts) > TOLD)
    if asked:
        said.append(f"  what is right as it is: --confirm {','.join(asked)}")
    return [*(f"{name + ':':<16}{value}" for name, value in told), f"{'doubts:':<16}{end}", *said]


def draw(traces: Traces, doubts: Sequence[Doubt], path: Path) -> None:
    """Write the picture of a recording (``plotting/recording.py``)."""
    from dfp.plotting.recording import recording_figure

    figure = recording_figure(traces, doubts)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png", dpi=110)


def _doubt(one: dict[str, Any]) -> str:
    who = f"{one['cell']}: " if one["cell"] else ""
    return f"{one['severity']:<5}{one['name']}: {who}{one['sentence']}"


def _some(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values[:6]) + (", …" if len(values) > 6 else "")
