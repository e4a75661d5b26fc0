"""Figure of `ablation_twisted`: what is left of the twisted posterior's gap after longer training."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting.over import Panel, over_label
from dfp.results.tables import ResultTables

PANELS = (
    Panel(
        "gap_per_bin",
        "Gap to the exact log-evidence\n($10^{-3}$ nats per bin)",
        (0.5, "goal"),
        log=True,
        scale=1e3,
    ),
    Panel("two_sample_accuracy", "Two-sample classifier\n(accuracy)"),
)


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "trained",
        "Training steps",
        PANELS,
        "What longer training leaves of the twisted posterior's gap",
        "The cell of uncertainty, parameters known; ten simulated trials a step. This project's goal is a "
        "gap of 0.5.",
    )
    return {"training": drawn}
