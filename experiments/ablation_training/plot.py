"""Figure of `ablation_training`: the learned weights after shorter and longer training."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Panel, over_label
from dfp.results.tables import ResultTables

PANELS = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_slope", style.METRICS["weight_slope"]),
    Panel("history_bias_1", style.METRICS["history_bias_1"]),
    Panel("elbo_per_bin", "ELBO\n(nats per bin and cell)"),
)


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "trained",
        "Training steps",
        PANELS,
        "What longer training does for the learned weights",
        "Twenty coupled cells, slow rise; weights learned by the relaxed pmf.",
    )
    return {"training": drawn}
