"""Figure of `ablation_recognition`: how much of the trace the recognition network sees."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Panel, over_label
from dfp.results.tables import ResultTables


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "window",
        "Bins seen on each side",
        [Panel("gap_per_bin", style.METRICS["gap_per_bin"], log=True)],
        "How wide a window of the trace the recognition network needs",
        "Gap to the exact log-evidence from hard samples; lower is better. The calcium kernel is ten bins "
        "long. One cell, parameters known.",
    )
    return {"recognition": drawn}
