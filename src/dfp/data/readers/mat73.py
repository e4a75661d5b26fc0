"""Variables of MATLAB files of version 7.3, which are HDF5, as SciPy gives those of version 7."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dfp.data.readers.hdf5 import Stored


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, after a block of MATLAB's or not."""
    with path.open("rb") as file:
        head = file.read(2056)
    return any(head[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512, 1024, 2048))


def variables(path: Path) -> Iterator[tuple[str, Stored]]:
    """The numeric arrays by name, ``struct.field`` and ``cell{1}``; they lie transposed in the file.

    Raises:
        OSError: for a file that is no HDF5 file.
    """
    import h5py

    found: dict[str, Stored] = {}
    with h5py.File(path, "r") as file:
        for name in file:
            if not name.startswith("#"):
                _unfold(path, file, name, file[name], found, 0)
    yield from found.items()


def _unfold(path: Path, file: Any, name: str, held: Any, found: dict[str, Stored], depth: int) -> None:
    import h5py

    if depth > 20:  # a reference to itself
        return
    if isinstance(held, h5py.Group):
        for field in held:
            _unfold(path, file, f"{name}.{field}", held[field], found, depth + 1)
        return
    if not isinstance(held, h5py.Dataset) or held.shape is None or held.attrs.get("MATLAB_empty"):
        return
    if held.dtype.kind == "O":  # a cell array, or an array of structs: references
        inside = np.asarray(held[()]).T.ravel(order="F")
        for number, reference in enumerate(inside, start=1):
            if isinstance(reference, h5py.Reference) and reference:
                one = name if len(inside) == 1 else f"{name}{{{number}}}"
                _unfold(path, file, one, file[reference], found, depth + 1)
        return
    text = held.attrs.get("MATLAB_class") in (b"char", "char")
    kind = np.dtype("U1") if text else held.dtype
    found[name] = Stored(path, held.name, held.shape[::-1], kind, turned=True)
