"""Figures of `coupled_instances`: on how many random pairs the claims C1, C4 and C5 hold, and where not."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.results.tables import ResultTables

from ..instances.marks import correlations, plane, ranked, verdict_legend
from .judged import BEST, COUNT_SD, PARAMETERS, judged, parameters

#: what each claim says, short enough for a panel's title
SAYS = {
    "C1": "C1: factorised loses to fixed point",
    "C4": "C4: logistic latents lose to relaxed pmf",
    "C5": "C5: twisted has the right sd",
}
AXES = {
    "C1": "Gap, factorised − fixed point\n(nats per bin)",
    "C4": "Gap, logistic − relaxed pmf\n(nats per bin)",
    "C5": "|Sd of the pair's count ÷ exact − 1|",
}
#: the planes that the region is drawn in: horizontal, vertical
PLANES = (("true_coupling", "true_noise"), ("true_coupling_sum", "true_rate_hz"))
RUNS = ("factorised", "logistic_flow", "fixed_point", BEST)


def gaps(axes: Axes, results: ResultTables) -> None:
    """The gap of every posterior, a point a pair."""
    groups = [
        marks.Group(
            style.run_name(run).replace(", ", ",\n"),
            results.values("gap_per_bin", run=run).to_numpy(),
            style.colour(run),
        )
        for run in (*RUNS, *(run for run in results.runs if run not in (*RUNS, "exact")))
    ]
    marks.rows(axes, groups)
    axes.set_xlabel("Gap to the exact log-evidence (nats per bin)")
    axes.set_title("Every posterior against the exact one", fontsize=8.5, fontweight="normal")


def differences(results: ResultTables) -> Figure:
    """Each claim's figure on every pair, in order, and the gaps of all posteriors."""
    figure = style.figure(9.6, 6.6)
    panels = figure.subplots(2, 2).ravel()
    tested = judged(results)
    for axes, one in zip(panels, tested, strict=False):
        ranked(axes, one, SAYS[one.claim], AXES[one.claim], noun="pair")
    gaps(panels[3], results)
    count = len(tested[0].by_cell)
    style.title(figure, f"Do the claims hold on {count} random pairs of coupled cells?")
    style.caption(
        figure,
        "One point a pair: filled blue where the claim holds, open orange where it fails; black line: the "
        f"edge (no difference; for the sd {COUNT_SD:.0%} of the exact one). Brackets: 95% interval, of the "
        "share by Wilson, of the mean over pairs t below n = 40, bootstrap above. Hard samples, held-out "
        "trials, parameters known; recognition of a cell sees its own trace, a posterior's coupling is the "
        "model's. "
        "The twisted posterior learns by wake-sleep, which needs no score function.",
    )
    return figure


def region(results: ResultTables) -> Figure:
    """Where, among the parameters, each claim holds and fails."""
    tested, where = judged(results), parameters(results)
    figure = style.figure(10.8, 8.8)
    panels = np.atleast_2d(figure.subplots(len(tested), len(PLANES) + 1))
    for row, one in zip(panels, tested, strict=True):
        for axes, (horizontal, vertical) in zip(row, PLANES, strict=False):
            plane(axes, one, where, horizontal, vertical, PARAMETERS)
        correlations(row[-1], one, where, PARAMETERS)
        row[0].set_title(f"{SAYS[one.claim]}: {one.holds.sum()} of {len(one.holds)} pairs")
    verdict_legend(figure)
    style.title(figure, "Where the claims hold, and where they fail")
    style.caption(
        figure,
        "One point a pair; the larger, the larger the value that the claim is judged by (C1, C4: difference "
        "of the gaps, which has to be above 0; C5: relative error of the sd, which has to be below "
        f"{COUNT_SD:.0%}). Parameters: means over both cells or both weights. Right: Spearman's "
        "correlation of that value with each, with its 95% interval (Bonett and Wright), black where it "
        "excludes 0.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"differences": differences(results), "region": region(results)}
