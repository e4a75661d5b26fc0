"""Figures of `flows`: densities of flows beside their targets, and the divergence against flow length."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.results.tables import ResultTables

#: names and looks of the kinds of flow
LOOKS = {
    "planar": ("planar", style.colour("fixed_point"), "o"),
    "radial": ("radial", style.colour("refined"), "s"),
}
HALF = 4
COLOURS = "mako"


def kinds(results: ResultTables) -> list[str]:
    """Kinds of flow in the order of the table."""
    return [run for run in results.runs if run != "truth"]


def look(run: str) -> tuple[str, str, str]:
    """Name, colour and marker of a kind of flow; one that is not known is drawn in grey."""
    return LOOKS.get(run, (run.replace("_", " "), style.GUIDE, "D"))


def picture(axes: Axes, frame: pd.DataFrame, brightest: float) -> None:
    """A density on its grid."""
    square = frame.pivot_table(index="y", columns="x", values="value")
    axes.imshow(
        square.to_numpy(dtype=float),
        origin="lower",
        extent=(-HALF, HALF, -HALF, HALF),
        cmap=COLOURS,
        vmin=0,
        vmax=brightest,
        interpolation="bicubic",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def densities(results: ResultTables) -> Figure:
    """A row an energy: the target, then every kind of flow at its lengths; the first seed."""
    frame = results.rows("density")
    energies = list(frame["dataset"].unique())
    lengths = sorted(frame["length"].dropna().unique())
    columns = [("truth", None), *((run, length) for run in kinds(results) for length in lengths)]
    figure = style.figure(1.25 * len(columns) + 0.7, 1.32 * len(energies) + 1.1)
    panels = figure.subplots(len(energies), len(columns), squeeze=False)
    for line, energy in zip(panels, energies, strict=True):
        target = frame[(frame["dataset"] == energy) & (frame["run"] == "truth")]
        brightest = float(target["value"].max())
        for axes, (run, length) in zip(line, columns, strict=True):
            if length is None:
                picture(axes, target, brightest)
                axes.set_ylabel(energy, rotation=0, ha="right", va="center", fontweight="bold")
                continue
            own = {"run": run, "dataset": energy, "length": length}
            picture(axes, results.rows("density", **own), brightest)
            seed = int(results.rows("density", **own)["seed"].iloc[0])
            value = float(results.rows("kl", seed=seed, **own)["value"].iloc[0])
            text = f"{value:.2f}" if value >= 0.01 else "< 0.01"
            axes.text(
                0.97, 0.97, text, transform=axes.transAxes, ha="right", va="top", color="white", fontsize=7
            )
    for axes, (run, length) in zip(panels[0], columns, strict=True):
        named = "target" if length is None else f"{look(run)[0]}, K = {length:g}"
        axes.set_title(named, loc="center", fontsize=8.5)
    style.title(figure, "Densities of flows fitted to four energies")
    style.caption(
        figure,
        "exp(−U) / Z on the box [−4, 4]² and the flows' densities by their inverses, of one seed, colours "
        "from 0 to the target's maximum in every row. Numbers: KL (nats) to the boxed target of "
        "the density within the box.",
    )
    return figure


def over_lengths(results: ResultTables, metric: str, energy: str, scale: float = 1.0) -> list[Curve]:
    """A curve a kind of flow, a point a length, evenly spaced."""
    lengths = sorted(results.rows(metric)["length"].unique())
    drawn = []
    for run in kinds(results):
        frame = results.rows(metric, run=run, dataset=energy).sort_values("seed")
        points = [
            (float(place), scale * frame[frame["length"] == length]["value"].to_numpy())
            for place, length in enumerate(lengths)
        ]
        name, colour, marker = look(run)
        drawn.append(Curve(f"{name} flow", points, colour, marker))
    return drawn


def divergence(results: ResultTables) -> Figure:
    """KL to the boxed target, and what is left outside of the box, against length; a column an energy."""
    energies = list(results.rows("kl")["dataset"].unique())
    lengths = [f"{length:g}" for length in sorted(results.rows("kl")["length"].unique())]
    figure = style.figure(2.15 * len(energies) + 1.9, 5.0)
    panels = figure.subplots(2, len(energies), squeeze=False, sharey="row", height_ratios=(1.7, 1))
    everything: list[Curve] = []
    most = 100 * float(results.rows("outside")["value"].max())
    for column, energy in enumerate(energies):
        for axes, metric, scale in zip(panels[:, column], ("kl", "outside"), (1.0, 100.0), strict=True):
            drawn = over_lengths(results, metric, energy, scale)
            marks.curves(axes, drawn, dodge=0.12, within=(0.0, 100.0) if metric == "outside" else None)
            axes.set_xticks(range(len(lengths)), lengths)
            axes.set_xlim(-0.5, len(lengths) - 0.5)
            everything += drawn
        panels[0, column].set_title(energy)
        panels[1, column].set_xlabel("Flow length K")
        marks.guide(panels[0, column], 0.0, which="y")
    lows = [curve.summary()[:, 1] for curve in everything] + [np.zeros(1)]
    panels[0, 0].set_ylim(min(-0.03, float(np.nanmin(np.concatenate(lows)))), None)
    panels[1, 0].set_ylim(-0.05 * most - 1e-3, 1.08 * most + 1e-3)
    panels[0, 0].set_ylabel("KL to the boxed target\n(nats)")
    panels[1, 0].set_ylabel("Mass outside\nof the box (%)")
    marks.legend_beside(figure, everything)
    style.title(figure, "How far flows of length K stay from the targets")
    counts = [count for curve in everything for count in curve.counts]
    style.caption(
        figure,
        "KL(q_B ‖ p): q_B is the flow's density given that it is in the box [−4, 4]², p = exp(−U) / Z on the "
        "box; what q leaves outside, held in by walls in training, is below. By "
        f"quasi-random samples. {marks.interval_note(counts)}",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"densities": densities(results), "divergence": divergence(results)}
