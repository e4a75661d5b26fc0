"""Growth of the sweeps as one run predicts it: the tail of its changes, predictions against measurements."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dfp.plotting import edges, marks, style
from dfp.results.tables import ResultTables

#: a column of predicted growth → how a panel names it
PANELS = {
    "predicted_growth": "By ρ, flips taken one by one",
    "predicted_by_lyapunov": "By the Lyapunov exponent",
    "predicted_by_tail": "By the tail of one run",
}
KEY = ["dataset", "bins", "seed"]
#: sweeps that the axes of growth start at
LOWEST = 0.8
#: whose colours single cells take
CELLS = ("factorised", "logistic_flow", "twisted")


def sides(results: ResultTables, predictor: str) -> pd.DataFrame:
    """Growth `measured` and `predicted`, one row a law, length and seed that has both.

    Columns `dataset`, `bins` and `seed` too.
    """
    columns = {"measured": "growth", "predicted": predictor}
    found = {
        name: results.rows(metric, run="growth").set_index(KEY)["value"] for name, metric in columns.items()
    }
    return pd.concat(found, axis=1, join="inner").dropna().reset_index()


def colours(names: list[str]) -> dict[str, Any]:
    """Networks by the sd of their weights, from dark to light; single cells in colours of their own."""
    networks = [name for name in names if name.startswith("network")]
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.86, max(2, len(networks))))
    others = [style.colour(name) for name in CELLS]
    rest = [name for name in names if name not in networks]
    return dict(zip(networks, shades, strict=False)) | {
        name: others[place % len(others)] for place, name in enumerate(rest)
    }


def predictors(results: ResultTables, within: float, labels: dict[str, str]) -> Figure:
    """The bins that each sweep of one run changes, and growth against what each predictor says of it.

    Args:
        within: sweeps that measured and predicted growth may differ by: a band.
        labels: the laws that are drawn → as a legend says them.
    """
    shown = [name for name in PANELS if results.has(name, run="growth")]
    lines = -(-(1 + len(shown)) // 2)
    figure = style.figure(10.2, 1.2 + 3.6 * lines)
    left, *panels = list(figure.subplots(lines, 2, squeeze=False).flat)
    for spare in panels[len(shown) :]:
        spare.remove()
    panels = panels[: len(shown)]
    look = colours(list(labels))
    _tails(left, results, look)
    highest = max(sides(results, name)["measured"].max() for name in shown)
    for axes, name in zip(panels, shown, strict=True):
        _against(axes, sides(results, name), within, look, 1.25 * highest)
        axes.set_title(PANELS[name])
        axes.set_xlabel("Growth predicted (sweeps)")
        axes.set_ylabel("Growth measured (sweeps)")
    handles = [
        Line2D([], [], color=look[name], marker=_marker(name), ls="none", ms=6, label=text)
        for name, text in labels.items()
    ]
    figure.legend(handles=handles, loc="outside right center")
    style.title(figure, "How fast the changes of one run die out tells how its sweeps grow with the length")
    bins = int(results.rows("tail_rate", run="growth")["bins"].max())
    seeds = [results.rows("growth", run="growth")["seed"].nunique()]
    style.caption(
        figure,
        f"First: bins that each sweep of one run of {bins:,} bins changes, its noise that of no measured "
        "run; lines: e^(−λ k), from the first sweep on that changes a fifth or fewer. Others: growth of the "
        "sweeps from the shortest T to every longer one; predicted by ln(T ratio) ÷ ln(1/ρ), ÷ −Lyapunov "
        f"exponent (where the memory is one bin), ÷ λ. Shaded: ±{within:g} sweeps; networks with ρ ≥ 1, of "
        "which ρ predicts nothing, are left out of its panel. "
        f"{marks.interval_note(seeds, 'network')}",
    )
    return figure


def _marker(name: str) -> str:
    return "o" if name.startswith("network") else "D"


def _tails(axes: Axes, results: ResultTables, look: dict[str, Any]) -> None:
    """Share of the bins that a sweep changes, and λ's line through the tail."""
    for name, colour in look.items():
        for metric, marker, line in (("changing", _marker(name), "none"), ("changing_fit", "", "-")):
            if results.has(metric, run="growth", dataset=name):
                rows = results.rows(metric, run="growth", dataset=name).sort_values("step")
                axes.plot(
                    rows["step"], rows["value"], marker=marker, ls=line, color=colour, ms=3, lw=1.2, mew=0
                )
    axes.set_ylim(0.5 * results.rows("changing", run="growth")["value"].min(), 1.5)
    style.log_axis(axes, "y")
    axes.set_xlabel("Sweep")
    axes.set_ylabel("Share of the bins that it changes")
    axes.set_title("One run, a network of each kind")


def _against(axes: Axes, frame: pd.DataFrame, within: float, look: dict[str, Any], top: float) -> None:
    """Each network a small point, each law and length a large one with both means' intervals."""
    line = np.geomspace(LOWEST, top, 200)
    axes.fill_between(line, np.maximum(line - within, LOWEST), line + within, color="#ececec", lw=0, zorder=0)
    axes.plot(line, line, color=style.GUIDE, lw=1, zorder=1)
    for name, colour in look.items():
        own = frame[frame["dataset"] == name]
        common = {"color": colour, "zorder": 2}
        axes.plot(
            own["predicted"], own["measured"], _marker(name), ls="none", ms=2.8, mew=0, alpha=0.45, **common
        )
        edges.beyond(axes, own["predicted"], own["measured"], "x", ms=4, alpha=0.7, **common)
        for _, part in own.groupby("bins"):
            _mean(axes, part, colour, _marker(name))
    axes.set_xlim(LOWEST, top)
    axes.set_ylim(LOWEST, top)
    for which in ("x", "y"):
        style.log_axis(axes, which)


def _mean(axes: Axes, part: pd.DataFrame, colour: Any, marker: str) -> None:
    x, *across = marks.interval(part["predicted"])
    y, *along = marks.interval(part["measured"])
    marks.bar(axes, across, y, "x", color=colour, lw=1.8)
    marks.bar(axes, along, x, "y", color=colour, lw=1.8)
    axes.plot(x, y, marker=marker, ms=6, color=colour, mec="white", mew=0.8, zorder=4)
