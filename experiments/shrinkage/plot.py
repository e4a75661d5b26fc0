"""Figures of `shrinkage`: are the weights unshrunk, and in what time?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Group
from dfp.plotting.over import Panel, labelled, left_out, rows_of, values
from dfp.results.tables import ResultTables

# row: (name, run, what the metrics of the weights start with, colour, marker)
Line = tuple[str, str, str, str, str]
LEARNED: tuple[Line, ...] = (
    ("Regression on the true spikes", "glm_true_spikes", "weight", style.INK, "D"),
    ("Gibbs, posterior mean", "gibbs_posterior", "weight", style.colour("gibbs_posterior"), "D"),
    ("Gibbs, maximum likelihood", "gibbs_em", "weight", style.colour("gibbs_em"), "D"),
    ("Twisted, indirect inference", "twisted_indirect", "weight", style.colour("twisted"), "h"),
    ("Fixed point, indirect inference", "fixed_point_indirect", "weight", style.colour("fixed_point"), "h"),
    ("Factorised, indirect inference", "factorised_indirect", "weight", style.colour("factorised"), "h"),
    ("Twisted, wake-sleep", "twisted", "weight", style.colour("twisted"), "o"),
    ("the same, after a Gibbs sweep", "twisted", "gibbs_m_step", style.colour("twisted"), "s"),
    ("Fixed point, relaxed pmf", "fixed_point", "weight", style.colour("fixed_point"), "o"),
    ("the same, after a Gibbs sweep", "fixed_point", "gibbs_m_step", style.colour("fixed_point"), "s"),
    ("OASIS, then regression", "oasis_glm", "weight", style.colour("oasis_glm"), "D"),
)
AT_TRUTH: tuple[Line, ...] = (
    ("Twisted", "twisted_truth", "m_step", style.colour("twisted"), "o"),
    ("Twisted, no messages", "twisted_silent_truth", "m_step", style.colour("twisted_silent"), "o"),
    ("Fixed point", "fixed_point_truth", "m_step", style.colour("fixed_point"), "o"),
    ("Twisted, after a Gibbs sweep", "twisted_truth", "gibbs_m_step", style.colour("twisted"), "s"),
    (
        "Fixed point, after a Gibbs sweep",
        "fixed_point_truth",
        "gibbs_m_step",
        style.colour("fixed_point"),
        "s",
    ),
)
MEASURES = (
    Panel("correlation", "Correlation with\nthe true weights"),
    Panel("slope", "Slope", (1.0, "unshrunk")),
    Panel("auc", "AUC of |weight|"),
    Panel("history", "History at lag 1\n(learned − true, logits)", (0.0, "no bias")),
)


def metric(measure: str, prefix: str) -> str:
    """The name of a measure in the table."""
    if measure == "history":
        return "history_bias_1" if prefix == "weight" else f"{prefix}_history_1"
    return f"{prefix}_{measure}"


def group(results: ResultTables, row: Line, measure: str) -> Group:
    """One row of one panel; empty where the run is not there."""
    name, run, prefix, colour, marker = row
    wanted = metric(measure, prefix)
    if not results.has(wanted, run=run):
        return Group(name, np.array([]), colour, marker)
    frame = labelled(results, wanted, "setting", "family")
    return Group(name, values(frame[frame["run"] == run]), colour, marker)


def added(results: ResultTables) -> list[Line]:
    """Rows for the runs that a user has added and that learned weights."""
    known = {run for _, run, *_ in (*LEARNED, *AT_TRUTH)}
    return [
        (style.run_name(run), run, "weight", style.colour(run), "X")
        for run in results.runs
        if run not in known and results.has("weight_correlation", run=run, parameters="learned")
    ]


def shrinkage(results: ResultTables) -> Figure:
    """Weights learned, and weights regressed on samples of posteriors at the true parameters."""
    panels = []
    for rows in ((*LEARNED, *added(results)), AT_TRUTH):
        for panel in MEASURES:
            panels.append((panel, [group(results, row, panel.metric) for row in rows]))
    figure = style.figure(10.9, 7.2)
    for axes, title in zip(
        [axes for number, axes in enumerate(rows_of(figure, panels, len(MEASURES))) if number % 4 == 0],
        ("Learned from the traces alone", "Regressed on samples at the true parameters"),
        strict=True,
    ):
        axes.set_title(title, loc="left")
    style.title(figure, "How much of the shrinkage simulated traces undo, indirect inference, and Gibbs")
    counts = [len(one.values) for _, groups in panels for one in groups if len(one.values)]
    style.caption(
        figure,
        "Twenty coupled cells, noise 0.4, rise 0.1 s; a seed is a network. Above: bias, history and coupling "
        "are learned. Below: all parameters at the truth; exact samples would give slope 1. "
        "A square: after one sweep of blocked Gibbs on the posterior's samples. "
        + marks.interval_note(counts)
        + left_out(results, [run for _, run, *_ in (*LEARNED, *AT_TRUTH, *added(results))]),
    )
    return figure


def time(results: ResultTables) -> Figure:
    """Accuracy against the seconds that it took."""
    figure = style.figure(9.5, 4.2)
    panels = figure.subplots(1, 2)
    count = 0
    for row in (*LEARNED, *added(results)):
        name, run, prefix, colour, marker = row
        clock = "train_seconds" if results.has("train_seconds", run=run) else "peer_seconds"
        if prefix != "weight" or not results.has(clock, run=run):
            continue
        seconds = values(results.rows(clock, run=run))
        count = max(count, len(seconds))
        for axes, measure in zip(panels, ("correlation", "slope"), strict=True):
            found = group(results, row, measure).values
            axes.plot(
                np.exp(np.log(seconds).mean()), found.mean(), marker, ms=9, color=colour, label=name, zorder=3
            )
            axes.plot(seconds, found, marker, ms=4, mew=0, alpha=0.5, color=colour, zorder=2)
    for axes, measure in zip(panels, ("correlation", "slope"), strict=True):
        axes.set_xscale("log")
        axes.set_xlabel("Seconds (one CPU thread)")
        axes.set_ylabel({"correlation": "Correlation with the true weights", "slope": "Slope"}[measure])
    marks.guide(panels[1], 1.0, "unshrunk", which="y")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    style.title(figure, "What the weights of twenty cells cost")
    style.caption(
        figure,
        f"Small: a network each (n = {count}); large: means. Regression on the true spikes is no "
        "competitor. Imports, data and evaluation are left out; the jobs shared two cores.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"shrinkage": shrinkage(results), "time": time(results)}
