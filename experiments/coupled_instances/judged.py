"""What a claim is judged by on random pairs of coupled cells, pair by pair, in figures and claims."""

from __future__ import annotations

import pandas as pd

from dfp.results.tables import ResultTables

from ..instances.judged import COUNT_SD, Judged, gap_difference

#: the run whose uncertainty C5 is about
BEST = "twisted"

PARAMETERS = {
    "true_coupling": "Size of the weights, mean (logits)",
    "true_coupling_sum": "Sum of both weights (logits)",
    "true_rate_hz": "Rate at rest, mean (Hz)",
    "true_noise": "Noise ÷ amplitude, mean",
    "true_decay": "Calcium decay, mean (s)",
    "true_history_1": "History, lag 1, mean (logits)",
    "true_history_2": "History, lag 2, mean (logits)",
}


def _exact(results: ResultTables, metric: str) -> pd.Series[float]:
    return results.values(metric, run="exact")


def count_sd_ratio(results: ResultTables, run: str) -> pd.Series[float]:
    """Sd of a pair's spike count under a run's posterior ÷ the exact posterior's, by pair."""
    return (results.values("count_sd", run=run) / _exact(results, "count_sd_exact")).dropna()


def covariance_error(results: ResultTables, run: str) -> pd.Series[float]:
    """|covariance of a spike with the other cell's next − the exact one|, by pair."""
    both = results.values("covariance_cross", run=run) - _exact(results, "covariance_cross_exact")
    return both.dropna().abs()


def judged(results: ResultTables) -> list[Judged]:
    """What C1, C4 and C5 are judged by, pair by pair."""
    text = "gap to the exact log-evidence of the pair"
    return [
        Judged(
            "C1",
            f"{text}, factorised − fixed point",
            "nats per bin",
            gap_difference(results, "factorised", "fixed_point"),
        ),
        Judged(
            "C4",
            f"{text}, logistic − relaxed pmf",
            "nats per bin",
            gap_difference(results, "logistic_flow", "fixed_point"),
        ),
        Judged(
            "C5",
            "|sd of the pair's spike count ÷ exact − 1|, twisted",
            "ratio",
            (count_sd_ratio(results, BEST) - 1).abs(),
            COUNT_SD,
            error=True,
        ),
    ]


def parameters(results: ResultTables) -> pd.DataFrame:
    """The true parameters of each pair, a column each, by ``(dataset, seed)``."""
    return pd.DataFrame({name: _exact(results, name) for name in PARAMETERS}).sort_index()
