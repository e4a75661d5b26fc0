"""One NumPy array."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import UNNAMED, Part, Reader


def load_array(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file; one that would run code when read is refused."""
    return np.asarray(np.load(path, allow_pickle=False))


#: arrays of suite2p: fluorescence, that of the neuropil, deconvolved
RAW = ("F.npy", "Fneu.npy", "spks.npy")


class Npy(Reader):
    """``numpy.save`` of an array ``(T,)`` or of two dimensions."""

    name: ClassVar[str] = "npy"
    what: ClassVar[str] = "an array of numbers"
    summary: ClassVar[str] = "one array of one or two dimensions; say `--frame-rate`"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)

    def parts(self, path: Path) -> Mapping[str, Part]:
        if path.name in RAW and all((path.parent / name).is_file() for name in RAW[:2]):
            raise UserError(
                f"{path}: one of the arrays that suite2p leaves, which is not dF/F; name its folder, "
                f"{path.parent}, of which dF/F is computed"
            )
        return {UNNAMED: Part(load_array(path))}
