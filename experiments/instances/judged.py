"""What a claim is judged by on random instances, cell by cell; figures and claims read it alike."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dfp.results.intervals import share_interval
from dfp.results.tables import ResultTables

#: how far the spike count's sd may be from the exact one, relative: as in the claim about one cell
COUNT_SD = 0.10

#: the run whose uncertainty C5 is about: nonlinear history, trained by the score function
BEST = "fixed_point_nonlinear"

PARAMETERS = {
    "true_rate_hz": "Rate at rest (Hz)",
    "true_noise": "Noise ÷ amplitude",
    "true_decay": "Calcium decay (s)",
    "true_history_1": "History, lag 1 (logits)",
    "true_history_2": "History, lag 2 (logits)",
}


@dataclass(frozen=True)
class Judged:
    """One figure per cell, and the edge that it has to be above (or, for an error, below).

    Attributes:
        claim: its id.
        text, unit: what is measured.
        by_cell: the value of each cell, by ``(dataset, seed)``.
        edge: the claim holds on a cell whose value is above it; where ``error``, below it.
        error: whether small values are good.
    """

    claim: str
    text: str
    unit: str
    by_cell: pd.Series[float]
    edge: float = 0.0
    error: bool = False

    @property
    def holds(self) -> pd.Series[bool]:
        """Whether the claim holds, cell by cell."""
        return self.by_cell < self.edge if self.error else self.by_cell > self.edge

    def share(self) -> tuple[float, float, float]:
        """Share of the cells on which it holds, with its 95% interval (Wilson)."""
        return share_interval(self.holds.to_numpy())


def gap_difference(results: ResultTables, worse: str, better: str) -> pd.Series[float]:
    """Gap to the exact log-evidence of one run minus another's, paired by cell."""
    both = results.pair("gap_per_bin", {"run": worse}, {"run": better})
    return both["first"] - both["second"]


def count_sd_ratio(results: ResultTables, run: str) -> pd.Series[float]:
    """Sd of the spike count under a run's posterior ÷ the exact posterior's, by cell."""
    return (results.values("count_sd", run=run) / results.values("count_sd_exact", run=run)).dropna()


def judged(results: ResultTables) -> list[Judged]:
    """What C1, C4 and C5 are judged by, cell by cell."""
    return [
        Judged(
            "C1",
            "gap to the exact log-evidence, factorised − fixed point",
            "nats per bin",
            gap_difference(results, "factorised", "fixed_point"),
        ),
        Judged(
            "C4",
            "gap to the exact log-evidence, logistic − relaxed pmf",
            "nats per bin",
            gap_difference(results, "logistic_flow", "fixed_point"),
        ),
        Judged(
            "C5",
            "|sd of the spike count ÷ exact − 1|, fixed point, nonlinear history",
            "ratio",
            (count_sd_ratio(results, BEST) - 1).abs(),
            COUNT_SD,
            error=True,
        ),
    ]


def parameters(results: ResultTables) -> pd.DataFrame:
    """The true parameters of each cell, a column each, by ``(dataset, seed)``."""
    return pd.DataFrame({name: results.values(name, run="fixed_point") for name in PARAMETERS}).sort_index()
