"""The folder of an inference: arrays, cells, and where asked for the posterior's samples; whole or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.files import read_json, write_json
from dfp.core.npz import npz_archive
from dfp.data.traces import Traces
from dfp.fitting.cell import CONSTANT, EVENTS, Asked, identity
from dfp.results.formats.base import SpikeArrays, Writer
from dfp.results.formats.registry import writers
from dfp.results.tables import write_table

FORMAT = 1
#: what says that a folder is of ours, and of which inference
RECORD = "infer.json"
CELLS, SAMPLES = "cells.csv", "posterior_samples.npz"
_SAMPLES_README = (
    "frame, cell, sample, count: (K,) where the posterior's samples have spikes, cell after cell; they are "
    "joint within a cell and independent between cells\n"
    "cells: (N,) names\ntime_s: (T,) seconds, the beginning of the frame\nsamples: how many, S\n"
    "others: (S, N) the cells' constants in the same samples"
)


@dataclass(frozen=True)
class Record:
    """What an inference was made of, and its outcome in few numbers.

    Attributes:
        identity: hash of all that the result depends on.
        asked: what was told, samples, seed, digest of the weights.
        provenance: of the weights.
        frames, cells, frame_rate: of the recording.
        spikes: of all cells: mean, and ends of the central 90% interval.
        doubts: sentences.
    """

    identity: str
    asked: dict[str, Any]
    provenance: dict[str, Any]
    frames: int
    cells: int
    frame_rate: float
    spikes: tuple[float, float, float]
    doubts: tuple[str, ...]

    @staticmethod
    def of(
        asked: Asked, traces: Traces, spikes: tuple[float, float, float], doubts: tuple[str, ...]
    ) -> Record:
        """The record of an inference that is done."""
        frames, cells = traces.x.shape
        provenance = dict(asked.posterior.provenance)
        made = identity(asked, traces), asked.plain(), provenance
        return Record(*made, frames, cells, traces.frame_rate, spikes, doubts)


def totals_interval(totals: NDArray[Any]) -> tuple[float, float, float]:
    """Mean and central 90% interval of the spikes of a recording, from ``(S,)`` joint samples."""
    low, high = np.quantile(totals, [0.05, 0.95])
    return float(totals.mean()), float(low), float(high)


def check_ours(folder: Path) -> None:
    """Refuse a folder that holds something that no ``dfp infer`` wrote.

    Raises:
        UserError: naming what is in it.
    """
    if not folder.is_dir() or (folder / RECORD).is_file():
        return
    found = sorted(entry.name for entry in folder.iterdir())
    if found:
        names = f"{', '.join(found[:3])}{', …' * (len(found) > 3)}"
        raise UserError(
            f"{folder}: found {names} in it and no {RECORD}, expected "
            "a new folder, an empty one or one that `dfp infer` wrote"
        )


def finished(folder: Path, made: str, writer: Writer, keep_samples: bool) -> dict[str, Any] | None:
    """The record of a folder that holds just this inference already; None where it does not."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = read_json(path)
    same = record.get("identity") == made and record.get("files") == _names(writer, keep_samples)
    return record if same and all((folder / name).is_file() for name in record["files"]) else None


def write_folder(
    folder: Path,
    writer: Writer,
    spikes: SpikeArrays,
    cells: pd.DataFrame,
    record: Record,
    samples: SpikeArrays | None = None,
    beside: Path | None = None,
) -> None:
    """Write everything into a folder of its own, then put it in its place at once.

    Args:
        samples: whose cells are those of ``Cell.held`` with events; None to keep no samples.
        beside: where the folder of its own is made, on the same disk; by default beside the result.

    Raises:
        UserError: for a folder that holds something else.
    """
    check_ours(folder)
    folder = Path(os.path.abspath(folder))  # "." has no name and no parent
    beside = beside or folder.parent
    beside.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=beside, prefix=f".{folder.name}-"))
    try:
        writer.write_into(spikes, place)
        write_table(cells, place / CELLS)
        if samples is not None:
            write_samples(samples, record.asked["samples"], place / SAMPLES)
        names = _names(writer, samples is not None)
        write_json(place / RECORD, {"format": FORMAT, "files": names, **asdict(record)})
        place.chmod(0o755)
        _publish(place, folder, [*names, RECORD])
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_samples(held: SpikeArrays, samples: int, path: Path) -> None:
    """Write the posterior's samples as a list of their spikes, a cell in memory at a time."""
    number = len(held.cells)
    sizes = [len(held.cell(n)[EVENTS[0]]) for n in range(number)]
    constants = [name for name in held.cell(0) if name.startswith(CONSTANT)]
    with npz_archive(path) as archive:
        for key, kind in zip(EVENTS, (np.int32, np.uint16, np.uint16), strict=True):
            archive.add_parts(key, (sum(sizes),), kind, held.columns(key))
        cell = (np.full(size, n, dtype=np.int32) for n, size in enumerate(sizes))
        archive.add_parts("cell", (sum(sizes),), np.int32, cell)
        for name in constants:
            values = held.columns(name)
            archive.add_parts(
                name.removeprefix(CONSTANT), (samples, number), np.float64, values, columns=True
            )
        archive.add("cells", np.array(held.cells))
        archive.add("time_s", held.time_s)
        archive.add("samples", samples)
        archive.add("README", _SAMPLES_README)


def _names(writer: Writer, keep_samples: bool) -> list[str]:
    return [*writer.files, CELLS, *[SAMPLES] * keep_samples]


def _publish(made: Path, folder: Path, names: list[str]) -> None:
    """Put files into their folder: at once where there is none, else under a record that is not whole."""
    if not folder.exists():
        os.rename(made, folder)
        return
    write_json(folder / RECORD, {"format": FORMAT, "files": None})  # cut off from here on, it is still ours
    known = {name for kind in writers().values() for name in kind.files} | {CELLS, SAMPLES}
    for name in known - {*names}:  # of an earlier inference
        (folder / name).unlink(missing_ok=True)
    for name in names:  # the record is the last
        os.replace(made / name, folder / name)
