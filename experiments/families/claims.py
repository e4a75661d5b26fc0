"""Claims about the rivals of the discrete flow (F3 to F5), from `families`: latent flows, refinement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from dfp.results.judging import Finding, above
from dfp.results.tables import UNIT, ResultTables

LATENTS = {"planar_latents": "planar", "radial_latents": "radial"}
#: hard samples' measures, smaller is better
WITHOUT_BOUND = {
    "marginal_rmse": ("error of P(spike)", "RMSE"),
    "two_sample_accuracy": ("accuracy of a classifier, posterior or exact", "share"),
}
#: refined run -> the run that it starts from, trained on for the same time (mean-passing takes half of that)
ONE_CELL = {
    "refined_straight": "factorised_longer",
    "refined_sigma": "factorised_longer",
    "refined_autoregressive": "fixed_point_longer",
}
MANY_CELLS = {"refined": "factorised_longer", "refined_fixed_point": "fixed_point_longer"}


def paired(results: ResultTables, of: str, metric: str, first: str, second: str) -> pd.Series[float]:
    """``first − second`` by data set and seed; empty where either run is not there."""
    sides = []
    for run in (first, second):
        if not results.has_run(of=of, run=run):
            return pd.Series(dtype=float)
        sides.append(results.rows(metric, of=of, run=run).set_index(UNIT)["value"])
    both = pd.concat(sides, axis=1, join="inner", keys=["first", "second"])
    return both["first"] - both["second"]


def _flows_against(results: ResultTables, rival: str, name: str, sign: float) -> Iterator[Finding]:
    """``sign ×`` (flow of latents − rival) of what needs no bound, for planar and radial flows."""
    for run, flow in LATENTS.items():
        order = f"{flow} flow − {name}" if sign > 0 else f"{name} − {flow} flow"
        for metric, (text, unit) in WITHOUT_BOUND.items():
            values = sign * paired(results, "uncertainty", metric, run, rival)
            if len(values):
                yield above(values, 0.0, f"{text}, {order}", unit, f"one cell, {flow}")


def discrete_is_closer(results: ResultTables) -> Iterator[Finding]:
    """One cell, parameters known, paired by seed, flow of latents minus fixed point trained by the relaxed
    pmf: the error of P(spike) and the accuracy of a classifier that tells the posterior's samples from exact
    ones must both be above 0, for planar and radial flows. Neither needs a bound, which is loose for flows of
    latents."""
    yield from _flows_against(results, "fixed_point", "fixed point", 1.0)


def flows_beat_logistic(results: ResultTables) -> Iterator[Finding]:
    """One cell, paired by seed, logistic flow (autoregressive) minus flow of latents, both trained by the
    logistic density for as many steps: the same two measures must be above 0."""
    yield from _flows_against(results, "logistic_flow", "logistic flow", -1.0)


def _refinement(
    results: ResultTables, of: str, metric: str, rivals: Mapping[str, str], sign: float
) -> Iterator[tuple[str, str, pd.Series[float]]]:
    """(refined run, what it is held against, gain by seed)."""
    for refined, longer in rivals.items():
        values = sign * paired(results, of, metric, refined, longer)
        if len(values):
            yield refined.replace("_", " "), longer.replace("_", " "), values


def refinement_pays(results: ResultTables) -> Iterator[Finding]:
    """At equal time, paired by seed, a refined posterior against the network that it starts from, trained on
    for as long: the gap to the exact log-evidence falls (one cell), the correlation of learned and true
    weights rises (coupled cells), by more than 0, for factorised and fixed-point posteriors."""
    for refined, longer, values in _refinement(results, "uncertainty", "gap_per_bin", ONE_CELL, -1.0):
        where = f"one cell, {refined}"
        yield above(values, 0.0, f"gap, {longer} − {refined}", "nats per bin", where)
    for refined, longer, values in _refinement(
        results, "connectivity", "weight_correlation", MANY_CELLS, 1.0
    ):
        where = f"many cells, {refined}"
        yield above(values, 0.0, f"correlation of weights, {refined} − {longer}", "correlation", where)


JUDGES = {"F3": discrete_is_closer, "F4": flows_beat_logistic, "F5": refinement_pays}
