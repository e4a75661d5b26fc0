"""Values out of a pickle without running what it asks for."""

from __future__ import annotations

import codecs
import collections
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

#: rooms of NumPy that its arrays and numbers are rebuilt from, in its version 1 and 2
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
_PLAIN: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "slice"): slice,
    ("builtins", "bytearray"): bytearray,
    ("collections", "OrderedDict"): collections.OrderedDict,
}


class Inert:
    """What stands for an object of a class that is not plain: it holds nothing and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...

    def append(self, _: Any) -> None:
        """Take nothing in, as a list would."""

    def extend(self, _: Any) -> None:
        """Take nothing in, as a list would."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY and name in ("_reconstruct", "scalar", "ndarray", "dtype"):
            if name in ("ndarray", "dtype"):
                return getattr(np, name)
            return getattr(np._core.multiarray, name)  # type: ignore[attr-defined]
        if (module, name) == ("_codecs", "encode"):
            return _latin
        return _PLAIN.get((module, name), Inert)

    def persistent_load(self, _: Any) -> Any:
        return Inert()


def _latin(text: str, _: str = "latin1") -> bytes:
    """How old pickles write bytes."""
    return codecs.encode(text, "latin1")


def load_inert(file: IO[bytes]) -> Any:
    """The numbers, texts, containers and NumPy arrays of a pickle; ``Inert`` in place of all else.

    No class or function is looked up but those that NumPy's arrays and Python's containers are made of.

    Raises:
        pickle.UnpicklingError: and whatever else a damaged one makes ``pickle`` raise.
    """
    return _Unpickler(file).load()


def objects_of_npy(file: IO[bytes]) -> Any:
    """What ``numpy.save`` wrote of Python's objects; None where the file holds numbers or text.

    Args:
        file: open, at its beginning; it need not be seekable.
    """
    npy = np.lib.format
    first = npy.read_magic(file) == (1, 0)
    _, _, dtype = (npy.read_array_header_1_0 if first else npy.read_array_header_2_0)(file)
    return load_inert(file) if dtype.hasobject else None


def dict_of_npy(path: Path) -> dict[str, Any]:
    """A dictionary that ``numpy.save`` wrote as an object; empty where the file holds something else."""
    with path.open("rb") as file:
        value = objects_of_npy(file)
    if isinstance(value, np.ndarray) and value.shape == ():  # the array holds the dictionary
        value = value.item()
    return value if isinstance(value, dict) else {}
