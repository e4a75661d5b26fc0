"""C4, from `bias` and `uncertainty`: continuous logistic latents bias inference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dfp.plotting.style import family
from dfp.results.judging import Finding, above
from dfp.results.tables import UNIT, IncompleteTable, MissingResult, ResultTables

LEARNED = {
    "rate_bias": "resting logit b",
    "history_bias_1": "history at lag 1",
    "amplitude_bias": "amplitude",
    "noise_bias": "noise sd",
}


def _select(frame: pd.DataFrame, flow: bool) -> pd.DataFrame:
    """The logistic flow's rows, or the fixed point's that were trained by the relaxed pmf."""
    families = np.array([family(row) for _, row in frame.iterrows()])
    if flow:
        return frame[families == "logistic_flow"]
    return frame[(families == "fixed_point") & (frame["objective"] == "relaxed_pmf")]


def _pairs(results: ResultTables, metric: str, labels: list[str]) -> pd.DataFrame:
    """|metric| of both runs, paired by seed at equal labels.

    Columns `flow` and `pmf`, index labels and `(dataset, seed)`.
    """
    results.need(*labels)
    frame = results.rows(metric)
    index = [*labels, *UNIT]
    sides = {}
    for name, flow in (("flow", True), ("pmf", False)):
        rows = _select(frame, flow).dropna(subset=labels)
        if rows.duplicated(index).any():
            raise MissingResult(
                f"{results.path}: more than one {'logistic flow' if flow else 'fixed point'} run for "
                f"'{metric}'"
            )
        sides[name] = rows.set_index(index)["value"].abs()
    pairs = pd.concat(sides, axis=1, join="inner").sort_index()
    _lacks_none(results, metric, labels, pairs)
    if pairs.empty:
        raise MissingResult(
            f"{results.path}: no '{metric}' of a logistic flow and a relaxed-pmf fixed point to pair"
        )
    return pairs


def _lacks_none(results: ResultTables, metric: str, labels: list[str], pairs: pd.DataFrame) -> None:
    """Raises `IncompleteTable` where both were trained at some labels, and the metric is not there."""
    trained = results.table.drop_duplicates(["run", *labels])
    if metric in LEARNED:
        trained = trained[trained["parameters"] == "learned"]
    known = [set(_select(trained, flow).set_index(labels).index.dropna()) for flow in (True, False)]
    lacking = sorted((known[0] & known[1]) - {key[: len(labels)] for key in pairs.index})
    if lacking:
        where = ", ".join(f"{label} {value}" for label, value in zip(labels, lacking[0], strict=True))
        raise IncompleteTable(f"{results.path}: no metric '{metric}' of both runs with {where}")


def matched(results: ResultTables) -> Iterator[Finding]:
    """At each temperature, with parameters known and learned, paired by seed, logistic flow minus fixed point
    trained by the relaxed pmf: the gap to the exact log-evidence and the absolute relative bias of the spike
    count must both be above 0. With parameters learned, their absolute biases (resting logit, history at lag
    1, amplitude, noise) must be above 0 as well."""
    labels = ["parameters", "temperature"]
    metrics = {
        "gap_per_bin": ("gap to the exact log-evidence, logistic − relaxed pmf", "nats per bin"),
        "count_bias": ("|bias of the spike count|, logistic − relaxed pmf", "relative"),
    }
    for metric, name in LEARNED.items():
        unit = "relative" if metric in ("amplitude_bias", "noise_bias") else "logit"
        metrics[metric] = (f"|bias of the {name}|, logistic − relaxed pmf", unit)
    for metric, (text, unit) in metrics.items():
        if metric in LEARNED and not results.has_run(parameters="learned"):
            continue
        pairs = _pairs(results, metric, labels)
        for (parameters, temperature), part in pairs.groupby(level=labels):
            where = f"parameters {parameters}, temperature {float(str(temperature)):g}"
            yield above(part["flow"] - part["pmf"], 0.0, text, unit, where)


def default_schedule(results: ResultTables) -> Iterator[Finding]:
    """At the default schedule, parameters known, paired by seed, logistic flow minus fixed point trained by
    the relaxed pmf: the gap to the exact log-evidence and the absolute relative bias of the spike count must
    both be above 0."""
    where = "parameters known, default schedule"
    for metric, text, unit in (
        ("gap_per_bin", "gap to the exact log-evidence, logistic − relaxed pmf", "nats per bin"),
        ("count_bias", "|bias of the spike count|, logistic − relaxed pmf", "relative"),
    ):
        both = results.pair(metric, {"run": "logistic_flow"}, {"run": "fixed_point"}).abs()
        yield above(both["first"] - both["second"], 0.0, text, unit, where)


JUDGES = {"C4": matched}
