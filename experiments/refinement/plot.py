"""Figures of `refinement`: what gradient steps buy, at inference and in training."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.over import (
    Look,
    Panel,
    axis,
    change,
    curve,
    first_runs,
    labelled,
    left_out,
    place,
    tick,
    values,
)
from dfp.results.tables import ResultTables

ESTIMATORS = {
    "mean_passing": ("mean-passing", style.colour("refined"), "^"),
    "straight_through": ("straight-through", style.colour("logistic_flow"), "s"),
    "straight_through_sigma": ("straight-through σ′", style.colour("sequential"), "v"),
    "concrete": ("relaxed samples", style.colour("fixed_point"), "o"),
    "through": ("relaxed samples, differentiated through", style.colour("factorised"), "D"),
}
BASES = {"factorised": "Factorised q", "autoregressive": "Autoregressive q"}
LINES = {"steps": "-", "time": "--"}
GAP = Panel("gap_per_bin", "Gap (nats per bin)", log=True)
ERROR = Panel("marginal_rmse", "Error of P(spike), RMSE")
GAP_CHANGE = Panel("gap_per_bin", "Change of the gap (nats per bin)", (0.0, "no change"))
ERROR_CHANGE = Panel("marginal_rmse", "Change of the error of P(spike)", (0.0, "no change"))
NOTE = "One cell, parameters known; gap to the exact log-evidence from hard samples. "


def refined(results: ResultTables, metric: str) -> pd.DataFrame:
    """Rows of the refined runs."""
    labels = ["estimator", "steps_in_training", "steps_at_inference"]
    return first_runs(labelled(results, metric, *labels), ["of", "budget", *labels])


def amortised(results: ResultTables, metric: str, of: str) -> np.ndarray | None:
    """The values of the networks that all start from, one a seed."""
    frame = labelled(results, metric, "of")
    frame = first_runs(frame[(frame["of"] == of) & (frame["posterior"] != "refined")], ["of"])
    return values(frame) if len(frame) else None


def bases(frame: pd.DataFrame) -> list[str]:
    return [name for name in BASES if (frame["of"] == name).any()]


def places_of(frame: pd.DataFrame, label: str) -> dict[str, float]:
    names = sorted({tick(value) for value in frame[label]}, key=place)
    return {name: float(index) for index, name in enumerate(names)}


def missing(results: ResultTables) -> str:
    """A closing sentence on runs that no figure of this experiment draws."""
    frame = refined(results, GAP.metric)
    known = frame[frame["estimator"].isin(ESTIMATORS) & frame["of"].isin(BASES)]
    plain = labelled(results, GAP.metric, "of")
    plain = plain[(plain["posterior"] != "refined") & plain["of"].isin(BASES)]
    return left_out(results, [*known["run"], *first_runs(plain, ["of"])["run"]])


#: what refinement is paired within, besides the seed
PAIR = ("of", "estimator")


def inference(results: ResultTables) -> Figure:
    """Gap over the number of steps at inference, and what changes in gap and error.

    The networks were trained without refinement.
    """
    measures = (GAP, GAP_CHANGE, ERROR_CHANGE)
    frame = refined(results, GAP.metric)
    present = bases(frame)
    figure = style.figure(10.9, 0.9 + 3.0 * len(present))
    panels = figure.subplots(len(present), 3, squeeze=False)
    drawn: list[Curve] = []
    for line, of in zip(panels, present, strict=True):
        for axes, panel in zip(line, measures, strict=True):
            part = refined(results, panel.metric)
            part = part[(part["of"] == of) & (part["steps_in_training"].map(tick) == "0")]
            if panel in (GAP_CHANGE, ERROR_CHANGE):
                part = change(part, "steps_at_inference", "0", PAIR)
            places = places_of(part, "steps_at_inference")
            made = [
                curve(part[part["estimator"] == name], "steps_at_inference", places, Look(*look), 1.0)
                for name, look in ESTIMATORS.items()
                if (part["estimator"] == name).any()
            ]
            marks.curves(axes, made, dodge=0.09, log=panel.log)
            axis(axes, places, "Refinement steps at inference")
            axes.set_ylabel(panel.label)
            axes.set_title(BASES[of])
            if panel.guide:
                marks.guide(axes, *panel.guide, which="y")
            drawn += made
    marks.legend_beside(figure, drawn)
    style.title(figure, "Refinement at inference, of networks trained without it")
    counts = [count for one in drawn for count in one.counts]
    style.caption(
        figure,
        NOTE
        + "Each curve's network was trained on without refinement, by the relaxed pmf. Changes are paired "
        "by seed. " + marks.interval_note(counts) + missing(results),
    )
    return figure


def same_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that refine at inference as often as in training."""
    return frame[frame["steps_at_inference"].map(tick) == frame["steps_in_training"].map(tick)]


def no_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that do not refine at inference: the network that refinement taught."""
    return frame[frame["steps_at_inference"].map(tick) == "0"]


def training(results: ResultTables) -> Figure:
    """Gap and error over the number of refinement steps in training."""
    measures = (
        (GAP, same_steps, "as many at inference"),
        (GAP_CHANGE, same_steps, "as many at inference"),
        (ERROR_CHANGE, same_steps, "as many at inference"),
        (GAP_CHANGE, no_steps, "none at inference"),
    )
    frame = refined(results, GAP.metric)
    taught = frame["steps_in_training"].map(tick) != "0"
    present = bases(frame[taught])
    budgets = [name for name in LINES if (frame["budget"] == name).any()]
    figure = style.figure(3.6 * len(present) + 3.2, 0.9 + 2.7 * len(measures))
    panels = figure.subplots(len(measures), len(present), squeeze=False)
    drawn: list[Curve] = []
    for line, of in zip(panels.T, present, strict=True):
        for axes, (panel, select, text) in zip(line, measures, strict=True):
            part = refined(results, panel.metric)
            part = select(part[part["of"] == of])
            if panel in (GAP_CHANGE, ERROR_CHANGE):
                part = change(part, "steps_in_training", "0", PAIR)
            places = places_of(part, "steps_in_training")
            made = []
            for budget in budgets:
                for name, (label, colour, marker) in ESTIMATORS.items():
                    rows = part[(part["estimator"] == name) & (part["budget"] == budget)]
                    if budget == "time":  # without refinement in training both budgets are one run
                        zero = part[
                            (part["estimator"] == name) & (part["steps_in_training"].map(tick) == "0")
                        ]
                        rows = pd.concat([zero, rows]) if len(rows) else rows
                    if len(rows):
                        more = f", equal {budget}" if len(budgets) > 1 else ""
                        look = Look(label + more, colour, marker, LINES[budget])
                        made.append(curve(rows, "steps_in_training", places, look, 1.0))
            marks.curves(axes, made, dodge=0.08, log=panel.log)
            axis(axes, places, "Refinement steps in training")
            axes.set_ylabel(panel.label)
            if panel.guide:
                marks.guide(axes, *panel.guide, which="y")
            axes.set_title(f"{BASES[of]}, {text}", fontsize=8.5)
            drawn += made
    marks.legend_beside(figure, drawn)
    style.title(figure, "Refinement in training")
    counts = [count for one in drawn for count in one.counts]
    equal = "Changes are paired by seed. "
    if len(budgets) > 1:
        equal += "Equal steps: as many optimiser steps; equal time: fewer where each costs more. "
    note = NOTE + "0: ordinary amortised training. " + equal + marks.interval_note(counts)
    style.caption(figure, note + missing(results))
    return figure


def cost_curve(axes: Axes, gap: pd.DataFrame, seconds: pd.DataFrame, look: Look) -> Curve:
    """Mean gap over the mean time of inference, a point per number of steps."""
    steps: list[Hashable] = sorted(gap["steps_at_inference"].unique(), key=place)
    points = [
        (
            1e3 * float(seconds[seconds["steps_at_inference"] == step]["value"].mean()),
            values(gap[gap["steps_at_inference"] == step]),
        )
        for step in steps
    ]
    return Curve(look.name, points, look.colour, look.marker, look.line)


def time(results: ResultTables) -> Figure:
    """The gap over the time that inference takes."""
    gap, seconds = (refined(results, metric) for metric in (GAP.metric, "inference_cpu_seconds"))
    present = bases(gap)
    figure = style.figure(3.7 * len(present) + 3.4, 4.2)
    panels = np.atleast_1d(figure.subplots(1, len(present), sharey=True))
    drawn: list[Curve] = []
    limits: list[float] = []
    for axes, of in zip(panels, present, strict=True):
        made = []
        for name, look in ESTIMATORS.items():
            parts = [
                frame[
                    (frame["of"] == of)
                    & (frame["estimator"] == name)
                    & (frame["steps_in_training"].map(tick) == "0")
                ]
                for frame in (gap, seconds)
            ]
            if len(parts[0]):
                made.append(cost_curve(axes, parts[0], parts[1], Look(*look)))
        drawn += made
        marks.curves(axes, made, log=True)
        levels = [
            network.mean() for name in BASES if (network := amortised(results, GAP.metric, name)) is not None
        ]
        limits += [*axes.get_ylim(), *(0.85 * level for level in levels), *(1.1 * level for level in levels)]
        axes.set_xlabel("CPU time of inference (ms per trace)")
        axes.set_ylabel(GAP.label)
        axes.set_title(BASES[of])
        axes.set_xlim(
            0.7 * min(x for one in made for x, _ in one.points),
            1.4 * max(x for one in made for x, _ in one.points),
        )
        style.log_axis(axes, "x")
        for other, colour in (("factorised", "factorised"), ("autoregressive", "fixed_point")):
            network = amortised(results, GAP.metric, other)
            if network is not None:
                axes.axhline(float(network.mean()), color=style.colour(colour), lw=1.2, ls=":", zorder=1)
                drawn.append(Curve(f"{other}, amortised", [], style.colour(colour), "", ":"))
    panels[0].set_ylim(min(limits), max(limits))  # shared: those of the last panel would cut the others off
    style.log_axis(panels[0], "y")
    marks.legend_beside(figure, drawn)
    style.title(figure, "What refinement at inference costs")
    counts = [count for one in drawn for count in one.counts]
    style.caption(
        figure,
        NOTE + "Points along a curve: 0, 1, 2, … steps; networks trained without refinement. Dotted: "
        "amortised networks, which answer at once. " + marks.interval_note(counts) + missing(results),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"inference": inference(results), "training": training(results), "time": time(results)}
