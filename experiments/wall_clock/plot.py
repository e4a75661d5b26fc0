"""Figures of `wall_clock`: draws, training steps and whole trainings against the clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve, Group
from dfp.results.tables import ResultTables

from .claims import NAMES, ORDER_OF_MAGNITUDE, WAYS, pair, times
from .race_figure import races, where

RACES = {"one_cell": "One cell, parameters known", "network": "Twenty cells, weights learned"}
#: what the ratios are of
RIVALS = {"sequential": "Eager sequential ÷ fixed point", "compiled": "Compiled sequential ÷ fixed point"}
GIBBS = ("gibbs_blocked", "gibbs_particles")
#: samplers whose mixing is shown: label, colour of the family
MIXED = {
    "gibbs_blocked": ("blocks, cut", "gibbs_blocked"),
    "gibbs_particles_cut": ("particles, cut", "gibbs_particles"),
    "gibbs_particles": ("particles, not cut", "gibbs_particles"),
}


def size_axis(axes: Axes, places: list[float], label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(places) / 1.35, max(places) * 1.35)
    axes.set_xticks(places, [f"{value:,.0f}" for value in places])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label)


def grid_panels(frame: pd.DataFrame) -> list[tuple[str, str, str, pd.DataFrame]]:
    """A panel per grid: the column that varies, its axis, what is fixed, the rows."""
    panels = []
    for _, part in frame.groupby("dataset", sort=False):
        chains = style.number(part["chains"].iloc[0])
        if part["bins"].max() > part["bins"].min():
            cells = part["cells"].iloc[0]
            fixed = style.setting(["cells", "chains"], [int(cells), chains])
            panels.append(("bins", "Bins in a trace, T", fixed, part))
        else:
            fixed = style.setting(["bins", "chains"], [int(part["bins"].iloc[0]), chains])
            panels.append(("cells", "Cells, N", fixed + " a cell", part))
    return panels


def geometric(name: str, points: list[tuple[float, np.ndarray]], colour: str, seeds: bool = True) -> Curve:
    """A curve of geometric means with their intervals, as befits a log axis; ``seeds`` shows the rounds."""
    means = [marks.ratio_interval(values) for _, values in points]
    shown = [(size, values if seeds else values[:0]) for size, values in points]
    return Curve(name, shown, colour, means=means)


def time_curves(part: pd.DataFrame, column: str) -> list[Curve]:
    """Milliseconds over a size, a curve per way of drawing."""
    made = []
    for way in WAYS:
        rows = part[part["family"] == way]
        points = [
            (float(str(size)), 1e3 * one.sort_values("seed")["value"].to_numpy())
            for size, one in rows.groupby(column)
        ]
        if points:
            made.append(geometric(style.family_name(way), points, style.colour(way)))
    return made


def ratio_curves(part: pd.DataFrame, column: str) -> list[Curve]:
    """(time, sequential) ÷ (time, fixed point), eager and compiled, a point a size, paired by round."""
    made = []
    for way in NAMES:
        pairs = [(size, pair(one, way, "fixed_point").to_numpy()) for size, one in part.groupby(column)]
        points = [(float(str(size)), values) for size, values in pairs if len(values)]
        if points:
            made.append(geometric(RIVALS[way], points, style.colour(way), seeds=False))
    return made


def tell_ratios(axes: Axes, curve: Curve) -> None:
    """Write every ratio beside its point, on the side away from the line of equal times."""
    for (place, _), summary in zip(curve.points, curve.summary(), strict=True):
        below = summary[0] < 1.0
        axes.annotate(
            f"{marks.number(float(summary[0]))}×",
            (place, float(np.nanmin(summary) if below else np.nanmax(summary))),
            xytext=(0, -5 if below else 5),
            textcoords="offset points",
            ha="center",
            va="top" if below else "baseline",
            fontsize=8,
        )


def ends(curves: list[Curve]) -> list[np.ndarray]:
    """Everything that curves reach, for the limits of a log axis."""
    return [np.concatenate([one.summary().ravel(), *(values for _, values in one.points)]) for one in curves]


def grid(results: ResultTables, measured: str, metric: str, label: str, title: str, caption: str) -> Figure:
    """Times over T and N, and the ratios to the fixed point below them."""
    panels = grid_panels(times(results, measured, metric))
    figure = style.figure(4.1 * len(panels) + 2.6, 6.4)
    axes = figure.subplots(2, len(panels), squeeze=False)
    drawn = [time_curves(part, column) for column, _, _, part in panels]
    ratios = [ratio_curves(part, column) for column, _, _, part in panels]
    upper_limits = marks.log_limits(ends([curve for made in drawn for curve in made]))
    every_ratio = [curve for made in ratios for curve in made]
    low, high = marks.log_limits([*ends(every_ratio), np.array([1.0, ORDER_OF_MAGNITUDE])])
    for number, (column, xlabel, fixed, part) in enumerate(panels):
        upper, lower = axes[0][number], axes[1][number]
        places = sorted(float(value) for value in part[column].unique())
        marks.curves(upper, drawn[number], log=True)
        marks.curves(lower, ratios[number], log=True)
        for one, limits in ((upper, upper_limits), (lower, (low / 1.6, 1.6 * high))):
            one.set_ylim(*limits)
            style.log_axis(one, "y")
            size_axis(one, places, xlabel)
            one.tick_params(axis="y", labelleft=not number)
        upper.set_title(fixed)
        for curve in ratios[number]:
            tell_ratios(lower, curve)
        marks.guide(lower, 1.0, "equal", which="y")
        marks.guide(lower, ORDER_OF_MAGNITUDE, "10×", which="y")
    axes[0][0].set_ylabel(label)
    axes[1][0].set_ylabel("Sequential sampler ÷ fixed point")
    everything = [curve for made in drawn for curve in made]
    marks.legend_beside(figure, everything)
    style.title(figure, title)
    counts = [count for curve in everything for count in curve.counts]
    style.caption(
        figure,
        f"{caption} {marks.interval_note(counts, 'round')} Means are geometric, ratios paired by round. "
        f"{where(results)}",
    )
    return figure


def sampling(results: ResultTables) -> Figure:
    """Seconds per draw of hard samples over T and N."""
    return grid(
        results,
        "sampling",
        "seconds_per_draw",
        "Time per draw (ms)",
        "Drawing hard samples: bin by bin, or all bins at once",
        "Own history of ten lags, given logits, noise included. The sequential and the fixed-point draw are "
        "the same spikes; the factorised one has no history.",
    )


def step_time(results: ResultTables) -> Figure:
    """Seconds per training step over T and N."""
    return grid(
        results,
        "training",
        "seconds_per_step",
        "Time per training step (ms)",
        "A training step: bin by bin, or all bins at once",
        "Windows, recognition network, relaxed samples with gradients, likelihood, backward pass, Adam.",
    )


def five(results: ResultTables) -> Figure:
    """Time per training step of every family on the same problem."""
    frame = times(results, "families", "seconds_per_step")
    families = style.in_order(frame["family"])
    groups = [
        Group(
            style.family_name(name),
            1e3 * frame[frame["family"] == name].sort_values("seed")["value"].to_numpy(),
            style.colour(name),
            style.marker("", name) if name == "refined" else "o",
        )
        for name in families
    ]
    figure = style.figure(8.2, 1.6 + 0.38 * len(groups))
    axes = figure.add_subplot()
    marks.rows(axes, groups, log=True)
    axes.set_xlabel("Time per training step (ms)")
    texts = []
    for name in families:
        mean, low, high = marks.ratio_interval(pair(frame, name, "factorised").to_numpy())
        texts.append("reference" if name == "factorised" else f"{mean:.2g}×  [{low:.2g}, {high:.2g}]")
    marks.row_texts(axes, texts, "÷ factorised")
    row = frame.iloc[0]
    fixed = style.setting(
        ["bins", "cells", "chains"], [style.number(row[name]) for name in ("bins", "cells", "chains")]
    )
    style.title(figure, "A training step of each posterior")
    style.caption(
        figure,
        f"{fixed} a cell, the same recognition network, each with its own objective. "
        f"{marks.interval_note([len(group.values) for group in groups], 'round')} {where(results)}",
    )
    return figure


def sweeps(results: ResultTables) -> Figure:
    """Sweeps that the fixed point needs, over T and N."""
    panels = []
    for measured, text, marker in (
        ("sampling", "hard samples", "o"),
        ("training", "relaxed, in training", "s"),
    ):
        frame = times(results, measured, "sweeps_mean")
        frame = frame[frame["family"] == "fixed_point"]
        panels += [(column, xlabel, text, marker, part) for column, xlabel, _, part in grid_panels(frame)]
    columns = list(dict.fromkeys(panel[0] for panel in panels))
    figure = style.figure(4.1 * len(columns) + 2.0, 3.9)
    drawn: list[Curve] = []
    most: list[float] = []
    for axes, column in zip(
        np.atleast_1d(figure.subplots(1, len(columns), sharey=True)), columns, strict=True
    ):
        made = []
        for _, _, text, marker, part in [panel for panel in panels if panel[0] == column]:
            points = [
                (float(str(size)), one.sort_values("seed")["value"].to_numpy())
                for size, one in part.groupby(column)
            ]
            line = "-" if marker == "o" else "--"
            made.append(Curve(text[0].upper() + text[1:], points, style.colour("fixed_point"), marker, line))
        marks.curves(axes, made)
        most.append(axes.get_ylim()[1])
        places = sorted({place for curve in made for place, _ in curve.points})
        size_axis(axes, places, next(panel[1] for panel in panels if panel[0] == column))
        drawn += made
    figure.axes[0].set_ylim(0, max(most))
    figure.axes[0].set_ylabel("Sweeps until nothing moves")
    marks.legend_beside(figure, drawn)
    style.title(figure, "Sweeps needed, which bin by bin would be T")
    counts = [count for curve in drawn for count in curve.counts]
    style.caption(
        figure,
        "Own history of ten lags. Hard samples: until a sweep changes no spike; relaxed ones: until no value "
        f"moves by more than 1e-4. {marks.interval_note(counts, 'round')}",
    )
    return figure


def gibbs(results: ResultTables) -> Figure:
    """Seconds a Gibbs sweep beside seconds a training step, over N, and how many samples it is worth."""
    frame = pd.concat([times(results, "gibbs", f"seconds_per_{what}") for what in ("sweep", "step")])
    figure = style.figure(10.9, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    made = []
    for name in style.in_order(frame["family"]):
        rows = frame[frame["family"] == name]
        points = [(float(str(size)), one["value"].to_numpy()) for size, one in rows.groupby("cells")]
        what = style.family_name(name) + ("" if name in GIBBS else ", training step")
        curve = geometric(what, points, style.colour(name))
        made.append(replace(curve, marker="o", line="-" if name in GIBBS else "--"))
    marks.curves(left, made, log=True)
    style.log_axis(left, "y")
    size_axis(left, sorted({place for curve in made for place, _ in curve.points}), "Cells, N")
    left.set_ylabel("Time (s)")
    bins = int(frame.loc[frame["family"].isin(GIBBS), "bins"].iloc[0])
    left.set_title(f"A sweep over {bins:,} bins, and a step")
    mixed = times(results, "mixing", "effective_per_second")
    groups = [
        Group(label, mixed.loc[mixed["run"] == run, "value"].to_numpy(), style.colour(family))
        for run, (label, family) in MIXED.items()
    ]
    marks.rows(right, groups, log=True)
    right.set_xlabel("Effective samples per second")
    each = times(results, "mixing", "effective_per_sweep")
    texts = [f"{each.loc[each['run'] == run, 'value'].mean():.2f}" for run in MIXED]
    marks.row_texts(right, texts, "a sweep")
    right.set_title("What sweeps are worth", pad=14)
    marks.legend_beside(figure, made)
    style.title(figure, "Gibbs sampling against the clock")
    size = mixed.iloc[0]
    style.caption(
        figure,
        "Left: a sweep draws the path of every cell; a training step learns from four windows of 300 bins. "
        "Blocks: response cut at 10 bins; particles: 32, response not cut. Right: "
        + style.setting(["cells", "bins"], [int(size["cells"]), int(size["bins"])])
        + ", median effective sample size of spike counts in windows of 50 bins. "
        f"{marks.interval_note([len(group.values) for group in groups], 'round')} {where(results)}",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {
        "sampling": sampling(results),
        "step_time": step_time(results),
        "five": five(results),
        "races": races(results, RACES),
        "sweeps": sweeps(results),
        "gibbs": gibbs(results),
    }
