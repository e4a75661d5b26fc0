"""Files of CASCADE's collection of recordings with ground truth, in two layouts (``data.recordings``)."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from dfp.core.errors import UserError
from dfp.data.recording import Recording, cell_label, counted

#: The environment variable that names the folder of recordings when none is given.
FOLDER_VARIABLE = "DFP_RECORDINGS"
_HOW_TO_GET = (
    "get the folder Ground_truth/ of the public repository github.com/HelmchenLabSoftware/Cascade and name "
    "it with "
    f"'recordings' in the configuration or the environment variable {FOLDER_VARIABLE}"
)
_KEY = re.compile(r"^(?P<cell>.+)_s\d+_dff$")


def recordings_in(folder: Path | str | None) -> Path:
    """The folder, or the one that the environment names; raises ``UserError`` where there is none."""
    if folder is None:
        named = os.environ.get(FOLDER_VARIABLE)
        if not named:
            raise UserError(f"recordings: no folder was given, expected one; {_HOW_TO_GET}")
        folder = named
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"{path}: no such folder of recordings; {_HOW_TO_GET}")
    return path


def datasets(folder: Path) -> list[Path]:
    """``DS*.npz`` files, or else ``DS*`` folders of ``.mat`` files, here or in ``Ground_truth/``."""
    for place in (folder, folder / "Ground_truth"):
        compact = sorted(place.glob("DS*.npz"))
        original = sorted(path for path in place.glob("DS*") if path.is_dir() and any(path.glob("*.mat")))
        if compact or original:
            return compact or original
    raise UserError(
        f"{folder}: holds no recordings, expected DS*.npz files or DS* folders of .mat files; {_HOW_TO_GET}"
    )


def short_name(path: Path) -> str:
    """``DS09`` of ``DS09-GCaMP6f-….npz`` or of a folder so named."""
    return path.name.split("-")[0].removesuffix(".npz")


def _indicator(path: Path) -> str:
    parts = path.name.removesuffix(".npz").split("-")
    # Names such as R-CaMP hold a hyphen of their own.
    return (
        "-".join(parts[1:3]) if parts[1:3] == ["R", "CaMP"] else (parts[1] if len(parts) > 1 else "unknown")
    )


def read_dataset(path: Path) -> Iterator[Recording]:
    """All recordings of a ``DS*.npz`` file or ``DS*`` folder; raises ``UserError`` for a broken file."""
    if path.is_dir():
        for file in sorted(path.glob("*.mat")):
            yield from read_cascade_mat(file, f"{short_name(path)}_{cell_label(file.name)}", _indicator(path))
    else:
        yield from _read_npz(path)


def _sources(index: Path) -> dict[str, str]:
    """Recording name → source file, from ``index.csv`` if there is one."""
    if not index.is_file():
        return {}
    with index.open(newline="", encoding="utf-8") as file:
        return {
            row["key"]: row["source_file"]
            for row in csv.DictReader(file)
            if row.get("key") and row.get("source_file")
        }


def _read_npz(path: Path) -> Iterator[Recording]:
    sources = _sources(path.parent / "index.csv")
    try:
        with np.load(path) as stored:
            for key in sorted(stored):
                if not _KEY.match(key):
                    continue
                name = key.removesuffix("_dff")
                dff = stored[key].astype(np.float32)
                interval = float(stored[f"{name}_dt"])
                times = stored[f"{name}_spk"].astype(float)
                # In this layout a time of 0 is the centre of the first frame whose time is known: frames that
                # are missing at the beginning (DS07) have to be added, and half a frame brings it to the
                # frame's beginning.
                finite = np.flatnonzero(np.isfinite(dff))
                missing = int(finite[0]) if finite.size else 0
                times = times + (missing + 0.5) * interval
                yield counted(name, _indicator(path), dff, 1 / interval, times, sources.get(name, path.name))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: could not be read, expected keys DSnn_cCC_sSS_dff, _spk and _dt for each recording "
            f"({error})"
        ) from None


def read_cascade_mat(
    path: Path | str, name: str | None = None, indicator: str = "unknown"
) -> list[Recording]:
    """Read one ``.mat`` file of the public repository: a recording for each struct of ``CAttached``.

    Frames and spikes share one clock: frame n is centred at ``fluo_time[n]``. The frame interval is the mean
    one between the first and the last known time (the times of one frame are rounded), and the time of the
    first frame follows from all known times, so that missing times (NaN) at the beginning do no harm. Structs
    without two timed frames are left out.

    Args:
        name: the beginning of the recordings' names; by default the file's.

    Raises:
        UserError: when the file cannot be read or does not hold ``CAttached``.
    """
    path = Path(path)
    label = path.stem if name is None else name
    try:
        content = scipy.io.loadmat(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_HOW_TO_GET}") from None
    except (OSError, ValueError, NotImplementedError, TypeError) as error:
        raise UserError(f"{path}: not a MATLAB file that can be read ({error})") from None
    if "CAttached" not in content:
        raise UserError(f"{path}: holds no variable 'CAttached', expected CASCADE's format of ground truth")
    recordings = []
    for segment, entry in enumerate(content["CAttached"].ravel()):
        struct: Any = entry.ravel()[0] if isinstance(entry, np.ndarray) and entry.size else None
        fields = () if struct is None else struct.dtype.names or ()
        missing = [field for field in ("fluo_time", "fluo_mean", "events_AP") if field not in fields]
        if missing:
            raise UserError(
                f"{path}: recording {segment} has no field '{missing[0]}', expected CASCADE's format"
            )
        time = np.asarray(struct["fluo_time"], dtype=float).ravel()
        dff = np.asarray(struct["fluo_mean"], dtype=np.float32).ravel()
        if len(time) != len(dff):
            raise UserError(
                f"{path}: recording {segment} has {len(dff)} frames and {len(time)} times, expected as many"
            )
        timed = np.flatnonzero(np.isfinite(time))
        if len(timed) < 2:
            continue
        interval = (time[timed[-1]] - time[timed[0]]) / (timed[-1] - timed[0])
        if not interval > 0:
            raise UserError(
                f"{path}: recording {segment} has times that do not rise, expected seconds in order"
            )
        start = np.nanmedian(time - np.arange(len(time)) * interval) - 0.5 * interval
        spikes = np.asarray(struct["events_AP"], dtype=float).ravel() / 1e4
        times = spikes[np.isfinite(spikes)] - start
        recordings.append(
            counted(f"{label}_s{segment:02d}", indicator, dff, float(1 / interval), times, str(path.name))
        )
    return recordings
