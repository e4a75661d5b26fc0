"""Claims C1, C4 and C5 on random pairs of coupled cells, from `coupled_instances`."""

from __future__ import annotations

from collections.abc import Iterator

from dfp.results.judging import Finding, above
from dfp.results.tables import ResultTables

from ..instances.conditions import condition, count_uncertainty, logistic_latents, share
from .judged import BEST, count_sd_ratio, covariance_error, judged


def dependencies(results: ResultTables) -> Iterator[Finding]:
    """On random pairs of coupled cells, paired by pair, factorised minus fixed point, both trained by the
    relaxed pmf: the mean differences of the gap to the exact log-evidence, of the error of the count's sd and
    of the error of the covariance of a spike with the other cell's next must be above 0, and the fixed
    point's gap must be the smaller one in a share of the pairs above 0.90 (Wilson interval)."""
    one, where = condition(judged(results), "C1", "pairs of coupled cells")
    yield above(one.by_cell, one.edge, one.text, one.unit, where)
    errors = [(count_sd_ratio(results, run) - 1).abs() for run in ("factorised", "fixed_point")]
    text = "relative error of the spike count's sd, factorised − fixed point"
    yield above((errors[0] - errors[1]).dropna(), 0.0, text, "ratio", where)
    errors = [covariance_error(results, run) for run in ("factorised", "fixed_point")]
    text = "error of the covariance between the cells, factorised − fixed point"
    yield above((errors[0] - errors[1]).dropna(), 0.0, text, "spikes²", where)
    yield share(one, "pairs with a smaller gap under the fixed point", where)


def logistic(results: ResultTables) -> Iterator[Finding]:
    """On random pairs of coupled cells, the same schedule of temperatures, paired by pair, logistic flow
    minus fixed point trained by the relaxed pmf: the mean differences of the gap to the exact log-evidence
    and of the absolute relative bias of the spike count must be above 0, and the relaxed pmf's gap must be
    the smaller one in a share of the pairs above 0.90 (Wilson interval)."""
    one, where = condition(judged(results), "C4", "pairs of coupled cells")
    yield from logistic_latents(results, one, where, "pairs")


def calibration(results: ResultTables) -> Iterator[Finding]:
    """On random pairs of coupled cells, the twisted posterior trained by wake-sleep: mean coverage of the 50%
    interval of the pair's spike count between 0.40 and 0.60, of the 90% interval between 0.85 and 0.95, mean
    sd of the count within ±10% of the exact one, and within ±10% in a share of the pairs above 0.90 (Wilson
    interval)."""
    one, pairs = condition(judged(results), "C5", "pairs of coupled cells")
    where = f"{pairs}, twisted"
    yield from count_uncertainty(results, one, BEST, count_sd_ratio(results, BEST), where, "pairs")


JUDGES = {"C1": dependencies, "C4": logistic, "C5": calibration}
