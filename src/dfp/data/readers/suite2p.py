"""What suite2p leaves: raw fluorescence of a plane or of several, made into dF/F here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.inert_pickle import dict_of_npy
from dfp.data.preprocess import rolling_percentile
from dfp.data.readers.base import Part, Reader, real, reason
from dfp.data.readers.npy import load_array

#: where suite2p says how it ran: before version 1.0, and from it on
_SETTINGS = ("ops.npy", "settings.npy")


@dataclass(frozen=True, eq=False)
class Plane:
    """What suite2p holds of the ROIs of a plane, or of several that are combined.

    Attributes:
        raw, neuropil: ``(ROIs, T)``; NaN in frames that were filled with zeros; no neuropil where none is
            subtracted.
        names: of the ROIs.
        filled: ``(ROIs, T)``, true in frames that the plane does not have.
        accepted: numbers of the ROIs that are taken; none where no ROI is a cell.
        frame_rate: Hz; None where it is not told.
        told_by: what tells it.
        source: the file of ``raw``.
        notes: what a user should know of how planes were joined.
    """

    raw: NDArray[Any]
    neuropil: NDArray[Any] | None
    filled: NDArray[np.bool_]
    names: tuple[str, ...]
    accepted: tuple[int, ...]
    frame_rate: float | None
    told_by: str
    source: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite2p(Reader):
    """dF/F from suite2p's raw fluorescence: (Fc − F₀) / F₀, Fc = F − c · Fneu, F₀ a rolling percentile.

    A plane's folder holds ``F.npy`` and, unless c = 0, ``Fneu.npy``, both ROIs × frames. Of the folder above,
    ``combined`` is taken where there is one; else its planes side by side, a shorter one with missing frames
    at its end, one without an accepted cell left out. So are frames missing in which F and Fneu are both
    exactly 0, with which ``combined`` fills shorter planes up. The frame rate is ``fs`` of ``ops.npy`` or,
    from suite2p 1.0 on, ``settings.npy``: frames a second *of a plane*. Both are pickles, of which only plain
    values are read. ROIs are named ``roi<row>``, in several planes ``plane<number>_roi<row>``.

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
        "`suite2p` (its `combined`, else all planes side by side) or one plane, with `F.npy`: (F − 0.7 Fneu"
        " − F₀) / F₀ of the accepted cells, F₀ the rolling 8th percentile of 60 s; the frame rate (of a "
        "plane) from `ops.npy` or `settings.npy`"
    )

    def recognises(self, path: Path) -> bool:
        """Whether this is a plane's folder, or one above it."""
        known = ("F.npy", "Fneu.npy", "iscell.npy", "*/F.npy", "*/*/F.npy")
        return path.is_dir() and any(next(path.glob(name), None) is not None for name in known)

    def parts(self, path: Path) -> Mapping[str, Part]:
        return {"F": self.part(path, self._found(path))}

    def part(self, path: Path, plane: Plane) -> Part:
        """The accepted ROIs of a plane as an array that becomes dF/F once the frame rate is known."""
        if not plane.accepted:
            raise UserError(f"{plane.source}: no cells are left, expected at least one in 'cells' or iscell")
        corrected = plane.raw.astype(float)
        if plane.neuropil is not None:
            corrected = corrected - self.neuropil_coefficient * plane.neuropil
        rows, unusable = list(plane.accepted), dict[str, str]()
        filled = plane.filled[rows]
        names = [plane.names[row] for row in rows]

        def dff(values: NDArray[Any], rate: float) -> NDArray[np.float32]:
            return self._dff(names, values, rate, unusable)

        return Part(
            corrected[rows],
            names=names,
            orientation="cells_first",
            frame_rate=plane.frame_rate,
            rate_from=plane.told_by,
            rate_hint=" (suite2p keeps it as 'fs' in ops.npy or, from 1.0 on, in settings.npy)",
            notes=(
                f"{len(rows)} of {len(plane.names)} ROIs are taken",
                f"dF/F is computed from F − {self.neuropil_coefficient:g} Fneu, over the rolling "
                f"{self.percentile:g}th percentile of {self.window_seconds:g} s",
                *plane.notes,
                *_of_filled(filled),
            ),
            told_missing=filled,
            finish=dff,
            unusable=unusable,
            source=plane.source,
        )

    def _found(self, path: Path) -> Plane:
        """The plane that a folder means, or several side by side."""
        if (path / "F.npy").is_file():
            return self._read(path)
        if (path / "combined" / "F.npy").is_file():
            return self._read(path / "combined")
        above = path / "suite2p" if (path / "suite2p").is_dir() else path
        if above != path and (above / "combined" / "F.npy").is_file():
            return self._read(above / "combined")
        folders = sorted((one.parent for one in above.glob("plane*/F.npy")), key=_number)
        if not folders:
            below = sorted(found.parent for found in path.glob("**/F.npy"))
            hint = f"; did you mean {below[0]}?" if below else ""
            raise UserError(f"{path}: holds no F.npy, expected a plane's folder as suite2p leaves it{hint}")
        planes = [self._read(folder) for folder in folders]
        return planes[0] if len(planes) == 1 else _side_by_side(path, planes, folders)

    def _read(self, folder: Path) -> Plane:
        raw = _array(folder / "F.npy")
        if raw.ndim != 2:
            raise UserError(f"{folder / 'F.npy'}: an array of shape {raw.shape}, expected cells × frames")
        neuropil = None
        if self.neuropil_coefficient != 0:
            neuropil = _array(folder / "Fneu.npy")
            if neuropil.shape != raw.shape:
                raise UserError(
                    f"{folder / 'Fneu.npy'}: shape {neuropil.shape}, expected that of F.npy, {raw.shape}"
                )
        iscell = folder / "iscell.npy"
        accepted = _array(iscell) if self.cells is None and self.cells_only and iscell.is_file() else None
        rate, told_by = told_frame_rate(folder)
        return self.plane(folder / "F.npy", raw, neuropil, accepted, rate, told_by)

    def plane(
        self,
        source: Path,
        raw: NDArray[Any],
        neuropil: NDArray[Any] | None,
        accepted: NDArray[Any] | None,
        frame_rate: float | None,
        told_by: str,
    ) -> Plane:
        """A plane of arrays as suite2p has them.

        Args:
            accepted: ``iscell``, ``(ROIs, 2)``; None takes every ROI.
        """
        total = len(raw)
        if self.cells is not None:
            rows = [int(row) for row in self.cells]
            wrong = [row for row in rows if not 0 <= row < total]
            if wrong:
                raise UserError(f"{source}: no row {wrong[0]}, expected 0 to {total - 1}")
        elif accepted is not None:
            if accepted.ndim != 2 or len(accepted) != total:
                raise UserError(
                    f"{source}: iscell has the shape {accepted.shape}, expected ({total}, 2) as F"
                )
            rows = [int(row) for row in np.flatnonzero(accepted[:, 0] > 0)]
        else:
            rows = list(range(total))
        filled = np.zeros(raw.shape, bool) if neuropil is None else (raw == 0) & (neuropil == 0)
        if filled.any():
            raw = np.where(filled, np.nan, raw)
        names = tuple(f"roi{row}" for row in range(total))
        return Plane(raw, neuropil, filled, names, tuple(rows), frame_rate, told_by, source)

    def _dff(
        self, names: Sequence[str], corrected: NDArray[Any], rate: float, unusable: dict[str, str]
    ) -> NDArray[np.float32]:
        """dF/F ``(T, N)`` from Fc ``(T, N)``; NaN, and why in ``unusable``, where F₀ is not above 0."""
        x = np.full(corrected.shape, np.nan, dtype=np.float32)
        for n, name in enumerate(names):
            trace = corrected[:, n]
            if not np.isfinite(trace).any() or np.isinf(trace).any():
                x[:, n] = trace  # of no use, which the doubts say
                continue
            rest = rolling_percentile(trace, rate, self.percentile, self.window_seconds)
            if np.all(rest > 0):
                x[:, n] = (trace - rest) / rest
            else:
                unusable[name] = (
                    f"its baseline falls to {rest.min():.3g} after subtracting {self.neuropil_coefficient:g} "
                    "× neuropil, expected it above 0: no dF/F can be computed of it"
                )
        return x


def _side_by_side(path: Path, planes: Sequence[Plane], folders: Sequence[Path]) -> Plane:
    """Planes as one; the shorter ones with missing frames at their end."""
    told = {plane.frame_rate: plane.told_by for plane in planes if plane.frame_rate is not None}
    if len(told) > 1:
        found = ", ".join(f"{rate:g}" for rate in sorted(told))
        raise UserError(f"{path}: planes of different frame rates ({found} Hz), expected one; name a plane")
    rate, told_by = next(iter(told.items()), (None, ""))
    silent = [folder.name for plane, folder in zip(planes, folders, strict=True) if plane.frame_rate is None]
    without = [folder.name for plane, folder in zip(planes, folders, strict=True) if not plane.accepted]
    notes = []
    if told and silent:
        notes.append(f"{', '.join(silent)} does not tell its frame rate and is taken to have the others'")
    if without:
        notes.append(f"{', '.join(without)}: no ROI is accepted, none is taken")
    frames = max(plane.raw.shape[1] for plane in planes)

    def longer(values: NDArray[Any], end: Any = np.nan) -> NDArray[Any]:
        return np.pad(values, ((0, 0), (0, frames - values.shape[1])), constant_values=end)

    names, accepted = list[str](), list[int]()
    for plane, folder in zip(planes, folders, strict=True):
        accepted += [len(names) + row for row in plane.accepted]
        names += [f"{folder.name}_{name}" for name in plane.names]
    neuropil = [plane.neuropil for plane in planes if plane.neuropil is not None]
    return replace(
        planes[0],
        raw=np.concatenate([longer(plane.raw.astype(float)) for plane in planes]),
        neuropil=np.concatenate([longer(one.astype(float)) for one in neuropil]) if neuropil else None,
        filled=np.concatenate([longer(plane.filled, True) for plane in planes]),
        names=tuple(names),
        accepted=tuple(accepted),
        frame_rate=rate,
        told_by=told_by,
        source=path,
        notes=tuple(notes),
    )


def _number(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.name) or 0)


def _of_filled(filled: NDArray[np.bool_]) -> list[str]:
    rois = int((filled.any(axis=1) & ~filled.all(axis=1)).sum())
    return [f"{rois} ROIs lack frames (filled with 0, or of a shorter plane): missing frames"] if rois else []


def told_frame_rate(folder: Path) -> tuple[float | None, str]:
    """``fs`` of the settings beside the arrays, in Hz, and what tells it; an unreadable file tells none.

    Raises:
        UserError: for two files that tell different ones; one is left of an earlier run.
    """
    told = dict[str, float]()
    for name in _SETTINGS:
        if (folder / name).is_file():
            try:
                rate = positive(dict_of_npy(folder / name).get("fs"))
            except Exception:
                continue
            if rate is not None:
                told[name] = rate
    if len(set(told.values())) > 1:
        found = ", ".join(f"{rate:g} Hz in {name}" for name, rate in told.items())
        raise UserError(f"{folder}: 'fs' is {found}, expected one frame rate; move the older file away")
    return next(((rate, f"'fs' in {name}") for name, rate in told.items()), (None, ""))


def positive(value: Any) -> float | None:
    """A positive finite number, however it was saved; None for anything else."""
    try:
        rate = float(np.asarray(value).ravel()[0])
    except (TypeError, ValueError, IndexError):
        return None
    return rate if np.isfinite(rate) and rate > 0 else None


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
