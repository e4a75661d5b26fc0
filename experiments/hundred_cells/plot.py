"""Figure of `hundred_cells`: indirect inference and Gibbs sampling against the clock."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.results.tables import ResultTables

from ..wall_clock.race_figure import races


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"races": races(results, {"hundred": "A hundred cells, weights learned"})}
