"""Figures of `ledger`: where each posterior's gap comes from, and what sampling with few sweeps costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve, Group
from dfp.plotting.over import interval_texts
from dfp.results.tables import ResultTables

#: steps of the ledger: metric, name, colour
STEPS = (
    ("gap_family", "family: best member, trace by trace", "#1f3b57"),
    ("gap_sharing", "amortisation: weights shared by all traces", "#3f7cac"),
    ("gap_network", "amortisation: the network's drive", "#a9cbe3"),
    ("gap_objective", "objective: its own, instead of the exact bound", "#e08a1e"),
    ("gap_sweeps", "sweeps: its own number, instead of all", "#b5446e"),
)
DATASETS = {"one_cell": "One cell, {bins} bins", "pair": "Two coupled cells, {bins} bins"}
ROWS = {
    "fixed_point_1": "Fixed point, 1 sweep",
    "fixed_point_2": "Fixed point, 2 sweeps",
    "fixed_point_4": "Fixed point, 4 sweeps",
}
#: runs of the figure over sweeps, with their line
CURVES = {"fixed_point": "-", "fixed_point_score": "--", "fixed_point_nonlinear": ":", "logistic_flow": "-"}
#: nats within which the axis over sweeps is linear
LINEAR = 0.01
MARKERS = {"fixed_point": "o", "fixed_point_score": "D", "fixed_point_nonlinear": "^", "logistic_flow": "s"}


def plain(run: str) -> str:
    """A run's name without that of its data set."""
    return run.removeprefix("pair_")


def per_seed(frame: pd.DataFrame, run: str, metric: str) -> np.ndarray:
    """A metric of a run, one value a seed, in their order; the network's part is what sharing leaves."""
    if metric == "gap_network":
        return per_seed(frame, run, "gap_amortisation") - per_seed(frame, run, "gap_sharing")
    rows = frame[(frame["run"] == run) & (frame["metric"] == metric)].sort_values("seed")
    return rows["value"].to_numpy(dtype=float)


def stacked(axes: Axes, frame: pd.DataFrame) -> list[Group]:
    """A row per run: what adds to the gap to the right of 0, what is won back to the left; the sum on top."""
    runs = list(frame["run"].unique())
    groups = []
    for place, run in enumerate(runs):
        right = left = 0.0
        for metric, _, colour in STEPS:
            mean = float(per_seed(frame, run, metric).mean())
            start = right if mean >= 0 else left
            axes.barh(place, mean, left=start, height=0.62, color=colour, lw=0, zorder=2)
            right, left = (right + mean, left) if mean >= 0 else (right, left + mean)
        total = per_seed(frame, run, "gap")
        groups.append(Group(ROWS.get(plain(run), style.run_name(plain(run))), total, style.INK))
        mean, low, high = marks.interval(total)
        if np.isfinite(low):
            axes.plot([low, high], [place] * 2, color="white", lw=4.2, solid_capstyle="butt", zorder=3)
            axes.plot([low, high], [place] * 2, color=style.INK, lw=1.8, solid_capstyle="butt", zorder=4)
        axes.plot(mean, place, "D", ms=6, color=style.INK, mec="white", mew=0.9, zorder=5)
    axes.axvline(0, color=style.INK, lw=0.9, zorder=3)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.02 * high), high)
    axes.set_ylim(len(runs) - 0.45, -0.55)
    axes.set_yticks(range(len(runs)), [group.label for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("log p(x) − ELBO (nats per trial)")
    return groups


def ledger(results: ResultTables) -> Figure:
    """The stacked steps, a panel for each kind of problem."""
    metrics = ("gap_family", "gap_sharing", "gap_amortisation", "gap_objective", "gap_sweeps", "gap")
    frame = pd.concat([results.rows(metric) for metric in metrics])
    present = [name for name in DATASETS if (frame["dataset"] == name).any()]
    sizes = [frame.loc[frame["dataset"] == name, "run"].nunique() for name in present]
    figure = style.figure(9.6, 2.3 + 0.33 * sum(sizes) + 0.55 * len(sizes))
    heights = [size + 0.6 for size in sizes]
    panels = figure.subplots(len(present), 1, squeeze=False, height_ratios=heights)[:, 0]
    counts = []
    for axes, name in zip(panels, present, strict=True):
        part = frame[frame["dataset"] == name]
        groups = stacked(axes, part)
        axes.set_title(DATASETS[name].format(bins=int(part["bins"].iloc[0])), pad=14)
        marks.row_texts(axes, interval_texts(groups), "sum [95%]")
        counts += [len(group.values) for group in groups]
    handles = [Patch(color=colour, label=name) for _, name, colour in STEPS]
    above = panels[0].transAxes + ScaledTranslation(0, 28 / 72, figure.dpi_scale_trans)
    panels[0].legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.2, 1),
        bbox_transform=above,
        ncols=2,
        handlelength=1.2,
    )
    style.title(figure, "Where the nats between log p(x) and each posterior's bound go")
    style.caption(
        figure,
        "Each bar: the difference of two exact bounds (all paths enumerated, held-out trials), mean over "
        "seeds; left of 0: bound won back. Family: an upper estimate, by the best member found for each "
        "trace. Amortisation: a network trained on the exact bound; shared are history, "
        "coupling and hidden weights. Diamond and line: their sum with its 95% interval, over "
        f"{max(counts)} seeds (cells or networks). Rows named by sweeps make exactly so many, in training "
        "and in sampling; all others sweep until nothing changes.",
    )
    return figure


def sweeps(results: ResultTables) -> Figure:
    """What exactly K sweeps cost, on the bound and on what an evaluation would report, over K."""
    frame = results.rows("gap_at_sweeps", dataset="one_cell")
    overstated = results.rows("overstated_at_sweeps", dataset="one_cell")
    figure = style.figure(9.6, 3.9)
    left, right = figure.subplots(1, 2, sharey=True)
    drawn: list[Curve] = []
    for axes, rows in ((left, frame), (right, overstated)):
        made = []
        for run, line in CURVES.items():
            part = rows[rows["run"] == run]
            points = [
                (float(str(count)), some.sort_values("seed")["value"].to_numpy())
                for count, some in part.groupby("sweeps")
                if count < part["bins"].iloc[0]  # from as many sweeps as bins on it is 0
            ]
            if points:
                colour = style.colour("logistic_flow" if run == "logistic_flow" else "fixed_point")
                made.append(Curve(style.run_name(run), points, colour, MARKERS[run], line))
        marks.curves(axes, made, dodge=0.09, within=(0.0, np.inf) if axes is right else None)
        marks.guide(axes, 0.0, which="y")
        axes.set_xlabel("Sweeps in sampling")
        axes.set_xticks(sorted({point[0] for curve in made for point in curve.points}))
        axes.xaxis.set_major_formatter("{x:.0f}")
        drawn += made
    # below LINEAR a line, above a logarithm: a bound can be won by stopping early too
    left.set_yscale("symlog", linthresh=LINEAR, linscale=0.5)
    found = np.concatenate([curve.summary().ravel() for curve in drawn])
    seen = np.concatenate([found, *(values for curve in drawn for _, values in curve.points)])
    left.set_ylim(min(-LINEAR, 1.3 * np.nanmin(seen)), 1.5 * np.nanmax(seen))
    left.set_yticks([-LINEAR, 0, LINEAR, 0.1, 1], minor=False)
    left.minorticks_off()
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    left.set_ylabel("ELBO(q) − ELBO(q_K)\n(nats per trial)")
    right.set_ylabel("KL(q_K ‖ q) (nats per trial)")
    right.tick_params(axis="y", labelleft=True)
    left.set_title("What K sweeps cost")
    right.set_title("What weighing them by q hides")
    marks.legend_beside(figure, drawn)
    style.title(figure, "Sampling with fewer sweeps than it takes")
    counts = [count for curve in drawn for count in curve.counts]
    bins = int(frame["bins"].iloc[0])
    style.caption(
        figure,
        f"q_K: the law of samples after exactly K sweeps, by exact partition of the noise; one cell, {bins} "
        f"bins, posteriors trained with converged sweeps. From K = {bins} on both are 0. Right: by how much "
        "E[log p − log q] over K-sweep samples exceeds their true bound. "
        f"The axis is linear within ±{LINEAR:g}. {marks.interval_note(counts)} Curves are shifted sideways "
        "to keep them apart.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"ledger": ledger(results), "sweeps": sweeps(results)}
