"""Several NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfp.data.readers.base import Part, Reader


class Npz(Reader):
    """``numpy.savez`` of named arrays, the traces among them."""

    name: ClassVar[str] = "npz"
    what: ClassVar[str] = "an .npz file"
    summary: ClassVar[str] = (
        "the only array that could be traces, or `--key NAME`; a number `frame_rate`, `framerate` or `fs` "
        "beside it"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def parts(self, path: Path) -> Mapping[str, Part]:
        parts: dict[str, Part] = {}
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files:
                # An object array next to the traces is no reason to refuse them.
                try:
                    parts[name] = Part(stored[name])
                except ValueError:
                    continue
        return parts
