"""Figure of `ablation_sweeps`: how many sweeps a training step needs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.results.tables import MissingResult, ResultTables

MEASURES = {
    "gap_per_bin": ("evaluated with converged samples", "o", "-"),
    "gap_at_k_per_bin": ("evaluated with the same number of sweeps", "s", "--"),
}


def place(sweeps: object) -> float:
    """The order of a `sweeps` label: numbers by size, words (`converged`) last."""
    try:
        return float(str(sweeps))
    except ValueError:
        return np.inf


def tick(sweeps: object) -> str:
    value = place(sweeps)
    return f"{value:g}" if np.isfinite(value) else str(sweeps)


def gap_at_k(results: ResultTables) -> pd.DataFrame | None:
    """The gap measured with K sweeps: from the table, or the evidence minus the bound with K sweeps; None
    without either."""
    if results.has("gap_at_k_per_bin"):
        return results.rows("gap_at_k_per_bin")
    if results.has("elbo_at_k_per_bin") and results.has("log_evidence_per_bin"):
        frame = results.wide(["log_evidence_per_bin", "elbo_at_k_per_bin"])
        return frame.assign(value=frame["log_evidence_per_bin"] - frame["elbo_at_k_per_bin"])
    return None


def sweeps(results: ResultTables) -> Figure:
    """The gap over the number of sweeps in training, by converged samples and by K sweeps."""
    frames = {"gap_per_bin": results.rows("gap_per_bin")}
    same = gap_at_k(results)
    if same is not None:
        frames["gap_at_k_per_bin"] = same
    if "sweeps" not in results.labels:
        raise MissingResult(f"{results.path}: no label column 'sweeps', which the figure is drawn over")
    labels = sorted(
        {tick(value) for frame in frames.values() for value in frame["sweeps"].dropna()}, key=place
    )
    drawn = []
    for metric, frame in frames.items():
        text, marker, line = MEASURES[metric]
        by: dict[str, pd.DataFrame] = {
            label: part for label, part in frame.groupby(frame["sweeps"].map(tick))
        }
        points = [
            (float(index), by[label].sort_values(["dataset", "seed"])["value"].to_numpy())
            for index, label in enumerate(labels)
            if label in by
        ]
        drawn.append(Curve(text[0].upper() + text[1:], points, style.colour("fixed_point"), marker, line))
    figure = style.figure(6.2, 4.2)
    axes = figure.add_subplot()
    marks.curves(axes, drawn, dodge=0.12, log=True)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_xlabel("Fixed-point sweeps in every training step")
    axes.set_ylabel(style.METRICS["gap_per_bin"])
    axes.legend(handles=marks.legend_handles(drawn), loc="upper right")
    style.title(figure, "How many sweeps training needs")
    counts = [count for curve in drawn for count in curve.counts]
    style.caption(
        figure,
        "Gap to the exact log-evidence from hard samples; lower is better. A posterior trained with too "
        f"few sweeps is trained on samples that are not its own. {marks.interval_note(counts)}",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"sweeps": sweeps(results)}
