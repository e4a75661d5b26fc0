"""Claim C5, its other side and the controls, from `calibration`: does what a posterior says of its own
uncertainty come true?"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.plotting.style import number, run_name
from dfp.results.judging import Finding, above, below, interval, judge, within
from dfp.results.tables import ResultTables

NOMINAL = {"coverage_50": 0.5, "coverage_90": 0.9}
POINTS = 0.05
WEIGHT_POINTS = 0.10
CORRELATED = ("fixed_point", "fixed_point_score", "fixed_point_nonlinear")
SAMPLERS = ("exact", "gibbs")
NULL = (0.49, 0.51)


def text_of(run: str) -> str:
    """A run inside a sentence."""
    name = run_name(run)
    return name[0].lower() + name[1:]


def windows(results: ResultTables) -> list[float]:
    """The stretches that counts were taken of, bins, longest first; 0 is a whole trial."""
    found = results.conditions("window", run="exact")
    return sorted(found, key=lambda window: window or float("inf"), reverse=True)


def stretch(window: float) -> str:
    """A stretch as a sentence says it."""
    return f"counts in {number(window)} bins" if window else "counts in a whole trial"


def coverage(results: ResultTables, run: str, window: float, where: str) -> Iterator[Finding]:
    """Coverage of every interval of a stretch's counts within five points of nominal."""
    for metric, nominal in NOMINAL.items():
        yield within(
            results.values(metric, run=run, window=window),
            nominal - POINTS,
            nominal + POINTS,
            f"coverage of the {100 * nominal:g}% interval, {stretch(window)}",
            "share",
            where,
        )


def correlated(results: ResultTables) -> Iterator[Finding]:
    """For each fixed-point posterior: coverage of the central 50% interval between 0.45 and 0.55 and of the
    90% interval between 0.85 and 0.95, of spike counts in whole trials and in windows, over cells."""
    for run in CORRELATED:
        for window in windows(results) if run in results.runs else ():
            yield from coverage(results, run, window, text_of(run))


def factorised(results: ResultTables) -> Iterator[Finding]:
    """Factorised posterior, for spike counts in whole trials and in windows: the largest deviation of the
    ranks' distribution function from uniform above the edge of its simultaneous 95% band (ratio above 1, over
    cells); and |coverage − nominal| of the 90% interval larger than that of the fixed point trained by the
    score function, paired by cell."""
    for window in windows(results):
        where = stretch(window)
        values = results.values("rank_excess", run="factorised", dataset="panel", window=window)
        yield above(values, 1.0, "deviation of the ranks ÷ edge of the 95% band", "ratio", where)
        yield above(
            missed(results, "factorised", window) - missed(results, "fixed_point_score", window),
            0.0,
            "|coverage of the 90% interval − 0.9|, factorised − fixed point, score function",
            "share",
            where,
        )


def missed(results: ResultTables, run: str, window: float) -> pd.Series[float]:
    """|coverage − nominal| of the 90% interval by cell."""
    values = results.values("coverage_90", run=run, window=window)
    return (values - NOMINAL["coverage_90"]).abs()


def exact_ranks(results: ResultTables) -> Iterator[Finding]:
    """Exact posterior samples, spike counts in whole trials and in windows: largest deviation of the ranks'
    distribution function below the edge of its simultaneous 95% band (ratio below 1, over cells); coverage
    of the 50% and 90% intervals within five points of nominal."""
    for window in windows(results):
        where = stretch(window)
        values = results.values("rank_excess", run="exact", dataset="panel", window=window)
        yield below(values, 1.0, "deviation of the ranks ÷ edge of the 95% band", "ratio", where)
        yield from coverage(results, "exact", window, where)


def joint(results: ResultTables) -> Iterator[Finding]:
    """For the sampler of one cell and blocked Gibbs sampling: the largest score of the joint test below the
    threshold of 1% over all functions and seeds; with a filter one bin late in the sampler, above it.
    Accuracy of the two-sample test, exact against exact samples, between 0.49 and 0.51."""
    table = results.table
    for run in table.loc[table["metric"].isin(["joint_largest", "joint_threshold"]), "run"].unique():
        scores = results.values("joint_largest", run=run)
        edge = float(results.values("joint_threshold", run=run).iloc[0])
        bounds = (float("-inf"), edge) if run in SAMPLERS else (edge, float("inf"))
        yield judge(
            *interval(scores),
            len(scores),
            bounds,
            measured=f"largest score of the joint test, {SAMPLER_NAMES.get(run, run)}",
            unit="standard errors",
        )
    yield within(
        results.values("two_sample_null", run="exact"),
        *NULL,
        "accuracy of the two-sample test, exact against exact",
        "share",
    )


SAMPLER_NAMES = {
    "exact": "exact sampler of one cell",
    "gibbs": "blocked Gibbs",
    "exact_kernel_late": "exact sampler, calcium kernel a bin late",
    "exact_history_late": "exact sampler, history filter a bin late",
    "gibbs_coupling_late": "blocked Gibbs, coupling filter a bin late",
}
WEIGHT_RUNS = {
    "gibbs": "Gibbs sampling of spikes and weights",
    "laplace": "Laplace, missing information counted",
    "laplace_naive": "Laplace, missing information left out",
    "fixed_point_naive": "fixed point, Laplace on its samples",
}


def weights(results: ResultTables) -> Iterator[Finding]:
    """Share of the true weights that lie in their 50% and 90% intervals, within ten points of nominal, over
    networks: by Gibbs sampling, by Laplace's approximation with and without the missing information, and
    by the same without it on the samples of a fixed-point posterior that learned the weights. For all but
    the first also the share of Gibbs draws in the intervals, within five points of nominal."""
    for run, where in WEIGHT_RUNS.items():
        for name, nominal in NOMINAL.items():
            yield within(
                results.values(f"weight_{name}", run=run),
                nominal - WEIGHT_POINTS,
                nominal + WEIGHT_POINTS,
                f"true weights in their {100 * nominal:g}% interval",
                "share",
                where,
            )
            if run != "gibbs":
                yield within(
                    results.values(f"weight_gibbs_mass_{100 * nominal:g}", run=run),
                    nominal - POINTS,
                    nominal + POINTS,
                    f"Gibbs draws in the {100 * nominal:g}% interval",
                    "share",
                    where,
                )


JUDGES = {"C5": correlated, "C5a": factorised, "U1": exact_ranks, "U2": joint, "U3": weights}
