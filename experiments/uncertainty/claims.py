"""Claims C1, C2, C4, C5 and the goals, from `uncertainty` and `ablation_twisted`: one cell, known parameters,
exact posterior at hand."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.plotting.style import family, run_name
from dfp.results.judging import Finding, above, below, within
from dfp.results.tables import ResultTables

from ..bias.claims import default_schedule

#: some of what a comparison with the exact posterior measures
EXACT = {"gap_per_bin", "count_sd_exact", "coverage_50", "coverage_90"}
SAME_ELBO = 0.001
COVERAGE = {"coverage_50": (0.40, 0.60), "coverage_90": (0.85, 0.95)}
TWO_SAMPLE = 0.55
COUNT_SD = 0.10
RELAXED_GOAL = 0.70
NONLINEAR_GOAL = 0.90
TWISTED_GAP = 0.0005
TWISTED_SD = 0.05


def distance(results: ResultTables, metric: str, run: str) -> pd.Series[float]:
    """|metric − metric_exact| per seed."""
    frame = pd.concat(
        [results.values(metric, run=run), results.values(f"{metric}_exact", run=run)],
        axis=1,
        join="inner",
        keys=["q", "exact"],
    )
    return (frame["q"] - frame["exact"]).abs()


def excess(results: ResultTables, metric: str, worse: str, better: str) -> pd.Series[float]:
    """How much farther from the exact posterior `worse` is than `better`, paired by seed."""
    return (distance(results, metric, worse) - distance(results, metric, better)).dropna()


def paired(results: ResultTables, metric: str, first: str, second: str) -> pd.Series[float]:
    """`first` − `second`, paired by seed."""
    both = results.pair(metric, {"run": first}, {"run": second})
    return both["first"] - both["second"]


def closed(results: ResultTables, run: str) -> pd.Series[float]:
    """Share of the factorised posterior's gap that `run` closes, per seed: 1 − gap(run) / gap(factorised)."""
    both = results.pair("gap_per_bin", {"run": run}, {"run": "factorised"})
    return 1 - both["first"] / both["second"]


def dependencies(results: ResultTables) -> Iterator[Finding]:
    """Paired by seed, factorised minus fixed point, both trained by the same objective: the gap to the exact
    log-evidence, the distance of the spike count's sd from the exact one and the distance of the neighbour
    covariance from the exact one must all be above 0."""
    for worse, better, where in (
        ("factorised", "fixed_point", "both are trained by the relaxed pmf"),
        ("factorised_score", "fixed_point_score", "both are trained by the score function"),
    ):
        if worse not in results.runs or better not in results.runs:
            continue
        yield above(
            paired(results, "gap_per_bin", worse, better),
            0.0,
            "gap to the exact log-evidence, factorised − fixed point",
            "nats per bin",
            where,
        )
        yield above(
            excess(results, "count_sd", worse, better),
            0.0,
            "error of the spike count's sd, factorised − fixed point",
            "spikes",
            where,
        )
        yield above(
            excess(results, "covariance_lag1", worse, better),
            0.0,
            "error of the neighbour covariance, factorised − fixed point",
            "spikes²",
            where,
        )


def equality(results: ResultTables) -> Iterator[Finding]:
    """Trained separately from one start, fixed point minus sequential must be within ±0.001 nats per bin of
    ELBO."""
    where = "one cell"
    yield within(
        paired(results, "elbo_per_bin", "fixed_point", "sequential"),
        -SAME_ELBO,
        SAME_ELBO,
        "ELBO, fixed point − sequential, trained separately",
        "nats per bin",
        where,
    )


def calibration(results: ResultTables) -> Iterator[Finding]:
    """For each fixed-point posterior: coverage of the 50% interval between 0.40 and 0.60, of the 90% interval
    between 0.85 and 0.95, sd of the spike count within ±10% of the exact one, accuracy of the two-sample
    classifier below 0.55."""
    for run in correlated_runs(results):
        where = run_name(run)[0].lower() + run_name(run)[1:]
        for metric, (low, high) in COVERAGE.items():
            name = f"coverage of the {metric.removeprefix('coverage_')}% interval"
            yield within(results.values(metric, run=run), low, high, name, "share", where)
        ratio = (results.values("count_sd", run=run) / results.values("count_sd_exact", run=run)).dropna()
        yield within(ratio, 1 - COUNT_SD, 1 + COUNT_SD, "sd of the spike count ÷ exact", "ratio", where)
        accuracy = results.values("two_sample_accuracy", run=run)
        yield below(
            accuracy, TWO_SAMPLE, "accuracy of the two-sample classifier (chance 0.5)", "share", where
        )


def correlated_runs(results: ResultTables) -> list[str]:
    """The runs whose family is the fixed point, without those that only fill a rival's time (`budget`), and
    without a user's own that were not held against the exact posterior."""
    first = results.table.drop_duplicates("run")
    return [
        str(row["run"])
        for _, row in first.iterrows()
        if family(row) == "fixed_point"
        and not isinstance(row.get("budget"), str)
        and EXACT & results.metrics_of(run=row["run"])
    ]


def relaxed_goal(results: ResultTables) -> Iterator[Finding]:
    """Share of the factorised gap closed by the fixed point trained by the relaxed pmf, paired by seed, at
    least 0.70."""
    yield above(
        closed(results, "fixed_point"),
        RELAXED_GOAL,
        "share of the factorised gap closed",
        "share",
        "one cell",
    )


def nonlinear_goal(results: ResultTables) -> Iterator[Finding]:
    """Share of the factorised gap closed by the fixed point with a nonlinear history, trained by the score
    function, paired by seed, at least 0.90."""
    values = closed(results, "fixed_point_nonlinear")
    yield above(values, NONLINEAR_GOAL, "share of the factorised gap closed", "share", "one cell")


def twisted_goal(results: ResultTables) -> Iterator[Finding]:
    """The twisted posterior of the longest training, over cells: gap to the exact log-evidence below 0.0005
    nats per bin, sd of the spike count within ±5% of the exact one, accuracy of the two-sample classifier
    below 0.55."""
    longest = max(results.conditions("trained"), key=float)
    side = {"trained": longest}
    where = f"one cell, twisted, {float(longest):,.0f} steps"
    gap = results.values("gap_per_bin", **side)
    yield below(gap, TWISTED_GAP, "gap to the exact log-evidence", "nats per bin", where)
    ratio = (results.values("count_sd", **side) / results.values("count_sd_exact", **side)).dropna()
    yield within(ratio, 1 - TWISTED_SD, 1 + TWISTED_SD, "sd of the spike count ÷ exact", "ratio", where)
    accuracy = results.values("two_sample_accuracy", **side)
    yield below(accuracy, TWO_SAMPLE, "accuracy of the two-sample classifier (chance 0.5)", "share", where)


JUDGES = {
    "C1": dependencies,
    "C2": equality,
    "C4": default_schedule,
    "C5": calibration,
    "G1": relaxed_goal,
    "G2": nonlinear_goal,
}
