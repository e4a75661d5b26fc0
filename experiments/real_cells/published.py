"""Other people's scores of the same cells, where a folder holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dfp.results.tables import Row

from .conditions import Scored

#: measured here on the same noise, and in units of its own: no count
HERE, NO_COUNTS = ("oasis",), ("s2p",)


def published(folder: Path, scored: Sequence[Scored], numbers: Mapping[str, int]) -> Iterator[Row]:
    """Rows of ``*.csv`` with the columns ``key`` (a recording), ``NAME_r25`` and perhaps ``NAME_ratio``."""
    names = {one.name: one for one in scored}
    for path in sorted(folder.glob("*.csv")):
        table = pd.read_csv(path)
        table = table[table["key"].isin(list(names))]
        table = table.assign(cell=[names[key].cell for key in table["key"]])
        methods = [column.removesuffix("_r25") for column in table.columns if column.endswith("_r25")]
        for method in (method for method in methods if method not in HERE):
            for cell, part in table.dropna(subset=[f"{method}_r25"]).groupby("cell", sort=True):
                one = names[part["key"].iloc[0]]
                own: Row = {"run": method, "condition": "main", "told": "nothing", "dataset": one.dataset}
                own |= {"seed": numbers[str(cell)], "cell": cell, "indicator": one.indicator}
                yield {**own, "metric": "correlation", "value": float(part[f"{method}_r25"].mean())}
                if f"{method}_ratio" in part and method not in NO_COUNTS:
                    yield {**own, "metric": "count_ratio", "value": float(part[f"{method}_ratio"].mean())}
