"""MATLAB files up to version 7."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Reader
from dfp.data.readers.mat_elements import check_elements


def load_mat(path: Path) -> dict[str, Any]:
    """Variables by name. What a damaged file raises depends on where SciPy gives up."""
    import scipy.io

    check_elements(path)
    return dict(scipy.io.loadmat(path))


class Mat(Reader):
    """Variables of MATLAB's ``save``; the fields of a struct are named ``struct.field``."""

    name: ClassVar[str] = "MATLAB"
    what: ClassVar[str] = "a MATLAB file"
    summary: ClassVar[str] = (
        "of version 7 or below: the only array that could be traces, or `--key NAME` (`--key data.dff` in a "
        "struct); a number `frame_rate`, `framerate` or `fs` beside it"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".mat",)

    def parts(self, path: Path) -> Mapping[str, Part]:
        try:
            content = load_mat(path)
        except NotImplementedError:
            raise UserError(
                f"{path}: a MATLAB file of version 7.3 (HDF5), expected version 7 or below; save it with "
                "'-v7'"
            ) from None
        arrays: dict[str, NDArray[Any]] = {}
        for name, value in content.items():
            if not name.startswith("__"):
                arrays |= _unfolded(name, np.asarray(value))
        return {name: Part(_flat(value)) for name, value in arrays.items()}


def _unfolded(name: str, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """An array by its name; of a MATLAB struct, its fields as ``name.field``."""
    if value.dtype.names is None or value.size != 1:
        return {name: value}
    found: dict[str, NDArray[Any]] = {}
    for field in value.dtype.names:
        found |= _unfolded(f"{name}.{field}", np.asarray(value.ravel()[0][field]))
    return found


def _flat(value: NDArray[Any]) -> NDArray[Any]:
    """MATLAB has no one-dimensional arrays: a row or a column is one trace."""
    return value.ravel() if value.ndim == 2 and 1 in value.shape else value
