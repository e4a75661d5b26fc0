"""Claims on where a posterior's gap comes from (L1 to L8), from the exact ledger of `ledger`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.results.judging import Finding, above, below
from dfp.results.tables import ResultTables

#: factorised and autoregressive run of each data set, both trained by the relaxed pmf
PAIRS = {"one_cell": ("factorised", "fixed_point"), "pair": ("pair_factorised", "pair_fixed_point")}
#: what one trial of a data set is, in a verdict
WHERE = {"one_cell": "one cell", "pair": "two coupled cells"}
CLOSES = 1e-6


def _values(results: ResultTables, run: str, metric: str) -> pd.Series[float]:
    return results.values(metric, run=run)


def closes(results: ResultTables) -> Iterator[Finding]:
    """The largest error of closing over all runs and trials, by cell or network, below 1e-6 nats (the study
    itself stops where a single one is not)."""
    frame = pd.concat([results.rows("closing_error", run=run) for run in results.runs])
    for dataset, part in frame.groupby("dataset", sort=False):
        worst = part.groupby("seed")["value"].max()
        yield below(worst, CLOSES, "largest error of closing", "nats", WHERE.get(str(dataset), str(dataset)))


def families(results: ResultTables) -> Iterator[Finding]:
    """(Gap of the best factorised posterior) − (gap of the best autoregressive one) above 0, each found trace
    by trace with the exact bound; paired by cell or network."""
    for dataset, (factorised, autoregressive) in PAIRS.items():
        gaps = [_values(results, run, "gap_family") for run in (factorised, autoregressive)]
        yield above(
            (gaps[0] - gaps[1]).dropna(),
            0.0,
            "gap of the family, factorised − autoregressive",
            "nats per trial",
            WHERE[dataset],
        )


def mostly_the_family(results: ResultTables) -> Iterator[Finding]:
    """(Gap of the family) ÷ (whole gap) of the factorised posterior above one half, by cell or network."""
    for dataset, (factorised, _) in PAIRS.items():
        share = _values(results, factorised, "gap_family") / _values(results, factorised, "gap")
        yield above(
            share, 0.5, "family's share of the factorised posterior's gap", "of the gap", WHERE[dataset]
        )


def shared_weights(results: ResultTables) -> Iterator[Finding]:
    """(Lost for weights shared by all traces) ÷ (whole step of amortisation) of the autoregressive posterior
    with linear history above one half, by cell or network."""
    for dataset, (_, run) in PAIRS.items():
        share = _values(results, run, "gap_sharing") / _values(results, run, "gap_amortisation")
        yield above(share, 0.5, "shared weights' part of amortisation", "of the step", WHERE[dataset])


def logistic(results: ResultTables) -> Iterator[Finding]:
    """(Objective's step, logistic density) − (the same, relaxed pmf) of one family above 0, by cell or
    network."""
    for dataset, (_, pmf) in PAIRS.items():
        flow = pmf.replace("fixed_point", "logistic_flow")
        steps = [_values(results, run, "gap_objective") for run in (flow, pmf)]
        yield above(
            (steps[0] - steps[1]).dropna(),
            0.0,
            "what the objective costs, logistic density − relaxed pmf",
            "nats per trial",
            WHERE[dataset],
        )


def unbiased(results: ResultTables) -> Iterator[Finding]:
    """(Objective's step, relaxed pmf) − (the same, with score-function steps after it) of the autoregressive
    posterior above 0, by cell or network."""
    for dataset, (_, pmf) in PAIRS.items():
        steps = [_values(results, run, "gap_objective") for run in (pmf, f"{pmf}_score")]
        yield above(
            (steps[0] - steps[1]).dropna(),
            0.0,
            "what the objective costs, relaxed pmf − score function",
            "nats per trial",
            WHERE[dataset],
        )


def twisted_family(results: ResultTables) -> Iterator[Finding]:
    """(Gap of the best autoregressive posterior) − (gap of the best twisted one) above 0, each found trace by
    trace with the exact bound; paired by cell or network."""
    yield from _twisted(results, "", "gap_family", "gap of the family, autoregressive − twisted")


def twisted_whole(results: ResultTables) -> Iterator[Finding]:
    """(Whole gap of the autoregressive posterior after score-function steps) − (that of the twisted one,
    trained by wake-sleep) above 0, paired by cell or network."""
    yield from _twisted(
        results, "_score", "gap", "gap, autoregressive by score function − twisted by wake-sleep"
    )


def _twisted(results: ResultTables, suffix: str, metric: str, what: str) -> Iterator[Finding]:
    for dataset, (_, run) in PAIRS.items():
        own = run.replace("fixed_point", "twisted")
        gaps = [_values(results, name, metric) for name in (f"{run}{suffix}", own)]
        yield above((gaps[0] - gaps[1]).dropna(), 0.0, what, "nats per trial", WHERE[dataset])


JUDGES = {
    "L1": closes,
    "L2": families,
    "L3": mostly_the_family,
    "L4": logistic,
    "L5": unbiased,
    "L6": shared_weights,
    "L7": twisted_family,
    "L8": twisted_whole,
}
