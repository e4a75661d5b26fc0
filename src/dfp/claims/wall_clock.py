"""The claim that the experiment `timing` tests: an order of magnitude less time (C3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dfp.claims.base import PAPER, Claim, Finding, interval, judge
from dfp.plotting import style
from dfp.plotting.tables import UNIT, MissingResult, ResultTables

SETTING = ("bins", "cells", "batch", "samples", "device", "threads")
SAMPLERS = ("sequential", "fixed_point")
METRIC = "seconds_per_step"
ORDER_OF_MAGNITUDE = 10.0
QUARTILES = "quartiles over steps"


def settings(frame: pd.DataFrame) -> list[str]:
    """The label columns that tell one measurement from another, as far as the table has them."""
    return [label for label in SETTING if label in frame.columns and frame[label].notna().any()]


def _side(results: ResultTables, metric: str, sampler: str, labels: list[str]) -> pd.Series[float]:
    rows = results.rows(metric)
    rows = rows[(rows["sampler"] == sampler) & (rows["posterior"] != "factorised")]
    index = [*labels, *UNIT]
    if rows.duplicated(index).any():
        raise MissingResult(f"{results.path}: more than one run of the sampler '{sampler}' for '{metric}'")
    return rows.set_index(index)["value"]


def speedups(results: ResultTables) -> pd.DataFrame:
    """(seconds per step, sequential) ÷ (the same, fixed point) of the autoregressive posterior, one row per
    setting.

    Columns: the labels of the setting, `value`, `low`, `high`, `n`, `kind`. With several repeats the value is
    their geometric mean and the bounds its 95% interval. With one, the bounds are the widest ratio of the two
    samplers' quartiles over steps (`seconds_per_step_low`, `_high`) where the table has them: wider than an
    interval of the median. Raises `MissingResult` when no setting has both samplers.
    """
    labels = settings(results.rows(METRIC))
    sides = {sampler: _side(results, METRIC, sampler, labels) for sampler in SAMPLERS}
    pairs = pd.concat(sides, axis=1, join="inner").sort_index()
    if pairs.empty:
        raise MissingResult(f"{results.path}: no '{METRIC}' of both samplers to pair")
    ratio = pairs["sequential"] / pairs["fixed_point"]
    widest: pd.DataFrame | None = None
    if results.has(f"{METRIC}_low") and results.has(f"{METRIC}_high"):
        low, high = (
            {sampler: _side(results, f"{METRIC}_{end}", sampler, labels) for sampler in SAMPLERS}
            for end in ("low", "high")
        )
        widest = pd.DataFrame(
            {
                "low": low["sequential"] / high["fixed_point"],
                "high": high["sequential"] / low["fixed_point"],
            }
        ).reindex(ratio.index)
    made = []
    for key, values in ratio.groupby(level=labels) if labels else [((), ratio)]:
        value, bottom, top = interval(values, log=True)
        kind = "95% interval"
        if len(values) == 1 and widest is not None:
            bottom, top = (float(bound) for bound in widest.loc[values.index[0]])
            kind = QUARTILES
        keys = key if isinstance(key, tuple) else (key,)
        made.append([*keys, value, bottom, top, len(values), kind])
    return pd.DataFrame(made, columns=[*labels, "value", "low", "high", "n", "kind"])


def ratios(results: ResultTables, edge: float) -> Iterator[Finding]:
    """One finding per setting: the speed-up is above `edge`."""
    found = speedups(results)
    labels = settings(found)
    for _, row in found.iterrows():
        measured = "time per training step, sequential ÷ fixed point"
        yield judge(
            float(row["value"]),
            float(row["low"]),
            float(row["high"]),
            int(row["n"]),
            (edge, np.inf),
            measured=measured + (f" ({QUARTILES})" if row["kind"] == QUARTILES else ""),
            unit="times",
            where=style.setting(labels, [row[label] for label in labels]),
        )


def order_of_magnitude(results: ResultTables) -> Iterator[Finding]:
    """(Seconds per training step, sequential) ÷ (the same, fixed point) above 10, at each length, number of
    cells, device and number of threads: geometric mean over repeats, or the median of one measurement with
    the widest ratio of quartiles over steps for an interval. Equal accuracy at equal steps is C2's part."""
    yield from ratios(results, ORDER_OF_MAGNITUDE)


def faster(results: ResultTables) -> Iterator[Finding]:
    """The same ratio above 1."""
    yield from ratios(results, 1.0)


CLAIMS = (
    Claim(
        "C3",
        "Fixed-point iterations take an order of magnitude less time",
        PAPER,
        "timing",
        order_of_magnitude,
    ),
    Claim(
        "C3a", "Fixed-point iterations take less time at all (a weaker form of C3)", PAPER, "timing", faster
    ),
)
