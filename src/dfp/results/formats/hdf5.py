"""Inferred spikes as data sets of an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from dfp.core.files import atomic_path
from dfp.results.formats.base import BESIDE, KEYS, SpikeArrays, Writer

#: frames of one cell that are compressed together
CHUNK = 1 << 16


class Hdf5(Writer):
    """A data set a key, frames × cells; what it holds is its attribute ``description``. Needs h5py."""

    name: ClassVar[str] = "hdf5"
    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")
    files: ClassVar[tuple[str, ...]] = ("spikes.h5",)
    library: ClassVar[str | None] = "h5py"

    def write(self, spikes: SpikeArrays, path: Path) -> None:
        """Write one file, whole or not at all; a cell in memory at a time."""
        import h5py

        chunks = (min(len(spikes.time_s), CHUNK), 1)
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            for key, (kind, text) in KEYS.items():
                held = file.create_dataset(
                    key,
                    spikes.shape,
                    kind,
                    chunks=chunks,
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
                held.attrs["description"] = text
                for n, column in enumerate(spikes.columns(key)):
                    held[:, n] = column
            file["time_s"] = spikes.time_s
            file["cells"] = np.array(spikes.cells, dtype=h5py.string_dtype())
            file["frame_rate"] = spikes.frame_rate
            for key, text in BESIDE.items():
                file[key].attrs["description"] = text
