"""Tables that claims are judged from, with numbers to order."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from dfp.results.catalogue import load_claims
from dfp.results.judging import Claim
from dfp.stages.claims import claims

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
SEEDS = 5
RELAXED = {"objective": "relaxed_pmf", "posterior": "autoregressive", "sampler": "fixed_point"}


def rows(
    run: str, metric: str, values: list[float] | np.ndarray, **labels: object
) -> list[dict[str, object]]:
    common = {"run": run, "dataset": "d", "metric": metric, **RELAXED, **labels}
    return [{**common, "seed": seed, "value": value} for seed, value in enumerate(values)]


def write(folder: Path, experiment: str, table: list[dict[str, object]]) -> None:
    (folder / experiment).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(table).assign(experiment=experiment, scale=folder.name)
    frame.to_csv(folder / experiment / "table.csv", index=False)


@cache
def all_claims() -> tuple[Claim, ...]:
    """The registered claims."""
    return load_claims(EXPERIMENTS)


def claims_of(experiment: str) -> list[Claim]:
    """Those that one experiment's table is judged for."""
    return [claim for claim in all_claims() if claim.experiment == experiment]


def judged(folder: Path) -> pd.DataFrame:
    claims(folder, folder / "claims.csv", folder / "claims.md", EXPERIMENTS)
    return pd.read_csv(folder / "claims.csv", keep_default_na=False)


def overall(frame: pd.DataFrame, claim: str) -> str:
    (found,) = frame.loc[frame["claim"] == claim, "claim_verdict"].unique()
    return str(found)


def noisy(mean: float, sd: float = 0.02, seeds: int = SEEDS) -> np.ndarray:
    """Values whose spread is `sd` relative to `mean`, the same for every call."""
    return mean * (1 + sd * np.linspace(-1, 1, seeds))


def uncertainty(gaps: dict[str, float], sds: dict[str, float], seeds: int = SEEDS) -> list[dict[str, object]]:
    """A table with the metrics of C1, C2, C4, C5 and the goals; `gaps` in nats per bin, `sds` as ratios to
    the exact sd."""
    objectives = {"factorised_score": "score_function", "fixed_point_score": "score_function"}
    table = []
    for run, gap in gaps.items():
        labels = {
            "objective": objectives.get(run, "relaxed_pmf"),
            "posterior": "factorised"
            if run.startswith("factorised")
            else run
            if run == "logistic_flow"
            else "autoregressive",
            "sampler": "sequential" if run == "sequential" else "fixed_point",
        }
        ratio = sds.get(run, 1.0)
        for metric, values in {
            "gap_per_bin": noisy(gap, seeds=seeds),
            "elbo_per_bin": -0.7 - noisy(gap, seeds=seeds),
            "count_bias": noisy(ratio - 1 + 1e-3, seeds=seeds),
            "count_sd": noisy(2.2 * ratio, 0.01, seeds),
            "count_sd_exact": np.full(seeds, 2.2),
            "covariance_lag1": noisy(-2e-3 / ratio**2, seeds=seeds),
            "covariance_lag1_exact": np.full(seeds, -2e-3),
            "two_sample_accuracy": noisy(0.5 + 0.4 * abs(ratio - 1), 0.01, seeds),
            "coverage_50": noisy(0.5 * ratio, 0.01, seeds),
            "coverage_90": noisy(min(0.9 * ratio, 1.0), 0.005, seeds),
            "sweeps_mean": noisy(9.0, seeds=seeds),
        }.items():
            table += rows(run, metric, values, **labels)
    return table


GAPS = {
    "factorised": 0.05,
    "factorised_score": 0.047,
    "sequential": 0.0071,
    "fixed_point": 0.0071,
    "fixed_point_score": 0.0029,
    "fixed_point_nonlinear": 0.0005,
    "logistic_flow": 0.085,
}


SDS = {
    "factorised": 1.57,
    "factorised_score": 1.5,
    "sequential": 1.25,
    "fixed_point": 1.25,
    "fixed_point_score": 1.13,
    "fixed_point_nonlinear": 1.02,
    "logistic_flow": 1.7,
}
