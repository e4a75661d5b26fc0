"""Figure of `ablation_cross_cells`: recognition with and without the other cells' traces."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Panel, over_label
from dfp.results.tables import ResultTables

PANELS = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_correlation", "Change of the correlation", (0.0, "no change"), base="0"),
    Panel("weight_slope", "Change of the slope", (0.0, "no change"), base="0"),
    Panel("elbo_per_bin", "Change of the ELBO\n(nats per bin and cell)", (0.0, "no change"), base="0"),
)


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "channels",
        "Channels for the other cells' traces",
        PANELS,
        "What the other cells' traces do for the learned weights",
        "Twenty coupled cells, slow rise; bias, history and coupling learned. Each channel is a learned "
        "mixture of all cells' traces that every cell's recognition network sees; 0 is the own trace only. "
        "Changes are from there, paired by network.",
    )
    return {"cross_cells": drawn}
