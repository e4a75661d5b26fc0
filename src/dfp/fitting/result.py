"""What a fit gives back: tables, and what `dfp infer` needs."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dfp.fitting.facts import Facts
from dfp.fitting.fitted import Fitted, choose_device, restored, write_payload
from dfp.results.tables import write_table

#: what a fit leaves in a folder beside its checkpoint
TABLES = ("spikes", "cells", "connections")
#: what the command leaves there besides: how the checkpoint was trained
RECORDS = ("config.json", "progress.pt", "history.csv", "summary.json")


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A posterior fitted to a recording, and what it says of it: what ``dfp.fit`` returns.

    Attributes:
        spikes: a row a frame and cell: ``time_s`` (of the frame: the file's own, else from the first one
            on), ``cell``, ``probability`` (of at least one spike in the frame),
            ``expected_count`` (of spikes in the frame),
            and of the spikes in the second around the frame the mean, ``expected_count_1s``, and the central
            90% interval, ``low_1s`` and ``high_1s``; ``observed``, false where the frame is missing.
        cells: a row a cell: ``cell``, ``rate_hz``, ``amplitude``, ``baseline``, ``noise`` (the traces' unit),
            ``rise_s``, ``decay_s``, and the model's own history, ``history_1``, …, in logits per spike.
        connections: a row an ordered pair and lag: ``source``, ``target``, ``lag_bins``, ``lag_s``,
            ``weight`` (what a spike of the source adds to the logit of the target); None where none were
            learned.
        frame_rate: Hz.
        payload: what ``checkpoint.pt`` holds.
        before: the fit of the cells alone that a fit of connections started from.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 1))
        >>> brief = {"cells": {"phases": [{"steps": 2}], "evaluation": {"samples": 4, "iwae_samples": 4}}}
        >>> result = dfp.fit(x, frame_rate=30, decay=0.4, settings=brief, progress=False)
        >>> isinstance(result, dfp.Result)
        True
        >>> wide = result.spikes.pivot(index="time_s", columns="cell", values="probability")
        >>> wide.shape
        (100, 1)
    """

    spikes: pd.DataFrame
    cells: pd.DataFrame
    connections: pd.DataFrame | None
    frame_rate: float
    payload: dict[str, Any]
    before: Result | None = None

    @property
    def facts(self) -> Facts:
        """The facts of the fit: its settings, what was done to the traces, the cells' names."""
        return Facts.read(self.payload["facts"], "the fit")

    def fitted(self, device: str | torch.device = "auto") -> Fitted:
        """The model and the posterior, as ``dfp.load`` reads them from the checkpoint."""
        return restored(self.payload, "the fit", choose_device(device))

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the result into a folder, as ``dfp fit`` does; each file whole or not at all.

        The files are ``checkpoint.pt`` (for ``dfp.load``, ``dfp.infer`` and the command ``dfp infer``),
        ``spikes.csv``, ``cells.csv`` and ``connections.csv``. What the command left there of another training
        is taken away.
        """
        place = Path(folder)
        for name in RECORDS:  # first, so that no fit is ever taken for the one that these are of
            (place / name).unlink(missing_ok=True)
        if self.before is not None:
            self.before.save(place / self.before.facts.run)
        write_payload(self.payload, place / "checkpoint.pt")
        self.write_tables(place)

    def write_tables(self, folder: Path) -> None:
        """Write the tables alone; one that this fit does not have is taken away."""
        for name in TABLES:
            table, path = getattr(self, name), folder / f"{name}.csv"
            if table is None:
                path.unlink(missing_ok=True)
            else:
                write_table(table, path)

    def __repr__(self) -> str:
        frames = len(self.spikes) // len(self.cells)
        rates = self.cells["rate_hz"]
        rate = f"{rates.min():.2g} Hz" if len(rates) == 1 else f"{rates.min():.2g} to {rates.max():.2g} Hz"
        pairs = "None (connections=True learns them)"
        if self.connections is not None:
            pairs = f"{len(self.connections)} rows, a pair of cells and lag each"
        return (
            f"Result of fitting {len(self.cells)} cell{'s' * (len(self.cells) != 1)}, {frames} frames at "
            f"{self.frame_rate:g} Hz\n"
            f"  spikes: {len(self.spikes)} rows, {self.spikes['expected_count'].sum():.4g} spikes expected\n"
            f"  cells: {', '.join(map(str, self.cells['cell'][:5]))}{', …' * (len(self.cells) > 5)}; {rate}\n"
            f"  connections: {pairs}"
        )
