"""Claims about gradient-refined inference in belief networks, from `belief_network`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.results.judging import Finding, above
from dfp.results.tables import ResultTables

ITERATIONS, SECONDS, LATE = "iterations", "seconds", "late"
NAMES = {
    "gaussian": "Gaussian",
    "gaussian_through": "Gaussian, semi-amortised",
    "mean_passing": "mean-passing",
    "straight_through": "straight-through",
    "straight_through_sigma": "straight-through σ′",
    "score_function": "score function",
    "importance": "importance (AIR)",
}
#: what AIR is held against
BIASED = ("mean_passing", "straight_through", "straight_through_sigma")


def bound_metric(results: ResultTables, run: str) -> str:
    """The name of the bound's metric: exact where the units were enumerated, else from samples.

    That they were is seen from the companion of the exact bound.
    """
    enumerated = results.metrics_of(run=run) & {"exact_bound", "exact_log_likelihood"}
    return "exact_bound" if enumerated else "bound"


def scores(results: ResultTables, metric: str, run: str, budget: str = ITERATIONS) -> pd.DataFrame:
    """Rows of a metric of one variant, stopped by iterations or by seconds."""
    return results.rows(metric, run=run, budget=budget)


def longest(results: ResultTables) -> int:
    """The largest number of steps in training."""
    results.need("train_steps")
    return int(results.rows("bound", budget=ITERATIONS)["train_steps"].max())


def bound(
    results: ResultTables, run: str, train_steps: int, test_steps: int, budget: str = ITERATIONS
) -> pd.Series[float]:
    """The bound on test images by seed, nats an image."""
    where = {"run": run, "train_steps": train_steps, "test_steps": test_steps, "budget": budget}
    return results.values(bound_metric(results, run), **where)


def difference(results: ResultTables, run: str, budget: str) -> pd.Series[float]:
    """Bound when trained with the longest refinement less that without, both so refined in test; by seed."""
    n = longest(results)
    return bound(results, run, n, n, budget) - bound(results, run, 0, n, budget)


def _runs(results: ResultTables) -> list[str]:
    return [run for run in NAMES if run in results.runs]


def iterations(results: ResultTables, budget: str, run: str, train_steps: int) -> float:
    """Mean number of iterations that a training had."""
    rows = results.rows("iterations", run=run, train_steps=train_steps, budget=budget)
    return float(rows["value"].mean())


def rises_in_training(results: ResultTables) -> Iterator[Finding]:
    """Bound on test images of training with the largest number of refinement steps (20) less that of ordinary
    amortised training (n = 0) after equally many iterations (early in training for each variant, and for some
    late in it), each with as many steps in test as in training, paired by seed, above 0, nats an image."""
    n = longest(results)
    for budget in (ITERATIONS, LATE):
        for run in _runs(results):
            if results.has_run(run=run, train_steps=0, budget=budget):
                gained = bound(results, run, n, n, budget) - bound(results, run, 0, 0, budget)
                made = iterations(results, LATE if budget == LATE else SECONDS, run, n)
                where = f"{NAMES[run]}, {made:,.0f} iterations"
                yield above(gained, 0.0, f"bound, n = {n} − n = 0", "nats an image", where)


def rises_at_equal_time(results: ResultTables) -> Iterator[Finding]:
    """The same with n = 0 trained on for as many CPU seconds as the longest refinement took, both refined by
    as many steps in test, paired by seed, above 0 for each variant, nats an image."""
    n = longest(results)
    for run in _runs(results):
        if results.has_run(run=run, train_steps=0, budget=SECONDS):
            gained = difference(results, run, SECONDS)
            yield above(gained, 0.0, f"bound, n = {n} − n = 0, equal seconds", "nats an image", NAMES[run])


def rises_in_test(results: ResultTables) -> Iterator[Finding]:
    """Bound on test images after 20 steps in test less that of the recognition network, of networks trained
    without refinement (n = 0) and with most (n = 20), paired by seed, above 0 for each variant, nats."""
    n = longest(results)
    for run in _runs(results):
        for trained in (0, n):
            gained = bound(results, run, trained, n) - bound(results, run, trained, 0)
            where = f"{NAMES[run]}, trained with n = {trained}"
            yield above(gained, 0.0, f"bound, {n} steps in test − none", "nats an image", where)


def importance_is_better(results: ResultTables) -> Iterator[Finding]:
    """Bound on test images of adaptive importance refinement less that of mean-passing and of either
    straight-through, each with as many steps (20) in training and in test, paired by seed, above 0, nats an
    image."""
    n = longest(results)
    for run in BIASED:
        gained = bound(results, "importance", n, n) - bound(results, run, n, n)
        yield above(gained, 0.0, f"bound, AIR − {NAMES[run]}", "nats an image", f"against {NAMES[run]}")


def removes_amortisation(results: ResultTables) -> Iterator[Finding]:
    """Share of the amortisation gap (best factorial q of each image less q_φ) that the refinement in test (20
    steps) takes away, above 0.5 for each variant and either training."""
    results.need("train_steps")
    for run in _runs(results):
        for trained in sorted(results.rows("gap_left", run=run)["train_steps"].unique()):
            labels = {"run": run, "train_steps": trained}
            share = 1 - results.values("gap_left", **labels) / results.values("gap_amortisation", **labels)
            where = f"{NAMES[run]}, trained with n = {trained:g}"
            yield above(share, 0.5, "share of the amortisation gap closed", "share", where)


JUDGES = {
    "B1": rises_in_training,
    "B2": importance_is_better,
    "B5": rises_at_equal_time,
    "B6": rises_in_test,
    "B7": removes_amortisation,
}
