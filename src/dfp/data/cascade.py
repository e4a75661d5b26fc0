"""Files of CASCADE's collection of recordings with ground truth, in two layouts (``data.recordings``)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from dfp.core.errors import UserError
from dfp.data.readers.cascade import segments_of_mat, segments_of_npz
from dfp.data.recording import Recording, cell_label, counted

#: The environment variable that names the folder of recordings when none is given.
FOLDER_VARIABLE = "DFP_RECORDINGS"
_HOW_TO_GET = (
    "get the folder Ground_truth/ of the public repository github.com/HelmchenLabSoftware/Cascade and name "
    "it with "
    f"'recordings' in the configuration or the environment variable {FOLDER_VARIABLE}"
)


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
    for one in segments_of_npz(path):
        source = sources.get(one.name, path.name)
        yield counted(one.name, _indicator(path), one.dff, one.frame_rate, one.spike_times, source)


def read_cascade_mat(
    path: Path | str, name: str | None = None, indicator: str = "unknown"
) -> list[Recording]:
    """Read one ``.mat`` file of the public repository.

    Each struct of ``CAttached`` is a recording (``segments_of_mat``).

    Args:
        name: the beginning of the recordings' names; by default the file's.

    Raises:
        UserError: when the file cannot be read or does not hold ``CAttached``.
    """
    path = Path(path)
    label = path.stem if name is None else name
    if not path.is_file():
        raise UserError(f"{path}: no such file; {_HOW_TO_GET}")
    return [
        counted(f"{label}_{one.name}", indicator, one.dff, one.frame_rate, one.spike_times, str(path.name))
        for one in segments_of_mat(path)
    ]
