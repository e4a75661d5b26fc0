"""Claims C1, C4 and C5 on random cells, from `instances`: the mean over cells, and the share of the cells on
which each holds."""

from __future__ import annotations

from collections.abc import Iterator

from dfp.results.judging import Finding, above
from dfp.results.tables import ResultTables

from ..uncertainty.claims import excess
from .conditions import condition, count_uncertainty, logistic_latents, share
from .judged import BEST, count_sd_ratio, judged


def dependencies(results: ResultTables) -> Iterator[Finding]:
    """On random cells, paired by cell, factorised minus fixed point, both trained by the relaxed pmf: the
    mean differences of the gap to the exact log-evidence, of the spike count's sd from the exact one and of
    the neighbour covariance from the exact one must be above 0, and the fixed point's gap must be the
    smaller one in a share of the cells above 0.90 (Wilson interval)."""
    one, where = condition(judged(results), "C1", "cells")
    yield above(one.by_cell, one.edge, one.text, one.unit, where)
    for metric, text, unit in (
        ("count_sd", "error of the spike count's sd, factorised − fixed point", "spikes"),
        ("covariance_lag1", "error of the neighbour covariance, factorised − fixed point", "spikes²"),
    ):
        yield above(excess(results, metric, "factorised", "fixed_point"), 0.0, text, unit, where)
    yield share(one, "cells with a smaller gap under the fixed point", where)


def logistic(results: ResultTables) -> Iterator[Finding]:
    """On random cells, parameters known, the same schedule of temperatures, paired by cell, logistic flow
    minus fixed point trained by the relaxed pmf: the mean differences of the gap to the exact log-evidence
    and of the absolute relative bias of the spike count must be above 0, and the relaxed pmf's gap must be
    the smaller one in a share of the cells above 0.90 (Wilson interval)."""
    one, where = condition(judged(results), "C4", "cells")
    yield from logistic_latents(results, one, where, "cells")


def calibration(results: ResultTables) -> Iterator[Finding]:
    """On random cells, the fixed point with a nonlinear history, trained by the score function: mean
    coverage of the 50% interval between 0.40 and 0.60, of the 90% interval between 0.85 and 0.95, mean sd of
    the spike count within ±10% of the exact one, and within ±10% in a share of the cells above 0.90 (Wilson
    interval)."""
    one, cells = condition(judged(results), "C5", "cells")
    where = f"{cells}, fixed point, nonlinear history"
    yield from count_uncertainty(results, one, BEST, count_sd_ratio(results, BEST), where, "cells")


JUDGES = {"C1": dependencies, "C4": logistic, "C5": calibration}
