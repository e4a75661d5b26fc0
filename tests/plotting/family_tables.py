"""The table of `families`: rows of one cell and of many, with seconds, made from a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from network_tables import rows, tidy

#: run -> gap in nats per bin, error of P(spike), seconds
ONE_CELL = {
    "factorised": (0.09, 0.06, 40.0),
    "factorised_longer": (0.088, 0.06, 60.0),
    "factorised_score": (0.085, 0.055, 90.0),
    "sequential": (0.03, 0.03, 900.0),
    "fixed_point": (0.03, 0.03, 80.0),
    "fixed_point_longer": (0.028, 0.03, 95.0),
    "fixed_point_score": (0.01, 0.02, 160.0),
    "fixed_point_nonlinear": (0.002, 0.01, 300.0),
    "logistic_flow": (0.1, 0.07, 70.0),
    "planar_latents": (0.11, 0.065, 120.0),
    "radial_latents": (0.12, 0.066, 110.0),
    "refined_mean": (0.1, 0.07, 52.0),
    "refined_straight": (0.086, 0.06, 61.0),
    "refined_autoregressive": (0.029, 0.03, 96.0),
    "twisted": (0.001, 0.005, 70.0),
}
#: run -> correlation of the weights, seconds
MANY_CELLS = {
    "factorised": (0.7, 15.0),
    "factorised_longer": (0.71, 22.0),
    "factorised_score": (0.72, 60.0),
    "fixed_point": (0.77, 18.0),
    "fixed_point_longer": (0.78, 24.0),
    "fixed_point_score": (0.8, 90.0),
    "logistic_flow": (0.6, 17.0),
    "planar_latents": (0.58, 18.0),
    "refined": (0.69, 22.0),
    "refined_fixed_point": (0.77, 24.0),
    "fixed_point_indirect": (0.85, 80.0),
}


def families(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    found: list[dict] = []
    for run, (gap, error, seconds) in ONE_CELL.items():
        values = {"spike_gap_per_bin": gap, "gap_per_bin": gap, "marginal_rmse": error}
        found += rows(values, seeds, generator, run=run, of="uncertainty", dataset="panel")
        one = {"run": run, "of": "uncertainty", "dataset": "panel", "metric": "total_train_seconds"}
        found += [{**found[-1], **one, "seed": seed, "value": seconds} for seed in range(seeds)]
    for run, (correlation, seconds) in MANY_CELLS.items():
        values = {
            "weight_correlation": correlation,
            "weight_rmse": 1.2 - correlation,
            "total_train_seconds": seconds,
        }
        # the first two runs have a network more, which no other run is trained on
        more = seeds + (run in ("factorised", "fixed_point"))
        found += rows(values, more, generator, run=run, of="connectivity", setting="slow", dataset="slow")
    for run, seconds in (("sequential", 0.2), ("fixed_point_short", 0.02)):
        about = {"of": "connectivity", "setting": "short", "dataset": "short"}
        values = {
            "seconds_per_step": seconds,
            "weight_correlation": 0.3,
            "total_train_seconds": 100 * seconds,
        }
        found += rows(values, seeds, generator, run=run, **about)
    return tidy(found, "families")
