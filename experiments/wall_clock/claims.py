"""Claims C2 (sweeps), C3 and the goal, from `wall_clock`: draws, training steps and races against the
clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dfp.plotting import style
from dfp.results.judging import Finding, interval, judge
from dfp.results.tables import IncompleteTable, ResultTables

WAYS = ("factorised", "fixed_point", "sequential", "compiled")
NAMES = {"sequential": "sequential", "compiled": "compiled sequential"}
SIZES = ["dataset", "bins", "cells", "chains"]
ORDER_OF_MAGNITUDE = 10.0
FIVE_TIMES = 5.0
FEW_CHAINS = 100
SWEEPS_PER_BIN = 0.25
GRIDS = {"sampling": ("seconds_per_draw", "draw"), "training": ("seconds_per_step", "training step")}
LEVELS = {
    "factorised": "the factorised posterior's final level",
    "network_factorised": "the factorised posterior's final level",
    "fixed_point": "the fixed point's final level",
    "network_fixed_point": "the fixed point's final level",
}


def times(results: ResultTables, measured: str, metric: str, families: tuple[str, ...] = ()) -> pd.DataFrame:
    """The rows of a metric of one kind of measurement. Raises `IncompleteTable` where one of the families was
    measured at a size, and the metric is not there."""
    results.need(*SIZES, "family", "device")
    frame = results.rows(metric, measured=measured)
    for family in families:
        known = results.table.query("measured == @measured and family == @family")["dataset"]
        if lacking := sorted(set(known) - set(frame.loc[frame["family"] == family, "dataset"])):
            raise IncompleteTable(f"{results.path}: no metric '{metric}' of '{family}' at '{lacking[0]}'")
    return frame


def to_levels(results: ResultTables, families: tuple[str, ...]) -> pd.DataFrame:
    """The rows of the seconds to a level. Raises `IncompleteTable` where one of the families reached a level,
    and the seconds are not there."""
    key = ["race", "level", "family", "dataset", "seed"]
    results.need(*key)
    frame, table = results.rows("seconds_to_level"), results.table
    reached = table[(table["metric"] == "reached") & (table["value"] > 0) & table["family"].isin(families)]
    lacking = reached.set_index(key).index.difference(frame.set_index(key).index)
    if len(lacking):
        where = ", ".join(map(str, lacking[0]))
        raise IncompleteTable(f"{results.path}: no metric 'seconds_to_level' where it was reached ({where})")
    return frame


def pair(frame: pd.DataFrame, first: str, second: str) -> pd.Series[float]:
    """(value of the family ``first``) ÷ (that of ``second``), one a round."""
    sides = [frame[frame["family"] == name].set_index("seed")["value"] for name in (first, second)]
    both = pd.concat(sides, axis=1, join="inner", keys=["first", "second"]).sort_index()
    return both["first"] / both["second"]


def speedups(
    results: ResultTables, measured: str, way: str = "sequential"
) -> Iterator[tuple[pd.Series[float], pd.Series[float]]]:
    """(``way`` ÷ fixed point by round, a row that tells the size) for every size of a grid."""
    frame = times(results, measured, GRIDS[measured][0], (way, "fixed_point"))
    for _, part in frame.groupby(SIZES, sort=False):
        ratio = pair(part, way, "fixed_point")
        if len(ratio):
            yield ratio, part.iloc[0]


def text_of(row: pd.Series[float], what: str) -> str:
    """The text of a size; the device where it is not the CPU."""
    labels = ["bins", "cells", "chains"]
    values: list[object] = [style.number(row[label]) for label in labels]
    if row["device"] != "cpu":
        labels, values = [*labels, "device"], [*values, row["device"]]
    return f"{what}: {style.setting(labels, values)}"


def judged(ratio: pd.Series[float], edge: float, measured: str, where: str) -> Finding:
    """The geometric mean of ratios lies above ``edge``."""
    bounds = (edge, np.inf)
    found = interval(ratio, log=True)
    return judge(*found, len(ratio), bounds, measured=measured, unit="times", where=where)


def ratios(results: ResultTables, edge: float, way: str = "sequential") -> Iterator[Finding]:
    """One finding a size, then one a race and level."""
    name = NAMES[way]
    for measured, (_, what) in GRIDS.items():
        for ratio, row in speedups(results, measured, way):
            yield judged(ratio, edge, f"time per {what}, {name} ÷ fixed point", text_of(row, what))
    for ratio, where in raced(results, way):
        yield judged(ratio, edge, f"time to the same level, {name} ÷ fixed point", where)


def raced(results: ResultTables, way: str = "sequential") -> Iterator[tuple[pd.Series[float], str]]:
    """(time to a level, ``way`` ÷ fixed point, by seed, the text of the race) for every race and level."""
    known = results.metrics_of(measured="race")
    if not known or ("seconds_to_level" not in known and not results.rows("reached")["value"].any()):
        return
    results.need("extrapolated")
    frame = to_levels(results, (way, "fixed_point"))
    frame = frame.assign(seed=frame["dataset"] + "/" + frame["seed"].astype(str))
    for (race, level), part in frame.groupby(["race", "level"], sort=False):
        ratio = pair(part, way, "fixed_point")
        if len(ratio):
            sequential = part[part["family"] == way]
            marked = " (sequential extrapolated)" if sequential["extrapolated"].astype(bool).all() else ""
            name = {"one_cell": "one cell, ELBO", "network": "network, correlation of the weights"}
            yield ratio, f"{name.get(str(race), race)}: to {LEVELS.get(str(level), level)}{marked}"


def order_of_magnitude(results: ResultTables) -> Iterator[Finding]:
    """(Time, sequential) ÷ (time, fixed point) above 10: per draw and per training step at each length and
    number of cells, paired by round, and of whole trainings up to the same ELBO or the same correlation of
    the weights, paired by seed (a seed counts where both get there); geometric means with their 95%
    interval."""
    yield from ratios(results, ORDER_OF_MAGNITUDE)


def faster(results: ResultTables) -> Iterator[Finding]:
    """The same ratios above 1."""
    yield from ratios(results, 1.0)


def than_fused(results: ResultTables) -> Iterator[Finding]:
    """(Time, sequential in one compiled loop, with its adjoint where there are gradients) ÷ (time, fixed
    point by tensor operations) above 1: per draw and per training step at each length and number of cells,
    paired by round, and of whole trainings, paired by seed; geometric means with their 95% interval. The
    honest rival: the one of C3 runs bin by bin in the interpreter."""
    yield from ratios(results, 1.0, "compiled")


def few_chains(results: ResultTables) -> Iterator[Finding]:
    """(Time per training step, sequential) ÷ (the same, fixed point) above 5 wherever cells × traces are at
    most 100, at each length, paired by round: geometric mean with its 95% interval."""
    for ratio, row in speedups(results, "training"):
        if row["cells"] * row["chains"] <= FEW_CHAINS:
            yield judged(
                ratio,
                FIVE_TIMES,
                "time per training step, sequential ÷ fixed point",
                text_of(row, "training step"),
            )


def sweeps(results: ResultTables) -> Iterator[Finding]:
    """Fixed-point sweeps below a quarter of the number of bins, for draws and training steps at each length
    and number of cells, over rounds."""
    for measured, (_, what) in GRIDS.items():
        frame = times(results, measured, "sweeps_mean", ("fixed_point",))
        frame = frame[frame["family"] == "fixed_point"]
        for _, part in frame.groupby(SIZES, sort=False):
            row = part.iloc[0]
            share = part["value"] / float(row["bins"])
            yield judge(
                *interval(share),
                len(share),
                (-np.inf, SWEEPS_PER_BIN),
                measured="sweeps ÷ bins",
                unit="sweeps per bin",
                where=text_of(row, what),
            )


def before_gibbs(results: ResultTables) -> Iterator[Finding]:
    """(Time that Gibbs sampling of spikes and weights together takes to the fixed point's final correlation
    of the weights) ÷ (the fixed point's own time to it) above 1, paired by network; where Gibbs never gets
    there, all of its time is taken, which is too little. Geometric mean with its 95% interval."""
    yield than_gibbs(results, "network", "network_fixed_point", "fixed_point")


def than_gibbs(results: ResultTables, race: str, level: str, family: str) -> Finding:
    """The finding of a race: Gibbs sampling against ``family``, to the final value of the run ``level``."""
    results.conditions("family", measured="race")  # raises where nothing raced
    frame = results.rows("reached", race=race, level=level, family="gibbs_posterior")
    needed = to_levels(results, ("gibbs_posterior", family))
    needed = needed[(needed["race"] == race) & (needed["level"] == level)]
    keys = ["dataset", "seed"]
    sides = {}
    for name in ("gibbs_posterior", family):
        found = needed[needed["family"] == name].set_index(keys)["value"]
        every = results.rows("race_seconds", race=race, family=name).set_index(keys)["value"]
        sides[name] = found.reindex(every.index).fillna(every)
    ratio = (sides["gibbs_posterior"] / sides[family]).dropna()
    gibbs = frame["value"]
    there = f"{int(gibbs.sum())} of {len(gibbs)} networks reached"
    name = style.family_name(family)
    return judged(ratio, 1.0, f"time to the same correlation, Gibbs ÷ {name}", there)


JUDGES = {
    "C2": sweeps,
    "C3": order_of_magnitude,
    "C3a": faster,
    "C3b": than_fused,
    "G3": few_chains,
    "G3g": before_gibbs,
}
