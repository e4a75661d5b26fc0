"""A user's own traces: reading the usual files, and refusing what inference could not make sense of.

Everything ends as ``(T, N)`` float32, frames before cells, with a frame rate in Hz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.io
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.data.csv_traces import read_csv
from dfp.data.preprocess import rolling_percentile

Orientation = Literal["time_first", "cells_first"]

_TABLES = (".csv", ".tsv", ".txt")
_SUFFIXES = (".npy", ".npz", *_TABLES, ".mat")


@dataclass(frozen=True, eq=False)
class Traces:
    """Fluorescence of N cells.

    Attributes:
        x: ``(T, N)`` float32; dF/F, or whatever the file held.
        frame_rate: Hz.
        names: N cell names.
    """

    x: NDArray[np.float32]
    frame_rate: float
    names: tuple[str, ...]


def load_traces(
    path: Path | str,
    frame_rate: float | None = None,
    key: str | None = None,
    orientation: Orientation | None = None,
    allow_nan: bool = False,
    max_nan_fraction: float = 0.5,
) -> Traces:
    """Read and check traces: ``.npy``, ``.npz``, ``.csv`` (``.tsv``, ``.txt``), ``.mat`` (up to version 7) or
    a suite2p folder.

    * ``.npy``: one array, ``(T,)`` or two-dimensional.
    * ``.npz``, ``.mat``: the array named ``key`` (``data.dff`` for a field of a struct); without it, the only
      one that is numeric with more than one value. A number named ``frame_rate``, ``fs`` or ``framerate`` in
      the file gives the frame rate.
    * ``.csv``, ``.tsv``, ``.txt``: a column a cell, an optional header row with names, columns parted by
      commas, semicolons, tabs or spaces (``read_csv``). A column named ``time`` or ``t`` holds seconds,
      ``time_ms`` milliseconds, and gives the frame rate; one named ``frame`` or ``index`` that counts the
      rows is left out. Empty fields are NaN.
    * a folder with ``F.npy`` is read by ``load_suite2p`` with its standard settings.

    Args:
        frame_rate: Hz; needed when the file does not tell it, and refused when it contradicts the file by
            more than 1%.
        orientation: ``"time_first"`` (rows are frames) or ``"cells_first"`` (rows are cells). When not given,
            rows are frames, and more cells than frames are refused as looking transposed.
        allow_nan, max_nan_fraction: as in ``check_traces``.

    Raises:
        UserError: for a missing or unreadable file, an unknown frame rate, or what ``check_traces`` refuses.
    """
    path = Path(path)
    if path.is_dir():
        return load_suite2p(path, frame_rate, allow_nan=allow_nan)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, expected traces as {', '.join(_SUFFIXES)} or a suite2p folder"
        )
    if orientation not in (None, "time_first", "cells_first"):
        raise UserError(f"{path}: orientation is '{orientation}', expected 'time_first' or 'cells_first'")
    suffix = path.suffix.lower()
    names: Sequence[str] | None = None
    stored_rate: float | None = None
    if suffix == ".npy":
        values = _read_array(path)
    elif suffix == ".npz":
        values, stored_rate = _pick(path, _read_npz(path), key)
    elif suffix == ".mat":
        values, stored_rate = _pick(path, _read_mat(path), key)
    elif suffix in _TABLES:
        values, names, stored_rate = read_csv(path)
    else:
        raise UserError(
            f"{path}: unknown kind of file '{path.suffix}', expected one of {', '.join(_SUFFIXES)}"
        )
    if values.dtype.kind not in "fiub":
        raise UserError(f"{path}: values of type {values.dtype}, expected real numbers")
    if values.ndim == 1:
        values, orientation = values[:, None], "time_first"
    elif orientation == "cells_first" and values.ndim == 2:
        values, orientation, names = values.T, "time_first", None
    x = np.ascontiguousarray(values, dtype=np.float32)
    check_traces(
        x,
        str(path),
        orientation=orientation,
        allow_nan=allow_nan,
        max_nan_fraction=max_nan_fraction,
        names=names,
    )
    return Traces(x, _frame_rate(path, frame_rate, stored_rate), _names(names, x.shape[1]))


def check_traces(
    x: NDArray[Any],
    source: str,
    *,
    orientation: Orientation | None = None,
    allow_nan: bool = False,
    max_nan_fraction: float = 0.5,
    names: Sequence[str] | None = None,
) -> None:
    """Refuse traces that inference could not make sense of.

    Args:
        x: ``(T, N)``.
        source: the file, named in every message.
        orientation: given by the user, it silences the check for a transposed array.
        allow_nan: accept NaN frames, up to ``max_nan_fraction`` of each cell's.
        names: cell names for the messages.

    Raises:
        UserError: for a wrong number of dimensions, fewer than two frames, more cells than frames, infinite
            values, NaN (where first, in which cell, how many), a cell of NaN alone, or a constant trace.
    """
    values = np.asarray(x)
    if values.ndim != 2:
        raise UserError(
            f"{source}: an array of shape {values.shape}, expected two dimensions, frames × cells"
        )
    frames, cells = values.shape
    if frames == 1 and cells >= 10 and orientation is None:
        raise UserError(
            f"{source}: 1 frames × {cells} cells looks transposed, expected more frames than cells; set "
            "orientation to 'cells_first' (--orientation cells_first) if the row is a cell"
        )
    if frames < 2 or cells < 1:
        raise UserError(f"{source}: {frames} frames × {cells} cells, expected at least 2 frames and 1 cell")
    if cells > frames and orientation is None:
        raise UserError(
            f"{source}: {frames} frames × {cells} cells looks transposed, expected more frames than cells; "
            "set orientation (--orientation) to 'cells_first' if rows are cells, or to 'time_first' if there "
            "really are fewer frames"
        )
    labels = _names(names, cells)
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        frame, cell = infinite[0]
        raise UserError(
            f"{source}: {len(infinite)} infinite values, first at frame {frame} of {labels[cell]}, expected "
            "finite numbers"
        )
    missing = np.isnan(values)
    for cell in np.flatnonzero(missing.all(axis=0))[:1]:
        raise UserError(
            f"{source}: every frame of {labels[cell]} is NaN, expected a trace; leave the cell out"
        )
    if missing.any() and not allow_nan:
        frame, cell = np.argwhere(missing)[0]
        raise UserError(
            f"{source}: {int(missing.sum())} NaN values in {int(missing.any(axis=0).sum())} of {cells} "
            f"cells, first at frame {frame} of {labels[cell]}, expected none; set allow_nan (--allow-nan) to "
            "treat them as missing frames"
        )
    share = missing.mean(axis=0)
    worst = int(share.argmax())
    if share[worst] > max_nan_fraction:
        raise UserError(
            f"{source}: {share[worst]:.0%} of the frames of {labels[worst]} are NaN, expected at most "
            f"{max_nan_fraction:.0%}"
        )
    constant = np.flatnonzero(np.nanmax(values, axis=0) == np.nanmin(values, axis=0))
    if len(constant):
        raise UserError(
            f"{source}: the trace of {labels[constant[0]]} is constant"
            + (f" (and {len(constant) - 1} more)" if len(constant) > 1 else "")
            + ", expected fluorescence that varies; leave the cell out"
        )


def load_suite2p(
    folder: Path | str,
    frame_rate: float | None,
    *,
    neuropil_coefficient: float = 0.7,
    percentile: float = 8.0,
    window_seconds: float = 60.0,
    cells_only: bool = True,
    cells: Sequence[int] | None = None,
    allow_nan: bool = False,
) -> Traces:
    """dF/F from suite2p's raw fluorescence: (Fc − F₀) / F₀, Fc = F − c · Fneu, F₀ a rolling percentile.

    Args:
        folder: holds ``F.npy`` and, unless c = 0, ``Fneu.npy``, both cells × frames (suite2p's ``plane0``).
        frame_rate: Hz; suite2p keeps it as ``fs`` in ``ops.npy``, which is a pickle and is not opened here.
        neuropil_coefficient: c.
        percentile, window_seconds: of the rolling baseline F₀.
        cells_only: keep only what ``iscell.npy``, if there, calls a cell.
        cells: keep these rows of ``F.npy``, counted from 0, in place of ``iscell.npy``.

    Returns:
        Traces with the names ``roi<row>``.

    Raises:
        UserError: for missing files, shapes that disagree, no cells left, or an F₀ that is not positive.
    """
    folder = Path(folder)
    if not (folder / "F.npy").is_file():
        planes = sorted(path.parent for path in folder.glob("**/F.npy"))
        hint = f"; did you mean {planes[0]}?" if planes else ""
        raise UserError(f"{folder}: holds no F.npy, expected a plane's folder as suite2p leaves it{hint}")
    raw = _read_array(folder / "F.npy")
    if raw.ndim != 2:
        raise UserError(f"{folder / 'F.npy'}: an array of shape {raw.shape}, expected cells × frames")
    rate = _frame_rate(folder, frame_rate, None, " (suite2p keeps it as 'fs' in ops.npy)")
    corrected = raw.astype(float)
    if neuropil_coefficient != 0:
        neuropil = _read_array(folder / "Fneu.npy")
        if neuropil.shape != raw.shape:
            raise UserError(
                f"{folder / 'Fneu.npy'}: shape {neuropil.shape}, expected that of F.npy, {raw.shape}"
            )
        corrected -= neuropil_coefficient * neuropil
    rows = _suite2p_rows(folder, len(raw), cells_only, cells)
    x = np.empty((raw.shape[1], len(rows)), dtype=np.float32)
    names = tuple(f"roi{row}" for row in rows)
    check_traces(
        corrected[rows].T, str(folder / "F.npy"), orientation="time_first", allow_nan=allow_nan, names=names
    )
    for n, row in enumerate(rows):
        rest = rolling_percentile(corrected[row], rate, percentile, window_seconds)
        if not np.all(rest > 0):
            raise UserError(
                f"{folder}: the baseline of {names[n]} falls to {rest.min():.3g} after subtracting "
                f"{neuropil_coefficient} × "
                "neuropil, expected it above 0; lower neuropil_coefficient or leave the cell out with 'cells'"
            )
        x[:, n] = (corrected[row] - rest) / rest
    return Traces(x, rate, names)


def _suite2p_rows(folder: Path, total: int, cells_only: bool, cells: Sequence[int] | None) -> list[int]:
    if cells is not None:
        rows = [int(row) for row in cells]
        wrong = [row for row in rows if not 0 <= row < total]
        if wrong:
            raise UserError(f"{folder / 'F.npy'}: no row {wrong[0]}, expected 0 to {total - 1}")
    elif cells_only and (folder / "iscell.npy").is_file():
        accepted = _read_array(folder / "iscell.npy")
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


def _names(names: Sequence[str] | None, cells: int) -> tuple[str, ...]:
    return tuple(names) if names is not None else tuple(f"cell{n}" for n in range(cells))


def _frame_rate(path: Path, given: float | None, stored: float | None, hint: str = "") -> float:
    rate = stored if given is None else float(given)
    if rate is None:
        raise UserError(
            f"{path}: does not tell its frame rate, expected frame_rate (--frame-rate) in Hz to be "
            f"given{hint}"
        )
    if not (np.isfinite(rate) and rate > 0):
        raise UserError(f"{path}: a frame rate of {rate}, expected a positive number of Hz")
    if given is not None and stored is not None and abs(stored / rate - 1) > 0.01:
        raise UserError(
            f"{path}: holds a frame rate of {stored:.4g} Hz, but frame_rate is given as {rate:.4g} Hz"
        )
    return rate


def _read_array(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:
        # As with a damaged .npz file below, what NumPy raises depends on where it gives up.
        raise UserError(f"{path}: could not be read as an array of numbers ({error})") from None


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files:
                # An object array next to the traces is no reason to refuse them.
                try:
                    arrays[name] = stored[name]
                except ValueError:
                    continue
    except Exception as error:
        # A damaged zip fails in many ways (BadZipFile, zlib.error, EOFError, …): all mean the same to the
        # user.
        raise UserError(f"{path}: could not be read as an .npz file ({error})") from None
    return arrays


def _read_mat(path: Path) -> dict[str, NDArray[Any]]:
    try:
        content = scipy.io.loadmat(path)
    except NotImplementedError:
        raise UserError(
            f"{path}: a MATLAB file of version 7.3 (HDF5), expected version 7 or below; save it with '-v7'"
        ) from None
    except Exception as error:
        # scipy raises whatever a damaged file happens to trip over.
        raise UserError(f"{path}: could not be read as a MATLAB file ({error})") from None
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in content.items():
        if not name.startswith("__"):
            arrays |= _unfolded(name, np.asarray(value))
    return arrays


def _unfolded(name: str, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """An array by its name; of a MATLAB struct, its fields as ``name.field``."""
    if value.dtype.names is None or value.size != 1:
        return {name: value}
    found: dict[str, NDArray[Any]] = {}
    for field in value.dtype.names:
        found |= _unfolded(f"{name}.{field}", np.asarray(value.ravel()[0][field]))
    return found


def _pick(path: Path, arrays: dict[str, NDArray[Any]], key: str | None) -> tuple[NDArray[Any], float | None]:
    """The array to use, and the frame rate that the file holds next to it."""
    numeric = {name: value for name, value in arrays.items() if value.dtype.kind in "fiub" and value.size > 1}
    rates = [arrays[name] for name in arrays if name.split(".")[-1] in ("frame_rate", "framerate", "fs")]
    rate = (
        float(rates[0].ravel()[0]) if rates and rates[0].size == 1 and rates[0].dtype.kind in "fiu" else None
    )
    listed = ", ".join(sorted(arrays)) or "nothing"
    if key is None:
        if len(numeric) != 1:
            raise UserError(
                f"{path}: holds {len(numeric)} arrays that could be traces ({listed}), expected 'key' "
                "(--key) to name one"
            )
        key = next(iter(numeric))
    elif key not in arrays:
        raise UserError(f"{path}: no key '{key}'{suggest(key, arrays)}, expected one of {listed}")
    chosen = arrays[key]
    # MATLAB has no one-dimensional arrays: a row or a column is one trace.
    if path.suffix.lower() == ".mat" and chosen.ndim == 2 and 1 in chosen.shape:
        chosen = chosen.ravel()
    return chosen, rate
