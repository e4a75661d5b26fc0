"""What all benchmarks share: one set of columns, the machine in every row, warm-up, turns and medians.

A row is a measure of a part of a method on a case: ``value`` is the median over ``rounds``, with the least
and the most of them. ``cpu_seconds`` are those of the process, which a busy machine changes little, beside
``wall_seconds``; of a CUDA device ``device_seconds``, between two of its events.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from dfp.core.files import atomic_path
from dfp.stages.provenance import environment

COLUMNS = (
    "benchmark", "case", "method", "part", "chains", "bins", "cells",
    "measure", "unit", "value", "least", "most", "rounds",
)  # fmt: skip
#: of the whole of what is timed
WHOLE = "whole"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Case:
    """What a method is tried on: a name that tells it from the others, and its size, None where it has none.

    Attributes:
        chains: samples times trials, side by side.
    """

    name: str
    chains: int | None = None
    bins: int | None = None
    cells: int | None = None

    def row(
        self, method: str, measure: str, unit: str, values: Sequence[float], part: str = WHOLE
    ) -> dict[str, Any]:
        """The median of ``values``, one a round, and their range."""
        return {
            "case": self.name, "method": method, "part": part, "chains": self.chains, "bins": self.bins,
            "cells": self.cells, "measure": measure, "unit": unit, "value": float(np.median(values)),
            "least": float(min(values)), "most": float(max(values)), "rounds": len(values),
        }  # fmt: skip

    def times(self, method: str, clocks: Sequence[Any], part: str = WHOLE) -> list[dict[str, Any]]:
        """Rows of seconds of the process and of the wall, from pairs of ``now``."""
        pairs = np.asarray(clocks)
        return [
            self.row(method, f"{clock}_seconds", "s", pairs[:, kind], part)
            for kind, clock in enumerate(("cpu", "wall"))
        ]


def now() -> np.ndarray:
    """Seconds of the process and of the wall."""
    return np.array([time.process_time(), time.perf_counter()])


def in_turn(
    calls: Mapping[str, Callable[[], Found]],
    rounds: int,
    warm_up: int = 1,
    most: Mapping[str, int] | None = None,
) -> dict[str, list[Found]]:
    """What every call returns in each round.

    All calls take turns within a round, and another one goes first in each, so that what the machine does
    beside meets all alike. The results of ``warm_up`` rounds are left out.

    Args:
        most: rounds of calls that have fewer.
    """
    found: dict[str, list[Found]] = {name: [] for name in calls}
    order = list(calls)
    for number in range(warm_up + rounds):
        for name in order:
            if number < warm_up:
                calls[name]()
            elif len(found[name]) < (most or {}).get(name, rounds):
                found[name].append(calls[name]())
        order = order[1:] + order[:1]
    return found


def table(benchmark: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """``COLUMNS``, then the machine, threads and versions."""
    frame = pd.DataFrame([{"benchmark": benchmark, **row} for row in rows], columns=list(COLUMNS))
    sizes = ["chains", "bins", "cells"]
    machine = environment() | {"triton": _version("triton"), "cuda": torch.version.cuda}
    return frame.astype(dict.fromkeys(sizes, "Int64")).assign(**machine)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(frame: pd.DataFrame, out: Path | None, measures: Sequence[str] = ()) -> None:
    """Print the named measures (none: all), and write the table where a file is asked for."""
    shown = frame[frame["measure"].isin(measures)] if measures else frame
    names = ["case", "method", "part", "threads"]
    wide = shown.pivot_table(index=names, columns="measure", values="value", sort=False)
    print(wide.reset_index().to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    if out:
        with atomic_path(out) as part:
            frame.to_csv(part, index=False, float_format="%.5g")


def arguments(
    doc: str | None, rounds: int | None, out: Path | None = None, threads: bool = True
) -> argparse.ArgumentParser:
    """A parser of ``[out.csv] [--rounds N] [--threads N …]``.

    What is not timed takes no rounds, and what does not depend on threads takes none.

    What is not timed takes no rounds, and what does not depend on threads takes none.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    parser.add_argument("out", nargs="?", type=Path, default=out, help="CSV to write")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="that count, after the warm-up")
    if threads:
        parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of torch, one after another")
    return parser
