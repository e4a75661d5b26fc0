"""This project's goal of unshrunk weights, from `shrinkage`."""

from __future__ import annotations

from collections.abc import Iterator

from dfp.claims.base import GOAL, Claim, Finding, above, within
from dfp.plotting.tables import UNIT, ResultTables

EXPERIMENT = "shrinkage"
SLOPE = (0.9, 1.1)
AS_CORRELATED = -0.01
#: a tenth of the two logits of the refractory term at lag 1
HISTORY = 0.2
RIVAL = "gibbs_posterior"


def unshrunk(results: ResultTables) -> Iterator[Finding]:
    """Slow rise, noise 0.4, everything learned from the traces, over networks: the slope of the twisted
    posterior's weights between 0.9 and 1.1; the history at lag 1 within 0.2 logits, a tenth, of the truth;
    the correlation of the weights, less that of the posterior mean by blocked Gibbs, above −0.01. The same
    for the weights regressed on its samples after one sweep of blocked Gibbs."""
    for prefix, history, where in (
        ("weight", "history_bias_1", "learned"),
        ("gibbs_m_step", "gibbs_m_step_history_1", "after one sweep of blocked Gibbs"),
    ):
        slope = results.values(f"{prefix}_slope", run="twisted")
        yield within(slope, *SLOPE, "slope of the twisted posterior's weights", "slope", where)
        lag_one = results.values(history, run="twisted")
        yield within(lag_one, -HISTORY, HISTORY, "history at lag 1, learned − true", "logit", where)
        own = results.rows(f"{prefix}_correlation", run="twisted").set_index(UNIT)["value"]
        rival = results.rows("weight_correlation", run=RIVAL).set_index(UNIT)["value"]
        measured = "correlation of weights, twisted − Gibbs posterior mean"
        yield above((own - rival).dropna(), AS_CORRELATED, measured, "correlation", where)


def less_shrunk(results: ResultTables) -> Iterator[Finding]:
    """Paired by network: the twisted posterior's slope, its correlation with the true weights, and the slope
    of a regression on its samples at the true parameters, less the same of the fixed point trained by the
    relaxed pmf; the correlation less that of a regression on OASIS output; and the slope with messages less
    that without. All above 0."""
    fixed_point, slope, correlation = "twisted − fixed point", "weight_slope", "weight_correlation"
    pairs = (
        (slope, "twisted", "fixed_point", fixed_point),
        (correlation, "twisted", "fixed_point", fixed_point),
        (correlation, "twisted", "oasis_glm", "twisted − OASIS, then regression"),
        ("m_step_slope", "twisted_truth", "fixed_point_truth", fixed_point),
        ("m_step_slope", "twisted_truth", "twisted_silent_truth", "with − without messages"),
    )
    for metric, first, second, sides in pairs:
        where = "true parameters" if first.endswith("_truth") else "learned"
        measured = f"{metric.rsplit('_', 1)[-1]} of the weights, {sides}"
        both = results.pair(metric, {"run": first}, {"run": second})
        yield above(both["first"] - both["second"], 0.0, measured, metric.rsplit("_", 1)[-1], where)


CLAIMS = (
    Claim(
        "G4",
        "Weights learned by the twisted posterior are not shrunk, and as accurate as the exact likelihood's",
        GOAL,
        EXPERIMENT,
        unshrunk,
    ),
    Claim(
        "G5",
        "Training on simulated traces undoes part of the shrinkage that the relaxed objectives leave",
        GOAL,
        EXPERIMENT,
        less_shrunk,
    ),
)
