"""Files of CASCADE's collection of recordings with ground truth, in its two layouts (``data.recordings``)."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Reader, real, reason
from dfp.data.readers.mat import load_mat
from dfp.data.readers.mat73 import is_hdf5
from dfp.data.recording import cell_label

_KEY = re.compile(r"^(?P<cell>.+)_s\d+_dff$")


@dataclass(frozen=True, eq=False)
class Segment:
    """One uninterrupted stretch of a recording of one cell.

    Attributes:
        name: ``DS09_c00_s01``, or ``s01`` in a file of one cell.
        dff: ``(T,)`` float32 dF/F as a fraction; NaN marks a missing frame.
        frame_rate: Hz.
        spike_times: ``(K,)`` seconds from the beginning of the first frame.
        times: ``(T,)`` seconds of the frames' centres by the file's clock, where it tells them.
    """

    name: str
    dff: NDArray[np.float32]
    frame_rate: float
    spike_times: NDArray[np.float64]
    times: NDArray[np.float64] | None = None


class Cascade(Reader):
    """Fluorescence without the spikes that were recorded with it; one cell, each segment by its own key."""

    name: ClassVar[str] = "CASCADE"
    what: ClassVar[str] = "ground truth of CASCADE"
    summary: ClassVar[str] = (
        "the traces of its ground truth (`CAttached`, or keys `…_s00_dff`, `…_s00_spk`, `…_s00_dt`), a "
        "segment by `--key s00` or `--key DS09_c00_s00_dff`; the frame rate is the file's"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".mat", ".npz")
    looks_inside: ClassVar[bool] = True

    def recognises(self, path: Path) -> bool:
        if not super().recognises(path):
            return False
        if path.suffix.lower() == ".mat":
            if is_hdf5(path):
                return False
            import scipy.io

            return any(name == "CAttached" for name, _, _ in scipy.io.whosmat(path))
        with zipfile.ZipFile(path) as archive:
            keys = {name.removesuffix(".npy") for name in archive.namelist()}
        names = [key.removesuffix("_dff") for key in keys if _KEY.match(key)]
        return any({f"{name}_spk", f"{name}_dt"} <= keys for name in names)

    def parts(self, path: Path) -> Mapping[str, Part]:
        if path.suffix.lower() == ".npz":
            return {f"{one.name}_dff": _part(one, one.name) for one in segments_of_npz(path)}
        label = cell_label(path.name)
        return {one.name: _part(one, f"{label}_{one.name}") for one in segments_of_mat(path)}


def _part(segment: Segment, name: str) -> Part:
    return Part(
        segment.dff,
        names=(name,),
        frame_rate=segment.frame_rate,
        rate_from="'fluo_time'" if segment.times is not None else f"'{segment.name}_dt'",
        times=segment.times,
    )


def segments_of_npz(path: Path) -> list[Segment]:
    """The compact layout: keys ``DSnn_cCC_sSS_{dff,spk,dt}``.

    Raises:
        UserError: for a file that cannot be read, or lacks one of the keys.
    """
    segments = []
    try:
        with np.load(path) as stored:
            for key in sorted(stored):
                if not _KEY.match(key):
                    continue
                name = key.removesuffix("_dff")
                dff = real(path, stored[key]).astype(np.float32)
                interval = float(real(path, stored[f"{name}_dt"]))
                if not interval > 0:
                    raise UserError(f"{path}: {name}_dt is {interval}, expected seconds above 0")
                times = real(path, stored[f"{name}_spk"]).astype(float)
                # In this layout a time of 0 is the centre of the first frame whose time is known: frames that
                # are missing at the beginning (DS07) have to be added, and half a frame brings it to the
                # frame's beginning.
                finite = np.flatnonzero(np.isfinite(dff))
                missing = int(finite[0]) if finite.size else 0
                times = times + (missing + 0.5) * interval
                segments.append(Segment(name, dff, 1 / interval, times))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path}: could not be read, expected keys DSnn_cCC_sSS_dff, _spk and _dt for each recording "
            f"({reason(error)})"
        ) from error
    return segments


def segments_of_mat(path: Path) -> list[Segment]:
    """The public repository's layout: a segment for each struct of ``CAttached``.

    Frames and spikes share one clock: frame n is centred at ``fluo_time[n]``. The frame interval is the mean
    one between the first and the last known time (the times of one frame are rounded), and the time of the
    first frame follows from all known times, so that missing times (NaN) at the beginning do no harm. Structs
    without two timed frames are left out.

    Raises:
        UserError: when the file cannot be read or does not hold ``CAttached``.
    """
    try:
        content = load_mat(path)
    except Exception as error:
        # scipy raises whatever a damaged file happens to trip over
        raise UserError(f"{path}: not a MATLAB file that can be read ({reason(error)})") from error
    if "CAttached" not in content:
        raise UserError(f"{path}: holds no variable 'CAttached', expected CASCADE's format of ground truth")
    segments = []
    for number, entry in enumerate(content["CAttached"].ravel()):
        struct: Any = entry.ravel()[0] if isinstance(entry, np.ndarray) and entry.size else None
        fields = () if struct is None else getattr(struct, "dtype", np.dtype(float)).names or ()
        lacking = [field for field in ("fluo_time", "fluo_mean", "events_AP") if field not in fields]
        if lacking:
            raise UserError(
                f"{path}: recording {number} has no field '{lacking[0]}', expected CASCADE's format"
            )
        time = np.asarray(struct["fluo_time"], dtype=float).ravel()
        dff = real(path, np.asarray(struct["fluo_mean"])).astype(np.float32).ravel()
        if len(time) != len(dff):
            raise UserError(
                f"{path}: recording {number} has {len(dff)} frames and {len(time)} times, expected as many"
            )
        timed = np.flatnonzero(np.isfinite(time))
        if len(timed) < 2:
            continue
        interval = (time[timed[-1]] - time[timed[0]]) / (timed[-1] - timed[0])
        if not interval > 0:
            raise UserError(
                f"{path}: recording {number} has times that do not rise, expected seconds in order"
            )
        start = np.nanmedian(time - np.arange(len(time)) * interval) - 0.5 * interval
        spikes = np.asarray(struct["events_AP"], dtype=float).ravel() / 1e4
        times = spikes[np.isfinite(spikes)] - start
        segments.append(Segment(f"s{number:02d}", dff, float(1 / interval), times, time))
    return segments
