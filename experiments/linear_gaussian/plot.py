"""Figures of `linear_gaussian`: where refinement ends, and what planar flows leave of the gap."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.over import tick, values
from dfp.results.tables import ResultTables

from .claims import GAP, ROUTES, TEXTS, sizes

LOOKS = {
    "exact": (style.colour("fixed_point"), "o"),
    "line_search": (style.colour("refined"), "^"),
    "sampled": (style.colour("logistic_flow"), "s"),
}
FLOWS = (style.colour("factorised"), style.colour("fixed_point"), style.colour("twisted"))
#: below this an error is drawn as this: rounding
FLOOR = 1e-12


def lines(results: ResultTables, metric: str, dataset: str) -> list[Curve]:
    """A curve a route over the number of steps."""
    counts = sorted(results.rows(metric, dataset=dataset)["count"].unique())
    drawn = []
    for run, (colour, marker) in LOOKS.items():
        points = []
        for place, count in enumerate(counts):
            found = values(results.rows(metric, run=run, dataset=dataset, count=count))
            points.append((float(place), np.maximum(found, FLOOR)))
        means = [marks.ratio_interval(found) for _, found in points]
        drawn.append(Curve(ROUTES[run], points, colour, marker, means=means))
    return drawn


def refinement(results: ResultTables) -> Figure:
    """Errors of mean, variance and gap over the number of steps."""
    names = sizes(results)
    figure = style.figure(10.9, 2.7 * len(names) + 1.3)
    grid = figure.subplots(len(names), len(TEXTS), squeeze=False, sharex=True)
    drawn: list[Curve] = []
    for line, dataset in zip(grid, names, strict=True):
        for axes, (metric, (text, unit)) in zip(line, TEXTS.items(), strict=True):
            made = lines(results, metric, dataset)
            marks.curves(axes, made, dodge=0.1, log=True)
            _steps(axes, results, metric, dataset)
            axes.set_title(f"{dataset[1:]} units")
            axes.set_ylabel(f"{text[0].upper()}{text[1:]}" + (f"\n({unit})" if unit == "nats" else ""))
            drawn += made
    marks.legend_beside(figure, drawn)
    style.title(figure, "Where refinement ends: errors against the best diagonal posterior")
    style.caption(
        figure,
        "Random linear-Gaussian models, from the prior; exact: fixed rate, momentum 0.9; by samples: 8 a "
        "step, decaying rate. "
        "Gap − formula: log p(x) − bound − ½ (Σ log Λ_ii − log |Λ|). Values below 1e−12, rounding, are "
        "drawn there. Small "
        f"points: models (n = {max(c for d in drawn for c in d.counts)}). Large point and bar: geometric "
        "mean and its 95% interval.",
    )
    return figure


def _steps(axes: Axes, results: ResultTables, metric: str, dataset: str) -> None:
    counts = sorted(results.rows(metric, dataset=dataset)["count"].unique())
    axes.set_xticks(range(len(counts)), [tick(count) for count in counts])
    axes.set_xlabel("Refinement steps")
    axes.tick_params(labelbottom=True)


def flow(results: ResultTables) -> Figure:
    """What planar flows leave of the gap, over their length."""
    names = sizes(results)
    figure = style.figure(7.4, 4.3)
    axes = figure.subplots()
    counts = sorted(results.rows("gap", run="planar")["count"].unique())
    drawn = []
    for dataset, colour in zip(names, FLOWS, strict=False):
        found = [values(results.rows("gap", run="planar", dataset=dataset, count=count)) for count in counts]
        points = [(float(place), each) for place, each in enumerate(found)]
        drawn.append(Curve(f"{dataset[1:]} units", points, colour))
        formula = float(values(results.rows("gap", run="formula", dataset=dataset)).mean())
        axes.axhline(formula, color=colour, lw=1, ls=":", zorder=1)
    marks.curves(axes, drawn, dodge=0.12, log=True)
    axes.set_xticks(range(len(counts)), [tick(count) for count in counts])
    axes.set_xlabel("Planar maps K")
    axes.set_ylabel("log p(x) − bound (nats)")
    marks.guide(axes, GAP, "0.01", which="y")
    marks.legend_beside(figure, drawn)
    style.title(figure, "What planar flows leave of the gap")
    style.caption(
        figure,
        "Gap by fresh samples; K = 0 is the diagonal posterior. Dotted: mean of ½ (Σ log Λ_ii − log |Λ|), "
        "which no diagonal posterior can go below. Few maps are enough: K = D − 1 shears make every "
        "Gaussian. "
        + marks.interval_note([len(each) for curve in drawn for _, each in curve.points], "model"),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """All figures by name."""
    return {"refinement": refinement(results), "flow": flow(results)}
