"""Arrays over time as pynapple saves them, with their time support."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfp.core.errors import UserError
from dfp.core.inert_pickle import objects_of_npy
from dfp.data.readers.base import UNNAMED, Part, Reader
from dfp.data.readers.clock import by_clock
from dfp.data.readers.columns import placed


class Pynapple(Reader):
    """``Tsd.save`` or ``TsdFrame.save``: values ``d`` at times ``t`` (seconds), within ``start`` to ``end``.

    Every interval of the time support is an epoch.
    """

    name: ClassVar[str] = "pynapple"
    what: ClassVar[str] = "a time series of pynapple"
    summary: ClassVar[str] = (
        "a `Tsd` or `TsdFrame` that was saved: its columns name the cells, its times give the frame rate, "
        "and every interval of its time support is an epoch"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)
    looks_inside: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        if not super().recognises(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return {f"{key}.npy" for key in ("t", "d", "start", "end", "type")} <= set(archive.namelist())

    def parts(self, path: Path) -> Mapping[str, Part]:
        with np.load(path, allow_pickle=False) as held:
            values, times, begins = held["d"], np.asarray(held["t"], dtype=float), held["start"]
        if times.ndim != 1 or len(times) != len(values):
            raise UserError(f"{path}: {len(values)} values at {times.size} times, expected as many")
        starts = sorted({int(row) for row in np.searchsorted(times, np.sort(begins)) if 0 < row < len(times)})
        names = _names(path) if values.ndim == 2 else None
        part = Part(values, names=names, orientation="time_first")
        return {UNNAMED: placed(part, by_clock(path, times, "its times", tuple(starts)))}


def _names(path: Path) -> list[str] | None:
    """The columns' names, which are objects where they are text; numbers are not names."""
    with zipfile.ZipFile(path) as archive:
        if "columns.npy" not in archive.namelist():
            return None
        with archive.open("columns.npy") as file:
            columns = objects_of_npy(file)
    if not isinstance(columns, np.ndarray) or columns.ndim != 1:
        return None
    return [str(name) for name in columns]
