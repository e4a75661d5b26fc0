"""Figures of `recordings`: unsupervised inference on real traces, beside OASIS on the same traces."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from dfp.plotting import marks, style, traces
from dfp.results.tables import MissingResult, ResultTables

RUNS = ("oasis", "factorised", "fixed_point")
WINDOWS = {"correlation_25ms": "25 ms", "correlation_40ms": "40 ms", "correlation_1s": "1 s"}
NAMES = {"oasis": "OASIS", "factorised": "Factorised", "fixed_point": "Fixed\npoint"}
CELLS = 4
SECONDS = 20.0


def ordered(present: Iterable[str]) -> list[str]:
    """Runs in the order of the figures, those that a user has added last."""
    found = list(dict.fromkeys(present))
    return [*(run for run in RUNS if run in found), *(run for run in found if run not in RUNS)]


def name(run: str) -> str:
    """A run on an axis."""
    return NAMES.get(run) or textwrap.fill(style.run_name(run), 12)


def cell_titles(results: ResultTables) -> dict[tuple[str, int], str]:
    """The name of each cell: its own name, or data set and number, with the indicator where known."""
    names = {}
    for _, row in results.table.drop_duplicates(["dataset", "seed"]).iterrows():
        cell = row.get("cell")
        if isinstance(cell, str):
            parts = [cell]
        else:
            number = cell if cell is not None and np.isfinite(cell) else row["seed"]
            parts = [str(row["dataset"]), f"cell {number:g}"]
        indicator = row.get("indicator")
        if isinstance(indicator, str):
            parts.append(indicator)
        names[(str(row["dataset"]), int(row["seed"]))] = ", ".join(parts)
    return names


def trace_figure(results: ResultTables) -> Figure:
    """A stretch of some cells: fluorescence, true spikes, and each method's estimate."""
    examples = results.examples()
    titles = cell_titles(results)
    cells = list(dict.fromkeys(zip(examples["dataset"], examples["seed"], strict=True)))[:CELLS]
    runs = ordered(examples["run"])
    if not runs:
        raise MissingResult(f"{results.folder / 'examples.csv'}: no rows for the runs {', '.join(RUNS)}")
    columns = min(2, len(cells))
    tall = -(-len(cells) // columns)
    figure = style.figure(5.0 * columns + 0.3, 1.25 + 3.0 * tall)
    blocks = figure.subfigures(tall, columns, squeeze=False, wspace=0.02, hspace=0.03).ravel()
    for place, (block, (dataset, seed)) in enumerate(zip(blocks, cells, strict=False)):
        rows = examples[(examples["dataset"] == dataset) & (examples["seed"] == seed)]
        rows = rows[rows["trial"] == rows["trial"].iloc[0]]
        base = rows[rows["run"] == runs[0]].sort_values("time_s")
        times = base["time_s"].to_numpy()
        bins = round(SECONDS / traces.bin_width(times))
        window = traces.busiest_window(times, base["spike"].to_numpy(), bins)
        panels = block.subplots(1 + len(runs), 1, sharex=True, height_ratios=[1.6, *([0.8] * len(runs))])
        traces.fluorescence(panels[0], traces.cut(base, window), "ΔF/F")
        panels[0].set_title(titles.get((str(dataset), int(seed)), str(dataset)))
        for axes, run in zip(panels[1:], runs, strict=True):
            part = traces.cut(rows[rows["run"] == run], window)
            traces.probability(axes, part, style.colour(run), exact=False, own_units=run == "oasis")
            axes.set_ylabel(name(run), rotation=0, ha="right", va="center")
        for axes in panels[:-1]:
            axes.tick_params(axis="x", labelbottom=False)
        half = traces.bin_width(times) / 2
        panels[-1].set_xlim(window[0] - half, window[1] + half)
        if place >= len(cells) - columns:
            panels[-1].set_xlabel("Time (s)")
    style.title(figure, "Real recordings: what each method makes of a trace")
    own = " OASIS: its deconvolved activity, in its own units." if "oasis" in runs else ""
    style.caption(
        figure,
        f"The {SECONDS:g} s with most true spikes of each cell. Ticks: bins with spikes in the "
        "simultaneous electrophysiology, which no method saw. Colour: probability of a spike in the "
        f"bin.{own}",
    )
    return figure


def correlation(results: ResultTables) -> Figure:
    """Correlation with the true spikes, a line per cell across the methods, and paired differences."""
    present = {metric: text for metric, text in WINDOWS.items() if results.has(metric)}
    if not present:
        raise MissingResult(f"{results.path}: no metric 'correlation_25ms'")
    figure = style.figure(2.9 * len(present) + 0.3, 4.5)
    panels = np.atleast_1d(figure.subplots(1, len(present), sharey=True))
    count = 0
    for axes, (metric, text) in zip(panels, present.items(), strict=True):
        table = results.rows(metric).pivot(index=["dataset", "seed"], columns="run", values="value")
        runs = ordered(table.columns)
        table = table[runs].dropna()
        count = len(table)
        colours = [style.colour(run) for run in runs]
        columns = [table[run].to_numpy() for run in runs]
        marks.paired_lines(axes, [name(run) for run in runs], columns, colours, style.bounds(metric))
        lines = []
        for other in runs:
            if other != "fixed_point" and "fixed_point" in runs:
                mean, low, high = marks.interval(table["fixed_point"] - table[other])
                against = "OASIS" if other == "oasis" else other.replace("_", " ")
                spread = f" [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""
                lines.append(f"− {against}: {mean:+.2f}{spread}".replace("-", "−"))
        axes.set_title(f"{text} Gaussian" if metric == "correlation_25ms" else f"Bins of {text}")
        if lines:
            axes.set_xlabel("Fixed point\n" + "\n".join(lines), fontsize=8)
    panels[0].set_ylabel("Correlation with the true spikes")
    for axes in panels[1:]:
        axes.tick_params(axis="y", labelleft=False)
    style.title(figure, "Real recordings: correlation with the true spikes")
    style.caption(
        figure,
        "Grey lines: the same cell under each method. Below: mean paired difference over cells and its "
        "interval. " + marks.interval_note([count], "cell"),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"traces": trace_figure(results), "correlation": correlation(results)}
