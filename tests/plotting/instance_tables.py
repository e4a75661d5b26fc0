"""A table of `instances` as `aggregate` writes it, with effects that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from network_tables import FIXED_POINT, tidy

RUNS: dict[str, dict[str, str]] = {
    "factorised": {"posterior": "factorised"},
    "fixed_point": {},
    "logistic_flow": {"posterior": "logistic_flow", "objective": "logistic_density"},
    "fixed_point_nonlinear": {"objective": "score_function", "sampler": "sequential"},
}
#: beyond the fixed point's: gap in nats per bin, error of the count's sd, |count bias|
WORSE = {"factorised": (0.05, 0.6, 0.1), "logistic_flow": (0.1, 0.8, 0.2)}


def instances(
    seeds: int,
    generator: np.random.Generator,
    gaps: dict[str, np.ndarray] | None = None,
    ratio: np.ndarray | None = None,
) -> pd.DataFrame:
    """A row a run, cell and metric.

    Args:
        seeds: cells.
        gaps: `gap_per_bin` of runs, one a cell; else the fixed point's plus `WORSE`.
        ratio: sd of the count ÷ exact under the nonlinear history; else 1 + half of the noise, so that C5
            fails where there is much of it.
    """
    parameters = {
        "true_rate_hz": generator.uniform(1, 10, seeds),
        "true_noise": generator.uniform(0.3, 1.2, seeds),
        "true_decay": generator.uniform(0.06, 0.3, seeds),
        "true_history_1": generator.uniform(-4, 0, seeds),
        "true_history_2": generator.uniform(-2, 1, seeds),
    }
    exact = 1.0 + 0.1 * parameters["true_rate_hz"]
    ours = 0.5 * (parameters["true_noise"] - 0.3) + 1.0 if ratio is None else ratio
    rows = []
    for run, about in RUNS.items():
        gap, sd, bias = WORSE.get(run, (0.0, 0.0, 0.0))
        metrics = {
            "gap_per_bin": 0.02 + gap * parameters["true_decay"],
            "count_sd": exact * (ours + sd),
            "count_sd_exact": exact,
            "count_bias": 0.01 + bias * parameters["true_noise"],
            "covariance_lag1": -0.002 + 0.01 * sd * parameters["true_rate_hz"],
            "covariance_lag1_exact": np.full(seeds, -0.002),
            "coverage_50": np.clip(0.5 + 0.05 * generator.standard_normal(seeds), 0, 1),
            "coverage_90": np.clip(0.9 + 0.01 * generator.standard_normal(seeds), 0, 1),
            **parameters,
        }
        if gaps and run in gaps:
            metrics["gap_per_bin"] = gaps[run]
        common = {**FIXED_POINT, "run": run, **about}
        rows += [
            {**common, "seed": seed, "metric": metric, "value": float(value)}
            for metric, values in metrics.items()
            for seed, value in enumerate(values)
        ]
    return tidy(rows, "instances")
