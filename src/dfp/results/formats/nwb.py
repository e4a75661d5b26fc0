"""Inferred spikes as time series of Neurodata Without Borders."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dfp.core.files import atomic_path
from dfp.results.formats.base import KEYS, SpikeArrays, Writer
from dfp.results.formats.hdf5 import CHUNK

#: NWB asks when the session began, which traces do not tell
UNKNOWN = datetime(1980, 1, 1, tzinfo=UTC)
#: relative to a constant rate, what steps between frames may differ by
STEADY = 1e-6


class Nwb(Writer):
    """A ``TimeSeries`` a key, frames × cells, in the processing module ``ophys``; needs pynwb.

    Beside them a table ``cells`` has the cells' names. When the session began is not known: the file says
    1980. Frames at a constant rate have a rate, others timestamps. Source: the NWB core schema,
    https://nwb-schema.readthedocs.io.
    """

    name: ClassVar[str] = "nwb"
    suffixes: ClassVar[tuple[str, ...]] = (".nwb",)
    files: ClassVar[tuple[str, ...]] = ("spikes.nwb",)
    library: ClassVar[str | None] = "pynwb"

    def write(self, spikes: SpikeArrays, path: Path) -> None:
        """Write one file, whole or not at all; a cell in memory at a time."""
        from hdmf.backends.hdf5 import H5DataIO
        from hdmf.common import DynamicTable, VectorData
        from pynwb import NWBHDF5IO, NWBFile, TimeSeries

        names = "\n".join(spikes.cells)
        file = NWBFile(
            session_description="Spikes inferred from calcium fluorescence by dfp",
            identifier=hashlib.sha256(f"{names}\n{spikes.time_s.tobytes().hex()}".encode()).hexdigest(),
            session_start_time=UNKNOWN,
        )
        module = file.create_processing_module("ophys", "inferred from fluorescence")
        column = VectorData(name="cell_name", description="name of the cell", data=list(spikes.cells))
        text = "the cells, in the order of the columns of the time series"
        module.add(DynamicTable(name="cells", description=text, columns=[column]))
        chunks = (min(len(spikes.time_s), CHUNK), 1)
        for key, (kind, text) in KEYS.items():
            stored = np.uint8 if kind is np.bool_ else kind
            data = H5DataIO(
                _columns(spikes, key, np.dtype(stored), chunks),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
                chunks=chunks,
            )
            unit = "spikes" if key not in ("probability", "observed") else "n.a."
            module.add(TimeSeries(name=key, description=text, data=data, unit=unit, **_clock(spikes)))
        with atomic_path(path) as temporary, NWBHDF5IO(str(temporary), "w") as io:
            io.write(file)


def _clock(spikes: SpikeArrays) -> dict[str, Any]:
    """How the times of the frames are told."""
    start = float(spikes.time_s[0])
    steady = start + np.arange(len(spikes.time_s)) / spikes.frame_rate
    if np.abs(spikes.time_s - steady).max() <= STEADY / spikes.frame_rate:
        return {"starting_time": start, "rate": float(spikes.frame_rate)}
    return {"timestamps": spikes.time_s}


def _columns(spikes: SpikeArrays, key: str, kind: np.dtype[Any], chunks: tuple[int, int]) -> Any:
    """An array of T frames × N cells that hdmf asks for part by part, and so holds a cell of."""
    from hdmf.data_utils import GenericDataChunkIterator

    class Columns(GenericDataChunkIterator):
        def _get_data(self, selection: Any) -> Any:
            frames, cells = selection
            held = [spikes.cell(n)[key][frames] for n in range(*cells.indices(spikes.shape[1]))]
            return np.stack(held, axis=1).astype(kind)

        def _get_maxshape(self) -> tuple[int, int]:
            return spikes.shape

        def _get_dtype(self) -> np.dtype[Any]:
            return kind

    return Columns(buffer_shape=(len(spikes.time_s), 1), chunk_shape=chunks)  # a cell is read once
