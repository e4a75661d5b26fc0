"""A metric over the values of a label: the picture of an ablation."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve, Group
from dfp.results.tables import UNIT, MissingResult, ResultTables


@dataclass(frozen=True)
class Look:
    """How one curve or group is named and drawn."""

    name: str
    colour: str
    marker: str = "o"
    line: str = "-"


@dataclass(frozen=True)
class Panel:
    """A metric and its axis.

    ``guide`` is a value to compare with and what it says: by default the target of the metric, where it has
    one.

    With ``base``, a value of the label, what is drawn is the change from there, paired by seed.
    """

    metric: str
    label: str
    guide: tuple[float, str] | None = None
    log: bool = False
    scale: float = 1.0
    base: str | None = None

    @property
    def target(self) -> tuple[float, str] | None:
        """The value to compare with, and what it says."""
        return self.guide or (None if self.base else style.TARGETS.get(self.metric))

    @property
    def within(self) -> marks.Bounds:
        """The bounds of what is drawn; a change has none."""
        return None if self.base else style.bounds(self.metric)


def place(value: object) -> float:
    """The order of a label's values: numbers by size, words last, in the order in which they come."""
    try:
        return float(str(value))
    except ValueError:
        return np.inf


def tick(value: object) -> str:
    """A label's value as an axis says it."""
    return f"{place(value):g}" if np.isfinite(place(value)) else str(value)


def labelled(results: ResultTables, metric: str, *labels: str) -> pd.DataFrame:
    """The rows of a metric that have all of the labels. Raises ``MissingResult`` where there is none."""
    frame = results.rows(metric)
    for label in labels:
        if label not in results.labels or frame[label].isna().all():
            raise MissingResult(f"{results.path}: no '{metric}' with a label '{label}', which a figure needs")
        frame = frame[frame[label].notna()]
    return frame


def values(frame: pd.DataFrame) -> np.ndarray:
    """One value a seed, sorted, so that the same place is the same seed in every group."""
    found: np.ndarray = frame.sort_values(UNIT)["value"].to_numpy(dtype=float)
    return found


def curve(frame: pd.DataFrame, label: str, places: Mapping[str, float], look: Look, scale: float) -> Curve:
    """One line over a label."""
    by = {str(name): part for name, part in frame.groupby(frame[label].map(tick))}
    points = [(where, scale * values(by[name])) for name, where in places.items() if name in by]
    return Curve(look.name, points, look.colour, look.marker, look.line)


def change(frame: pd.DataFrame, label: str, base: str, by: Sequence[str]) -> pd.DataFrame:
    """Values less those at the value ``base`` of a label, paired by seed, within every group ``by``."""
    pair = [*by, *UNIT]
    start = frame[frame[label].map(tick) == base].set_index(pair)["value"].rename("start")
    both = frame.join(start, on=pair, how="inner")
    return both.assign(value=both["value"] - both["start"]).drop(columns="start")


def looks_by_family(frame: pd.DataFrame) -> dict[Hashable, Look]:
    """Looks for curves that are families."""
    present = set(frame["family"])
    return {
        name: Look(style.family_name(name), style.colour(name)) for name in style.FAMILIES if name in present
    }


def with_others(looks: Mapping[Any, Look], frame: pd.DataFrame, by: str) -> dict[Hashable, Look]:
    """``looks``, and one for every value of the column ``by`` that has none: what a user has added."""
    found = dict(looks)
    for name in frame[by].dropna().unique():
        if name not in found:
            found[name] = Look(style.run_name(str(name)), style.colour(str(name)), "X", "-.")
    return found


def first_runs(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of the first run with each value of ``keys``: another would be averaged into its points."""
    return frame[frame["run"] == _first(frame, keys)]


def _first(frame: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    return frame.groupby(list(keys), dropna=False, sort=False)["run"].transform("first")


def own_runs(frame: pd.DataFrame, keys: Sequence[str], by: str) -> pd.DataFrame:
    """Name by themselves, in the column ``by``, runs that share all ``keys`` with another.

    Else they would be averaged into the other's points without a word. The first run of the table keeps the
    name.
    """
    return frame.assign(**{by: frame[by].where(frame["run"] == _first(frame, keys), frame["run"])})


def left_out(results: ResultTables, drawn: Iterable[object], among: Iterable[object] | None = None) -> str:
    """A closing sentence on the runs of the table (or of ``among``) that a figure lacks.

    Empty where it has all of them.
    """
    known = {str(name) for name in drawn}
    wanted = results.runs if among is None else [run for run in results.runs if run in set(among)]
    missing = [style.run_name(run) for run in wanted if run not in known]
    return f" Not drawn: {'; '.join(missing)}." if missing else ""


def axis(axes: Axes, places: Mapping[str, float], label: str) -> None:
    """The label's values on the x axis, evenly spaced."""
    axes.set_xticks(list(places.values()), list(places))
    axes.set_xlim(min(places.values()) - 0.5, max(places.values()) + 0.5)
    axes.set_xlabel(label)


def over_label(
    results: ResultTables,
    label: str,
    xlabel: str,
    panels: Sequence[Panel],
    title: str,
    caption: str,
    by: str = "family",
    looks: Mapping[Any, Look] | None = None,
    select: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
) -> Figure:
    """Metrics over a label, a panel each, a curve for every value of the column ``by``.

    Args:
        looks: how the curves are drawn, by value, in order; families by default.
        select: keeps the rows that are meant.
    """
    frames = [
        own_runs(select(labelled(results, panel.metric, label, by)), [by, label], by) for panel in panels
    ]
    runs = {run for frame in frames for run in frame["run"]}
    frames = [
        change(frame, label, panel.base, [by]) if panel.base else frame
        for frame, panel in zip(frames, panels, strict=True)
    ]
    names = sorted(dict.fromkeys(tick(value) for frame in frames for value in frame[label]), key=place)
    places = {name: float(index) for index, name in enumerate(names)}
    figure, grid, spare = panels_of(len(panels))
    drawn: list[Curve] = []
    for axes, panel, frame in zip(grid, panels, frames, strict=True):
        made = [
            curve(frame[frame[by] == value], label, places, look, panel.scale)
            for value, look in with_others(looks or looks_by_family(frame), frame, by).items()
            if (frame[by] == value).any()
        ]
        marks.curves(axes, made, dodge=0.5 / max(4, len(made)), log=panel.log, within=panel.within)
        axis(axes, places, xlabel)
        axes.set_ylabel(style.two_lines(panel.label))
        if panel.target is not None:
            marks.guide(axes, *panel.target, which="y")
        drawn += made
    if spare is None:
        marks.legend_beside(figure, drawn)
    else:
        spare.legend(handles=marks.legend_handles(drawn), loc="center left")
    style.title(figure, title)
    counts = [count for one in drawn for count in one.counts]
    style.caption(figure, f"{caption} {marks.interval_note(counts)}{left_out(results, runs)}")
    return figure


def panels_of(count: int) -> tuple[Figure, list[Axes], Axes | None]:
    """A figure of ``count`` panels, two in a row; where the last row has one, an empty place for a legend."""
    columns, lines = min(2, count), -(-count // 2)
    spare = count > 2 and count % 2 == 1
    figure = style.figure(3.7 * columns + (1.0 if spare else 2.2), 0.9 + 3.0 * lines)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    if spare:
        grid[-1].set_axis_off()
    return figure, grid[:count], grid[-1] if spare else None


def grouped(frame: pd.DataFrame, looks: Mapping[Any, Look], by: str) -> list[Group]:
    """A row per value of ``by``."""
    return [
        Group(look.name, values(frame[frame[by] == value]), look.colour, look.marker)
        for value, look in looks.items()
        if (frame[by] == value).any()
    ]


def rows_of(figure: Figure, panels: Sequence[tuple[Panel, Sequence[Group]]], columns: int) -> Iterable[Axes]:
    """Panels of rows that share their names, ``columns`` side by side."""
    lines = -(-len(panels) // columns)
    made = figure.subplots(lines, columns, squeeze=False)
    for number, axes in enumerate(made.flat):
        if number >= len(panels):
            axes.set_axis_off()
            continue
        panel, groups = panels[number]
        marks.rows(axes, groups, log=panel.log, within=panel.within)
        if number % columns:
            axes.tick_params(axis="y", labelleft=False)
        if panel.target is not None:
            marks.guide(axes, *panel.target)
        axes.set_xlabel(panel.label)
        yield axes


def interval_texts(groups: Sequence[Group]) -> list[str]:
    """Mean and interval of every group, as text."""
    texts = []
    for group in groups:
        mean, low, high = marks.interval(group.values)
        spread = f"  [{marks.number(low)}, {marks.number(high)}]" if np.isfinite(low) else ""
        texts.append(f"{marks.number(mean)}{spread}".replace("-", "−"))
    return texts
