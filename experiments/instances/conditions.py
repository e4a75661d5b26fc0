"""What C1, C4 and C5 ask alike of random cells (`instances`) and of random pairs (`coupled_instances`)."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.results.judging import Finding, above, judge, within
from dfp.results.tables import ResultTables

from ..uncertainty.claims import COVERAGE
from .judged import COUNT_SD, Judged

SHARE = 0.90


def condition(found: list[Judged], claim: str, what: str) -> tuple[Judged, str]:
    """What a claim is judged by, and the name of the condition."""
    (one,) = [one for one in found if one.claim == claim]
    return one, f"{len(one.by_cell)} random {what}"


def share(one: Judged, measured: str, where: str) -> Finding:
    """The share of the instances on which the claim holds."""
    value, low, high = one.share()
    bounds = (SHARE, float("inf"))
    return judge(value, low, high, len(one.by_cell), bounds, measured=measured, unit="share", where=where)


def logistic_latents(results: ResultTables, one: Judged, where: str, noun: str) -> Iterator[Finding]:
    """C4: gap, bias of the count and share of the ``noun``, logistic flow against the relaxed pmf."""
    yield above(one.by_cell, one.edge, one.text, one.unit, where)
    bias = results.pair("count_bias", {"run": "logistic_flow"}, {"run": "fixed_point"}).abs()
    text = "|bias of the spike count|, logistic − relaxed pmf"
    yield above(bias["first"] - bias["second"], 0.0, text, "relative", where)
    yield share(one, f"{noun} with a smaller gap under the relaxed pmf", where)


def count_uncertainty(
    results: ResultTables, one: Judged, run: str, ratio: pd.Series[float], where: str, noun: str
) -> Iterator[Finding]:
    """C5: coverage, sd ÷ exact sd (``ratio``) and share of the ``noun``, of one run."""
    for metric, (low, high) in COVERAGE.items():
        name = f"coverage of the {metric.removeprefix('coverage_')}% interval"
        yield within(results.values(metric, run=run), low, high, name, "share", where)
    yield within(ratio, 1 - COUNT_SD, 1 + COUNT_SD, "sd of the spike count ÷ exact", "ratio", where)
    yield share(one, f"{noun} whose spike count's sd is within ±10% of the exact one", where)
