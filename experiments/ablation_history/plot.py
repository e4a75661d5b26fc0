"""Figure of `ablation_history`: how many lags of its own past the posterior sees."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Panel, over_label
from dfp.results.tables import ResultTables

PANELS = (
    Panel("gap_per_bin", style.METRICS["gap_per_bin"], log=True),
    Panel("train_sweeps_mean", "Sweeps per training step"),
)


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "lags",
        "Lags of own history in the posterior",
        PANELS,
        "How much of its own past the posterior has to see",
        "Gap to the exact log-evidence from hard samples; lower is better. 0 lags is the factorised "
        "posterior; nonlinear: ten lags through a small network, warm-started from the linear ten and "
        "trained by the score function, bin by bin. One cell, parameters known.",
    )
    return {"history": drawn}
