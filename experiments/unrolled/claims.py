"""Claims about gradients through exactly K sweeps, from `unrolled`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dfp.results.judging import Finding, below, interval, judge
from dfp.results.tables import ResultTables

PARTS = {"phi": "∇φ", "theta": "∇θ"}
TOLERANCE = 0.01


def _where(cells: object, temperature: object) -> str:
    count = int(str(cells))
    return f"{count} cell{'s' if count > 1 else ''}, temperature {float(str(temperature)):g}"


def _enough(results: ResultTables, sweeps: int) -> Iterator[Finding]:
    results.need("cells", "temperature")
    for part, name in PARTS.items():
        frame = results.rows("relative_bias", part=part, sweeps=sweeps)
        for key, rows in frame.groupby(["cells", "temperature"]):
            found: Any = key
            measured = f"relative bias of {name} through {sweeps} sweeps"
            yield below(rows["value"], TOLERANCE, measured, "relative", _where(*found))


def eight_suffice(results: ResultTables) -> Iterator[Finding]:
    """‖E[g_8 − g]‖ ÷ ‖E g‖ of ∇φ and of ∇θ below 0.01 for each number of cells and each temperature."""
    yield from _enough(results, 8)


def four_suffice(results: ResultTables) -> Iterator[Finding]:
    """‖E[g_4 − g]‖ ÷ ‖E g‖ of ∇φ and of ∇θ below 0.01 for each number of cells and each temperature."""
    yield from _enough(results, 4)


def fewer_than_still(results: ResultTables) -> Iterator[Finding]:
    """Least K with a relative bias below 0.01 (the larger of ∇φ's and ∇θ's) ÷ sweeps until no value moves by
    more than 1e-4, paired by network, geometric mean below 1 for each number of cells and temperature."""
    label = ["cells", "temperature", "seed"]
    results.need(*label)
    enough = results.rows("sweeps_needed").groupby(label)["value"].max()
    still = results.rows("sweeps_until_still").set_index(label)["value"]
    for key, ratio in (enough / still).groupby(level=label[:2]):
        found: Any = key
        yield judge(
            *interval(ratio, log=True),
            len(ratio),
            (-np.inf, 1.0),
            measured="sweeps for 1% ÷ sweeps until still",
            unit="times",
            where=_where(*found),
        )


JUDGES = {"K1": eight_suffice, "K2": four_suffice, "K3": fewer_than_still}
