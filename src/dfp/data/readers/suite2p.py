"""What suite2p leaves of a plane: raw fluorescence, made into dF/F here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.preprocess import rolling_percentile
from dfp.data.readers.base import Part, Reader, real, reason
from dfp.data.readers.npy import load_array


@dataclass(frozen=True)
class Suite2p(Reader):
    """dF/F from suite2p's raw fluorescence: (Fc − F₀) / F₀, Fc = F − c · Fneu, F₀ a rolling percentile.

    The folder holds ``F.npy`` and, unless c = 0, ``Fneu.npy``, both cells × frames (suite2p's ``plane0``).
    suite2p keeps the frame rate as ``fs`` in ``ops.npy``, which is a pickle and is not opened here. Cells are
    named ``roi<row>``.

    Attributes:
        neuropil_coefficient: c.
        percentile, window_seconds: of the rolling baseline F₀.
        cells_only: keep only what ``iscell.npy``, if there, calls a cell.
        cells: keep these rows of ``F.npy``, counted from 0, in place of ``iscell.npy``.
    """

    neuropil_coefficient: float = 0.7
    percentile: float = 8.0
    window_seconds: float = 60.0
    cells_only: bool = True
    cells: Sequence[int] | None = None
    name: ClassVar[str] = "suite2p"
    what: ClassVar[str] = "a plane of suite2p"
    summary: ClassVar[str] = (
        "`plane0`, with `F.npy`: (F − 0.7 Fneu − F₀) / F₀ of the accepted cells, F₀ the rolling 8th "
        "percentile of 60 s; say `--frame-rate`"
    )

    def recognises(self, path: Path) -> bool:
        """Whether this is a plane's folder, or one above it, which ``parts`` then refuses by name."""
        known = ("F.npy", "Fneu.npy", "iscell.npy", "*/F.npy", "*/*/F.npy")
        return path.is_dir() and any(next(path.glob(name), None) is not None for name in known)

    def parts(self, path: Path) -> Mapping[str, Part]:
        if not (path / "F.npy").is_file():
            planes = sorted(found.parent for found in path.glob("**/F.npy"))
            hint = f"; did you mean {planes[0]}?" if planes else ""
            raise UserError(f"{path}: holds no F.npy, expected a plane's folder as suite2p leaves it{hint}")
        raw = _array(path / "F.npy")
        if raw.ndim != 2:
            raise UserError(f"{path / 'F.npy'}: an array of shape {raw.shape}, expected cells × frames")
        corrected = raw.astype(float)
        if self.neuropil_coefficient != 0:
            neuropil = _array(path / "Fneu.npy")
            if neuropil.shape != raw.shape:
                raise UserError(
                    f"{path / 'Fneu.npy'}: shape {neuropil.shape}, expected that of F.npy, {raw.shape}"
                )
            corrected -= self.neuropil_coefficient * neuropil
        rows = self._rows(path, len(raw))
        names = [f"roi{row}" for row in rows]

        def dff(values: NDArray[Any], rate: float) -> NDArray[np.float32]:
            return self._dff(path, names, values, rate)

        part = Part(
            corrected[rows],
            names=names,
            orientation="cells_first",
            rate_hint=" (suite2p keeps it as 'fs' in ops.npy)",
            notes=(
                f"{len(rows)} of {len(raw)} ROIs are taken",
                f"dF/F is computed from F − {self.neuropil_coefficient:g} Fneu, over the rolling "
                f"{self.percentile:g}th percentile of {self.window_seconds:g} s",
            ),
            finish=dff,
            source=path / "F.npy",
        )
        return {"F": part}

    def _rows(self, folder: Path, total: int) -> list[int]:
        if self.cells is not None:
            rows = [int(row) for row in self.cells]
            wrong = [row for row in rows if not 0 <= row < total]
            if wrong:
                raise UserError(f"{folder / 'F.npy'}: no row {wrong[0]}, expected 0 to {total - 1}")
        elif self.cells_only and (folder / "iscell.npy").is_file():
            accepted = _array(folder / "iscell.npy")
            if accepted.ndim != 2 or len(accepted) != total:
                raise UserError(
                    f"{folder / 'iscell.npy'}: shape {accepted.shape}, expected ({total}, 2) as F.npy"
                )
            rows = [int(row) for row in np.flatnonzero(accepted[:, 0] > 0)]
        else:
            rows = list(range(total))
        if not rows:
            raise UserError(f"{folder}: no cells are left, expected at least one in 'cells' or iscell.npy")
        return rows

    def _dff(
        self, folder: Path, names: Sequence[str], corrected: NDArray[Any], rate: float
    ) -> NDArray[np.float32]:
        """dF/F ``(T, N)`` from Fc ``(T, N)``."""
        x = np.empty(corrected.shape, dtype=np.float32)
        for n, name in enumerate(names):
            if not np.isfinite(corrected[:, n]).any() or np.isinf(corrected[:, n]).any():
                x[:, n] = corrected[:, n]  # of no use, which the doubts say
                continue
            rest = rolling_percentile(corrected[:, n], rate, self.percentile, self.window_seconds)
            if not np.all(rest > 0):
                raise UserError(
                    f"{folder}: the baseline of {name} falls to {rest.min():.3g} after subtracting "
                    f"{self.neuropil_coefficient} × neuropil, expected it above 0; lower "
                    "neuropil_coefficient or leave the cell out with 'cells'"
                )
            x[:, n] = (corrected[:, n] - rest) / rest
        return x


def _array(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return real(path, load_array(path))
    except UserError:
        raise
    except Exception as error:
        # As for every file, what NumPy raises depends on where it gives up.
        raise UserError(f"{path}: could not be read as an array of numbers ({reason(error)})") from error
