"""Figure of `ablation_cross_cells`: recognition with and without the other cells' traces."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Panel, over_label
from dfp.plotting.tables import ResultTables

PANELS = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_slope", style.METRICS["weight_slope"]),
    Panel("elbo_per_bin", "ELBO (nats per bin and cell)"),
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
        "mixture of all cells' traces that every cell's recognition network sees; 0 is the own trace only.",
    )
    return {"cross_cells": drawn}
