"""Figures of `instances`: on how many random cells the claims C1, C4 and C5 hold, and where they do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dfp.evaluation.intervals import rank_correlation_interval
from dfp.plotting import marks, style
from dfp.plotting.instances import (
    BEST,
    COUNT_SD,
    PARAMETERS,
    Judged,
    count_sd_ratio,
    judged,
    parameters,
)
from dfp.plotting.tables import ResultTables

HELD, FAILED = style.colour("fixed_point"), style.colour("logistic_flow")
#: what each claim says, short enough for a panel's title
SAYS = {
    "C1": "C1: factorised loses to fixed point",
    "C4": "C4: logistic latents lose to relaxed pmf",
    "C5": "C5: fixed point, nonlinear history, has the right sd",
}
AXES = {
    "C1": "Gap, factorised − fixed point\n(nats per bin)",
    "C4": "Gap, logistic − relaxed pmf\n(nats per bin)",
    "C5": "|Sd of the spike count ÷ exact − 1|",
}
#: the planes that the region is drawn in: horizontal, vertical
PLANES = (("true_decay", "true_noise"), ("true_history_1", "true_rate_hz"))
COVERAGE_RUNS = ("factorised", "fixed_point", BEST)


def percent(share: tuple[float, float, float]) -> str:
    """A share and its interval as text."""
    mean, low, high = share
    return f"{mean:.0%}" + (f" [{low:.0%}, {high:.0%}]" if np.isfinite(low) else "")


def mean_text(values: pd.Series) -> str:
    """A mean and its interval as text."""
    mean, low, high = marks.interval(values)
    spread = f" [{marks.number(low)}, {marks.number(high)}]" if np.isfinite(low) else ""
    return f"{marks.number(mean)}{spread}".replace("-", "−")


def ranked(axes: Axes, one: Judged, note: str = "") -> None:
    """The cells in the order of their values: filled where the claim holds, open where it fails; `note` is
    added to the title."""
    values = one.by_cell.sort_values()
    held = one.holds.loc[values.index].to_numpy()
    place = np.arange(1, len(values) + 1)
    heights = values.to_numpy()
    for keep, colour, face in ((held, HELD, HELD), (~held, FAILED, "white")):
        axes.vlines(place[keep], one.edge, heights[keep], color=colour, lw=0.9, alpha=0.5, zorder=1)
        axes.plot(place[keep], heights[keep], "o", ms=4.2, color=colour, mfc=face, mew=1.1, zorder=3)
    if one.error:
        axes.set_ylim(*marks.log_limits([heights, np.array([one.edge])]))
        style.log_axis(axes, "y")
    axes.axhline(one.edge, color=style.INK, lw=0.9, zorder=2)
    axes.set_xlabel("Cell, in order of the value")
    axes.set_xlim(0, len(values) + 1)
    axes.set_ylabel(AXES[one.claim])
    axes.set_title(
        f"{SAYS[one.claim]}\nholds on {held.sum()} of {len(held)} cells: {percent(one.share())}\n"
        f"mean {mean_text(one.by_cell)}{note}",
        fontsize=8.5,
        fontweight="normal",
    )


def too_wide(results: ResultTables, one: Judged) -> str:
    """To which side the cells err on which the sd is not right."""
    ratio = count_sd_ratio(results, BEST).loc[one.by_cell.index][~one.holds]
    return f"; of {len(ratio)} that fail, {(ratio > 1).sum()} too wide" if len(ratio) else ""


def coverage(axes: Axes, results: ResultTables) -> None:
    """Mean coverage of the 50% and 90% intervals of the spike count, a row a run."""
    names = []
    for place, run in enumerate(COVERAGE_RUNS):
        names.append(style.run_name(run).replace(", ", ",\n"))
        colour = style.colour("factorised" if run == "factorised" else "fixed_point")
        marker = "s" if run == BEST else "o"
        for level in ("50", "90"):
            mean, low, high = marks.interval(results.values(f"coverage_{level}", run=run))
            if np.isfinite(low):
                axes.plot([low, high], [place] * 2, color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot(mean, place, marker=marker, ms=6.5, color=colour, mec="white", mew=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.35, 1.02)
    for value in (0.5, 0.9):
        marks.guide(axes, value)
    axes.set_xlabel("Share of trials whose true count lies in the interval")
    axes.set_title(
        "C5: coverage of the 50% and 90% intervals of the\nspike count, mean over cells; dashed: nominal",
        fontsize=8.5,
        fontweight="normal",
    )


def differences(results: ResultTables) -> Figure:
    """Each claim's figure on every cell, in order, and the coverage."""
    figure = style.figure(9.6, 6.6)
    panels = figure.subplots(2, 2).ravel()
    tested = judged(results)
    for axes, one in zip(panels, tested, strict=False):
        ranked(axes, one, too_wide(results, one) if one.error else "")
    coverage(panels[3], results)
    cells = len(tested[0].by_cell)
    style.title(figure, f"Do the claims hold on {cells} random cells?")
    style.caption(
        figure,
        "One point a cell, paired: filled blue where the claim holds, open orange where it fails; black "
        f"line: the edge (no difference; for the sd {COUNT_SD:.0%} of the exact one). Brackets: 95% "
        "interval, of the share by Wilson, of the mean over cells t below n = 10, bootstrap above. Hard "
        "samples, held-out trials, parameters known; both sides of a difference have the same recognition "
        "network, steps and schedule of temperatures. Coverage can be right where the sd is not: too wide "
        "and off centre cancel in it.",
    )
    return figure


def plane(axes: Axes, one: Judged, where: pd.DataFrame, horizontal: str, vertical: str) -> None:
    """The cells in a plane of two parameters: the shade tells the value, an open ring that the claim
    fails."""
    frame = where.loc[one.by_cell.index]
    held = one.holds.to_numpy()
    limits = Normalize(min(0.0, float(one.by_cell.min())), float(one.by_cell.max()))
    axes.scatter(
        frame[horizontal],
        frame[vertical],
        s=12 + 80 * limits(one.by_cell.to_numpy()),
        c=np.where(held, HELD, "white"),
        edgecolors=np.where(held, "white", FAILED),
        linewidths=np.where(held, 0.5, 1.4),
        alpha=0.85,
    )
    if vertical == "true_noise":  # drawn evenly in the logarithm
        style.log_axis(axes, "y")
    axes.set_xlabel(PARAMETERS[horizontal])
    axes.set_ylabel(PARAMETERS[vertical])


def correlations(axes: Axes, one: Judged, where: pd.DataFrame) -> None:
    """Rank correlation of the value with each parameter."""
    names = list(PARAMETERS)
    for place, name in enumerate(names):
        found, low, high = rank_correlation_interval(where.loc[one.by_cell.index, name], one.by_cell)
        sure = np.isfinite(low) and (low > 0 or high < 0)
        colour = style.INK if sure else style.GUIDE
        if np.isfinite(low):
            axes.plot([low, high], [place] * 2, color=colour, lw=2.2, solid_capstyle="butt")
        axes.plot(found if np.isfinite(found) else 0.0, place, "o", ms=6, color=colour, mec="white", mew=0.8)
    axes.axvline(0, color=style.INK, lw=0.8, zorder=0)
    axes.set_xlim(-1, 1)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [PARAMETERS[name].split(" (")[0] for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Rank correlation with the value")


def region(results: ResultTables) -> Figure:
    """Where, among the parameters, each claim holds and fails."""
    tested, where = judged(results), parameters(results)
    figure = style.figure(10.2, 8.6)
    panels = figure.subplots(len(tested), len(PLANES) + 1)
    for row, one in zip(panels, tested, strict=True):
        for axes, (horizontal, vertical) in zip(row, PLANES, strict=False):
            plane(axes, one, where, horizontal, vertical)
        correlations(row[-1], one, where)
        row[0].set_title(f"{SAYS[one.claim]}: {one.holds.sum()} of {len(one.holds)} cells")
    point = {"color": "none", "marker": "o", "ms": 7}
    figure.legend(
        handles=[
            Line2D([], [], **point, mfc=HELD, mec="white", label="claim holds"),
            Line2D([], [], **point, mfc="white", mec=FAILED, mew=1.4, label="claim fails"),
        ],
        loc="outside upper right",
        ncols=2,
    )
    style.title(figure, "Where the claims hold, and where they fail")
    style.caption(
        figure,
        "One point a cell; the larger, the larger the value that the claim is judged by (C1, C4: difference "
        "of the gaps, which has to be above 0; C5: relative error of the sd, which has to be below "
        f"{COUNT_SD:.0%}). Right: Spearman's correlation of that value with each parameter over cells, with "
        "its 95% interval (Bonett and Wright), black where it excludes 0.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"differences": differences(results), "region": region(results)}
