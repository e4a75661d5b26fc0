"""Figures of `misspecified`: weights where calcium constants are told wrong, and constants learned."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.over import Look, Panel, values
from dfp.plotting.tables import MissingResult, ResultTables

RIGHT = "right"
#: columns of the figures: a constant, and what was told of it from low to high, right in the middle
CONSTANTS = {
    "amplitude": ("Amplitude told", ("amplitude 0.9", RIGHT, "amplitude 1.1", "amplitude varied")),
    "decay": ("Decay told", ("decay 0.8", RIGHT, "decay 1.25")),
    "noise": ("Noise told", ("noise 0.8", RIGHT, "noise 1.25")),
}
TICKS = {RIGHT: "right", "amplitude varied": "±10%\na cell"}
LOOKS = {
    "indirect": Look("Factorised, indirect inference", style.colour("factorised"), "h"),
    "constants_learned": Look("the same, constants learned", style.colour("refined"), "^"),
    "relaxed": Look("Fixed point, relaxed pmf", style.colour("fixed_point"), "o"),
    "oasis_glm": Look("OASIS, then regression", style.colour("oasis_glm"), "D"),
}
MEASURES = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_slope", style.METRICS["weight_slope"], (1.0, "unshrunk")),
    Panel("history_bias_1", style.METRICS["history_bias_1"], (0.0, "truth")),
)


def rows(results: ResultTables, metric: str) -> pd.DataFrame:
    """Rows of a metric with what did it (``by``) and what it was told (``told``; peers told nothing wrong
    have no label).
    """
    frame = results.rows(metric)
    method = frame["method"].where(frame["method"].notna(), frame["family"])
    told = frame["told"].where(frame["told"].notna(), RIGHT)
    return frame.assign(by=method, told=told)


def tick(told: str) -> str:
    """What an axis says of a value that was told."""
    return TICKS.get(told, f"× {told.split()[-1]}")


def column(axes: Axes, frame: pd.DataFrame, told: Sequence[str], looks: dict[str, Look]) -> list[Curve]:
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


def draw(axes: Axes, drawn: Sequence[Curve], told: Sequence[str]) -> None:
    """Curves side by side, those of one method at one place."""
    names = list(dict.fromkeys(curve.label for curve in drawn))
    for number, name in enumerate(names):
        shift = (number - (len(names) - 1) / 2) * 0.11
        for curve in drawn:
            if curve.label == name and curve.points:
                moved = [(place + shift, found) for place, found in curve.points]
                marks.curves(axes, [Curve(name, moved, curve.colour, curve.marker, curve.line)])
    axes.set_xticks(range(len(told)), [tick(name) for name in told])
    axes.set_xlim(-0.5, len(told) - 0.5)


def misspecified(results: ResultTables) -> Figure:
    """Correlation, slope and history error over what was told of each constant."""
    frames = [rows(results, panel.metric) for panel in MEASURES]
    looks = {name: look for name, look in LOOKS.items() if (frames[0]["by"] == name).any()}
    figure = style.figure(12.5, 8.2)
    widths = [len(told) for _, told in CONSTANTS.values()]
    grid = figure.subplots(len(MEASURES), len(CONSTANTS), width_ratios=widths, sharey="row", sharex="col")
    everything: list[Curve] = []
    for line, (panel, frame) in zip(grid, zip(MEASURES, frames, strict=True), strict=True):
        for axes, (title, told) in zip(line, CONSTANTS.values(), strict=True):
            present = [name for name in told if (frame["told"] == name).any()]
            drawn = column(axes, frame, present, looks)
            draw(axes, drawn, present)
            everything += drawn
            if panel.guide is not None:
                text = panel.guide[1] if axes is line[-1] else ""
                marks.guide(axes, panel.guide[0], text, which="y")
            if line is grid[-1]:
                axes.set_xlabel(title)
        line[0].set_ylabel(panel.label)
    marks.legend_beside(figure, [curve for curve in everything if curve.points])
    style.title(figure, "What wrong calcium constants do to the weights, and learning them with the weights")
    counts = [count for curve in everything for count in curve.counts]
    style.caption(
        figure,
        "Twenty coupled cells, noise 0.4, rise 0.1 s; a seed is a network. The traces are the same; one "
        "constant at a time is told wrong, for all cells alike or (±10% a cell) for each cell by a factor of "
        "its own. Green: amplitude, decay and noise are learned from there. " + marks.interval_note(counts),
    )
    return figure


def constants(results: ResultTables) -> Figure:
    """What is left of a wrong constant once it is learned."""
    figure = style.figure(10.5, 3.7)
    panels = figure.subplots(1, 3, sharey=True)
    drawn: list[Curve] = []
    learned = rows(results, "weight_correlation").query("by == 'constants_learned'")
    told = [name for _, names in CONSTANTS.values() for name in names if (learned["told"] == name).any()]
    told = list(dict.fromkeys([RIGHT, *told]))
    if len(told) < 2:
        raise MissingResult(f"{results.path}: no run that learns constants told wrong, which a figure needs")
    for axes, name in zip(panels, CONSTANTS, strict=True):
        frame = rows(results, f"{name}_off")
        for by, shift in (("indirect", -0.12), ("constants_learned", 0.12)):
            own = frame[frame["by"] == by]
            look = LOOKS[by]
            points = [
                (place + shift, 100 * values(own[own["told"] == key])) for place, key in enumerate(told)
            ]
            points = [(place, found) for place, found in points if len(found)]
            text = "as told" if by == "indirect" else "learned, from what is told"
            drawn.append(Curve(text, points, look.colour, look.marker, ""))
        marks.curves(axes, drawn[-2:])
        axes.set_xticks(range(len(told)), [tick_of(key) for key in told], rotation=45, ha="right")
        axes.set_title(f"{name.capitalize()}")
    panels[0].set_ylabel("Mean error over cells (%)")
    panels[0].set_ylim(bottom=0.0)
    marks.legend_beside(figure, drawn)
    style.title(figure, "Amplitude, decay and noise learned with the weights")
    counts = [count for curve in drawn for count in curve.counts]
    style.caption(
        figure,
        "100 · |ln(value ÷ true)|, averaged over the cells of a network. Horizontal axis: what is told "
        "wrong; all three constants are learned. " + marks.interval_note(counts),
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
    return {"misspecified": misspecified(results), "constants": constants(results)}
