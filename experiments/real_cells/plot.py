"""Figures of `real_cells`: real traces with their true spikes, and every method's scores, by indicator."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Group
from dfp.results.tables import UNIT, MissingResult, ResultTables

#: methods by run and what they were told, in the order of the figures: name and colour
METHODS = {
    ("cell", "indicator"): ("cells new, indicator told", "#0b3d62"),
    ("indicator", "nothing"): ("indicator left out", "#0173b2"),
    ("simulations", "indicator"): ("simulations alone, indicator told", "#029e73"),
    ("simulations", "nothing"): ("simulations alone", "#7cc4a4"),
    ("ens2", "nothing"): ("ENS2", "#de8f05"),
    ("cascade", "nothing"): ("CASCADE", "#d55e00"),
    ("s2p", "nothing"): ("suite2p", "#ca9161"),
    ("oasis", "nothing"): ("OASIS", "#949494"),
}
#: whose traces are shown, the first that is there
SHOWN = (("cell", "indicator"), ("simulations", "indicator"), ("simulations", "nothing"))


def present(results: ResultTables, metric: str) -> list[tuple[str, str]]:
    """The methods that have a metric at the main condition."""
    return [key for key in METHODS if results.has(metric, run=key[0], told=key[1], condition="main")]


def values(results: ResultTables, metric: str, key: tuple[str, str]) -> pd.DataFrame:
    """Rows of a metric of a method."""
    return results.rows(metric, run=key[0], told=key[1], condition="main")


def indicators(results: ResultTables) -> list[str]:
    """Those with three cells or more, in alphabetical order."""
    rows = results.table[results.table["condition"] == "main"].drop_duplicates(["indicator", *UNIT])
    counts = rows["indicator"].value_counts()
    return sorted(name for name in counts.index if counts[name] >= 3) or sorted(counts.index)


def by_indicator(
    results: ResultTables, metric: str, label: str, title: str, caption: str, log: bool
) -> Figure:
    """A panel an indicator, a row a method, a point a cell."""
    names, keys = indicators(results), present(results, metric)
    if not keys:
        raise MissingResult(f"{results.path}: no metric '{metric}' at the condition 'main'")
    columns = min(4, len(names))
    tall = -(-len(names) // columns)
    figure = style.figure(10.6, 0.9 + tall * (0.7 + 0.26 * len(keys)))
    panels = np.atleast_1d(figure.subplots(tall, columns, squeeze=False, sharex=True, sharey=True)).ravel()
    for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
        parts = [_of_indicator(values(results, metric, key), name) for key in keys]
        groups = [
            Group(METHODS[key][0], part, METHODS[key][1]) for key, part in zip(keys, parts, strict=True)
        ]
        if log:
            _ratios(axes, groups)
        else:
            marks.rows(axes, groups, within=style.bounds(metric))
        axes.set_title(f"{name}, {max(map(len, parts))} cells")
        if place + columns >= len(names):
            axes.set_xlabel(label)
            axes.tick_params(axis="x", labelbottom=True)
    for axes in panels[len(names) :]:
        axes.remove()
    style.title(figure, title)
    style.caption(figure, caption)
    return figure


def _of_indicator(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows[rows["indicator"] == name]["value"].to_numpy()


def _ratios(axes: Axes, groups: list[Group]) -> None:
    axes.axvspan(0.8, 1.25, color="#efefef", zorder=0)
    for place, group in enumerate(groups):
        if not len(group.values):
            continue
        found = np.clip(group.values, 0.05, 20)
        height = place + np.linspace(-0.3, -0.12, len(found))
        axes.plot(found, height, ls="none", marker="o", ms=3.4, mew=0, alpha=0.5, color=group.colour)
        axes.plot(np.median(found), place + 0.05, marker="D", ms=6, color=group.colour, mec="white")
    axes.set_xscale("log")
    axes.set_xlim(0.04, 25)
    axes.set_xticks([0.1, 0.25, 1, 4, 10], ["0.1", "0.25", "1", "4", "10"])
    axes.minorticks_off()
    axes.set_ylim(len(groups) - 0.45, -0.55)
    axes.set_yticks(range(len(groups)), [group.label for group in groups])
    axes.tick_params(axis="y", length=0)


def scores(results: ResultTables) -> Figure:
    """Correlation with the true spikes at lag 0."""
    return by_indicator(
        results,
        "correlation",
        "Correlation with true spikes",
        "Real cells at 30 Hz and noise 2: how well the times of the spikes are found",
        "Estimate and truth smoothed by 25 ms, no lag. The first rows are networks that never saw the "
        "cell (or the indicator); ENS2, CASCADE and suite2p are published scores on other draws of the "
        "noise, CASCADE and ENS2 have learned from some of these GCaMP6 cells. Small points: cells. "
        "Large point and bar: mean and its 95% interval.",
        log=False,
    )


def counts(results: ResultTables) -> Figure:
    """Expected ÷ true number of spikes."""
    return by_indicator(
        results,
        "count_ratio",
        "Expected ÷ true spikes",
        "Real cells: how well the spikes are counted",
        "Grey: within 25%. Diamonds: medians. Beyond 1 : 20 a point lies at the edge. OASIS and suite2p "
        "have no unit of a spike.",
        log=True,
    )


def calibration(results: ResultTables) -> Figure:
    """Ranks of the true 1-s counts among the samples, and cover by data set."""
    keys = [key for key in present(results, "active_cover") if results.has("rank_0", run=key[0], told=key[1])]
    if not keys:
        raise MissingResult(f"{results.path}: no metric 'active_cover' at the condition 'main'")
    figure = style.figure(10.6, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.35])
    places = sorted(int(m.split("_")[1]) for m in results.metrics if m.startswith("rank_"))
    for key in keys:
        name, colour = METHODS[key]
        shares = [values(results, f"rank_{place}", key)["value"].mean() * len(places) for place in places]
        edges = np.arange(len(places) + 1) / len(places)
        left.stairs(shares, edges, color=colour, lw=1.8, label=name)
    left.axhline(1, color=style.GUIDE, lw=0.8, ls="--")
    left.set_xlim(0, 1)
    left.set_ylim(0, None)
    left.set_xlabel("Rank of the true count of a second")
    left.set_ylabel("Seconds, relative to calibrated")
    left.legend(loc="upper center", fontsize=7.5)
    groups = [
        Group(METHODS[key][0], values(results, "active_cover", key)["value"].to_numpy(), METHODS[key][1])
        for key in keys
    ]
    marks.rows(right, groups, within=(0.0, 1.0))
    right.axvspan(0.85, 0.95, color="#efefef", zorder=0)
    right.set_xlabel(f"Active seconds held by the 90% interval, {max(len(g.values) for g in groups)} cells")
    style.title(figure, "Real cells: does the uncertainty come true?")
    style.caption(
        figure,
        "Left: where the true count of a second falls among the samples, ties at random; flat is "
        "calibrated. Right: a point a cell; only seconds with a true spike count. Grey: 85 to 95%.",
    )
    return figure


def traces(results: ResultTables) -> Figure:
    """The busiest 20 seconds of four cells."""
    for method, told in SHOWN:
        path = results.folder / f"traces_{method}_{told}.csv"
        if path.is_file():
            break
    else:
        raise MissingResult(f"{results.folder}: no traces_*.csv, expected those that the study writes")
    table = pd.read_csv(path)
    cells = list(dict.fromkeys(table["cell"]))
    figure = style.figure(10.6, 0.9 + 1.9 * len(cells))
    blocks = np.atleast_2d(figure.subplots(2 * len(cells), 1, height_ratios=[1.3, 1] * len(cells))).ravel()
    for number, cell in enumerate(cells):
        part, above, below = table[table["cell"] == cell], blocks[2 * number], blocks[2 * number + 1]
        time = part["time_s"].to_numpy()
        above.plot(time, part["trace"], color=style.INK, lw=0.8)
        spikes = np.repeat(time, part["true"].astype(int))
        floor = float(part["trace"].min())
        above.plot(spikes, np.full(len(spikes), floor), "|", color="#d55e00", ms=7)
        above.set_ylabel("ΔF/F")
        above.set_title(f"{cell}, {part['indicator'].iloc[0]}: r = {part['correlation'].iloc[0]:.2f}")
        below.fill_between(
            time, part["low_1s"], part["high_1s"], step="mid", color="#56b4e9", alpha=0.45, lw=0
        )
        below.step(time, part["true_1s"], where="mid", color="#d55e00", lw=1)
        below.set_ylabel("in 1 s")
        for axes in (above, below):
            axes.set_xlim(time[0], time[-1])
        above.tick_params(axis="x", labelbottom=False)
    blocks[-1].set_xlabel("Time (s)")
    style.title(figure, f"Real traces and their spikes: {METHODS[(method, told)][0]}")
    style.caption(
        figure,
        "Cells at the 10th, 35th, 65th and 90th percentile of correlation, the 20 s with most true "
        "spikes. Orange: true spikes (ticks) and their number in the second around (line). Blue: 90% "
        "interval of it.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {
        "traces": traces(results),
        "scores": scores(results),
        "counts": counts(results),
        "calibration": calibration(results),
    }
