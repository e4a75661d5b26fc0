"""Figures of `misspecified`: weights where calcium constants are told wrong, and constants learned."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve, Group
from dfp.plotting.over import Look, Panel, change, left_out, own_runs, rows_of, values, with_others
from dfp.results.tables import MissingResult, ResultTables

RIGHT = "right"
#: columns of the figures: a constant, and what was told of it from low to high, right in the middle
CONSTANTS = {
    "amplitude": ("Amplitude told", ("amplitude 0.9", RIGHT, "amplitude 1.1", "amplitude varied")),
    "decay": ("Decay told", ("decay 0.8", RIGHT, "decay 1.25")),
    "noise": ("Noise told", ("noise 0.8", RIGHT, "noise 1.25")),
}
TICKS = {RIGHT: "right", "amplitude varied": "±10%\na cell"}
LOOKS: dict[Hashable, Look] = {
    "indirect": Look("Factorised, indirect inference", style.colour("factorised"), "h"),
    "constants_learned": Look("the same, constants learned", style.colour("refined"), "^"),
    "relaxed": Look("Fixed point, relaxed pmf", style.colour("fixed_point"), "o"),
    "oasis_glm": Look("OASIS, then regression", style.colour("oasis_glm"), "D"),
    "glm_true_spikes": Look("Regression on the true spikes", style.INK, "P"),
}
SETTING = (
    "Twenty coupled cells, noise 0.4, rise 0.1 s; a seed is a network. The traces are the same; one constant "
    "at a time is told wrong, for all cells alike or (±10% a cell) for each cell by a factor of its own."
)
MEASURES = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_slope", style.METRICS["weight_slope"]),
    Panel("history_bias_1", "History, lag 1 (logits)\n(learned − true)", (0.0, "truth")),
    Panel("history_off_1", "History, lag 1 (logits)\n|learned − true|"),
)


def rows(results: ResultTables, metric: str) -> pd.DataFrame:
    """Rows of a metric with the method (``by``) and what it was told (``told``).

    Peers that were told nothing wrong have no label in the table.
    """
    frame = results.rows(metric)
    method = frame["method"].fillna(frame["family"]).fillna(frame["run"])
    told = frame["told"].where(frame["told"].notna(), RIGHT)
    return own_runs(frame.assign(by=method, told=told), ["by", "told"], "by")


def tick(told: str) -> str:
    """What an axis says of a value that was told."""
    return TICKS.get(told, f"× {told.split()[-1]}")


def column(frame: pd.DataFrame, told: Sequence[str], looks: Mapping[Hashable, Look]) -> list[Curve]:
    """One panel: a curve a method over what was told; a value that lies on no line has one of its own."""
    places = {name: float(place) for place, name in enumerate(told)}
    drawn = []
    for name, look in looks.items():
        own = frame[frame["by"] == name]
        points = {key: values(own[own["told"] == key]) for key in told if (own["told"] == key).any()}
        line = [(places[key], found) for key, found in points.items() if "varied" not in key]
        apart = [(places[key], found) for key, found in points.items() if "varied" in key]
        drawn.append(Curve(look.name, line, look.colour, look.marker, look.line))
        drawn.append(Curve(look.name, apart, look.colour, look.marker, look.line))
    return drawn


def draw(axes: Axes, drawn: Sequence[Curve], told: Sequence[str], within: marks.Bounds) -> None:
    """Curves side by side, those of one method at one place."""
    names = list(dict.fromkeys(curve.label for curve in drawn))
    for number, name in enumerate(names):
        shift = (number - (len(names) - 1) / 2) * 0.11
        for curve in drawn:
            if curve.label == name and curve.points:
                moved = [(place + shift, found) for place, found in curve.points]
                one = Curve(name, moved, curve.colour, curve.marker, curve.line)
                marks.curves(axes, [one], within=within)
    axes.set_xticks(range(len(told)), [tick(name) for name in told])
    axes.set_xlim(-0.5, len(told) - 0.5)


def panels(results: ResultTables, measures: Sequence[Panel], title: str, caption: str) -> Figure:
    """A row a measure, a column a constant, a curve a method over what was told.

    A measure with a ``base`` is drawn as its change from there, paired by network.
    """
    frames = [rows(results, panel.metric) for panel in measures]
    looks = {
        name: look
        for name, look in with_others(LOOKS, frames[0], "by").items()
        if (frames[0]["by"] == name).any()
    }
    figure = style.figure(10.9, 2.6 * len(measures) + 0.4)
    widths = [len(told) for _, told in CONSTANTS.values()]
    grid = figure.subplots(len(measures), len(CONSTANTS), width_ratios=widths, sharey="row", sharex="col")
    everything: list[Curve] = []
    for line, (panel, frame) in enumerate(zip(measures, frames, strict=True)):
        if panel.base is not None:
            frame = change(frame, "told", panel.base, ["by"])
        for place, (heading, told) in enumerate(CONSTANTS.values()):
            axes = grid[line, place]
            present = [name for name in told if (frame["told"] == name).any()]
            drawn = column(frame, present, looks)
            draw(axes, drawn, present, panel.within)
            everything += drawn
            if panel.target is not None:
                marks.guide(
                    axes, panel.target[0], panel.target[1] if place == len(widths) - 1 else "", which="y"
                )
            if line == 0:
                axes.set_title(heading)
        grid[line, 0].set_ylabel(panel.label)
    marks.legend_beside(figure, [curve for curve in everything if curve.points])
    style.title(figure, title)
    counts = [count for curve in everything for count in curve.counts]
    known = {name for _, told in CONSTANTS.values() for name in told}
    shown = frames[0].loc[frames[0]["told"].isin(known), "run"]
    style.caption(figure, f"{caption} {marks.interval_note(counts)}{left_out(results, shown)}")
    return figure


def misspecified(results: ResultTables) -> Figure:
    """Correlation, slope and history error over what was told of each constant."""
    return panels(
        results,
        MEASURES,
        "What wrong calcium constants do to the weights, and learning them with the weights",
        f"{SETTING} Green: amplitude, decay and noise are learned from what is told.",
    )


def changes(results: ResultTables) -> Figure:
    """The same, each network less itself with the same method told the right constants."""
    measures = [
        Panel(panel.metric, f"{name}, wrong − right", (0.0, "as right"), base=RIGHT)
        for panel, name in zip(
            MEASURES, ("Correlation", "Slope", "History, lag 1 (logits)", "|Error| of it"), strict=True
        )
    ]
    return panels(
        results,
        measures,
        "What wrong calcium constants change, network by network",
        f"{SETTING} Differences from the same method told the right constants, paired by network.",
    )


def constants(results: ResultTables) -> Figure:
    """What is left of a wrong constant once it is learned, beside what was told."""
    learned = rows(results, "weight_correlation").query("by == 'constants_learned'")
    told = [name for _, names in CONSTANTS.values() for name in names if (learned["told"] == name).any()]
    told = list(dict.fromkeys([RIGHT, *told]))
    if len(told) < 2:
        raise MissingResult(f"{results.path}: no run that learns constants told wrong, which a figure needs")
    panels = []
    for name in CONSTANTS:
        frame = rows(results, f"{name}_off")
        groups = []
        for by, what in (("indirect", "as told"), ("constants_learned", "learned")):
            for key in told:
                part = frame[(frame["by"] == by) & (frame["told"] == key)]
                found = 100 * values(part)
                groups.append(Group(f"{tick_of(key)}: {what}", found, LOOKS[by].colour, LOOKS[by].marker))
        groups = [group for key in range(len(told)) for group in groups[key :: len(told)]]
        panels.append((Panel(name, f"{name.capitalize()}, error (%)", (0.0, "")), groups))
    figure = style.figure(10.5, 1.7 + 0.36 * 2 * len(told))
    for _ in rows_of(figure, panels, len(panels)):
        pass
    style.title(figure, "Amplitude, decay and noise, as told and learned with the weights")
    counts = [len(group.values) for _, groups in panels for group in groups]
    style.caption(
        figure,
        "100 · |ln(value ÷ true)|, averaged over the cells of a network. A row: what is told wrong. Learned: "
        "all three constants at once, by indirect inference. " + marks.interval_note(counts),
    )
    return figure


def tick_of(told: str) -> str:
    """What was told, with the constant's name."""
    if told == RIGHT:
        return "all right"
    name, factor = told.split()
    return f"{name} ±10%" if factor == "varied" else f"{name} × {factor}"


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {
        "misspecified": misspecified(results),
        "changes": changes(results),
        "constants": constants(results),
    }
