"""Figure of `timing`: time per training step, sequential against fixed point, measured alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.claims.wall_clock import METRIC, ORDER_OF_MAGNITUDE, QUARTILES, settings, speedups
from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.tables import ResultTables

FAMILIES = ("sequential", "fixed_point", "factorised")


def bins_axis(axes: Axes, places: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(places) / 1.25, max(places) * 1.25)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("Bins in a trace, T")


def quartiles(results: ResultTables) -> pd.DataFrame:
    """The rows of `seconds_per_step`, with the quartiles over steps as `low` and `high` where the table has
    them."""
    frame = results.rows(METRIC)
    keys = [name for name in frame.columns if name not in ("metric", "value")]
    for end in ("low", "high"):
        name = f"{METRIC}_{end}"
        frame = frame.assign(**{end: np.nan})
        if results.has(name):
            found = results.rows(name).rename(columns={"value": end})
            frame = frame.drop(columns=end).merge(found[[*keys, end]], on=keys, how="left")
    return frame


def time_curves(part: pd.DataFrame) -> list[Curve]:
    """Milliseconds per step over the bins, a curve per family."""
    kinds = np.array(
        [
            "factorised" if row["posterior"] == "factorised" else str(row["sampler"])
            for _, row in part.iterrows()
        ]
    )
    made = []
    for kind in FAMILIES:
        groups = list(part[kinds == kind].groupby("bins"))
        if not groups:
            continue
        points = [(float(str(bins)), 1e3 * rows["value"].to_numpy()) for bins, rows in groups]
        bars = None
        if all(len(rows) == 1 for _, rows in groups):
            bars = [
                (1e3 * float(rows["low"].iloc[0]), 1e3 * float(rows["high"].iloc[0])) for _, rows in groups
            ]
        made.append(Curve(style.family_name(kind), points, style.colour(kind), bars=bars))
    return made


def step_time(results: ResultTables) -> Figure:
    """Seconds per training step over T for each sampler, and the ratio of sequential to fixed point."""
    frame, ratios = quartiles(results), speedups(results)
    labels = [label for label in settings(ratios) if label != "bins"]
    facets = list(frame.groupby(labels)) if labels else [((), frame)]
    figure = style.figure(9.6, 1.6 + 2.75 * len(facets))
    panels = figure.subplots(len(facets), 2, squeeze=False)
    everything: list[Curve] = []
    for (left, right), (key, part) in zip(panels, facets, strict=True):
        places = sorted(float(value) for value in part["bins"].unique())
        drawn = time_curves(part)
        marks.curves(left, drawn, log=True)
        left.set_ylabel("Time per training step (ms)")
        left.set_title(style.setting(labels, key) or "Time per step")
        bins_axis(left, places)
        same = (ratios[labels] == list(key)).all(axis=1) if labels else ratios["value"].notna()
        speed_up(right, ratios[same].sort_values("bins"))
        bins_axis(right, places)
        everything += drawn
    marks.legend_beside(figure, everything)
    style.title(figure, "Time per training step, sequential against fixed point")
    if (ratios["kind"] == QUARTILES).any():
        note = (
            "Points: median over steps; bars: quartiles over steps, for the ratio the widest that they allow."
        )
    else:
        note = marks.interval_note(ratios["n"], "repeat") + " Ratios are geometric means."
    style.caption(
        figure,
        "Sequential and fixed point: the same posterior, objective and data; only the sampler differs. "
        f"Measured alone on the machine, in the process, imports and the first steps left out. {note}",
    )
    return figure


def speed_up(axes: Axes, rows: pd.DataFrame) -> None:
    """The ratio of times over the bins, with the claimed order of magnitude."""
    points = [(float(row["bins"]), np.array([row["value"]])) for _, row in rows.iterrows()]
    bars = [(float(row["low"]), float(row["high"])) for _, row in rows.iterrows()]
    marks.curves(axes, [Curve("ratio", points, style.INK, bars=bars)])
    for (place, values), (_, high) in zip(points, bars, strict=True):
        axes.annotate(
            f"{values[0]:.1f}×",
            (place, float(np.nanmax([values[0], high]))),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
        )
    highest = np.nanmax(
        [value for (_, values), bar in zip(points, bars, strict=True) for value in (*values, *bar)]
    )
    axes.set_ylim(0, 1.2 * max(ORDER_OF_MAGNITUDE, float(highest)))
    marks.guide(axes, ORDER_OF_MAGNITUDE, "claimed:\n10×", which="y")
    marks.guide(axes, 1.0, "equal", which="y")
    axes.set_ylabel("Sequential ÷ fixed point")
    axes.set_title("Speed-up")


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"step_time": step_time(results)}
