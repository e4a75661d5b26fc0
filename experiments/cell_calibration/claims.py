"""This project's goals of calibration for the posterior trained once, from `cell_calibration`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dfp.results.judging import Finding, interval, judge, within
from dfp.results.tables import UNIT, ResultTables

RATIO, COVER = (0.97, 1.03), (0.85, 0.95)


def _runs(results: ResultTables) -> list[str]:
    return [run for run in results.runs if not run.endswith("_planted")]


def calibrated(results: ResultTables) -> Iterator[Finding]:
    """Over cells of the whole prior, some told their constants, some not: the distribution function of the
    ranks of each constant and of the counts of a second and of a trace stays inside its simultaneous 95% band
    (its largest excursion, in units of the band, below 1); and with the amplitude told 1.6 times too large
    that of the count of a trace does not."""
    results.need("part", "quantity")
    for run in _runs(results):
        rows = results.rows("band_excess", run=run, part="ranks")
        for _, row in rows.iterrows():
            yield _known(
                float(row["value"]), (0.0, 1.0), f"ranks of {row['quantity']}: excursion ÷ band", run
            )
        planted = results.rows("band_excess", run=f"{run}_planted", quantity="count")
        yield _known(
            float(planted["value"].iloc[0]), (1.0, np.inf), "the same of count, amplitude told wrong", run
        )


def _known(value: float, bounds: tuple[float, float], measured: str, where: str) -> Finding:
    """A test statistic has no interval of its own: the band is the interval."""
    return judge(value, value, value, 1, bounds, measured=measured, unit="ratio", where=where)


def told(results: ResultTables) -> Iterator[Finding]:
    """Everything told of a linear response, at every frame rate and noise of the map and for every indicator:
    found ÷ true spikes, over cells, between 0.97 and 1.03; active seconds covered by the 90% interval between
    0.85 and 0.95."""
    keys = ["indicator", "rate_hz", "noise"]
    results.need("part", *keys)
    for run in _runs(results):
        for part in ("map", "indicators"):
            found = results.rows("found", run=run, part=part)
            true = results.rows("true", run=run, part=part)
            both = found.merge(true, on=[*UNIT, *keys], suffixes=("", "_true"))
            covers = results.rows("active_cover", run=run, part=part)
            for place, rows in both.groupby(keys):
                where = f"{run}, {place[0]}, {float(str(place[1])):g} Hz, noise {float(str(place[2])):g}"
                some = rows[rows["value_true"] > 0]
                ratio = interval(np.maximum(some["value"], 0.1) / some["value_true"], log=True)
                yield judge(
                    *ratio, len(some), RATIO, measured="found ÷ true spikes", unit="ratio", where=where
                )
                chosen = covers[(covers[keys].astype(str) == list(map(str, place))).all(axis=1)]
                yield within(chosen["value"], *COVER, "active seconds covered", "share", where)


JUDGES = {"P5": calibrated, "P6": told}
