"""The figure of `families`: accuracy over the seconds of training, one cell and many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import edges, marks, style
from dfp.plotting.over import left_out
from dfp.results.tables import UNIT, MissingResult, ResultTables

ONE, MANY = "uncertainty", "connectivity"
SECONDS = "total_train_seconds"
#: the networks on which every family is trained
SETTING = "slow"


class Family(NamedTuple):
    """One entry of the legend: a run for one cell, a run for many, and how they are drawn."""

    name: str
    colour: str
    marker: str
    one: str = ""
    many: str = ""
    open: bool = False


FAMILIES = (
    Family("Factorised", style.colour("factorised"), "o", "factorised", "factorised"),
    Family(
        "Factorised, trained for as long as refined",
        style.colour("factorised"), "P", "factorised_longer", "factorised_longer",
    ),
    Family(
        "Factorised, without relaxation",
        style.colour("factorised"), "D", "factorised_score", "factorised_score",
    ),
    Family("Autoregressive, sequential", style.colour("sequential"), "o", "sequential"),
    Family("Autoregressive, fixed point", style.colour("fixed_point"), "o", "fixed_point", "fixed_point"),
    Family(
        "Fixed point, trained for as long as refined",
        style.colour("fixed_point"), "P", "fixed_point_longer", "fixed_point_longer",
    ),
    Family("Fixed point, without relaxation", style.colour("fixed_point"), "D", "fixed_point_score"),
    Family(
        "Nonlinear history, without relaxation",
        style.colour("fixed_point"), "*", "fixed_point_nonlinear", "fixed_point_score",
    ),
    Family("Logistic flow", style.colour("logistic_flow"), "s", "logistic_flow", "logistic_flow"),
    Family(
        "Planar flow of latents", style.colour("planar_latents"), "s", "planar_latents", "planar_latents"
    ),
    Family("Radial flow of latents", style.colour("radial_latents"), "s", "radial_latents"),
    Family("Refined, mean-passing", style.colour("refined"), "v", "refined_mean"),
    Family("Refined, straight-through", style.colour("refined"), "^", "refined_straight", "refined"),
    Family(
        "Refined fixed point",
        style.colour("refined_fixed_point"), "^", "refined_autoregressive", "refined_fixed_point",
    ),
    Family("Twisted, wake-sleep", style.colour("twisted"), "h", "twisted"),
    Family("Fixed point, indirect inference", style.colour("fixed_point"), "h", many="fixed_point_indirect"),
)  # fmt: skip
EXTRAPOLATED = Family(
    "Sequential, extrapolated", style.colour("sequential"), "o", many="sequential", open=True
)


class Panel(NamedTuple):
    """A measure of one of the two problems."""

    of: str
    metric: str
    label: str
    title: str
    log: bool = False


PANELS = (
    Panel(ONE, "spike_gap_per_bin", style.METRICS["spike_gap_per_bin"], "One cell", log=True),
    Panel(MANY, "weight_correlation", style.METRICS["weight_correlation"], "Many coupled cells"),
    Panel(ONE, "marginal_rmse", "Error of P(spike), RMSE", "One cell", log=True),
    Panel(MANY, "weight_rmse", style.METRICS["weight_rmse"], "Many coupled cells"),
)


def points(results: ResultTables, panel: Panel, family: Family) -> pd.DataFrame:
    """Columns `seconds` and `value`, a row a seed; empty where the run is not there."""
    if family.open:
        return extrapolated(results, panel)
    return pairs(results, panel, family.one if panel.of == ONE else family.many)


def pairs(results: ResultTables, panel: Panel, run: str) -> pd.DataFrame:
    """A metric beside the seconds of training of one run, by data set and seed."""
    sides = []
    for metric in (SECONDS, panel.metric):
        frame = results.rows(metric, of=panel.of)
        frame = frame[frame["run"] == run]
        if panel.of == MANY:
            frame = frame[frame["setting"] == SETTING]
        sides.append(frame.set_index(UNIT)["value"])
    return pd.concat(sides, axis=1, join="inner", keys=["seconds", "value"]).sort_index()


def of_problem(results: ResultTables, panel: Panel) -> list[str]:
    """Runs that one of the two problems has times and the panel's metric of."""
    frame = results.rows(panel.metric, of=panel.of)
    if panel.of == MANY:
        frame = frame[frame["setting"] == SETTING]
    timed = results.rows(SECONDS, of=panel.of)["run"]
    return list(frame.loc[frame["run"].isin(timed), "run"].unique())


def extrapolated(results: ResultTables, panel: Panel) -> pd.DataFrame:
    """The sequential posterior of many cells, whose values are the fixed point's.

    It draws the same spikes on the same noise. Its seconds are the fixed point's times the ratio of both's
    steps on the short networks, geometric mean.
    """
    if panel.of != MANY or not results.has("seconds_per_step", of=MANY, run="sequential"):
        return pd.DataFrame(columns=["seconds", "value"])
    steps = [
        results.rows("seconds_per_step", of=MANY, run=run).set_index(UNIT)["value"]
        for run in ("sequential", "fixed_point_short")
    ]
    both = pd.concat(steps, axis=1, join="inner")
    both = both[(both > 0).all(axis=1)]  # trainings of a step or two, at the smoke scale, have no time
    if both.empty:
        return pd.DataFrame(columns=["seconds", "value"])
    ratio = float(np.exp(np.log(both.iloc[:, 0] / both.iloc[:, 1]).mean()))
    found = pairs(results, panel, "fixed_point")
    return found.assign(seconds=ratio * found["seconds"])


def shared(found: Sequence[tuple[Family, pd.DataFrame]]) -> list[tuple[Family, pd.DataFrame]]:
    """The data sets and seeds that all have, so that no family is judged on others than its rivals."""
    both = set.intersection(*(set(one.index) for _, one in found)) if found else set()
    return [(family, one[one.index.isin(both)]) for family, one in found]


def size(family: Family) -> float:
    """Of a marker, in points: crosses and stars fill less of theirs."""
    return {"*": 12.0, "P": 9.5}.get(family.marker, 7.5)


def draw(axes: Axes, panel: Panel, found: Sequence[tuple[Family, pd.DataFrame]]) -> None:
    """Each family's mean and interval in both directions, its seeds behind."""
    axes.set_xscale("log")
    if panel.log:
        highs = [np.array([marks.interval(one["value"])[2]]) for _, one in found]
        axes.set_ylim(*marks.log_limits([*(one["value"].to_numpy() for _, one in found), *highs]))
        style.log_axis(axes, "y")
    for family, one in found:
        x, left, right = marks.ratio_interval(one["seconds"])
        y, low, high = marks.interval(one["value"])
        axes.plot(
            one["seconds"], one["value"], ls="none", marker=family.marker, ms=3, mew=0, alpha=0.35,
            color=family.colour, zorder=2,
        )  # fmt: skip
        marks.bar(axes, [left, right], y, "x", color=family.colour, lw=1.7)
        marks.bar(axes, [low, high], x, "y", style.bounds(panel.metric), color=family.colour, lw=1.7)
        edges.beyond(axes, [*one["value"], y], [*one["seconds"], x], "y", color=family.colour, ms=5, zorder=3)
        face = "white" if family.open else family.colour
        ring = family.colour if family.open else "white"
        edge_width = 1.3 if family.open else 0.5
        axes.plot(x, y, family.marker, ms=size(family), mfc=face, mec=ring, mew=edge_width, zorder=4)
    style.log_axis(axes, "x")
    axes.set_xlabel("Training on the clock, warm starts included (s)")
    axes.set_ylabel(panel.label)
    axes.set_title(panel.title)


def families(results: ResultTables) -> Figure:
    """Accuracy against time, a panel a measure."""
    figure = style.figure(10.9, 7.2)
    shown: dict[str, marks.Group] = {}
    counts: list[int] = []
    drawn: list[Family] = []
    left: list[str] = []
    for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        found = [(family, points(results, panel, family)) for family in (*FAMILIES, EXTRAPOLATED)]
        found = shared([(family, one) for family, one in found if len(one)])
        if not found:
            raise MissingResult(
                f"{results.path}: no run of '{panel.of}' has '{panel.metric}' and '{SECONDS}'"
            )
        draw(axes, panel, found)
        left += [run for run in of_problem(results, panel) if run not in left]
        drawn += [family for family, _ in found if family not in drawn]
        counts += [len(one) for _, one in found]
    for family in (*FAMILIES, EXTRAPOLATED):
        if family in drawn:
            shown[family.name] = marks.Group(family.name, np.array([]), family.colour, family.marker)
    handles = marks.legend_handles(shown.values())
    sizes = {family.name: size(family) for family in (*FAMILIES, EXTRAPOLATED)}
    for handle in handles:
        handle.set(linestyle="none", markersize=sizes[handle.get_label()], markeredgewidth=0.5)
        if handle.get_label() == EXTRAPOLATED.name:
            handle.set(markerfacecolor="white", markeredgecolor=EXTRAPOLATED.colour, markeredgewidth=1.3)
    figure.legend(handles=handles, loc="outside right center")
    style.title(figure, "Every family: accuracy against the time of its training")
    style.caption(
        figure,
        "Left: one cell, parameters known, hard samples of held-out traces; all seeds are trained side by "
        "side, so that they share one time. The gap of planar and radial flows of latents is that of the "
        "bound over spikes that is known of them, which may be loose (docs/method.md); their P(spike) "
        "is measured as the others'. Right: twenty coupled cells, weights learned, the networks that all "
        "families are trained on; there the nonlinear history is joined by the model's own coupling. Open: "
        "the fixed point's accuracy, which draws the same spikes, at its time × the ratio of step times "
        "measured in short windows, an underestimate. Times include those of the runs started from, were "
        "taken while other jobs ran, and are geometric means. "
        + marks.interval_note(counts)
        + left_out(results, {run for family in FAMILIES for run in (family.one, family.many)}, left),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"families": families(results)}
