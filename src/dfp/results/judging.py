"""The rules by which a claim is judged from an interval.

A finding *holds* only when its whole interval lies on the right side of the threshold, *fails* only when its
whole interval lies on the wrong side, and is *undecided* otherwise, or when fewer than two seeds give no
interval. A claim of several findings holds where every finding of one condition (its `where`) holds, and
fails where any of them fails.

Intervals are two-sided at 95%, so that a figure that lies on its threshold comes out as *holds* once in 40
times and as *fails* once in 40. Nothing is corrected for the number of findings: a condition of k findings
holds falsely less often than one alone, but fails falsely up to k times as often.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dfp.results.intervals import mean_interval
from dfp.results.tables import ResultTables

HOLDS, FAILS, UNDECIDED, NOT_TESTED = "holds", "fails", "undecided", "not tested"
#: conditions that a verdict names; of more it gives the number
NAMED = 6


@dataclass(frozen=True)
class Finding:
    """One measured figure: its value, 95% interval (NaN for n < 2), number of seeds, verdict."""

    measured: str
    unit: str
    value: float
    low: float
    high: float
    n: int
    threshold: str
    verdict: str
    where: str = ""

    @property
    def outcome(self) -> str:
        """The verdict's first word(s), without the reason in brackets."""
        return self.verdict.split(" (")[0]


@dataclass(frozen=True)
class Claim:
    """A sentence of a source document and the function that judges it from one experiment's tables.

    The docstring of `judge` states the threshold; it is printed with the claims.
    """

    id: str
    statement: str
    source: str
    experiment: str
    judge: Callable[[ResultTables], Iterable[Finding]]

    @property
    def rule(self) -> str:
        """How the claim is judged: the docstring of its function."""
        return " ".join((inspect.getdoc(self.judge) or "").split())


def number(value: float) -> str:
    """Three significant digits, plain."""
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{digits}f}" if digits <= 6 else f"{value:.2e}"


def interval(values: Iterable[float], log: bool = False) -> tuple[float, float, float]:
    """Mean (with `log`: geometric mean) and its 95% interval.

    The bounds are NaN for fewer than two values.
    """
    array = np.asarray(list(values), dtype=float)
    if log:
        mean, low, high = interval(np.log(array))
        return float(np.exp(mean)), float(np.exp(low)), float(np.exp(high))
    if array.size < 2:
        return (float(array[0]) if array.size else np.nan), np.nan, np.nan
    mean, low, high = mean_interval(array, level=0.95)
    return float(mean), float(low), float(high)


def judge(
    value: float, low: float, high: float, n: int, bounds: tuple[float, float], **labels: str
) -> Finding:
    """Judge that a figure whose interval is `[low, high]` lies between `bounds`.

    `labels` name it (`measured`, `unit` and `where` of a `Finding`).
    """
    lower, upper = bounds
    if not (np.isfinite(low) and np.isfinite(high)):
        verdict = f"{UNDECIDED} (n = {n}: no interval)"
    elif low > lower and high < upper:
        verdict = HOLDS
    elif high <= lower or low >= upper:
        verdict = FAILS
    else:
        edges = [number(edge) for edge in bounds if np.isfinite(edge) and low <= edge <= high]
        verdict = f"{UNDECIDED} (interval includes {' and '.join(edges)})"
    if np.isfinite(lower) and np.isfinite(upper):
        threshold = f"between {lower:g} and {upper:g}"
    else:
        threshold = f"above {lower:g}" if np.isfinite(lower) else f"below {upper:g}"
    return Finding(value=value, low=low, high=high, n=n, threshold=threshold, verdict=verdict, **labels)


def _mean(
    values: Iterable[float], bounds: tuple[float, float], measured: str, unit: str, where: str
) -> Finding:
    array = np.asarray(list(values), dtype=float)
    return judge(*interval(array), array.size, bounds, measured=measured, unit=unit, where=where)


def above(values: Iterable[float], edge: float, measured: str, unit: str, where: str = "") -> Finding:
    """Judge that the mean of `values` (one per seed) lies above `edge`."""
    return _mean(values, (edge, np.inf), measured, unit, where)


def below(values: Iterable[float], edge: float, measured: str, unit: str, where: str = "") -> Finding:
    """Judge that the mean of `values` lies below `edge`."""
    return _mean(values, (-np.inf, edge), measured, unit, where)


def within(
    values: Iterable[float], low: float, high: float, measured: str, unit: str, where: str = ""
) -> Finding:
    """Judge that the mean of `values` lies between `low` and `high`."""
    return _mean(values, (low, high), measured, unit, where)


def verdict(findings: Sequence[Finding]) -> str:
    """The verdict in words, all conditions together.

    `holds`, `fails`, `undecided`, `not tested`, `holds where … / …; fails where …`, or with more than `NAMED`
    conditions `holds in 7 of 19 conditions, fails in 12`.
    """
    conditions: dict[str, list[str]] = {}
    for finding in findings:
        conditions.setdefault(finding.where, []).append(finding.outcome)
    by_condition: dict[str, str] = {}
    for where, outcomes in conditions.items():
        if FAILS in outcomes:
            by_condition[where] = FAILS
        elif all(outcome == HOLDS for outcome in outcomes):
            by_condition[where] = HOLDS
        elif all(outcome == NOT_TESTED for outcome in outcomes):
            by_condition[where] = NOT_TESTED
        else:
            by_condition[where] = UNDECIDED
    tested = {where: outcome for where, outcome in by_condition.items() if outcome != NOT_TESTED}
    if not tested:
        return NOT_TESTED
    kinds = set(tested.values())
    if len(kinds) == 1:
        return kinds.pop()
    return _by_condition(tested, (HOLDS, FAILS, UNDECIDED))


def _by_condition(tested: dict[str, str], order: Sequence[str]) -> str:
    parts: list[str] = []
    if len(tested) > NAMED:
        for outcome in order:
            if count := list(tested.values()).count(outcome):
                parts.append(f"{outcome} in {count}" + ("" if parts else f" of {len(tested)} conditions"))
        return ", ".join(parts)
    for outcome in order:
        places = [where or "no condition is named" for where, found in tested.items() if found == outcome]
        if places:
            parts.append(f"{outcome} where {' / '.join(places)}")
    return "; ".join(parts)
