"""A picture of a recording: its traces one above the other, and where they are doubtful."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dfp.data.doubts.base import Doubt
from dfp.data.traces import Traces

#: traces that are drawn; the first ones, and those that are doubted before them
MOST = 30
#: points a trace is drawn with; of more frames the lowest and the highest of each stretch
POINTS = 4000


def recording_figure(traces: Traces, doubts: Sequence[Doubt] = ()) -> Figure:
    """All traces, at most 30; a doubted cell is red, doubted frames are marked, missing ones grey.

    Each has a scale of its own, from its lowest to its highest percent.
    """
    about = {doubt.cell for doubt in doubts if doubt.cell and doubt.severity == "stop"}
    order = sorted(range(len(traces.names)), key=lambda n: traces.names[n] not in about)
    shown = sorted(order[:MOST])
    figure = Figure(figsize=(10, 1.2 + 0.42 * max(3, len(shown))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    seconds = np.arange(len(traces.x)) / traces.frame_rate
    for row, n in enumerate(reversed(shown)):
        y, name = traces.x[:, n].astype(float), traces.names[n]
        low, high = np.nanpercentile(y, [1, 99.8]) if np.isfinite(y).any() else (0.0, 1.0)
        scaled = row + 0.85 * np.clip((y - low) / max(high - low, 1e-12), -0.3, 1.2)
        colour = "#b22222" if name in about else "#303030"
        axes.plot(*_thinned(seconds, scaled), color=colour, lw=0.6)
        gone = np.flatnonzero(~np.isfinite(y))
        axes.plot(seconds[gone], np.full(len(gone), row), "|", color="#9a9a9a", ms=5)
        for doubt in doubts:
            if doubt.cell == name or (doubt.cell is None and name in doubt.cells):
                at = np.array(doubt.frames, dtype=int)
                axes.plot(
                    seconds[at], np.where(np.isfinite(scaled[at]), scaled[at], row), ".", color="#e07b00"
                )
    for doubt in doubts:
        if doubt.cell is None and not doubt.cells:
            for frame in doubt.frames[:200]:
                axes.axvline(seconds[min(frame, len(seconds) - 1)], color="#e07b00", lw=0.8, zorder=0)
    axes.set_yticks(range(len(shown)), [traces.names[n] for n in reversed(shown)], fontsize=7)
    axes.set_xlim(0, seconds[-1] or 1)
    axes.set_xlabel("seconds")
    names = ", ".join(dict.fromkeys(doubt.name for doubt in doubts)) or "none"
    part = f"{len(shown)} of {len(traces.names)} cells" if len(shown) < len(traces.names) else ""
    axes.set_title("  ".join(filter(None, [part, f"doubts: {names}"])), fontsize=9, loc="left")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure


def _thinned(seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Few points that look the same: of every stretch the lowest and the highest."""
    per = len(values) // (POINTS // 2)
    if per < 2:
        return seconds, values
    whole = len(values) // per * per
    parts = values[:whole].reshape(-1, per)
    known = np.isfinite(parts)
    low = np.where(known.all(1), np.where(known, parts, np.inf).min(1), np.nan)
    high = np.where(known.all(1), np.where(known, parts, -np.inf).max(1), np.nan)
    at = seconds[:whole].reshape(-1, per)
    return np.stack([at[:, 0], at[:, -1]], 1).ravel(), np.stack([low, high], 1).ravel()
