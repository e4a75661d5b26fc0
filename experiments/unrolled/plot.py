"""Figures of `unrolled`: the bias of K sweeps over K, and how many are enough over temperature."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, over, style
from dfp.plotting.marks import Curve
from dfp.results.tables import ResultTables

ROWS = (
    ("relative_bias", "phi", "Relative bias of ∇φ\n(posterior)"),
    ("relative_bias", "theta", "Relative bias of ∇θ\n(model)"),
    ("worst_draw", "phi", "Relative error of ∇φ,\nworst draw"),
)
#: below this all is drawn at it: no bias
FLOOR = 1e-4
TOLERANCE = 0.01


def _cells(count: float) -> str:
    return "one cell" if count == 1 else f"{count:g} coupled cells"


def _shades(temperatures: list[float]) -> dict[float, str]:
    """A colour for each temperature, warm to cold."""
    colours = mpl.colormaps["plasma"](np.linspace(0.8, 0.1, len(temperatures)))
    return {
        value: mpl.colors.to_hex(colour)
        for value, colour in zip(sorted(temperatures, reverse=True), colours, strict=True)
    }


def _by(frame: pd.DataFrame, label: str, places: dict[str, float]) -> list[tuple[float, np.ndarray]]:
    by = {over.tick(key): part for key, part in frame.groupby(label)}
    return [(where, over.values(by[name])) for name, where in places.items() if name in by]


def _panel(axes: Axes, frame: pd.DataFrame, shades: dict[float, str]) -> list[Curve]:
    """A metric of one part and one size over K, a curve a temperature."""
    places = {over.tick(k): float(i) for i, k in enumerate(sorted(frame["sweeps"].unique()))}
    made = []
    for value, colour in shades.items():
        points = _by(frame[frame["temperature"] == value], "sweeps", places)
        means = [marks.ratio_interval(found) for _, found in points]
        made.append(Curve(f"temperature {value:g}", points, colour, means=means))
    marks.curves(axes, made, dodge=0.13, log=True)
    axes.set_xticks(list(places.values()), list(places))
    return made


def bias(results: ResultTables) -> Figure:
    """Bias and worst draw over K, a curve a temperature."""
    whole = pd.concat([results.rows("relative_bias"), results.rows("worst_draw")])
    whole = whole.assign(value=whole["value"].clip(lower=FLOOR))
    sizes = sorted(whole["cells"].unique())
    shades = _shades(list(whole["temperature"].unique()))
    top = 2 * float(whole["value"].max())
    figure = style.figure(3.6 * len(sizes) + 1.6, 7.6)
    drawn: list[Curve] = []
    panels = figure.subplots(len(ROWS), len(sizes), squeeze=False, sharex=True)
    for row, (metric, part, label) in enumerate(ROWS):
        for axes, cells in zip(panels[row], sizes, strict=True):
            keep = (whole["metric"] == metric) & (whole["part"] == part) & (whole["cells"] == cells)
            drawn += _panel(axes, whole[keep], shades)
            axes.set_ylim(FLOOR / 1.5, top if metric == "worst_draw" else 20)
            marks.guide(axes, TOLERANCE, "1%" if cells == sizes[-1] else "", which="y")
            axes.set_title(_cells(cells).capitalize() if row == 0 else "")
            axes.set_ylabel(label if cells == sizes[0] else "")
            axes.set_xlabel("Sweeps K" if row == len(ROWS) - 1 else "")
    marks.legend_beside(figure, drawn)
    style.title(figure, "How far the gradient through K sweeps is from the recursion's")
    counts = [count for one in drawn for count in one.counts]
    style.caption(
        figure,
        "‖E[g_K − g]‖ ÷ ‖E g‖ of the relaxed pmf's gradient, and the largest ‖g_K − g‖ ÷ ‖E g‖ of all draws; "
        f"same noise on both sides; values below {FLOOR:.2%} count as that. {marks.interval_note(counts)} "
        "Means are geometric here, arithmetic in the claims.",
    )
    return figure


def needed(results: ResultTables) -> Figure:
    """The least K with a bias below the tolerance, and the sweeps that are made until still."""
    enough = results.rows("sweeps_needed")
    still = results.rows("sweeps_until_still")
    sizes = sorted(enough["cells"].unique())
    temperatures = sorted(enough["temperature"].unique(), reverse=True)
    places = {over.tick(value): float(i) for i, value in enumerate(temperatures)}
    lines = [
        ("1% in ∇φ", enough[enough["part"] == "phi"], style.colour("fixed_point"), "o", "-"),
        ("1% in ∇θ", enough[enough["part"] == "theta"], style.colour("refined"), "s", "-"),
        ("until still (1e-4)", still, style.GUIDE, "D", "--"),
    ]
    figure = style.figure(3.4 * len(sizes) + 1.6, 3.6)
    drawn: list[Curve] = []
    for axes, cells in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        made = [
            Curve(name, _by(frame[frame["cells"] == cells], "temperature", places), colour, marker, line)
            for name, frame, colour, marker, line in lines
        ]
        marks.curves(axes, made, dodge=0.12)
        axes.set_ylim(bottom=0)
        axes.set_title(_cells(cells).capitalize())
        axes.set_xticks(list(places.values()), list(places))
        axes.set_xlabel("Temperature")
        axes.set_ylabel("Sweeps" if cells == sizes[0] else "")
        drawn += made
    marks.legend_beside(figure, drawn)
    style.title(figure, "How many sweeps a gradient needs")
    counts = [count for one in drawn for count in one.counts]
    style.caption(
        figure,
        "Least K of those tried from which on the relative bias of the gradient through K sweeps stays below "
        f"1%; beside it the sweeps of a sampler that stops by itself. {marks.interval_note(counts)}",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"bias": bias(results), "needed": needed(results)}
