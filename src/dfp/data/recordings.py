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

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfp.core.errors import UserError, suggest
from dfp.data.cascade import datasets, read_dataset, recordings_in, short_name
from dfp.data.preprocess import correct_baseline
from dfp.data.recording import Recording, resample_recording


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
    folder = recordings_in(folder)
    wanted = None if cells is None else list(cells)
    found: list[Recording] = []
    places = datasets(folder)
    known: list[str] = [short_name(path) for path in places]
    used: set[str] = set()
    for path in places:
        short, full = short_name(path), path.name.removesuffix(".npz")
        if wanted is not None and not any(
            entry in (short, full) or entry.startswith(f"{short}_") for entry in wanted
        ):
            continue
        for recording in read_dataset(path):
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
                f"({short_name(places[0])}), "
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


def has_recordings(folder: Path | str) -> bool:
    """Whether ``folder`` holds recordings in one of the layouts."""
    try:
        return bool(datasets(recordings_in(folder)))
    except UserError:
        return False
