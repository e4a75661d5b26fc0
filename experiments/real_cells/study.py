"""Real cells, scored: samples of the posterior trained once beside OASIS and other people's scores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dfp.amortised import Pretrained, Told, load_pretrained
from dfp.amortised.datasets import left_in
from dfp.amortised.indicators import known
from dfp.config.experiment import Experiment, recordings_folder
from dfp.core.errors import UserError
from dfp.data.recording import Recording
from dfp.data.recordings import load_recordings
from dfp.references.peers.oasis import oasis_deconvolve
from dfp.results.study import RunStudy
from dfp.results.tables import Row

from .conditions import Condition, Scored, fold_of, under
from .merits import LAGS, point, samples
from .published import published
from .shown import write_traces

#: equal parts of (0, 1) that ranks are counted in
PARTS = 10
TELL = ("indicator", "nothing")


@dataclass(frozen=True)
class RealCells(RunStudy):
    """Settings of ``real_cells``.

    Attributes:
        weights: names of shipped weights, or files.
        folds: folder of weights that left something out; what is not there is not scored.
        conditions: by name.
        told: ``indicator`` and ``nothing``.
        seconds: of the beginning of each recording.
        samples: of the posterior.
        cells: of each data set; 0 for all.
        peer_scores: folder of CSV files, beside the configuration if not absolute.
    """

    weights: list[str] = field(default_factory=lambda: ["simulations"])
    folds: str = ""
    conditions: dict[str, Condition] = field(default_factory=lambda: {"main": Condition()})
    told: list[str] = field(default_factory=lambda: list(TELL))
    seconds: float = 240.0
    samples: int = 100
    cells: int = 0
    peer_scores: str = ""

    def __post_init__(self) -> None:
        if not self.conditions:
            raise UserError("conditions: found none, expected at least one")
        for one in self.told:
            if one not in TELL:
                raise UserError(f"told: found '{one}', expected some of {', '.join(TELL)}")
        if self.samples < 10 or self.seconds < 10 or self.cells < 0:
            raise UserError(
                f"samples, seconds, cells: found {self.samples}, {self.seconds:g}, {self.cells}, expected at "
                "least 10, 10 and 0"
            )

    def check(self, exp: Experiment) -> None:
        """Nothing: it has no runs."""

    def measure(self, exp: Experiment, device: torch.device, folder: Path) -> Iterator[Row]:
        """A row a method, condition, cell and figure of merit; ``traces.csv`` with some cells' traces."""
        recordings = _first_cells(load_recordings(recordings_folder()), self.cells)
        numbers = _numbers(recordings)
        if not any(under(r, c, self.seconds) for r in recordings for c in self.conditions.values()):
            raise UserError(
                f"{recordings_folder()}: no recording can be scored under {', '.join(self.conditions)}, "
                "expected some of 10 s and 3 spikes, without missing frames, no slower or noisier than asked"
            )
        for name, condition in self.conditions.items():
            scored = [
                one for one in (under(r, condition, self.seconds) for r in recordings) if one is not None
            ]
            if not scored:
                continue
            yield from _rows("oasis", name, "nothing", _with_lag(_oasis(scored)), numbers)
            for (method, told), table in self._networks(recordings, scored).items():
                yield from _rows(method, name, told, _with_lag(table), numbers)
                if name == next(iter(self.conditions)):
                    write_traces(table, scored, method, told, folder / f"traces_{method}_{told}.csv")
            if name == "main":
                yield from published(exp.path.parent / self.peer_scores, scored, numbers)

    def _networks(
        self, recordings: Sequence[Recording], scored: Sequence[Scored]
    ) -> dict[tuple[str, str], pd.DataFrame]:
        """The scores of each method and of what it was told, every cell by a network that never saw it."""
        files = {name: Path(name).stem for name in self.weights}
        folds = Path(self.folds)
        if self.folds and folds.is_dir():
            files |= {str(path): path.stem.split("_")[0] for path in sorted(folds.glob("*.npz"))}
        parts: dict[tuple[str, str], list[pd.DataFrame]] = {}
        for file, method in files.items():  # all files of a scheme of folds are one method
            network = load_pretrained(file)
            unseen = _unseen(network, recordings)
            own = [one for one in scored if one.name in unseen]
            for told in self.told if own else ():
                parts.setdefault((method, told), []).append(_network(network, own, told, self.samples))
        return {key: pd.concat(tables, ignore_index=True) for key, tables in parts.items()}


def _numbers(recordings: Sequence[Recording]) -> dict[str, int]:
    """The place of each cell in its data set."""
    cells: dict[str, list[str]] = {}
    for one in recordings:
        found = cells.setdefault(one.name.split("_")[0], [])
        if one.cell not in found:
            found.append(one.cell)
    return {cell: place for found in cells.values() for place, cell in enumerate(found)}


def _first_cells(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """The recordings of the first ``count`` cells of each data set."""
    cells: dict[str, list[str]] = {}
    for one in recordings:
        found = cells.setdefault(one.name.split("_")[0], [])
        if one.cell not in found and (not count or len(found) < count):
            found.append(one.cell)
    kept = {cell for found in cells.values() for cell in found}
    return [one for one in recordings if one.cell in kept]


def _unseen(network: Pretrained, recordings: Sequence[Recording]) -> set[str]:
    """Names of the recordings that neither the training nor the weights that it started from have seen."""
    unseen = everything = {one.name for one in recordings}
    step: dict[str, Any] | None = network.provenance
    while step:
        if step.get("data_sets"):
            left_out = [entry for entry in step.get("left_out", []) if _names_any(entry, recordings)]
            kept = {one.name for one in left_in(recordings, left_out)} if left_out else everything
            unseen = unseen - kept
        step = step.get("start")
    return unseen


def _names_any(entry: str, recordings: Sequence[Recording]) -> bool:
    try:
        left_in(recordings, [entry])
    except UserError as error:
        return "leaves no recording" in str(error)
    return True


def _network(network: Pretrained, scored: Sequence[Scored], told: str, count: int) -> pd.DataFrame:
    rows = []
    for one in scored:
        say = Told(one.indicator) if told == "indicator" and one.indicator in known() else Told()
        rng = np.random.default_rng(len(one.trace))
        began = time.process_time()
        drawn = network.condition(one.trace, one.frame_rate, say).sample(count, seed=0)
        spent = time.process_time() - began
        merits: dict[str, Any] = {**point(drawn.expected, one.counts, one.frame_rate)}
        merits |= samples(drawn.counts, one.counts, one.frame_rate, rng)
        merits["found"] = float(drawn.expected.sum())
        merits["cpu_seconds_per_1000_s"] = 1000 * spent / (len(one.trace) / one.frame_rate)
        merits["drawn"] = drawn.counts
        rows.append({**_of(one), **merits})
    return pd.DataFrame(rows)


def _oasis(scored: Sequence[Scored]) -> pd.DataFrame:
    rows = []
    for one in scored:
        began = time.process_time()
        estimate = oasis_deconvolve(one.trace).spikes
        spent = time.process_time() - began
        merits = point(estimate, one.counts, one.frame_rate)
        merits["cpu_seconds_per_1000_s"] = 1000 * spent / (len(one.trace) / one.frame_rate)
        rows.append({**_of(one), **merits})
    return pd.DataFrame(rows)


def _of(one: Scored) -> dict[str, Any]:
    return {"name": one.name, "cell": one.cell, "dataset": one.dataset, "indicator": one.indicator}


def _with_lag(table: pd.DataFrame) -> pd.DataFrame:
    """``correlation_lagged``: at the lag that is best, on the mean, for such cells of the other folds."""
    table = table.assign(correlation_lagged=np.nan)
    columns = [f"lag_{lag}" for lag in LAGS]
    folds = table["cell"].map(fold_of)
    for (_, fold), part in table.groupby([table["indicator"], folds]):
        others = table[(table["indicator"] == part["indicator"].iloc[0]) & (folds != fold)]
        chosen = others[columns].mean().idxmax() if len(others) else "lag_0"
        table.loc[part.index, "correlation_lagged"] = part[chosen]
    return table


def _rows(
    method: str, condition: str, told: str, table: pd.DataFrame, numbers: dict[str, int]
) -> Iterator[Row]:
    """A cell's figures: means over its recordings, counts over all of them."""
    labels = {"run": method, "condition": condition, "told": told}
    means = ["correlation", "correlation_lagged", "correlation_1s", "cover", "active_cover", "active_width"]
    means += ["total_cover", "log_score", "cpu_seconds_per_1000_s"]
    for cell, part in table.groupby("cell", sort=True):
        first = part.iloc[0]
        own = {
            **labels,
            "dataset": first["dataset"],
            "seed": numbers[str(cell)],
            "cell": cell,
            "indicator": first["indicator"],
        }
        for metric in means:
            if metric in part and part[metric].notna().any():
                yield {**own, "metric": metric, "value": float(part[metric].mean())}
        if "found" in part:
            yield {**own, "metric": "count_ratio", "value": float(part["found"].sum() / part["true"].sum())}
            ranks = np.concatenate(part["ranks"].tolist())
            shares = np.histogram(ranks, PARTS, (0, 1))[0] / max(1, len(ranks))
            for place, share in enumerate(shares):
                yield {**own, "metric": f"rank_{place}", "value": float(share)}
