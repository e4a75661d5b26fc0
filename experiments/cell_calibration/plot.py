"""Figures of `cell_calibration`: ranks of constants and counts, and a map over frame rate and noise."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.results.tables import UNIT, ResultTables

NAMES = {
    "rate_hz": "rate", "amplitude": "amplitude", "decay": "decay", "rise": "rise", "power": "power",
    "count_1s": "count of a second", "count": "count of a trace",
}  # fmt: skip
COLOURS = ("#0b3d62", "#029e73", "#949494")


def runs(results: ResultTables) -> list[str]:
    """Weights, without those with an error planted."""
    return [run for run in results.runs if not run.endswith("_planted")]


def ranks(results: ResultTables) -> Figure:
    """A panel a quantity: the ranks of the truth among the samples."""
    present = [name for name in NAMES if results.has("band_excess", quantity=name)]
    figure = style.figure(10.6, 4.6)
    panels = figure.subplots(2, 4, sharex=True, sharey=True).ravel()
    planted = [run for run in results.runs if run.endswith("_planted")][:1]
    for axes, name in zip(panels, present, strict=False):
        shown = [*runs(results), *planted]
        for run, colour in zip(shown, COLOURS, strict=False):
            shares = [
                float(results.rows(f"rank_{k}", run=run, quantity=name)["value"].iloc[0]) * 10
                for k in range(10)
            ]
            excess = float(results.rows("band_excess", run=run, quantity=name)["value"].iloc[0])
            text = f"{run.replace('_planted', ', told wrong')}: {excess:.1f}"
            axes.stairs(shares, np.arange(11) / 10, color=colour, lw=1.5, label=text)
        axes.axhline(1, color=style.GUIDE, lw=0.8, ls="--")
        axes.set_title(NAMES[name])
        axes.legend(fontsize=7, loc="lower center", title="excursion ÷ band", title_fontsize=7, borderpad=0.1)
        axes.set_xlim(0, 1)
        axes.set_ylim(-1.5, 3.2)  # room for the legend below
        axes.set_yticks([0, 1, 2, 3])
    for axes in panels[len(present) :]:
        axes.remove()
    for axes in panels[max(0, len(present) - 4) : len(present)]:
        axes.set_xlabel("Rank of the truth")
        axes.tick_params(axis="x", labelbottom=True)
    figure.supylabel("Cells, relative to calibrated", fontsize=9)
    style.title(figure, "Constants and counts of simulated cells: where the truth falls among the samples")
    style.caption(
        figure,
        "Cells of the whole prior, some told their constants. Flat is calibrated. In the legends: "
        "the largest excursion of the distribution function in units of its simultaneous 95% band; "
        "below 1 nothing speaks against calibration. The last line: with the amplitude told wrong, "
        "which has to be found.",
    )
    return figure


def map_of(results: ResultTables) -> Figure:
    """Found ÷ true spikes and cover over frame rate and noise, everything told."""
    shown = runs(results)
    figure = style.figure(10.6, 0.9 + 2.7 * len(shown))
    panels = np.atleast_2d(figure.subplots(len(shown), 2, squeeze=False))
    for (left, right), run in zip(panels, shown, strict=True):
        found = results.rows("found", run=run, part="map")
        both = found.merge(
            results.rows("true", run=run, part="map"), on=[*UNIT, "rate_hz", "noise"], suffixes=("", "_true")
        )
        sums = both.groupby(["noise", "rate_hz"])[["value", "value_true"]].sum()
        ratio = (sums["value"] / sums["value_true"]).unstack()
        cover = (
            results.rows("active_cover", run=run, part="map").groupby(["noise", "rate_hz"])["value"].mean()
        )
        for axes, table, title, middle, reach in (
            (left, ratio, "found ÷ true spikes", 1.0, 0.25),
            (right, cover.unstack(), "active seconds covered (90% nominal)", 0.9, 0.15),
        ):
            rows = sorted(table.index, key=float)
            columns = sorted(table.columns, key=float)
            grid = table.loc[rows, columns].to_numpy()
            axes.imshow(grid, cmap="RdBu_r", vmin=middle - reach, vmax=middle + reach, aspect="auto")
            for i in range(len(rows)):
                for j in range(len(columns)):
                    axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", fontsize=8)
            axes.set_xticks(range(len(columns)), [f"{float(c):g}" for c in columns])
            axes.set_yticks(range(len(rows)), [f"{float(r):g}" for r in rows])
            axes.set_title(f"{run}: {title}")
            axes.set_xlabel("Frames a second")
        left.set_ylabel("Noise (%/√Hz)")
    style.title(figure, "Simulated cells, everything told: where counts may be trusted")
    style.caption(figure, "Linear responses of one indicator at 1 spike a second; white: as it should be.")
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"ranks": ranks(results), "map": map_of(results)}
