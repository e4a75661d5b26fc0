"""Cells of an inference that are done, a file each: what was cut off goes on from there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from dfp.core.errors import UserError
from dfp.core.files import read_json, write_json
from dfp.core.npz import npz_archive
from dfp.data.traces import Traces
from dfp.fitting.cell import Asked, infer_cell
from dfp.fitting.side_by_side import over_cells

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Pieces:
    """A folder with a file for every cell that is done, and a manifest that says of what inference.

    Attributes:
        folder: beside the result; taken away when that is whole.
        cells: how many there will be.
    """

    folder: Path
    cells: int
    keep_samples: bool

    @staticmethod
    def opened(out: Path, identity: str, cells: int, keep_samples: bool) -> Pieces:
        """The pieces of a result ``out``: those that are there already, if they are of this inference.

        Raises:
            UserError: for a folder of their name that is not of ours.
        """
        out = Path(os.path.abspath(out))  # "." has no name and no parent
        folder = out.parent / f".{out.name}.partial"
        manifest = {"format": FORMAT, "identity": identity, "keep_samples": keep_samples}
        path = folder / MANIFEST
        if not path.is_file() or read_json(path) != manifest:
            if folder.exists() and not path.is_file() and any(folder.iterdir()):
                raise UserError(f"{folder}: found a folder without {MANIFEST}, expected this name to be free")
            shutil.rmtree(folder, ignore_errors=True)
            write_json(path, manifest)
        return Pieces(folder, cells, keep_samples)

    def fill(self, asked: Asked, traces: Traces, jobs: int | None) -> None:
        """Infer the cells that are not there yet, with a bar on stderr: cells, time left."""
        left = [n for n in range(self.cells) if not self._whole(n)]
        interval = 0.5 if sys.stderr.isatty() else 15.0
        with tqdm(
            total=self.cells, initial=self.cells - len(left), mininterval=interval, unit="cell",
            dynamic_ncols=True,
        ) as bar:  # fmt: skip
            for _ in over_cells(_Work(asked, traces, self), left, jobs):
                bar.update()

    def cell(self, n: int) -> Mapping[str, NDArray[Any]]:
        """The arrays of ``Cell.held``, each read when it is asked for."""
        return _Piece(self.path(n))

    def summed(self) -> tuple[pd.DataFrame, tuple[str, ...], NDArray[np.int64]]:
        """The table of the cells, the doubts of all, and the joint samples' spikes in all cells, ``(S,)``."""
        held = [self.cell(n) for n in range(self.cells)]
        rows = [json.loads(str(one["row"])) for one in held]
        doubts = tuple(sentence for one in held for sentence in json.loads(str(one["doubts"])))
        return pd.DataFrame(rows), doubts, np.sum([one["totals"] for one in held], axis=0)

    def take_away(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, n: int) -> Path:
        """The file of cell n."""
        return self.folder / f"{n:06d}.npz"

    def _whole(self, n: int) -> bool:
        return self.path(n).is_file() and zipfile.is_zipfile(self.path(n))


class _Piece(Mapping[str, NDArray[Any]]):
    """A file of arrays, open no longer than one is read: a system lets few files be open at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, key: str) -> NDArray[Any]:
        with np.load(self.path) as held:
            return np.asarray(held[key])

    def __iter__(self) -> Any:
        with np.load(self.path) as held:
            return iter(held.files)

    def __len__(self) -> int:
        with np.load(self.path) as held:
            return len(held.files)


@dataclass(frozen=True, eq=False)
class _Work:
    """Infer a cell and write it down, in whatever process."""

    asked: Asked
    traces: Traces
    pieces: Pieces

    def __call__(self, n: int) -> int:
        cell = infer_cell(self.asked, self.traces, n, self.pieces.keep_samples)
        with npz_archive(self.pieces.path(n)) as archive:
            for name, values in cell.held().items():
                archive.add(name, values)
        return n
