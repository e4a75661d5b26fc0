"""The parts of the figures on random instances: each of them in order, in a plane, and what matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dfp.plotting import edges, marks, style
from dfp.results.intervals import rank_correlation_interval

from .judged import Judged

#: a parameter's column and what an axis says of it
Labels = Mapping[str, str]

HELD, FAILED = style.colour("fixed_point"), style.colour("logistic_flow")


def percent(share: tuple[float, float, float]) -> str:
    """A share and its interval as text."""
    mean, low, high = share
    return f"{mean:.0%}" + (f" [{low:.0%}, {high:.0%}]" if np.isfinite(low) else "")


def mean_text(values: pd.Series) -> str:
    """A mean and its interval as text."""
    mean, low, high = marks.interval(values)
    spread = f" [{marks.number(low)}, {marks.number(high)}]" if np.isfinite(low) else ""
    return f"{marks.number(mean)}{spread}".replace("-", "−")


def ranked(axes: Axes, one: Judged, says: str, axis: str, note: str = "", noun: str = "cell") -> None:
    """The instances in the order of their values: filled where the claim holds, open where it fails.

    `says` is the title, to which `note` is added, `axis` the label of the values, and `noun` what an instance
    is.
    """
    values = one.by_cell.sort_values()
    held = one.holds.loc[values.index].to_numpy()
    place = np.arange(1, len(values) + 1)
    heights = values.to_numpy()
    for keep, colour, face in ((held, HELD, HELD), (~held, FAILED, "white")):
        axes.vlines(place[keep], one.edge, heights[keep], color=colour, lw=0.9, alpha=0.5, zorder=1)
        axes.plot(place[keep], heights[keep], "o", ms=4.2, color=colour, mfc=face, mew=1.1, zorder=3)
        edges.beyond(axes, heights[keep], place[keep], "y", color=colour, ms=4.2, zorder=3)
    if one.error:
        axes.set_ylim(*marks.log_limits([heights, np.array([one.edge])]))
        style.log_axis(axes, "y")
    axes.axhline(one.edge, color=style.INK, lw=0.9, zorder=2)
    axes.set_xlabel(f"{noun.capitalize()}, in order of the value")
    axes.set_xlim(0, len(values) + 1)
    axes.set_ylabel(axis)
    axes.set_title(
        f"{says}\nholds on {held.sum()} of {len(held)} {noun}s: {percent(one.share())}\n"
        f"mean {mean_text(one.by_cell)}{note}",
        fontsize=8.5,
        fontweight="normal",
    )


def plane(
    axes: Axes, one: Judged, where: pd.DataFrame, horizontal: str, vertical: str, labels: Labels
) -> None:
    """The instances in a plane of two parameters.

    The shade tells the value, an open ring that the claim fails.
    """
    frame = where.loc[one.by_cell.index]
    held = one.holds.to_numpy()
    limits = Normalize(min(0.0, float(one.by_cell.min())), float(one.by_cell.max()))
    axes.scatter(
        frame[horizontal],
        frame[vertical],
        s=12 + 80 * limits(one.by_cell.to_numpy()),
        c=np.where(held, HELD, "white"),
        edgecolors=np.where(held, "white", FAILED).tolist(),
        linewidths=np.where(held, 0.5, 1.4).tolist(),
        alpha=0.85,
    )
    if vertical == "true_noise":  # drawn evenly in the logarithm
        style.log_axis(axes, "y")
    axes.set_xlabel(labels[horizontal])
    axes.set_ylabel(labels[vertical])


def correlations(axes: Axes, one: Judged, where: pd.DataFrame, labels: Labels) -> None:
    """Rank correlation of the value with each parameter."""
    names = list(labels)
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
    axes.set_yticks(range(len(names)), [labels[name].split(" (")[0] for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Rank correlation with the value")


def verdict_legend(figure: Figure) -> None:
    """What filled and open points mean."""
    point: dict[str, Any] = {"color": "none", "marker": "o", "ms": 7}
    figure.legend(
        handles=[
            Line2D([], [], **point, mfc=HELD, mec="white", label="claim holds"),
            Line2D([], [], **point, mfc="white", mec=FAILED, mew=1.4, label="claim fails"),
        ],
        loc="outside upper right",
        ncols=2,
    )
