"""MATLAB files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.data.readers.base import Part, Reader
from dfp.data.readers.hdf5 import INSTALL
from dfp.data.readers.mat73 import is_hdf5, variables
from dfp.data.readers.mat_elements import check_elements
from dfp.data.traces import Orientation


def load_mat(path: Path) -> dict[str, Any]:
    """Variables by name. What a damaged file raises depends on where SciPy gives up."""
    import scipy.io

    check_elements(path)
    return dict(scipy.io.loadmat(path))


#: arrays that programs leave in a struct of many, and how they lie: EXTRACT, CNMF-E
_KNOWN: dict[str, Orientation] = {"temporal_weights": "time_first", "C_raw": "cells_first"}


class Mat(Reader):
    """Variables of MATLAB's ``save``; of a struct ``struct.field``, of a cell array ``cell{1}``, ``cell{2}``.

    A cell array of one entry is that entry.
    """

    name: ClassVar[str] = "MATLAB"
    what: ClassVar[str] = "a MATLAB file"
    summary: ClassVar[str] = (
        "of version 5 to 7.3: the only array that could be traces, or `--key NAME` (`--key data.dff` in a "
        "struct, `--key 'Fcell{1}'` in a cell array); `temporal_weights` of EXTRACT, `C_raw` of CNMF-E; a "
        "number `frame_rate`, `framerate` or `fs` beside it"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".mat",)
    install: ClassVar[str] = INSTALL

    def parts(self, path: Path) -> Mapping[str, Part]:
        arrays: dict[str, Any] = {}
        if is_hdf5(path):  # version 7.3
            arrays = dict(variables(path))
        else:
            for name, value in load_mat(path).items():
                if not name.startswith("__"):
                    arrays |= _unfolded(name, np.asarray(value))
        return {name: _part(name, value) for name, value in arrays.items()}


def _part(name: str, value: Any) -> Part:
    how = _KNOWN.get(name.split(".")[-1]) if "." in name else None
    if isinstance(value, np.ndarray):
        value = _flat(value)
    elif len(value.shape) == 2 and 1 in value.shape:
        value = replace(value, shape=(max(value.shape),), flat=True)
    return Part(value, orientation=how if len(value.shape) == 2 else None, preferred=how is not None)


def _unfolded(name: str, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """An array by its name; of a struct its fields, of a cell array its entries."""
    found: dict[str, NDArray[Any]] = {}
    if value.dtype.names is not None:
        entries = [
            (name if value.size == 1 else f"{name}{{{n}}}", one)
            for n, one in enumerate(value.ravel(order="F"), 1)
        ]
        for place, one in entries:
            for field in value.dtype.names:
                found |= _unfolded(f"{place}.{field}", np.asarray(one[field]))
    elif value.dtype.kind == "O" and not (value.size == 1 and not isinstance(value.item(), np.ndarray)):
        for number, one in enumerate(value.ravel(order="F"), start=1):
            found |= _unfolded(name if value.size == 1 else f"{name}{{{number}}}", np.asarray(one))
    elif value.dtype.kind != "O":
        found[name] = value
    return found


def _flat(value: NDArray[Any]) -> NDArray[Any]:
    """MATLAB has no one-dimensional arrays: a row or a column is one trace."""
    return value.ravel() if value.ndim == 2 and 1 in value.shape else value
