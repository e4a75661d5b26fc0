"""Claim C6, from `connectivity`, `peer_connectivity` and `ablation_training`; C2 of coupled cells."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.plotting.style import SETTINGS, number
from dfp.results.judging import Finding, above, within
from dfp.results.tables import ResultTables

from ..shrinkage.claims import in_connectivity

ACCURATE = 0.8
SAME_CORRELATION = 0.01
MAIN = "slow"
PEERS = {
    "oasis_glm": "regression on OASIS output",
    "oasis_correlation": "lagged correlation of OASIS output",
}
CORRELATION = "weight_correlation"


def settings(results: ResultTables) -> list[str]:
    """Settings in which both the fixed point and the factorised posterior were trained."""
    both = [results.conditions("setting", run=run) for run in ("fixed_point", "factorised")]
    return [name for name in results.conditions("setting") if all(name in one for one in both)]


def place(setting: str) -> str:
    """A setting as a condition."""
    text = SETTINGS.get(setting, setting).replace("\n", " ")
    return f"noise {text}" if setting.startswith("noise0") else text


def paired(results: ResultTables, metric: str, first: str, second: str, setting: str) -> pd.Series[float]:
    """``first`` − ``second``, paired by network."""
    both = results.pair(metric, {"run": first, "setting": setting}, {"run": second, "setting": setting})
    return both["first"] - both["second"]


def nearer(
    results: ResultTables, metric: str, truth: float, setting: str, suffix: str = ""
) -> pd.Series[float]:
    """How much nearer ``truth`` the fixed point's value is than the factorised posterior's."""
    sides = ({"run": f"{name}{suffix}", "setting": setting} for name in ("factorised", "fixed_point"))
    both = results.pair(metric, *sides)
    return (both["first"] - truth).abs() - (both["second"] - truth).abs()


def against(results: ResultTables, setting: str, other: str, name: str) -> Finding:
    """The fixed point's correlation less another's, above 0."""
    difference = paired(results, CORRELATION, "fixed_point", other, setting)
    measured = f"correlation of weights, fixed point − {name}"
    return above(difference, 0.0, measured, "correlation", place(setting))


def accuracy(results: ResultTables) -> Iterator[Finding]:
    """In each setting, paired by network: the correlation of the fixed point's weights with the true ones
    above that of the factorised posterior, of a regression on OASIS output and of lagged correlations of it.
    With a slow rise at noise 0.4 also: a correlation above 0.8, and the slope nearer 1 and the history at lag
    1 nearer the truth than the factorised posterior's, both trained by the relaxed pmf, and both trained on
    by the score function."""
    for setting in settings(results):
        yield against(results, setting, "factorised", "factorised")
        for peer, name in PEERS.items():
            if results.has_run(run=peer, setting=setting):
                yield against(results, setting, peer, name)
        if setting != MAIN:
            continue
        where = place(setting)
        for suffix, trained in (("", ""), ("_score", ", trained on by the score function")):
            if not results.has_run(run=f"fixed_point{suffix}", setting=setting):
                continue
            for metric, truth, text, unit in (
                ("weight_slope", 1.0, "slope, how much nearer 1 than the factorised posterior's", "slope"),
                ("history_bias_1", 0.0, "history at lag 1, how much nearer the truth", "logit"),
            ):
                found = nearer(results, metric, truth, setting, suffix)
                yield above(found, 0.0, text, unit, where + trained)
        values = results.values(CORRELATION, run="fixed_point", setting=setting)
        measured = "correlation of the fixed point's weights with the true ones"
        yield above(values, ACCURATE, measured, "correlation", where)


def peers(results: ResultTables) -> Iterator[Finding]:
    """At each noise level, paired by network: the correlation of the fixed point's weights with the true ones
    above that of the factorised posterior, of a regression on OASIS output and of lagged correlations of
    it."""
    for setting in settings(results):
        yield against(results, setting, "factorised", "factorised")
        for peer, name in PEERS.items():
            yield against(results, setting, peer, name)


def trained(results: ResultTables) -> Iterator[Finding]:
    """At each length of training, paired by network: the correlation of the fixed point's weights with the
    true ones above that of the factorised posterior, and its slope nearer 1."""
    for steps in results.conditions("trained"):
        sides = [{"family": name, "trained": steps} for name in ("fixed_point", "factorised")]
        where = f"slow rise (0.1 s), {number(float(steps))} steps"
        both = results.pair(CORRELATION, *sides)
        measured = "correlation of weights, fixed point − factorised"
        yield above(both["first"] - both["second"], 0.0, measured, "correlation", where)
        both = results.pair("weight_slope", *sides)
        found = (both["second"] - 1).abs() - (both["first"] - 1).abs()
        measured = "slope, how much nearer 1 than the factorised posterior's"
        yield above(found, 0.0, measured, "slope", where)


def equality(results: ResultTables) -> Iterator[Finding]:
    """Coupled cells, trained separately from one start: the correlation of the weights, fixed point minus
    sequential, within ±0.01, paired by network."""
    both = results.pair(CORRELATION, {"run": "fixed_point_short"}, {"run": "sequential"})
    yield within(
        both["first"] - both["second"],
        -SAME_CORRELATION,
        SAME_CORRELATION,
        "correlation of weights, fixed point − sequential, trained separately",
        "correlation",
        "coupled cells",
    )


JUDGES = {"C2": equality, "C6": accuracy, "G4": in_connectivity}
