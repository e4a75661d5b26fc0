"""What suite2p leaves for MATLAB: a plane, or ``combined``, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Reader, real
from dfp.data.readers.mat import load_mat
from dfp.data.readers.mat73 import is_hdf5
from dfp.data.readers.suite2p import Suite2p, positive, told_frame_rate


class Fall(Reader):
    """``Fall.mat``, the same for MATLAB."""

    name: ClassVar[str] = "suite2p's Fall"
    what: ClassVar[str] = "Fall.mat of suite2p"
    summary: ClassVar[str] = "what suite2p writes for MATLAB (`F`, `Fneu`, `iscell`, `ops`): as its folder"
    suffixes: ClassVar[tuple[str, ...]] = (".mat",)
    looks_inside: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        if not super().recognises(path) or is_hdf5(path):
            return False
        import scipy.io

        return {name for name, _, _ in scipy.io.whosmat(path)} >= {"F", "Fneu", "iscell"}

    def parts(self, path: Path) -> Mapping[str, Part]:
        held, reader = load_mat(path), Suite2p()
        raw, neuropil, accepted = (real(path, np.asarray(held[name])) for name in ("F", "Fneu", "iscell"))
        if raw.ndim != 2 or raw.shape != neuropil.shape:
            raise UserError(f"{path}: F has the shape {raw.shape}, Fneu {neuropil.shape}, expected the same")
        if accepted.ndim == 2 and len(accepted) == 1 and len(raw) > 1:  # one column
            accepted = accepted.T
        ops = held.get("ops")
        fields = getattr(getattr(ops, "dtype", None), "names", None) or ()
        told = np.asarray(ops["fs"].ravel()[0]) if ops is not None and "fs" in fields else None
        rate, told_by = positive(told), "'ops.fs'"
        if rate is None:  # from 1.0 on, the one of `combined` lacks it, and settings.npy lies beside it
            rate, told_by = told_frame_rate(path.parent)
        return {"F": reader.part(path, reader.plane(path, raw, neuropil, accepted, rate, told_by))}
