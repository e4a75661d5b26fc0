"""HDF5 files: any tree of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.data.readers.base import RATE_NAMES, Part, Reader, check_readable
from dfp.data.readers.clock import by_clock, rises, seconds_per_unit, steps_of_one
from dfp.data.readers.columns import placed

INSTALL = "pip install 'dfp[hdf5]'"


@dataclass(frozen=True, eq=False)
class Stored:
    """An array that is read from its file when NumPy asks for it.

    Attributes:
        path, name: the file, and the data set inside it.
        shape, dtype: as NumPy will have it.
        turned: whether it lies transposed in the file.
        flat: whether it is one row or column there.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    turned: bool = False
    flat: bool = False

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        import h5py

        with h5py.File(self.path, "r") as file:
            values = np.asarray(file[self.name][()])
        values = values.T if self.turned else values
        values = values.ravel() if self.flat else values
        if self.dtype.kind == "U" != values.dtype.kind:  # MATLAB's text
            values = values.astype(str)
        return values if dtype is None else values.astype(dtype)


def data_sets(path: Path) -> Iterator[tuple[str, Any]]:
    """The name and the data set of every array of an open file, ``group/name``, each once.

    Raises:
        OSError: for a file that is no HDF5 file.
    """
    import h5py

    check_readable(path)
    found: list[tuple[str, Any]] = []
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, held: found.append((name, held)) if isinstance(held, h5py.Dataset) else None
        )
        yield from found


class Hdf5(Reader):
    """Arrays of an HDF5 file by their paths in it.

    A number of one of ``RATE_NAMES`` beside an array, an attribute of that name of the array or of a group
    above it, or a one-dimensional array of time in its own group gives the frame rate.
    """

    name: ClassVar[str] = "HDF5"
    what: ClassVar[str] = "an HDF5 file"
    summary: ClassVar[str] = (
        "the only array that could be traces, or `--key group/name`; the frame rate from a number or an "
        "attribute `frame_rate`, `framerate`, `fs` or `fr`, or from an array `time` or `timestamps` beside "
        "it"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5", ".hdf")
    install: ClassVar[str] = INSTALL

    def parts(self, path: Path) -> Mapping[str, Part]:
        parts, times, rates = dict[str, Part](), dict[str, NDArray[np.float64]](), dict[str, float]()
        for name, held in data_sets(path):
            numbers = held.dtype.kind in "fiub"
            if (
                numbers
                and held.ndim == 1
                and seconds_per_unit(name.split("/")[-1]) is not None
                and held.size > 1
            ):
                seconds = np.asarray(held[()], dtype=float) * float(
                    seconds_per_unit(name.split("/")[-1]) or 1
                )
                if rises(seconds) and not steps_of_one(seconds):
                    times[name.rpartition("/")[0]] = seconds
                    continue
            if held.shape is None or (not numbers and not held.shape):
                continue
            parts[name] = Part(Stored(path, name, held.shape, held.dtype))
            rate = _attribute(held)
            if rate is not None:
                rates[name] = rate
        for name, part in parts.items():
            seconds = times.get(name.rpartition("/")[0], np.zeros(0))
            if part.values.shape and len(seconds) in part.values.shape:
                parts[name] = placed(part, by_clock(path, seconds, "the array of times beside it"))
            elif name in rates:
                parts[name] = replace(part, frame_rate=rates[name], rate_from="an attribute")
        return parts


def _attribute(held: Any) -> float | None:
    """A frame rate among the attributes of a data set or of what it lies in."""
    while True:
        for name, value in held.attrs.items():
            if name.lower() in RATE_NAMES and np.size(value) == 1 and np.asarray(value).dtype.kind in "fiu":
                return float(np.asarray(value).ravel()[0])
        if held.name in ("/", None):
            return None
        held = held.parent
