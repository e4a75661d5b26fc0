"""Neurodata Without Borders: fluorescence of ROIs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.readers.base import Part, Reader, check_readable
from dfp.data.readers.clock import by_clock
from dfp.data.readers.columns import placed

#: series of these names are no fluorescence of cells
_OTHERS = re.compile(r"neuropil|deconv|spike|event|background|inferred", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Series:
    """The numbers of a series, in its unit, when NumPy asks for them; the file stays open so long."""

    data: Any
    scale: float
    offset: float
    io: Any

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.data.dtype if (self.scale, self.offset) == (1.0, 0.0) else float)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = np.asarray(self.data[()])
        if (self.scale, self.offset) != (1.0, 0.0):
            values = values * self.scale + self.offset
        return values if dtype is None else values.astype(dtype)


class Nwb(Reader):
    """The ``RoiResponseSeries`` of a file by their paths: ``module/container/series``.

    The one in ``DfOverF`` is taken where there is one, else the one in ``Fluorescence``. Numbers are
    ``data · conversion + offset``; time is the first axis, as the format says, unless only the other one fits
    the ROIs. The clock is the series' ``rate`` or its ``timestamps``.
    """

    name: ClassVar[str] = "NWB"
    what: ClassVar[str] = "an NWB file"
    summary: ClassVar[str] = (
        "the `RoiResponseSeries` in `DfOverF`, else in `Fluorescence`, or `--key module/container/series`: "
        "data · conversion + offset; the frame rate from `rate` or `timestamps`; ROIs named by their ids"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".nwb",)
    install: ClassVar[str] = "pip install 'dfp[nwb]'"

    def parts(self, path: Path) -> Mapping[str, Part]:
        from pynwb import NWBHDF5IO

        check_readable(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions and cached namespaces, which change nothing here
            io = NWBHDF5IO(str(path), "r", load_namespaces=True)
            found = dict(_series(io.read()))
        if not found:
            raise UserError(f"{path}: holds no RoiResponseSeries, expected one in DfOverF or Fluorescence")
        traces = {key: one for key, one in found.items() if not _OTHERS.search(key)} or found
        kinds = {key: type(one.parent).__name__ for key, one in traces.items()}
        best = [key for key, kind in kinds.items() if kind == "DfOverF"]
        best = best or [key for key, kind in kinds.items() if kind == "Fluorescence"]
        return {key: _part(path, key, one, io, key in best) for key, one in found.items()}


def _series(file: Any) -> Iterator[tuple[str, Any]]:
    """Every series of ROIs by its path."""
    for module_name, module in file.processing.items():
        for name, held in module.data_interfaces.items():
            if type(held).__name__ == "RoiResponseSeries":
                yield f"{module_name}/{name}", held
            for inner, series in getattr(held, "roi_response_series", {}).items():
                yield f"{module_name}/{name}/{inner}", series


def _part(path: Path, key: str, series: Any, io: Any, preferred: bool) -> Part:
    scale, offset = float(series.conversion or 1.0), float(getattr(series, "offset", 0.0) or 0.0)
    data = Series(series.data, scale, offset, io)
    rois = [] if series.rois is None else [int(row) for row in np.asarray(series.rois.data[()]).ravel()]
    turned = len(data.shape) == 2 and len(rois) == data.shape[0] != data.shape[1]
    frames = data.shape[1 if turned else 0] if data.shape else 0
    notes = [f"{key}: data of {data.shape[0]} × {data.shape[1]} lie as ROIs × frames"] if turned else []
    if scale != 1.0 or offset != 0.0:
        notes.append(f"{key}: data · {scale:g} + {offset:g}, as it says")
    kind = type(series.parent).__name__
    if kind != "DfOverF":
        notes.append(f"{key} is of {kind}, not DfOverF: raw unless it says otherwise")
    part = Part(
        data,
        names=_names(series, rois) if len(rois) == (data.shape[0] if turned else data.shape[-1]) else None,
        orientation="cells_first" if turned else "time_first",
        notes=tuple(notes),
        preferred=preferred,
    )
    if series.timestamps is not None:
        times = np.asarray(series.timestamps[()], dtype=float)
        if len(times) != frames:
            raise UserError(
                f"{path}: {key} has {frames} frames and {len(times)} timestamps, expected as many"
            )
        return placed(part, by_clock(path, times, "its timestamps"))
    if series.rate:
        start = float(series.starting_time or 0.0)
        times = start + np.arange(frames) / float(series.rate)
        return Part(
            **{**vars(part), "frame_rate": float(series.rate), "rate_from": "its rate", "times": times}
        )
    return part


def _names(series: Any, rois: list[int]) -> list[str]:
    """The ROIs' names: a column of the table that names each, else their ids."""
    table = series.rois.table
    for column in ("cell_name", "roi_name", "name"):
        if column in table.colnames:
            names = [str(table[column][row]) for row in rois]
            if len(set(names)) == len(names):
                return names
    return [f"roi{int(table.id[row])}" for row in rois]
