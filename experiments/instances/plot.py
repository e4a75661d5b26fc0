"""Figures of `instances`: on how many random cells the claims C1, C4 and C5 hold, and where they do not."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import edges, marks, style
from dfp.results.tables import ResultTables

from .judged import (
    BEST,
    COUNT_SD,
    PARAMETERS,
    Judged,
    count_sd_ratio,
    judged,
    parameters,
)
from .marks import correlations, plane, ranked, verdict_legend

#: what each claim says, short enough for a panel's title
SAYS = {
    "C1": "C1: factorised loses to fixed point",
    "C4": "C4: logistic latents lose to relaxed pmf",
    "C5": "C5: fixed point, nonlinear history, has the right sd",
}
AXES = {
    "C1": "Gap, factorised − fixed point\n(nats per bin)",
    "C4": "Gap, logistic − relaxed pmf\n(nats per bin)",
    "C5": "|Sd of the spike count ÷ exact − 1|",
}
#: the planes that the region is drawn in: horizontal, vertical
PLANES = (("true_decay", "true_noise"), ("true_history_1", "true_rate_hz"))
COVERAGE_RUNS = ("factorised", "fixed_point", BEST)


def too_wide(results: ResultTables, one: Judged) -> str:
    """To which side the cells err on which the sd is not right."""
    ratio = count_sd_ratio(results, BEST).loc[one.by_cell.index][~one.holds]
    return f"; of {len(ratio)} that fail, {(ratio > 1).sum()} too wide" if len(ratio) else ""


def coverage(axes: Axes, results: ResultTables) -> None:
    """Mean coverage of the 50% and 90% intervals of the spike count, a row a run."""
    names = []
    added = [run for run in results.runs if run not in (*COVERAGE_RUNS, "logistic_flow")]
    for place, run in enumerate((*COVERAGE_RUNS, *added)):
        names.append(style.run_name(run).replace(", ", ",\n"))
        colour = style.colour("fixed_point" if run in ("fixed_point", BEST) else run)
        marker = "s" if run == BEST else "X" if run in added else "o"
        for level in ("50", "90"):
            metric = f"coverage_{level}"
            mean, *ends = marks.interval(results.values(metric, run=run))
            marks.bar(axes, ends, place, "x", style.bounds(metric), color=colour, lw=2.2)
            axes.plot(mean, place, marker=marker, ms=6.5, color=colour, mec="white", mew=0.8, zorder=4)
            edges.beyond(axes, mean, place, "x", color=colour, ms=6.5, zorder=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.35, 1.02)
    for value in (0.5, 0.9):
        marks.guide(axes, value)
    axes.set_xlabel("Share of trials whose true count lies in the interval")
    axes.set_title(
        "C5: coverage of the 50% and 90% intervals of the\nspike count, mean over cells; dashed: nominal",
        fontsize=8.5,
        fontweight="normal",
    )


def differences(results: ResultTables) -> Figure:
    """Each claim's figure on every cell, in order, and the coverage."""
    figure = style.figure(9.6, 6.6)
    panels = figure.subplots(2, 2).ravel()
    tested = judged(results)
    for axes, one in zip(panels, tested, strict=False):
        note = too_wide(results, one) if one.error else ""
        ranked(axes, one, SAYS[one.claim], AXES[one.claim], note)
    coverage(panels[3], results)
    cells = len(tested[0].by_cell)
    style.title(figure, f"Do the claims hold on {cells} random cells?")
    style.caption(
        figure,
        "One point a cell, paired: filled blue where the claim holds, open orange where it fails; black "
        f"line: the edge (no difference; for the sd {COUNT_SD:.0%} of the exact one). Brackets: 95% "
        "interval, of the share by Wilson, of the mean over cells t below n = 40, bootstrap above. Hard "
        "samples, held-out trials, parameters known; both sides of a difference have the same recognition "
        "network, steps and schedule of temperatures. Coverage can be right where the sd is not: too wide "
        "and off centre cancel in it.",
    )
    return figure


def region(results: ResultTables) -> Figure:
    """Where, among the parameters, each claim holds and fails."""
    tested, where = judged(results), parameters(results)
    figure = style.figure(10.2, 8.6)
    panels = figure.subplots(len(tested), len(PLANES) + 1)
    for row, one in zip(panels, tested, strict=True):
        for axes, (horizontal, vertical) in zip(row, PLANES, strict=False):
            plane(axes, one, where, horizontal, vertical, PARAMETERS)
        correlations(row[-1], one, where, PARAMETERS)
        row[0].set_title(f"{SAYS[one.claim]}: {one.holds.sum()} of {len(one.holds)} cells")
    verdict_legend(figure)
    style.title(figure, "Where the claims hold, and where they fail")
    style.caption(
        figure,
        "One point a cell; the larger, the larger the value that the claim is judged by (C1, C4: difference "
        "of the gaps, which has to be above 0; C5: relative error of the sd, which has to be below "
        f"{COUNT_SD:.0%}). Right: Spearman's correlation of that value with each parameter over cells, with "
        "its 95% interval (Bonett and Wright), black where it excludes 0.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"differences": differences(results), "region": region(results)}
