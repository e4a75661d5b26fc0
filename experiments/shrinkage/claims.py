"""This project's goal of unshrunk weights, from `shrinkage` and `peer_connectivity`."""

from __future__ import annotations

from collections.abc import Iterator

from dfp.results.judging import Finding, above, within
from dfp.results.tables import UNIT, ResultTables

SLOPE = (0.9, 1.1)
#: how much below the exact likelihood's a correlation, and an AUC, still counts as equal
AS_CORRELATED = -0.01
AS_SEPARATED = -0.005
#: a tenth of the two logits of the refractory term at lag 1
HISTORY = 0.2
RIVAL = "gibbs_posterior"


#: runs judged, how they are named, and of what their metrics are
LEARNERS = (
    ("twisted_indirect", "twisted, indirect inference", "weight", "history_bias_1"),
    ("fixed_point_indirect", "fixed point, indirect inference", "weight", "history_bias_1"),
    ("factorised_indirect", "factorised, indirect inference", "weight", "history_bias_1"),
    ("twisted", "twisted, wake-sleep", "weight", "history_bias_1"),
    ("twisted", "twisted, wake-sleep, after one Gibbs sweep", "gibbs_m_step", "gibbs_m_step_history_1"),
)


def unshrunk(results: ResultTables) -> Iterator[Finding]:
    """Slow rise, noise 0.4, everything learned from the traces, over networks: the slope of the weights
    between 0.9 and 1.1; the history at lag 1 within 0.2 logits, a tenth, of the truth; the correlation of the
    weights, less that of the posterior mean by blocked Gibbs, above −0.01. For wake-sleep with indirect
    inference, three posteriors; for the twisted one without; and for weights regressed on the latter's
    samples after one sweep of blocked Gibbs."""
    rival = results.rows("weight_correlation", run=RIVAL).set_index(UNIT)["value"]
    for run, where, prefix, history in LEARNERS:
        slope = results.values(f"{prefix}_slope", run=run)
        yield within(slope, *SLOPE, "slope of the weights", "slope", where)
        lag_one = results.values(history, run=run)
        yield within(lag_one, -HISTORY, HISTORY, "history at lag 1, learned − true", "logit", where)
        own = results.rows(f"{prefix}_correlation", run=run).set_index(UNIT)["value"]
        measured = "correlation of weights, less that of the Gibbs posterior mean"
        yield above((own - rival).dropna(), AS_CORRELATED, measured, "correlation", where)


def less_shrunk(results: ResultTables) -> Iterator[Finding]:
    """Paired by network: the twisted posterior's slope, its correlation with the true weights, and the slope
    of a regression on its samples at the true parameters, less the same of the fixed point trained by the
    relaxed pmf; the correlation less that of a regression on OASIS output; the slope with messages less that
    without; the slope and the correlation with indirect inference less those without; and the correlation of
    the factorised posterior with indirect inference less that of the regression on OASIS output. All above
    0."""
    fixed_point, slope, correlation = "twisted − fixed point", "weight_slope", "weight_correlation"
    pairs = (
        (slope, "twisted", "fixed_point", fixed_point),
        (correlation, "twisted", "fixed_point", fixed_point),
        (correlation, "twisted", "oasis_glm", "twisted − OASIS, then regression"),
        (slope, "twisted_indirect", "twisted", "twisted, with − without indirect inference"),
        (correlation, "twisted_indirect", "twisted", "twisted, with − without indirect inference"),
        (correlation, "factorised_indirect", "oasis_glm", "factorised, indirect − OASIS, then regression"),
        ("m_step_slope", "twisted_truth", "fixed_point_truth", fixed_point),
        ("m_step_slope", "twisted_truth", "twisted_silent_truth", "with − without messages"),
    )
    for metric, first, second, sides in pairs:
        where = "true parameters" if first.endswith("_truth") else "learned"
        measured = f"{metric.rsplit('_', 1)[-1]} of the weights, {sides}"
        both = results.pair(metric, {"run": first}, {"run": second})
        yield above(both["first"] - both["second"], 0.0, measured, metric.rsplit("_", 1)[-1], where)


def in_connectivity(results: ResultTables) -> Iterator[Finding]:
    """The fixed point with indirect inference in `connectivity`, slow rise, over networks: the slope of its
    weights between 0.9 and 1.1, its history at lag 1 within 0.2 logits of the truth, and its correlation with
    the true weights less that of the fixed point trained by the relaxed pmf, and less that of a regression on
    OASIS output, both above 0."""
    run, where = {"run": "fixed_point_indirect", "setting": "slow"}, "fixed point, in `connectivity`"
    yield within(results.values("weight_slope", **run), *SLOPE, "slope of the weights", "slope", where)
    lag_one = results.values("history_bias_1", **run)
    yield within(lag_one, -HISTORY, HISTORY, "history at lag 1, learned − true", "logit", where)
    for rival, name in (("fixed_point", "the relaxed fixed point"), ("oasis_glm", "OASIS, then regression")):
        both = results.pair("weight_correlation", run, {"run": rival, "setting": "slow"})
        measured = f"correlation of weights, less that of {name}"
        yield above(both["first"] - both["second"], 0.0, measured, "correlation", where)


def peer_setting(results: ResultTables) -> Iterator[Finding]:
    """Forty cells, uncut decay, noise 0.5, the fixed point with indirect inference: correlation of the
    weights above 0.90, AUC of their size above 0.985, over networks; the correlation above that of a
    regression on OASIS output, paired by network. Where the Gibbs posterior mean was measured, paired by
    network with that: the correlation less its above −0.01, the AUC less its above −0.005; and the
    correlation less the one that it would have with endlessly many sweeps above −0.01."""
    run, where = {"run": "fixed_point_indirect", "setting": "noise05"}, "noise 0.5"
    for metric, least, unit in (("weight_correlation", 0.90, "correlation"), ("weight_auc", 0.985, "AUC")):
        yield above(results.values(metric, **run), least, f"{unit} of the weights", unit, where)
    both = results.pair("weight_correlation", run, {"run": "oasis_glm", "setting": "noise05"})
    measured = "correlation of weights, less that of OASIS, then regression"
    yield above(both["first"] - both["second"], 0.0, measured, "correlation", where)
    if results.has_run(run=RIVAL, setting="noise05"):
        yield from _against_gibbs(results, run, where)


def _against_gibbs(results: ResultTables, run: dict[str, str], where: str) -> Iterator[Finding]:
    """Differences from the Gibbs posterior mean as it was drawn, and as it would be with endless draws."""
    drawn = (f"{where}, against the Gibbs posterior mean", "that of the Gibbs posterior mean")
    limit = (f"{where}, against its limit of many sweeps", "its limit for the Gibbs posterior mean")
    for metric, theirs, margin, unit, (place, name) in (
        ("weight_correlation", "weight_correlation", AS_CORRELATED, "correlation", drawn),
        ("weight_auc", "weight_auc", AS_SEPARATED, "AUC", drawn),
        ("weight_correlation", "weight_limit_correlation", AS_CORRELATED, "correlation", limit),
    ):
        own = results.rows(metric, **run).set_index(UNIT)["value"]
        rival = results.rows(theirs, run=RIVAL, setting=run["setting"]).set_index(UNIT)["value"]
        yield above((own - rival).dropna(), margin, f"{unit} of the weights, less {name}", unit, place)


JUDGES = {"G4": unshrunk, "G5": less_shrunk}
