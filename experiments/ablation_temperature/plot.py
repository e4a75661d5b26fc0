"""Figure of `ablation_temperature`: which temperature schedule to train with."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Group
from dfp.plotting.over import first_runs, left_out
from dfp.results.tables import MissingResult, ResultTables


def schedule(results: ResultTables) -> Figure:
    """The gap per temperature schedule."""
    frame = results.rows("gap_per_bin")
    if "schedule" not in results.labels:
        raise MissingResult(f"{results.path}: no label column 'schedule', which the figure is drawn over")
    frame = first_runs(frame[frame["schedule"].notna()], ["schedule"])
    names = list(frame["schedule"].unique())
    drawn = []
    for name in names:
        rows = frame[frame["schedule"] == name].sort_values(["dataset", "seed"])
        drawn.append(
            Group(
                str(name),
                rows["value"].to_numpy(),
                style.colour(style.family(rows.iloc[0])),
                style.marker(str(rows["objective"].iloc[0])),
            )
        )
    figure = style.figure(7.4, 1.5 + 0.4 * len(drawn))
    axes = figure.add_subplot()
    marks.rows(axes, drawn, log=True)
    axes.set_xlabel(style.METRICS["gap_per_bin"])
    axes.set_ylabel("Temperature schedule")
    summary = [marks.interval(group.values) for group in drawn]
    texts = [
        marks.number(mean) + (f"  [{marks.number(low)}, {marks.number(high)}]" if np.isfinite(low) else "")
        for mean, low, high in summary
    ]
    marks.row_texts(axes, [text.replace("-", "−") for text in texts], "mean [interval]")
    style.title(figure, "Which temperature schedule to train with")
    style.caption(
        figure,
        "Gap to the exact log-evidence from hard samples; left is better. "
        + marks.interval_note([len(group.values) for group in drawn])
        + left_out(results, frame["run"]),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"schedule": schedule(results)}
