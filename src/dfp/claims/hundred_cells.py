"""The goal of `hundred_cells`: weights in less time than Gibbs sampling takes."""

from __future__ import annotations

from collections.abc import Iterator

from dfp.claims.base import GOAL, Claim, Finding
from dfp.claims.wall_clock import than_gibbs
from dfp.plotting.tables import ResultTables


def sooner(results: ResultTables) -> Iterator[Finding]:
    """A hundred cells, indirect inference: (time that Gibbs sampling of spikes and weights together takes to
    the posterior's final correlation of the weights) ÷ (the posterior's own time to it) above 1, paired by
    network; where Gibbs never gets there, all of its time is taken. Geometric mean with its 95% interval."""
    for run in ("factorised", "fixed_point"):
        yield than_gibbs(results, "hundred", run, run)


CLAIMS = (
    Claim(
        "G8",
        "Indirect inference gets the weights of a hundred cells in less time than Gibbs sampling",
        GOAL,
        "hundred_cells",
        sooner,
    ),
)
