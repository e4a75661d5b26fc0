"""The parts that figures are made of: a point per seed, a mean with its interval, a line over a label.

Nothing is drawn at random: the points of a group are spread by their order, so that a seed sits at the same
height in every group and two drawings have the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory, offset_copy

from dfp.plotting import edges, style
from dfp.results.intervals import BOOTSTRAP_FROM, mean_interval

SPREAD = (-0.36, -0.14)  # where a row's small points lie: above its bar, so that none hides under it
BAR = 0.06
LEVEL = 0.95
#: so many values or fewer hardly tell an interval
FEW = 3

#: least and greatest value that a measure can have; None: it has no bounds
Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class Group:
    """One posterior's values, one a seed (or cell), and how they are drawn."""

    label: str
    values: np.ndarray
    colour: str
    marker: str = "o"


def interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and 95% interval of the mean; the bounds are NaN for fewer than two values."""
    array = np.asarray(list(values), dtype=float)
    if array.size < 2:
        return (float(array[0]) if array.size else np.nan), np.nan, np.nan
    mean, low, high = mean_interval(array, level=LEVEL)
    return float(mean), float(low), float(high)


def ratio_interval(ratios: Iterable[float]) -> tuple[float, float, float]:
    """Geometric mean of ratios and its 95% interval."""
    mean, low, high = np.exp(interval(np.log(np.asarray(list(ratios), dtype=float))))
    return float(mean), float(low), float(high)


def interval_note(
    counts: Iterable[int],
    unit: str = "seed",
    says: str = "Small points: {unit}s ({number}). Large point and bar: mean and {kind} of the mean.",
) -> str:
    """A caption's sentence: which interval, over how many seeds, cells or repeats, and whether those are few.

    ``says`` is filled with ``unit``, ``number`` (``n = 5``) and ``kind`` of the interval.
    """
    sizes = sorted({int(count) for count in counts})
    if not sizes:
        return ""
    low, high = sizes[0], sizes[-1]
    if high < 2:
        return f"One {unit}: no interval."
    if high < BOOTSTRAP_FROM:
        kind = "95% t-interval"
    elif low >= BOOTSTRAP_FROM:
        kind = "95% bootstrap interval"
    else:
        kind = f"95% interval (t below n = {BOOTSTRAP_FROM}, bootstrap above)"
    number = f"n = {high}" if low == high else f"n = {low} to {high}"
    few = f" Where n = {max(low, 2)}, an interval says little." if low <= FEW else ""
    return says.format(unit=unit, number=number, kind=kind) + few


def number(value: float) -> str:
    """Two significant digits, never in scientific notation above 1e-4."""
    if value == 0 or not np.isfinite(value):
        return "0" if value == 0 else "–"
    digits = max(0, 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{digits}f}" if abs(value) >= 1e-4 else f"{value:.0e}"


def small(values: np.ndarray) -> np.ndarray:
    """The values to draw as small points: none for a single seed, whose large point says it all."""
    return values if len(values) > 1 else values[:0]


def _spread(count: int) -> np.ndarray:
    return np.linspace(*SPREAD, count) if count > 1 else np.full(count, np.mean(SPREAD))


def log_limits(groups: Iterable[np.ndarray]) -> tuple[float, float]:
    """Limits of a log axis that hold every positive value with some room."""
    values = np.concatenate([np.asarray(group, dtype=float) for group in groups])
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size == 0:
        return 1e-3, 1.0
    low, high = float(positive.min()), float(positive.max())
    room = max((high / low) ** 0.07, 1.25)
    return low / room, high * room


def rows(axes: Axes, groups: Sequence[Group], log: bool = False, within: Bounds = None) -> None:
    """One row per group: seeds as small points, the mean and its interval on top.

    What is off the axis is a triangle at its edge: on a log axis a value at or below zero (an estimate of a
    tiny gap can be), and where an interval reaches there. ``within`` are the bounds that cut an interval.
    """
    if log:
        highs = [np.array(interval(group.values))[[0, 2]] for group in groups]
        axes.set_xlim(*log_limits([*(group.values for group in groups), *highs]))
        style.log_axis(axes, "x")
    for place, group in enumerate(groups):
        _row_points(axes, group, place)
        _row_mean(axes, group, place, within)
    axes.set_ylim(len(groups) - 0.45, -0.55)
    axes.set_yticks(range(len(groups)), [group.label for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place in range(len(groups)):
        axes.axhline(place + BAR, color="#e9e9e9", lw=0.7, zorder=0)


def _row_points(axes: Axes, group: Group, place: float) -> None:
    """The seeds of one row."""
    points = small(group.values)
    heights = place + _spread(len(points))
    look: dict[str, Any] = {"color": group.colour, "zorder": 2}
    axes.plot(points, heights, ls="none", mew=0, marker=group.marker, ms=3.6, alpha=0.45, **look)
    edges.beyond(axes, points, heights, "x", ms=4, alpha=0.6, **look)


def _row_mean(axes: Axes, group: Group, place: float, within: Bounds) -> None:
    """The mean of one row and its interval."""
    mean, *ends = interval(group.values)
    height, colour = place + BAR, group.colour
    low, high = bar(axes, ends, height, "x", within, color=colour, lw=2.2)
    axes.plot(mean, height, marker=group.marker, ms=7, color=colour, mec="white", mew=0.9, zorder=4)
    edges.beyond(axes, [low, high, mean], height, "x", color=colour, ms=5.5, zorder=3)


def bar(
    axes: Axes, ends: Sequence[float], place: float, which: str, within: Bounds = None, **look: Any
) -> tuple[float, float]:
    """Draw an interval along the axis ``which``, at ``place`` of the other; return what is drawn of it.

    It ends in a stroke where ``within`` cuts it. Nothing is drawn where it is not known.
    """
    low, high, cut = edges.cut(ends[0], ends[1], within)
    if not np.isfinite(low):
        return low, high
    drawn_as = {"zorder": 3, **look}

    def line(along: Sequence[float], **more: Any) -> None:
        across = [place] * len(along)
        axes.plot(*((along, across) if which == "x" else (across, along)), **{**drawn_as, **more})

    line([low, high], solid_capstyle="butt")
    if cut:
        line(cut, ls="none", marker="|" if which == "x" else "_", ms=7, mew=1.4, gid=edges.CUT)
    return low, high


def row_texts(axes: Axes, texts: Sequence[str], heading: str) -> None:
    """A column of numbers to the right of the rows, with a heading above it."""
    where, x = blended_transform_factory(axes.transAxes, axes.transData), 1.02
    for place, text in enumerate(texts):
        axes.text(x, place, text, transform=where, va="center", ha="left", fontsize=8)
    axes.text(x, 1.01, heading, transform=axes.transAxes, va="bottom", ha="left", fontsize=8, color="#4d4d4d")


def guide(axes: Axes, value: float, text: str = "", which: str = "x", colour: str = style.GUIDE) -> None:
    """A reference line; its text stands at the end of the line, outside the data."""
    if which == "x":
        axes.axvline(value, color=colour, lw=1.0, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            text,
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color="#5a5a5a",
            annotation_clip=False,
        )
    else:
        axes.axhline(value, color=colour, lw=1.0, ls=(0, (4, 3)), zorder=1)
        if text:
            axes.annotate(
                text,
                (1.0, value),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=7.5,
                color="#5a5a5a",
                annotation_clip=False,
            )


@dataclass(frozen=True)
class Curve:
    """One line over a label: `points` holds (place on the x axis, values over seeds).

    `means` replaces the means and their intervals, one (mean, low, high) per point.
    """

    label: str
    points: Sequence[tuple[float, np.ndarray]]
    colour: str
    marker: str = "o"
    line: str = "-"
    means: Sequence[tuple[float, float, float]] | None = None

    @property
    def counts(self) -> list[int]:
        return [len(values) for _, values in self.points]

    def summary(self) -> np.ndarray:
        """Mean, low and high of each point, `(points, 3)`."""
        found = self.means or [interval(values) for _, values in self.points]
        return np.array(found, dtype=float)


def curves(
    axes: Axes, drawn: Sequence[Curve], dodge: float = 0.0, log: bool = False, within: Bounds = None
) -> None:
    """Mean and interval along each curve with the seeds behind; `dodge` shifts the curves apart along x.

    With `log` the y axis is a log axis. What is off the axis is a triangle at its edge. `within` are the
    bounds that cut an interval.
    """
    if log:
        everything = [values for curve in drawn for _, values in curve.points]
        highs = [curve.summary()[:, [0, 2]].ravel() for curve in drawn if curve.points]
        axes.set_ylim(*log_limits([*everything, *highs]))
        style.log_axis(axes, "y")
    shifts = (np.arange(len(drawn)) - (len(drawn) - 1) / 2) * dodge
    for shift, curve in zip(shifts, drawn, strict=True):
        if curve.points:
            _curve(axes, curve, np.array([place for place, _ in curve.points], dtype=float) + shift, within)


def _curve(axes: Axes, curve: Curve, places: np.ndarray, within: Bounds) -> None:
    """One curve: its line, the seeds a little to the left of it, means with their intervals on top."""
    summary, colour = curve.summary(), curve.colour
    aside = offset_copy(axes.transData, fig=cast(Figure, axes.figure), x=-4.5, units="points")
    axes.plot(places, summary[:, 0], curve.line, color=colour, lw=1.3, alpha=0.75, zorder=2)
    points = [small(values) for _, values in curve.points]
    where, seeds = np.repeat(places, [len(values) for values in points]), np.concatenate(points)
    if len(seeds):
        axes.update_datalim(np.column_stack([where, seeds]))  # a shifted point moves no limits by itself
    look: dict[str, Any] = {"marker": curve.marker, "color": colour}
    axes.plot(where, seeds, ls="none", ms=2.8, mew=0, alpha=0.4, transform=aside, zorder=2, **look)
    for place, (_, *ends) in zip(places, summary, strict=True):
        bar(axes, ends, place, "y", within, color=colour, lw=2)
    axes.plot(places, summary[:, 0], ls="none", ms=6, mec="white", mew=0.8, zorder=4, **look)
    every = np.concatenate([seeds, summary.ravel()])
    edges.beyond(axes, every, [*where, *np.repeat(places, 3)], "y", color=colour, ms=5, alpha=0.7, zorder=3)


def legend_handles(drawn: Iterable[Curve | Group]) -> list[Any]:
    """Handles for a legend, one per curve or group, in order and without repeats."""
    handles: dict[str, Line2D] = {}
    for item in drawn:
        line = item.line if isinstance(item, Curve) else "-"
        handles.setdefault(
            item.label,
            Line2D(
                [],
                [],
                color=item.colour,
                marker=item.marker,
                ms=6,
                mec="white",
                mew=0.8,
                lw=1.3,
                ls=line,
                label=item.label,
            ),
        )
    return list(handles.values())


def legend_beside(figure: Any, drawn: Iterable[Curve | Group]) -> None:
    """A legend to the right of the panels, in a column of its own."""
    figure.legend(handles=legend_handles(drawn), loc="outside right center")


def paired_lines(
    axes: Axes,
    names: Sequence[str],
    columns: Sequence[np.ndarray],
    colours: Sequence[str],
    within: Bounds = None,
) -> None:
    """A line per seed or cell across the columns, the means and intervals on top.

    Row i of every column is one cell; ``within`` are the bounds that cut an interval.
    """
    values = np.stack(columns, axis=1)
    for row in values:
        axes.plot(range(len(names)), row, color="#b5b5b5", lw=0.9, zorder=1)
    for place, (column, colour) in enumerate(zip(columns, colours, strict=True)):
        axes.plot(np.full(len(column), place), column, "o", ms=4, mew=0, alpha=0.5, color=colour, zorder=2)
        mean, *ends = interval(column)
        shifted = place + (0.16 if place else -0.16)
        bar(axes, ends, shifted, "y", within, color=colour, lw=2.2)
        axes.plot(shifted, mean, "o", ms=7, color=colour, mec="white", mew=0.9, zorder=4)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
