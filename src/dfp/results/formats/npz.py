"""Inferred spikes as NumPy's arrays."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from dfp.core.npz import npz_archive
from dfp.results.formats.base import KEYS, SpikeArrays, Writer, key_list


class Npz(Writer):
    """One array a key, frames × cells; ``README`` holds the list of keys. Read without pickle."""

    name: ClassVar[str] = "npz"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)
    files: ClassVar[tuple[str, ...]] = ("spikes.npz",)

    def write(self, spikes: SpikeArrays, path: Path) -> None:
        """Write one file, whole or not at all; a cell in memory at a time."""
        with npz_archive(path) as archive:
            for key, (kind, _) in KEYS.items():
                archive.add_parts(key, spikes.shape, kind, spikes.columns(key), columns=True)
            archive.add("time_s", spikes.time_s)
            archive.add("cells", np.array(spikes.cells))
            archive.add("frame_rate", spikes.frame_rate)
            archive.add("README", key_list())
