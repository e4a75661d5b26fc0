"""Figures of `cell_model`: what each part of the law adds, how cells fire, and how their responses differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.amortised.priors import read_priors
from dfp.plotting import marks, style
from dfp.plotting.marks import Group
from dfp.results.tables import ResultTables

from .claims import FIRING, NOISE, RESPONSE, firings, gains, shifts

NOISE_COLOUR, RESPONSE_COLOUR, SHIFT_COLOUR = "#949494", "#0173b2", "#ca9161"
#: constants of the response that are shown, and how an axis says them
SHOWN = {"amplitude": "Peak of one spike (ΔF/F)", "decay": "Decay (s)", "rise": "Rise (s)", "power": "Power"}
#: gains beyond this many nats lie at the edge
WIDEST = 1.0
#: below it a gain is drawn on a linear scale
LINEAR = 0.01


def parts(results: ResultTables) -> Figure:
    """Gain of held-out log density by each part, a panel an indicator."""
    tables = {name: (gains(results, part), RESPONSE_COLOUR) for part, name in RESPONSE.items()}
    tables |= {name: (gains(results, part), NOISE_COLOUR) for part, name in NOISE.items()}
    tables["a shift in time"] = (shifts(results), SHIFT_COLOUR)
    names = sorted({name for table, _ in tables.values() for name in table["indicator"].unique()})
    panels = ["all cells", *names]
    columns = min(4, len(panels))
    tall = -(-len(panels) // columns)
    figure = style.figure(10.6, 0.9 + tall * (0.7 + 0.22 * len(tables)))
    grid = figure.subplots(tall, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for place, (axes, name) in enumerate(zip(grid, panels, strict=False)):
        groups = [Group(part, _gain(table, name), colour) for part, (table, colour) in tables.items()]
        _gains(axes, groups, WIDEST, LINEAR)
        axes.set_title(f"{name} (n = {len(groups[0].values)})")
        if place + columns >= len(panels):
            axes.set_xlabel("Gain (nats a frame)")
            axes.tick_params(axis="x", labelbottom=True)
    for axes in grid[len(panels) :]:
        axes.remove()
    style.title(figure, "Real cells: what each part of the law adds on held-out frames")
    style.caption(
        figure,
        "Log density of the frames after half of a cell's spikes, with all parts less without one; constants "
        "from the first half. Blue: response, grey: baseline and noise; brown: a shift of the spikes, which "
        f"is no part of the law. Small points: cells. Large point and bar: mean and its 95% interval. Scale "
        f"linear below {LINEAR:g}; beyond {WIDEST:g} a point lies at the edge.",
    )
    return figure


def _gain(table: pd.DataFrame, name: str) -> np.ndarray:
    own = table if name == "all cells" else table[table["indicator"] == name]
    return own["gain"].to_numpy()


def _gains(axes: Axes, groups: list[Group], widest: float, linear: float) -> None:
    axes.axvline(0, color=style.GUIDE, lw=0.8)
    for place, group in enumerate(groups):
        found = np.clip(group.values, -widest, widest)
        heights = place + np.linspace(-0.36, -0.14, len(found))
        axes.plot(found, heights, ls="none", marker="o", ms=3.2, mew=0, alpha=0.45, color=group.colour)
        mean, low, high = np.clip(marks.interval(group.values), -widest, widest)
        axes.plot([low, high], [place + 0.06] * 2, color=group.colour, lw=2, solid_capstyle="butt")
        axes.plot(mean, place + 0.06, marker="o", ms=6, color=group.colour, mec="white")
    axes.set_xscale("symlog", linthresh=linear, linscale=0.6)
    ticks = [-widest, -(widest**0.5) * linear**0.5, 0, (widest**0.5) * linear**0.5, widest]
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(-1.2 * widest, 1.2 * widest)
    axes.set_ylim(len(groups) - 0.45, -0.55)
    axes.set_yticks(range(len(groups)), [group.label for group in groups])
    axes.tick_params(axis="y", length=0)


def firing(results: ResultTables) -> Figure:
    """Gain of each kind of firing over a Poisson process, and how often cells fire in bursts."""
    figure = style.figure(10.6, 3.4)
    left, right = figure.subplots(1, 2)
    groups = [
        Group(name, firings(results, kind)["gain"].to_numpy(), RESPONSE_COLOUR)
        for kind, name in FIRING.items()
    ]
    _gains(left, groups, 10.0, 0.1)
    left.set_xlabel("Gain over a Poisson process (nats a spike)")
    rates = results.rows("rate_hz", run="cell")
    for metric, name, colour in (
        ("burst_share", "intervals below 30 ms", RESPONSE_COLOUR),
        ("shared_frames", "spikes that share their frame", SHIFT_COLOUR),
    ):
        both = rates.merge(results.rows(metric, run="cell"), on=["dataset", "seed"])
        right.plot(both["value_x"], both["value_y"], "o", ms=4, mew=0, alpha=0.6, color=colour, label=name)
    right.set_xscale("log")
    right.set_ylim(0, 1)
    right.set_xlabel("Firing rate (Hz)")
    right.set_ylabel("Share")
    right.legend(loc="upper left")
    style.title(figure, "Real cells: how they fire")
    style.caption(
        figure,
        "Left: log likelihood of the spikes of the second half of a cell, rates learned from the first; "
        "marks as in the other figure. Right: a point a cell.",
    )
    return figure


def spread(results: ResultTables) -> Figure:
    """Constants of the response by cell and indicator, beside what is published."""
    names = [
        name for name in read_priors("published") if results.has("amplitude", run="cell", indicator=name)
    ]
    figure = style.figure(10.6, 1.3 + 0.36 * len(names))
    grid = figure.subplots(1, len(SHOWN), sharey=True)
    for axes, (constant, label) in zip(grid, SHOWN.items(), strict=True):
        for place, name in enumerate(names):
            row = read_priors("published")[name]
            if constant == "power":
                ends = [row["power"] - row["power_sd"], row["power"] + row["power_sd"]]
            else:
                ends = list(row[constant] * np.exp(np.array([-1, 1]) * row[f"{constant}_log_sd"]))
            axes.plot(ends, [place + 0.15] * 2, color=NOISE_COLOUR, lw=4, solid_capstyle="butt", alpha=0.6)
            found = results.rows(constant, run="cell", indicator=name)["value"].to_numpy()
            heights = place + np.linspace(-0.3, -0.02, len(found))
            axes.plot(found, heights, "o", ms=3.4, mew=0, alpha=0.6, color=RESPONSE_COLOUR)
        if constant != "power":
            axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names)
    style.title(figure, "Real cells: how their responses differ")
    style.caption(
        figure,
        "Points: the most probable constants of each cell given its true spikes. Grey: the published row, "
        "median and one sd either way.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"parts": parts(results), "firing": firing(results), "spread": spread(results)}
