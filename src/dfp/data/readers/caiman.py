"""What CaImAn saves of its analysis (``cnm.save``): the traces of its accepted components."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Reader, check_readable, real
from dfp.data.readers.hdf5 import INSTALL


class Caiman(Reader):
    """dF/F of the accepted components, ``estimates/F_dff``; where it was not computed, ``estimates/C``.

    CaImAn (1.9 to 1.12) writes a field that is None as the text ``NoneType``. Components are ROIs × frames
    and are named ``c<number>``, counted from 0 over all components, accepted or not.
    """

    name: ClassVar[str] = "CaImAn"
    what: ClassVar[str] = "what CaImAn saves"
    summary: ClassVar[str] = (
        "`estimates/F_dff`, or where it was not computed `estimates/C` (denoised, not dF/F), or `--key`; of"
        " the accepted components (`idx_components`); the frame rate is `params/data/fr`"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".hdf5", ".h5")
    looks_inside: ClassVar[bool] = True
    install: ClassVar[str] = INSTALL

    def recognises(self, path: Path) -> bool:
        if not super().recognises(path):
            return False
        import h5py

        with h5py.File(path, "r") as file:
            return "estimates" in file and "C" in file["estimates"]

    def parts(self, path: Path) -> Mapping[str, Part]:
        import h5py

        check_readable(path)
        with h5py.File(path, "r") as file:
            held, rate = file["estimates"], _number(file.get("params/data/fr"))
            accepted = _array(held.get("idx_components"))
            arrays = {name: _array(held.get(name)) for name in ("F_dff", "C", "YrA")}
        found: dict[str, NDArray[Any]] = {
            f"estimates/{name}": real(path, values) for name, values in arrays.items() if values is not None
        }
        if "estimates/F_dff" not in found and "estimates/C" not in found:
            raise UserError(f"{path}: holds neither estimates/F_dff nor estimates/C, expected traces in one")
        best = "estimates/F_dff" if "estimates/F_dff" in found else "estimates/C"
        return {
            name: _part(path, name, values, accepted, rate, name == best) for name, values in found.items()
        }


def _part(
    path: Path,
    name: str,
    values: NDArray[Any],
    accepted: NDArray[Any] | None,
    rate: float | None,
    preferred: bool,
) -> Part:
    total = len(values) if values.ndim == 2 else 0
    rows = np.arange(total) if accepted is None else np.asarray(accepted, dtype=float).ravel().astype(int)
    if len(rows) and (rows.min() < 0 or rows.max() >= total):
        raise UserError(
            f"{path}: idx_components names component {rows.max()}, expected 0 to {total - 1} as {name} has"
        )
    if not len(rows) and total:
        raise UserError(f"{path}: no component is accepted (idx_components is empty), expected at least one")
    notes = [
        f"{len(rows)} of {total} components are taken" + (" (idx_components)" if accepted is not None else "")
    ]
    if name.endswith("/C"):
        notes.append(
            "estimates/C is denoised and in units of its own, not dF/F: run detrend_df_f, which makes "
            "estimates/F_dff, before counts are trusted"
        )
    return Part(
        values[rows] if values.ndim == 2 else values,
        names=[f"c{row}" for row in rows] if values.ndim == 2 else None,
        orientation="cells_first",
        frame_rate=rate,
        rate_from="'params/data/fr'",
        notes=tuple(notes),
        preferred=preferred,
    )


def _array(held: Any) -> NDArray[Any] | None:
    """A data set; None for a field that is not there, or that is None, which is text without a shape."""
    if held is None or not hasattr(held, "dtype") or held.shape in (None, ()):
        return None
    return np.asarray(held[()])


def _number(held: Any) -> float | None:
    if held is None or not hasattr(held, "dtype") or held.dtype.kind not in "fiu" or np.prod(held.shape) != 1:
        return None
    return float(np.asarray(held[()]).ravel()[0])
