"""This project's goals on real cells, from `real_cells`: a cell is the unit, everything is paired by cell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dfp.results.judging import Finding, above, interval, judge, within
from dfp.results.tables import UNIT, ResultTables

#: schemes by which a cell was left out, and how a sentence says it
SCHEMES = {"cell": "cells new, data sets known", "indicator": "indicator and data set left out"}
RIVALS = (("oasis", "correlation_lagged", "OASIS at its best lag"), ("ens2", "correlation", "ENS2"))
AHEAD = {"ens2": 0.0, "oasis": 0.0}
COVER, COVER_LEFT_OUT = (0.85, 0.95), (0.80, 1.0)
NEAR, MEDIANS = 0.65, (0.8, 1.25)


def of_cells(results: ResultTables, metric: str, run: str, told: str) -> pd.Series[float]:
    """A figure by cell, at the main condition."""
    rows = results.rows(metric, run=run, condition="main", told=told)
    return rows.set_index(UNIT)["value"]


def ahead(results: ResultTables, run: str, told: str, where: str) -> Iterator[Finding]:
    """Of OASIS at its best lag and of ENS2, in correlation, paired by cell."""
    own = of_cells(results, "correlation", run, told)
    for rival, metric, name in RIVALS:
        if results.has_run(run=rival):
            other = of_cells(results, metric, rival, "nothing")
            measured = f"correlation at lag 0, less that of {name}"
            yield above((own - other).dropna(), AHEAD[rival], measured, "correlation", where)


def trained_once(results: ResultTables) -> Iterator[Finding]:
    """At 30 Hz and noise 2, smoothed by 25 ms, lag 0, over cells that the network never saw: the
    correlation with the true spikes less that of OASIS at one lag an indicator (chosen on other cells), and
    less that of ENS2, both above 0. For networks that know the data set from other cells (indicator told),
    and for those that had the whole indicator left out (nothing told)."""
    for run, where in SCHEMES.items():
        if results.has_run(run=run):
            yield from ahead(results, run, "indicator" if run == "cell" else "nothing", where)


def simulations_alone(results: ResultTables) -> Iterator[Finding]:
    """The same differences for the weights that no true recording took part in, nothing told."""
    yield from ahead(results, "simulations", "nothing", "simulated cells alone")


def covered(results: ResultTables) -> Iterator[Finding]:
    """In each data set of three cells or more, over cells: the share of the seconds with a true spike whose
    90% interval holds the true number between 0.85 and 0.95; where the indicator was left out, above 0.80."""
    for run, where in SCHEMES.items():
        if not results.has_run(run=run):
            continue
        rows = results.rows(
            "active_cover", run=run, condition="main", told="indicator" if run == "cell" else "nothing"
        )
        for dataset, part in rows.groupby("dataset"):
            if len(part) >= 3:
                bounds = COVER if run == "cell" else COVER_LEFT_OUT
                yield within(
                    part["value"],
                    *bounds,
                    "active seconds covered by 90% intervals",
                    "share",
                    f"{where}, {dataset}",
                )


def counted(results: ResultTables) -> Iterator[Finding]:
    """Cells new, data sets known, indicator told: the share of cells whose expected count is within 25% of
    the true one (from 0.8 to 1.25) above 0.65; and, in each data set of three cells or more, the geometric
    mean of expected ÷ true between 0.8 and 1.25."""
    if not results.has_run(run="cell"):
        return
    rows = results.rows("count_ratio", run="cell", condition="main", told="indicator")
    near = ((rows["value"] > MEDIANS[0]) & (rows["value"] < MEDIANS[1])).astype(float)
    yield above(near, NEAR, "cells with a count within 25%", "share", "all data sets")
    for dataset, part in rows.groupby("dataset"):
        if len(part) >= 3:
            ratio = interval(np.maximum(part["value"], 1e-3), log=True)
            yield judge(
                *ratio,
                len(part),
                MEDIANS,
                measured="expected ÷ true spikes",
                unit="ratio",
                where=str(dataset),
            )


JUDGES = {"P1": trained_once, "P2": simulations_alone, "P3": covered, "P4": counted}
