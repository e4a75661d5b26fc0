"""Claims about refinement and planar flows in a linear-Gaussian network, from `linear_gaussian`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.results.judging import Finding, below
from dfp.results.tables import ResultTables

ROUTES = {
    "exact": "exact gradients",
    "line_search": "exact gradients, line search",
    "sampled": "gradients from samples",
}
#: errors of mean (in posterior sds), of variances (relative) and of the gap (nats) that count as none
CLOSE = {"mean_error": 1e-3, "variance_error": 1e-3, "excess_gap": 1e-3}
CLOSE_SAMPLED = {"mean_error": 0.1, "variance_error": 0.1, "excess_gap": 0.01}
TEXTS = {
    "mean_error": ("largest error of a mean ÷ its sd", "sd"),
    "variance_error": ("largest relative error of a variance", "relative"),
    "excess_gap": ("gap − formula", "nats"),
}
GAP = 0.01


def last(results: ResultTables, metric: str, run: str, dataset: str) -> tuple[int, pd.Series[float]]:
    """The largest count of a run, and its values by model."""
    results.need("count")
    rows = results.rows(metric, run=run, dataset=dataset)
    count = int(rows["count"].max())
    return count, results.values(metric, run=run, dataset=dataset, count=count)


def sizes(results: ResultTables) -> list[str]:
    """Data sets, by the number of units."""
    return list(results.table["dataset"].unique())


def reaches(results: ResultTables) -> Iterator[Finding]:
    """After the largest number of steps, mean over models: largest error of a posterior mean ÷ its sd and
    largest relative error of a variance below 0.001, and bound within 0.001 nats of the formula ½ (Σ log Λ_ii
    − log |Λ|); with gradients from samples 0.1, 0.1 and 0.01."""
    for run, name in ROUTES.items():
        edges = CLOSE_SAMPLED if run == "sampled" else CLOSE
        for dataset in sizes(results):
            for metric, (text, unit) in TEXTS.items():
                count, values = last(results, metric, run, dataset)
                where = f"{name}, {count} steps, {dataset[1:]} units"
                yield below(values, edges[metric], text, unit, where)


def never_falls(results: ResultTables) -> Iterator[Finding]:
    """The largest fall of the bound in any step, for any datum, of refinement with exact expectations and a
    line search: mean over models not above 1e-12 nats (judged below that)."""
    for dataset in sizes(results):
        _, values = last(results, "largest_fall", "line_search", dataset)
        yield below(values, 1e-12, "largest fall of the bound in a step", "nats", f"{dataset[1:]} units")


def flow_closes(results: ResultTables) -> Iterator[Finding]:
    """Gap to log p(x) of the longest planar flow, by fresh samples, mean over models, below 0.01 nats."""
    for dataset in sizes(results):
        count, values = last(results, "gap", "planar", dataset)
        yield below(values, GAP, f"gap with {count} planar maps", "nats", f"{dataset[1:]} units")


JUDGES = {"B3": reaches, "B4": flow_closes, "B8": never_falls}
