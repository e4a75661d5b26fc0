"""Figures of `convergence`: sweeps over length, the phase diagram, temperatures, the guard in training."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.over import tick, values
from dfp.results.tables import ResultTables

from . import growth as convergence_growth
from .claims import AS_BINS, FEW, REFERENCE, SWEEPS, errors, guards, limit, points, text_of

COLOURS = tuple(
    style.colour(name) for name in ("fixed_point", "factorised", "refined", "twisted", "logistic_flow")
)
MARKERS = ("o", "s", "^", "D", "v")
DODGE = 0.07
LOOKS = tuple(style.colour(name) for name in ("factorised", "logistic_flow", "refined", "fixed_point"))
TRAINING = {
    "elbo_per_bin": "ELBO from hard samples (nats per bin)",
    "relaxed_per_bin": "What is maximised (nats per bin)",
    "residual": "Mean change of a relaxed value\nin one more sweep",
    "rho": "ρ",
}
#: floor of a residual on a log axis: below it all is float32's rounding
STILL = 1e-5
#: the varied column of a grid: its mark in the table, its axis
GRID_AXES = {"density": ("density", "Density of connections"), "rest_rate_hz": ("rate", "Rate at rest (Hz)")}
#: boundaries that one run predicts: a grid, its level, how it is drawn
LINES = (("rho", 1.0, "-"), ("lyapunov", 0.0, "--"), ("predicted_exponent", AS_BINS, ":"))
#: means over networks that a phase diagram shows
GRIDS = ("exponent", "rho", "lyapunov", "predicted_exponent", "sweeps")


def growth(results: ResultTables) -> Figure:
    """Sweeps over T, measured and as ρ predicts, and what is left between them."""
    sweeps = results.rows("sweeps", run="growth")
    figure = style.figure(10.9, 4.4)
    *panels, rest = figure.subplots(1, 3, width_ratios=[1, 1, 0.9])
    top = 1.12 * sweeps.groupby(["dataset", "bins", "seed"])["value"].mean().max()
    for axes, kind, text in zip(panels, ("network", "cell"), ("Networks", "One cell"), strict=True):
        names = [name for name in sweeps["dataset"].unique() if name.startswith(kind)]
        lengths = sorted(sweeps[sweeps["dataset"].isin(names)]["bins"].unique())
        drawn = [_over_bins(results, name, lengths, place) for place, name in enumerate(names)]
        marks.curves(axes, drawn, dodge=DODGE)
        for name, curve in zip(names, drawn, strict=True):
            _predicted(axes, results, name, lengths, curve)
        axes.set_xticks(range(len(lengths)), [f"$10^{{{np.log10(bins):.3g}}}$" for bins in lengths])
        axes.set_ylim(0, top)
        axes.set_xlabel("Bins T")
        axes.set_ylabel("Sweeps until nothing changes")
        axes.set_title(text)
        axes.legend(handles=marks.legend_handles(drawn), loc="upper left", fontsize=7.5)
    _differences(rest, results)
    style.title(figure, "Below ρ = 1 sweeps grow with the logarithm of the length")
    seeds = [sweeps["seed"].nunique()]
    style.caption(
        figure,
        "Left, middle: mean sweeps of a draw; dashed: from the shortest T on by ln(T ratio) ÷ ln(1/ρ), ρ of "
        "one draw of each network with ρ < 1 (legend: mean of all). Right: growth from the shortest T, "
        f"measured − predicted; shaded: ±2 sweeps. {marks.interval_note(seeds, 'network')}",
    )
    return figure


def predictors(results: ResultTables) -> Figure:
    """What one run says of the growth, against the growth measured."""
    names = results.rows("sweeps", run="growth")["dataset"].unique()
    return convergence_growth.predictors(results, SWEEPS, {name: text_of(name) for name in names})


def _over_bins(results: ResultTables, name: str, lengths: list[int], place: int) -> Curve:
    frame = results.rows("sweeps", run="growth", dataset=name)
    rho = results.rows("rho", run="growth", dataset=name)["value"].mean()
    by = [(lengths.index(int(float(str(bins)))), values(part)) for bins, part in frame.groupby("bins")]
    label = text_of(name).replace("20 cells, weights of sd", "weights of sd").removeprefix("one ")
    return Curve(f"{label} (ρ = {rho:.2f})", by, COLOURS[place % 5], MARKERS[place % 5])


def _predicted(axes: Axes, results: ResultTables, name: str, lengths: list[int], curve: Curve) -> None:
    """The dashed line from the curve's first point."""
    if not results.has("predicted_growth", run="growth", dataset=name):
        return
    frame = results.rows("predicted_growth", run="growth", dataset=name)
    by = frame.groupby("bins")["value"].mean()
    start, origin = curve.summary()[0, 0], curve.points[0][0]
    places = [origin, *(lengths.index(bins) for bins in by.index)]
    axes.plot(places, [start, *(start + by.to_numpy())], ls=(0, (4, 2)), color=curve.colour, lw=1.3, zorder=1)


def _differences(axes: Axes, results: ResultTables) -> None:
    found = errors(results)
    rho = results.rows("rho", run="growth").groupby("dataset")["value"].mean()
    axes.axhspan(-SWEEPS, SWEEPS, color="#ececec", zorder=0)
    axes.axhline(0, color=style.GUIDE, lw=1, zorder=1)
    ratios = sorted(found["bins"].unique())
    drawn = []
    for place, bins in enumerate(ratios):
        part = found[found["bins"] == bins]
        by = [(float(rho[name]), values(own)) for name, own in part.groupby("dataset")]
        label = f"to T = {bins:,.0f}"
        drawn.append(
            Curve(label, sorted(by, key=lambda p: p[0]), COLOURS[place % 5], MARKERS[place % 5], " ")
        )
    marks.curves(axes, drawn, dodge=0.012)
    axes.set_xlabel("ρ of one run")
    axes.set_ylabel("Growth, measured − predicted (sweeps)")
    axes.set_title("What the prediction misses")
    axes.legend(handles=marks.legend_handles(drawn), loc="lower left", fontsize=7.5)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -6.0), max(high, 3.0))


def phases(results: ResultTables) -> Figure:
    """How sweeps grow with T over couplings, density and rate, and the boundary that one run predicts."""
    frame = points(results).merge(_labels(results), on=["dataset", "seed"])
    sized = (
        results.rows("exponent", run="diagram", which="size")
        if results.has("exponent", which="size")
        else None
    )
    figure = style.figure(10.2, 8.4)
    *panels, every, last = figure.subplots(2, 2).flat
    scale = mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps["viridis"])
    for axes, column in zip(panels, ("density", "rest_rate_hz"), strict=True):
        own, label = GRID_AXES[column]
        part = frame[frame["which"].isin([own, "both"])]
        _heat(axes, part, column, scale)
        axes.set_ylabel(label)
        fixed = part["density" if own == "rate" else "rest_rate_hz"].iloc[0]
        axes.set_title(f"Density {fixed:g}" if own == "rate" else f"Rate at rest {fixed:g} Hz")
    figure.colorbar(scale, ax=panels, location="right", label="Growth exponent", aspect=30)
    _against_rho(every, frame)
    _sizes(last, results, sized)
    style.title(
        figure, "The boundary between few sweeps and as many as bins, and the one that a run predicts"
    )
    cells = int(results.rows("sweeps_long", run="diagram", which="both")["cells"].iloc[0])
    style.caption(
        figure,
        f"{cells} cells, lag-1 weights N(0, sd²), {frame['seed'].nunique()} networks a square. Colour: the "
        "growth exponent, ln(s'/s) ÷ ln(T'/T) of the sweeps at two lengths: 0 where they do not grow, 1 "
        "where they grow as T. Number: mean sweeps at the longer. Lines: ρ = 1 (solid), largest Lyapunov "
        "exponent = 0 (dashed), growth exponent ½ by the tail of the changes (dotted), all of one draw at "
        "the shorter, means over networks, interpolated. Below: "
        "every network of both grids; networks a little beyond the boundary, by size, with as many inputs a "
        "cell: in small ones flips die out by chance."
        + (f" By size: {marks.interval_note(_of_size(sized), 'network')}" if sized is not None else ""),
    )
    return figure


def _of_size(frame: pd.DataFrame) -> list[int]:
    """Networks of each size."""
    return [len(part) for _, part in frame.groupby("cells")]


def _labels(results: ResultTables) -> pd.DataFrame:
    rows = results.rows("sweeps_long", run="diagram").rename(columns={"value": "sweeps"})
    return rows[["dataset", "seed", "which", "density", "rest_rate_hz", "weight_sd", "sweeps"]]


def _heat(axes: Axes, frame: pd.DataFrame, column: str, scale: mpl.cm.ScalarMappable) -> None:
    grids = {name: frame.pivot_table(name, column, "weight_sd") for name in GRIDS}
    for (y, x), value in np.ndenumerate(grids["exponent"].to_numpy()):
        face = scale.to_rgba(value)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=face, ec="white", lw=0.8))
        ink = "white" if sum(face[:3]) < 1.5 else style.INK
        count = grids["sweeps"].to_numpy()[y, x]
        axes.text(x, y, f"{count:,.0f}", ha="center", va="center", fontsize=7, color=ink)
    for name, level, line in LINES:
        grid = grids[name].to_numpy()
        if min(grid.shape) > 1 and grid.min() < level < grid.max():
            for colour, width in (("white", 4.2), ("#c1272d", 2.2)):
                axes.contour(
                    grid, levels=[level], colors=[colour], linewidths=width, linestyles=line, zorder=3
                )
    rows, columns = grids["exponent"].shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.set_xticks(range(columns), [tick(value) for value in grids["exponent"].columns])
    axes.set_yticks(range(rows), [tick(value) for value in grids["exponent"].index])
    axes.set_xlabel("Sd of the weights (logits)")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _sizes(axes: Axes, results: ResultTables, frame: pd.DataFrame | None) -> None:
    """The growth exponent over the number of cells."""
    axes.set_title("By size", pad=14)
    if frame is None:
        axes.set_axis_off()
        return
    sizes = sorted(frame["cells"].unique())
    by = [(float(sizes.index(cells)), values(part)) for cells, part in frame.groupby("cells")]
    rho = results.rows("rho", run="diagram", which="size")["value"]
    marks.curves(axes, [Curve("", by, COLOURS[0])])
    marks.guide(axes, AS_BINS, which="y")
    axes.set_xticks(range(len(sizes)), [tick(cells) for cells in sizes])
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    axes.set_xlabel(f"Cells (ρ = {rho.min():.2f} to {rho.max():.2f})")
    axes.set_ylabel("Growth exponent")


def _against_rho(axes: Axes, frame: pd.DataFrame) -> None:
    axes.plot(frame["rho"], frame["exponent"], "o", ms=4, mew=0, alpha=0.45, color=COLOURS[0])
    marks.guide(axes, 1.0, "ρ = 1")
    marks.guide(axes, AS_BINS, which="y")
    axes.set_xlabel("ρ of one run")
    axes.set_ylabel("Growth exponent")
    axes.set_title("Every network", pad=14)


def temperatures(results: ResultTables) -> Figure:
    """Sweeps of relaxed draws over temperature, hard ones beside them."""
    frame = results.rows("sweeps", run="relaxed")
    rho = results.rows("rho", run="relaxed", temperature=0.0).groupby("weight_sd")["value"].mean()
    levels = sorted(frame["temperature"].unique())
    figure = style.figure(7.6, 4.2)
    axes = figure.subplots()
    drawn = []
    for place, (sd, part) in enumerate(frame.groupby("weight_sd")):
        by = [(float(levels.index(level)), values(own)) for level, own in part.groupby("temperature")]
        label = f"sd {sd:g} (ρ = {rho[sd]:.2f})"
        drawn.append(Curve(label, by, COLOURS[place % 5], MARKERS[place % 5]))
    marks.curves(axes, drawn, dodge=0.1, log=True)
    axes.axvline(0.5, color="#dddddd", lw=1, zorder=0)
    axes.set_xticks(range(len(levels)), ["hard", *(tick(level) for level in levels[1:])])
    axes.set_xlabel("Temperature")
    axes.set_ylabel("Sweeps until still")
    marks.legend_beside(figure, drawn)
    style.title(figure, "Relaxed samples take more sweeps than hard ones, unless the temperature is high")
    bins = int(frame["bins"].iloc[0])
    style.caption(
        figure,
        f"T = {bins}, {int(frame['cells'].iloc[0])} cells; relaxed draws are still when no value moves by "
        "more than 1e-4 in a sweep, hard ones when nothing changes. ρ of the hard draws. "
        f"{marks.interval_note([frame['seed'].nunique()], 'network')}",
    )
    return figure


def guard(results: ResultTables) -> Figure:
    """Training on too few sweeps: bound, objective, residual and ρ, with and without a guard."""
    runs = [FEW, *reversed(guards(results)), REFERENCE]
    figure = style.figure(10.2, 7.4)
    drawn: list[Curve] = []
    for axes, (metric, label) in zip(figure.subplots(2, 2).flat, TRAINING.items(), strict=True):
        drawn = []
        for place, run in enumerate(runs):
            frame = results.rows(metric, run=run, dataset="training")
            by = [(float(str(step)), values(part)) for step, part in frame.groupby("step")]
            means = None
            if metric == "residual":
                by = [(step, np.maximum(each, STILL)) for step, each in by]
                means = [marks.ratio_interval(each) for _, each in by]
            look = LOOKS[place % len(LOOKS)], MARKERS[place % len(MARKERS)]
            drawn.append(Curve(_run_name(run), by, *look, means=means))
        end = drawn[0].points[-1][0]
        marks.curves(axes, drawn, log=metric == "residual", dodge=0.012 * end)
        axes.set_xlabel("Training step")
        axes.set_ylabel(label)
        if metric == "rho":
            marks.guide(axes, 1.0, "ρ = 1", which="y")
    marks.legend_beside(figure, drawn)
    style.title(figure, "Six sweeps at a low temperature: the blow-up, and the guard that stops it")
    cells = results.rows("rho", run=FEW, dataset="training")["seed"].nunique()
    style.caption(
        figure,
        "One cell at noise 0.7, relaxed pmf, temperature 0.5 → 0.15, evaluated on held-out traces; hard "
        "samples are swept until still. What is maximised is no bound: it is taken at relaxed samples after "
        "the training's own sweeps. Residuals: geometric means, those below 1e-5 drawn there. The guard "
        "scales the causal weights back after every step until ρ is at its limit. "
        f"{marks.interval_note([cells], 'cell')}",
    )
    return figure


def _run_name(run: str) -> str:
    if run == REFERENCE:
        return "Swept until still"
    return "Six sweeps" if run == FEW else f"Six sweeps, guard at ρ = {limit(run):g}"


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {
        "growth": growth(results),
        "predictors": predictors(results),
        "phases": phases(results),
        "temperatures": temperatures(results),
        "guard": guard(results),
    }
