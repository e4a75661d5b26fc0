"""Figure of `ablation_objective`: the same posterior trained by different objectives."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.over import (
    Look,
    Panel,
    first_runs,
    grouped,
    interval_texts,
    labelled,
    left_out,
    rows_of,
)
from dfp.results.tables import ResultTables

FAMILIES = ("factorised", "fixed_point")


def objective(results: ResultTables) -> Figure:
    """The gap per objective, a panel per posterior."""
    frame = labelled(results, "gap_per_bin", "objective_label", "family")
    frame = first_runs(frame[frame["family"].isin(FAMILIES)], ["family", "objective_label"])
    panels = []
    for family in FAMILIES:
        part = frame[frame["family"] == family]
        looks = {
            name: Look(str(name), style.colour(family), style.marker(str(rows["objective"].iloc[0])))
            for name, rows in part.groupby("objective_label", sort=False)
        }
        panels.append(
            (
                Panel("gap_per_bin", "Gap (nats per bin)", log=True),
                grouped(part, looks, "objective_label"),
            )
        )
    figure = style.figure(8.4, 1.4 + sum(0.7 + 0.34 * len(groups) for _, groups in panels))
    for axes, family, (_, groups) in zip(rows_of(figure, panels, 1), FAMILIES, panels, strict=True):
        axes.set_title(style.family_name(family))
        marks.row_texts(axes, interval_texts(groups), "")
    style.title(figure, "Which objective trains the best posterior")
    counts = [len(group.values) for _, groups in panels for group in groups]
    style.caption(
        figure,
        "Gap to the exact log-evidence from hard samples; left is better. The same posterior, recognition "
        "network, steps and number of posterior samples in a step for all but the first relaxed pmf and the "
        "logistic density, which draw one sample of more traces. One cell, parameters known. "
        + marks.interval_note(counts)
        + left_out(results, frame["run"]),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"objective": objective(results)}
