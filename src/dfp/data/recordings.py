"""Recordings with ground truth: calcium imaging of one cell together with its electrically recorded spikes.

The collection is that of CASCADE (Rupprecht et al. 2021, Nat. Neurosci. 24:1324), folder ``Ground_truth/`` of
the public repository HelmchenLabSoftware/Cascade. None of it is shipped here: its licence and those of the
laboratories apply. Two layouts can be read:

* the repository's own: ``DSnn-…/*.mat``, each a MATLAB cell array ``CAttached`` of structs with ``fluo_time``
  (s), ``fluo_mean`` (dF/F) and ``events_AP`` (spike times in units of 10⁻⁴ s);
* a compact one: one ``DSnn-….npz`` a data set with keys ``DSnn_cCC_sSS_{dff,spk,dt}`` (cell CC, segment SS)
  and an ``index.csv``.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.data.preprocess import (
    TraceEstimates,
    add_noise_to_level,
    average_frames,
    correct_baseline,
    initial_estimates,
    noise_level,
    noise_sd,
    rolling_percentile,
)

__all__ = [
    "FOLDER_VARIABLE",
    "Recording",
    "TraceEstimates",
    "add_noise_to_level",
    "average_frames",
    "correct_baseline",
    "initial_estimates",
    "load_recordings",
    "noise_level",
    "noise_sd",
    "read_cascade_mat",
    "resample_recording",
    "rolling_percentile",
]

#: The environment variable that names the folder of recordings when none is given.
FOLDER_VARIABLE = "DFP_RECORDINGS"
_HOW_TO_GET = (
    "get the folder Ground_truth/ of the public repository github.com/HelmchenLabSoftware/Cascade and name "
    "it with "
    f"'recordings' in the configuration or the environment variable {FOLDER_VARIABLE}"
)
_KEY = re.compile(r"^(?P<cell>.+)_s\d+_dff$")
# Rates this close are taken as equal: 30.048 Hz is left alone when 30 Hz is asked for.
_RATE_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Recording:
    """One uninterrupted recording of one cell.

    Attributes:
        name: e.g. ``DS09_c00_s01``: data set, cell, segment. All segments of a cell share what is before
            ``_s``.
        indicator: the calcium indicator, as in the name of the data set (``GCaMP6f``).
        dff: ``(T,)`` float32 dF/F as a fraction; NaN marks a missing frame.
        frame_rate: Hz.
        spike_times: ``(K,)`` seconds from the beginning of the first frame; frame n covers [n, n + 1) /
            frame_rate.
        spike_counts: ``(T,)`` int spikes in each frame; more than one is common.
        source: the file it came from.
    """

    name: str
    indicator: str
    dff: NDArray[np.float32]
    frame_rate: float
    spike_times: NDArray[np.float64]
    spike_counts: NDArray[np.int64]
    source: str

    @property
    def cell(self) -> str:
        """The name without its segment: the unit of every statistic."""
        return self.name.rsplit("_s", 1)[0]

    @property
    def original(self) -> str:
        """The cell by its public file, ``DS09_Chen2013_GC6f_cell1B_full``: the same in every layout."""
        return f"{self.name.split('_')[0]}_{_label(Path(self.source).name)}"

    @property
    def spikes(self) -> NDArray[np.int8]:
        """``(T,)``, 1 where a frame holds at least one spike. ``saturation`` says how much that loses."""
        return (self.spike_counts > 0).astype(np.int8)

    @property
    def saturation(self) -> float:
        """The fraction of the spikes that a binary latent of one bin a frame cannot hold."""
        total = int(self.spike_counts.sum())
        return 1.0 - float(self.spikes.sum()) / total if total else 0.0

    @property
    def nan_fraction(self) -> float:
        """The fraction of the frames that are NaN."""
        return float(np.isnan(self.dff).mean())

    @property
    def noise_level(self) -> float:
        """ν in % / √Hz, see ``noise_level``."""
        return noise_level(self.dff, self.frame_rate)

    def counts(self, bins_per_frame: int = 1) -> NDArray[np.int64]:
        """``(T · bins_per_frame,)`` spikes in each of several equal bins a frame."""
        edges = np.arange(len(self.dff) * bins_per_frame + 1) / (self.frame_rate * bins_per_frame)
        return np.histogram(self.spike_times, edges)[0].astype(np.int64)


def _recording(
    name: str,
    indicator: str,
    dff: NDArray[np.float32],
    frame_rate: float,
    spike_times: NDArray[np.float64],
    source: str,
) -> Recording:
    """Count the spikes into frames; times outside the imaging are dropped."""
    end = len(dff) / frame_rate
    inside = np.sort(spike_times[(spike_times >= 0) & (spike_times < end)])
    counts = np.histogram(inside, np.arange(len(dff) + 1) / frame_rate)[0].astype(np.int64)
    return Recording(name, indicator, dff, frame_rate, inside, counts, source)


def load_recordings(
    folder: Path | str | None,
    cells: Sequence[str] | None = None,
    frame_rate: float | None = None,
    max_nan_fraction: float = 1.0,
    baseline_window_seconds: float | None = None,
) -> list[Recording]:
    """Load recordings, in the order of their names.

    Args:
        folder: a folder in one of the two layouts; None takes the one named by the environment variable
            ``DFP_RECORDINGS``.
        cells: what to load: each entry a data set (``DS09`` or its full name), a cell (``DS09_c00``, all its
            segments) or one recording (``DS09_c00_s00``). None loads everything.
        frame_rate: average the frames to this rate in Hz; recordings within 2% of it stay as they are.
        max_nan_fraction: recordings with a larger share of NaN frames are left out. NaN frames are never
            filled in.
        baseline_window_seconds: with a width, subtract a rolling 20th percentile of that width
            (``correct_baseline``).

    Raises:
        UserError: when the folder is missing or holds no recordings, an entry of ``cells`` matches none, or a
            recording's frames come more slowly than ``frame_rate``.
    """
    folder = _folder(folder)
    wanted = None if cells is None else list(cells)
    found: list[Recording] = []
    datasets = _datasets(folder)
    known: list[str] = [_short(path) for path in datasets]
    used: set[str] = set()
    for path in datasets:
        short, full = _short(path), path.name.removesuffix(".npz")
        if wanted is not None and not any(
            entry in (short, full) or entry.startswith(f"{short}_") for entry in wanted
        ):
            continue
        for recording in _read_dataset(path):
            names = (recording.cell, recording.name, recording.original)
            known += names
            if wanted is not None:
                hits = {entry for entry in wanted if entry in (short, full, *names)}
                if not hits:
                    continue
                used |= hits
            if recording.nan_fraction <= max_nan_fraction:
                found.append(recording)
    for entry in wanted or []:
        if entry not in used:
            raise UserError(
                f"{folder}: no recording '{entry}'{suggest(entry, known)}, expected a data set "
                f"({_short(datasets[0])}), "
                "a cell or a recording of this folder"
            )
    if not found:
        raise UserError(
            f"{folder}: every recording that was asked for has more than {max_nan_fraction:.0%} NaN frames, "
            "expected "
            "a larger max_nan_fraction or other cells"
        )
    found = [_prepared(recording, frame_rate, baseline_window_seconds) for recording in found]
    return sorted(found, key=lambda recording: recording.name)


def _prepared(recording: Recording, frame_rate: float | None, window: float | None) -> Recording:
    if frame_rate is not None:
        recording = resample_recording(recording, frame_rate)
    if window is not None and recording.nan_fraction < 1:
        recording = replace(
            recording, dff=correct_baseline(recording.dff, recording.frame_rate, window_seconds=window)
        )
    return recording


def resample_recording(recording: Recording, frame_rate: float) -> Recording:
    """Average the frames to ``frame_rate`` Hz and count the spikes anew; within 2% nothing is changed.

    Raises:
        UserError: when the recording's own frame rate is lower.
    """
    if abs(recording.frame_rate / frame_rate - 1) <= _RATE_TOLERANCE:
        return recording
    if recording.frame_rate < frame_rate:
        raise UserError(
            f"{recording.name}: imaged at {recording.frame_rate:.4g} Hz and {frame_rate:.4g} Hz was asked "
            "for, expected a "
            "rate that is not higher (averaging frames cannot add any)"
        )
    dff = average_frames(recording.dff, recording.frame_rate, frame_rate).astype(np.float32)
    return _recording(
        recording.name, recording.indicator, dff, frame_rate, recording.spike_times, recording.source
    )


def has_recordings(folder: Path | str) -> bool:
    """Whether ``folder`` holds recordings in one of the layouts."""
    try:
        return bool(_datasets(_folder(folder)))
    except UserError:
        return False


def _folder(folder: Path | str | None) -> Path:
    if folder is None:
        named = os.environ.get(FOLDER_VARIABLE)
        if not named:
            raise UserError(f"recordings: no folder was given, expected one; {_HOW_TO_GET}")
        folder = named
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"{path}: no such folder of recordings; {_HOW_TO_GET}")
    return path


def _datasets(folder: Path) -> list[Path]:
    """``DS*.npz`` files, or else ``DS*`` folders of ``.mat`` files, here or in ``Ground_truth/``."""
    for place in (folder, folder / "Ground_truth"):
        compact = sorted(place.glob("DS*.npz"))
        original = sorted(path for path in place.glob("DS*") if path.is_dir() and any(path.glob("*.mat")))
        if compact or original:
            return compact or original
    raise UserError(
        f"{folder}: holds no recordings, expected DS*.npz files or DS* folders of .mat files; {_HOW_TO_GET}"
    )


def _short(path: Path) -> str:
    return path.name.split("-")[0].removesuffix(".npz")


def _label(file: str) -> str:
    """What tells a cell in the name of its file in the public repository."""
    return file.removesuffix(".mat").removeprefix("CAttached_").removesuffix("_mini")


def _indicator(path: Path) -> str:
    parts = path.name.removesuffix(".npz").split("-")
    # Names such as R-CaMP hold a hyphen of their own.
    return (
        "-".join(parts[1:3]) if parts[1:3] == ["R", "CaMP"] else (parts[1] if len(parts) > 1 else "unknown")
    )


def _read_dataset(path: Path) -> Iterator[Recording]:
    if path.is_dir():
        for file in sorted(path.glob("*.mat")):
            yield from read_cascade_mat(file, f"{_short(path)}_{_label(file.name)}", _indicator(path))
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
                yield _recording(
                    name, _indicator(path), dff, 1 / interval, times, sources.get(name, path.name)
                )
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
            _recording(f"{label}_s{segment:02d}", indicator, dff, float(1 / interval), times, str(path.name))
        )
    return recordings
