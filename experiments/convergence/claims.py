"""Claims about fixed-point sweeps, from `convergence`: their growth, its boundary, a guard in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dfp.plotting.style import number
from dfp.results.intervals import share_interval
from dfp.results.judging import Finding, above, below, judge, within
from dfp.results.tables import ResultTables

from .growth import KEY, sides

#: growth measured and predicted may differ by so many sweeps
SWEEPS = 2.0
#: above this exponent sweeps are said to grow as T
AS_BINS = 0.5
SHARE = 0.9
#: nats per bin by which the hard bound falls behind that of converged sweeps: blown up; kept
BLOWN, KEPT = 0.1, 0.02
FEW, REFERENCE = "few_sweeps", "converged"
#: what S1 predicts growth by, and as a sentence says it; what S5 does
PREDICTORS = {"predicted_growth": "ρ", "predicted_by_lyapunov": "the Lyapunov exponent"}
TAIL = "predicted_by_tail"


def errors(results: ResultTables, predictor: str = "predicted_growth") -> pd.DataFrame:
    """Growth measured less predicted, one row a law, length and seed.

    Columns `dataset`, `bins`, `seed`, `value`.
    """
    results.need("bins")
    both = sides(results, predictor)
    return both.assign(value=both["measured"] - both["predicted"])[[*KEY, "value"]]


def grows_as_predicted(results: ResultTables) -> Iterator[Finding]:
    """Growth of the sweeps from the shortest T, measured minus ln(T ratio) ÷ ln(1/ρ) with ρ of one run,
    paired by network: mean within ±2 sweeps for every law and length with ρ < 1; and the share of these
    conditions whose mean is within ±2 above 0.9 (Wilson interval). The same with −λ, the largest Lyapunov
    exponent, for ln(1/ρ) where both can be compared (coupling and history at lag 1)."""
    for predictor, name in PREDICTORS.items():
        if predicts(results, predictor):
            found = list(_within(results, predictor, name))
            yield from found
            text = "conditions whose mean growth is within ±2 sweeps"
            yield _share([abs(one.value) < SWEEPS for one in found], text, f"all conditions, by {name}")


def predicts(results: ResultTables, predictor: str) -> bool:
    """Whether anything was predicted, or by the rates that a prediction is made of should have been."""
    metrics = results.metrics_of(run="growth")
    if predictor in metrics:
        return True
    if predictor == "predicted_growth":
        return bool((results.rows("rho", run="growth")["value"] < 1).any())
    rate = "lyapunov_rate"  # of one bin of memory only
    return rate in metrics and bool((results.rows(rate, run="growth")["value"] > 0).any())


def grows_by_the_tail(results: ResultTables) -> Iterator[Finding]:
    """As S1, by ln(T ratio) ÷ λ for every network, whatever its ρ; λ is the rate at which the bins that still
    change die out over the sweeps of one run of at most 10,000 bins, on noise that no measured run has.
    Without S1's share of the conditions, whose interval includes 0.9 even when all 19 are within ±2."""
    yield from _within(results, TAIL, "the tail")


def _within(results: ResultTables, predictor: str, name: str) -> Iterator[Finding]:
    for (dataset, bins), part in errors(results, predictor).groupby(["dataset", "bins"], sort=False):
        where = f"{text_of(str(dataset))}, T = {number(bins)}, by {name}"
        yield within(part["value"], -SWEEPS, SWEEPS, "growth, measured − predicted", "sweeps", where)


def text_of(dataset: str) -> str:
    """A law of the growth as a sentence says it: `network_1.5`, `cell_excited`."""
    kind, _, rest = dataset.partition("_")
    return f"20 cells, weights of sd {rest}" if kind == "network" else f"one {rest} cell"


def _share(held: list[bool] | np.ndarray, measured: str, where: str) -> Finding:
    value, low, high = share_interval(held)
    labels = {"measured": measured, "unit": "share", "where": where}
    return judge(value, low, high, len(held), (SHARE, np.inf), **labels)


def points(results: ResultTables) -> pd.DataFrame:
    """The networks of the phase diagram's two grids.

    Columns `exponent`, `rho`, `lyapunov`, `predicted_exponent`.
    """
    results.need("which")
    key = ["dataset", "seed"]
    names = ("exponent", "rho", "lyapunov", "predicted_exponent")
    sides = {}
    for name in names:
        rows = results.rows(name, run="diagram")
        sides[name] = rows[rows["which"] != "size"].set_index(key)["value"]
    return pd.concat(sides, axis=1, join="inner").reset_index()


def boundary(results: ResultTables) -> Iterator[Finding]:
    """Over the networks of the phase diagram: the share in which one run at the shorter T says rightly
    whether the growth exponent ln(s'/s) ÷ ln(T'/T) of the sweeps is above 0.5, above 0.9 (Wilson interval);
    by ρ > 1 and by the largest Lyapunov exponent > 0, of all networks, and by ρ of those on either side of
    ρ = 1."""
    found = points(results)
    chaotic = found["exponent"] > AS_BINS
    above_one = found["rho"] > 1
    for name, predicted in (("ρ", above_one), ("the Lyapunov exponent", found["lyapunov"] > 0)):
        right = (predicted == chaotic).to_numpy()
        yield _share(right, f"networks told rightly by {name}", f"all networks, by {name}")
    for where, side in (("ρ below 1", ~above_one), ("ρ above 1", above_one)):
        if side.any():
            right = (above_one == chaotic)[side].to_numpy()
            yield _share(right, "networks told rightly by ρ", f"networks with {where}")


def boundary_by_the_tail(results: ResultTables) -> Iterator[Finding]:
    """As S2, of all networks and of those with ρ > 1: the share in which one run at the shorter T says
    rightly whether the growth exponent is above 0.5, above 0.9 (Wilson interval), by the exponent of
    s' = min(T', s + ln(T' / T) ÷ λ), with λ of that run and s the mean of four such runs."""
    found = points(results)
    right = (found["predicted_exponent"] > AS_BINS) == (found["exponent"] > AS_BINS)
    for where, side in (("all networks", found["rho"] > 0), ("networks with ρ above 1", found["rho"] > 1)):
        if side.any():
            yield _share(right[side].to_numpy(), "networks told rightly by the tail", where)


def relaxed_is_slower(results: ResultTables) -> Iterator[Finding]:
    """Sweeps of relaxed draws to a tolerance of 1e-4 minus those of hard draws with the same noise, paired by
    network, above 0 at every temperature and coupling."""
    results.need("temperature", "weight_sd")
    frame = results.rows("sweeps", run="relaxed")
    key = ["weight_sd", "seed"]
    hard = frame[frame["temperature"] == 0].set_index(key)["value"]
    for (temperature, sd), part in frame[frame["temperature"] > 0].groupby(["temperature", "weight_sd"]):
        difference = (part.set_index(key)["value"] - hard).dropna()
        where = f"temperature {temperature:g}, weights of sd {sd:g}"
        yield above(difference, 0.0, "sweeps, relaxed − hard", "sweeps", where)


def last(results: ResultTables, metric: str, run: str) -> pd.Series[float]:
    """A metric at the end of a run's training, by cell."""
    results.need("step")
    rows = results.rows(metric, run=run, dataset="training")
    return rows[rows["step"] == rows["step"].max()].set_index("seed")["value"].sort_index()


def guards(results: ResultTables) -> list[str]:
    """Runs with a guard, the lowest limit first."""
    found = [run for run in results.runs if run.startswith("guard_")]
    return sorted(found, key=limit)


def limit(run: str) -> float:
    """ρ of a run named `guard_05`, `guard_095`."""
    digits = run.removeprefix("guard_")
    return float(f"{digits[0]}.{digits[1:] or 0}")


def guard_holds(results: ResultTables) -> Iterator[Finding]:
    """At the end of training, paired by cell: the hard bound of training on converged sweeps minus that of
    training on few sweeps above 0.1 nats per bin without a guard (the blow-up), below 0.02 with one; and ρ
    with a guard below 1."""
    best = last(results, "elbo_per_bin", REFERENCE)
    text = "hard bound, converged − few sweeps"
    blown = best - last(results, "elbo_per_bin", FEW)
    yield above(blown, BLOWN, text, "nats per bin", "no guard")
    for run in guards(results):
        where = f"guard at ρ = {limit(run):g}"
        yield below(best - last(results, "elbo_per_bin", run), KEPT, text, "nats per bin", where)
        yield below(last(results, "rho", run), 1.0, "ρ at the end of training", "ratio", where)


JUDGES = {
    "S1": grows_as_predicted,
    "S2": boundary,
    "S3": relaxed_is_slower,
    "S4": guard_holds,
    "S5": grows_by_the_tail,
    "S6": boundary_by_the_tail,
}
