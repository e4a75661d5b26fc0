"""A valid small file of every format, for the conformance tests: a writer and what its format can hold.

A new reader adds an entry to ``FORMATS``; everything in ``test_reader_conformance.py`` then runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io


@dataclass(frozen=True)
class Content:
    """What is to be written.

    Attributes:
        x: ``(T, N)``, or ``(N, T)`` with ``orientation``; any type, also what is no number.
        names: of the columns.
        frame_rate: Hz.
        beside: other arrays of the file, by key.
    """

    x: np.ndarray
    names: Sequence[str] | None = None
    frame_rate: float | None = None
    beside: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Format:
    """How a format is written, and what it can hold.

    Attributes:
        write: into the folder, whatever ``Content`` asks for; returns the path to read.
        fixes_orientation: rows are cells, or frames, by the format.
        cells: the most that one array holds.
        names: columns can be named.
        tells_rate: the frame rate can be in the file.
        needs_rate: it always is (30 Hz where ``Content`` says none).
        key: of the traces where ``beside`` others can be written; None where there is one array.
        relative: precision of the numbers, as a share of the largest.
        body: the file that holds the traces, of the path that was written.
        rows_are_cells: by the format, or found where there are more frames than cells.
        numbers_only: its own library writes nothing but real numbers.
        slow: as many times fewer generated files are tried.
        text: numbers are written as text: a file that is cut off may be a valid shorter one.
    """

    write: Callable[[Path, Content], Path]
    fixes_orientation: bool = False
    cells: int | None = None
    names: bool = False
    tells_rate: bool = False
    needs_rate: bool = False
    key: str | None = None
    relative: float = 0.0
    body: Callable[[Path], Path] = lambda path: path
    text: bool = False
    rows_are_cells: bool = False
    numbers_only: bool = False
    slow: int = 1


def write_npy(folder: Path, content: Content) -> Path:
    np.save(folder / "mine.npy", content.x)
    return folder / "mine.npy"


def arrays_of(content: Content) -> dict[str, Any]:
    rate = {} if content.frame_rate is None else {"fs": content.frame_rate}
    return {"dff": content.x, **(content.beside or {}), **rate}


def write_npz(folder: Path, content: Content) -> Path:
    np.savez(folder / "mine.npz", **arrays_of(content))
    return folder / "mine.npz"


def write_mat(folder: Path, content: Content) -> Path:
    scipy.io.savemat(folder / "mine.mat", arrays_of(content))
    return folder / "mine.mat"


def write_compressed_mat(folder: Path, content: Content) -> Path:
    """As MATLAB itself writes it, and in a struct."""
    scipy.io.savemat(folder / "mine.mat", {"data": arrays_of(content)}, do_compression=True)
    return folder / "mine.mat"


def write_mat73(folder: Path, content: Content) -> Path:
    """As MATLAB writes it since 2006: HDF5 after a block of its own, arrays transposed, structs as groups."""
    with h5py.File(folder / "mine.mat", "w", userblock_size=512) as file:
        data = file.create_group("data")
        data.attrs["MATLAB_class"] = np.bytes_("struct")
        for name, value in arrays_of(content).items():
            value = np.atleast_2d(value)
            if value.dtype.kind == "U":
                value = np.array([[ord(char) for char in "oops"]], dtype=np.uint16)
            data[name] = value.T
            data[name].attrs["MATLAB_class"] = np.bytes_("char" if value.dtype == np.uint16 else "single")
    with (folder / "mine.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\x00" * 8 + b"\x00\x02IM")
    return folder / "mine.mat"


def write_hdf5(folder: Path, content: Content) -> Path:
    with h5py.File(folder / "mine.h5", "w") as file:
        for name, value in arrays_of(content).items():
            file[f"session/{name}"] = (
                np.asarray(value, dtype="S") if np.asarray(value).dtype.kind == "U" else value
            )
    return folder / "mine.h5"


def write_caiman(folder: Path, content: Content) -> Path:
    """With a component that was not accepted, and a field that is None."""
    x = np.insert(content.x, 0, content.x[:, :1].T, axis=1)
    with h5py.File(folder / "mine.hdf5", "w") as file:
        for name in ("C", "F_dff"):
            file[f"estimates/{name}"] = np.asarray(x.T, dtype="S") if x.dtype.kind == "U" else x.T
        file["estimates/idx_components"] = np.arange(1, x.shape[1])
        file["estimates/S"] = "NoneType"
        if content.frame_rate is not None:
            file["params/data/fr"] = content.frame_rate
    return folder / "mine.hdf5"


def write_nwb(folder: Path, content: Content) -> Path:
    """By pynwb, as its own pages show it."""
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, RoiResponseSeries

    x = content.x.astype("S4") if content.x.dtype.kind in "Uc" else content.x
    file = NWBFile("a recording", "made up", datetime(2024, 1, 1, tzinfo=UTC))
    device = file.create_device(name="microscope")
    channel = OpticalChannel(name="green", description="GCaMP", emission_lambda=510.0)
    plane = file.create_imaging_plane(
        name="plane", optical_channel=channel, description="V1", device=device, excitation_lambda=920.0,
        indicator="GCaMP6f", location="V1",
    )  # fmt: skip
    module = file.create_processing_module(name="ophys", description="processed")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    table = segmentation.create_plane_segmentation(name="cells", description="rois", imaging_plane=plane)
    for _ in range(max(1, x.shape[1] if x.ndim > 1 else 1)):
        table.add_roi(pixel_mask=[(0, 0, 1.0)])
    rois = table.create_roi_table_region(region=list(range(len(table))), description="all")
    series = RoiResponseSeries(name="traces", data=x, rois=rois, unit="n.a.", rate=content.frame_rate or 30.0)
    module.add(DfOverF(roi_response_series=[series]))
    with NWBHDF5IO(str(folder / "mine.nwb"), "w") as io:
        io.write(file)
    return folder / "mine.nwb"


def write_pynapple(folder: Path, content: Content) -> Path:
    """The keys of pynapple 0.11; names of columns are objects there."""
    times = np.arange(len(content.x)) / (content.frame_rate or 30.0)
    names = np.array(content.names or range(content.x.shape[1]), dtype=object if content.names else int)
    np.savez(
        folder / "mine.npz", t=times, d=content.x, columns=names, start=times[:1], end=times[-1:],
        type=np.array(["TsdFrame"]),
    )  # fmt: skip
    return folder / "mine.npz"


def write_table(folder: Path, content: Content) -> Path:
    """Numbers with as many digits as float32 needs."""
    rows = [[str(value) for value in row] for row in content.x]
    names = list(content.names) if content.names is not None else None
    if content.frame_rate is not None:
        names = ["time", *(names if names is not None else [f"cell{n}" for n in range(content.x.shape[1])])]
        rows = [[repr(t / content.frame_rate), *row] for t, row in enumerate(rows)]
    lines = [",".join(row) for row in [*([names] if names is not None else []), *rows]]
    (folder / "mine.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "mine.csv"


def _cell_names(content: Content) -> list[str]:
    return list(content.names or [f"cell{n}" for n in range(content.x.shape[1])])


def write_long_table(folder: Path, content: Content) -> Path:
    """A row a frame and cell, all cells of a frame together."""
    rate, names = content.frame_rate, _cell_names(content)
    marks = [repr(t / rate) if rate is not None else str(t) for t in range(len(content.x))]
    rows = [
        [name, mark, str(v)]
        for mark, row in zip(marks, content.x, strict=True)
        for name, v in zip(names, row, strict=True)
    ]
    lines = [",".join(row) for row in [["cell_name", "time" if rate is not None else "frame", "dff"], *rows]]
    (folder / "mine.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "mine.csv"


def write_table_of_rows(folder: Path, content: Content) -> Path:
    """A row a cell, under the frames' numbers or times."""
    rate = content.frame_rate
    marks = [repr(t / rate) if rate is not None else str(t) for t in range(len(content.x))]
    rows = [
        [name, *(str(value) for value in row)]
        for name, row in zip(_cell_names(content), content.x.T, strict=True)
    ]
    lines = [",".join(row) for row in [["cell", *marks], *rows]]
    (folder / "mine.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "mine.csv"


def write_inscopix(folder: Path, content: Content) -> Path:
    """With a rejected cell at the end."""
    names = [*_cell_names(content), "rejected one"]
    rows = [
        [repr(t / (content.frame_rate or 30.0)), *(str(value) for value in row), "9.5"]
        for t, row in enumerate(content.x)
    ]
    status = ["Time(s)/Cell Status", *["accepted"] * (len(names) - 1), "rejected"]
    lines = [",".join(f" {field}" for field in row) for row in [["", *names], status, *rows]]
    (folder / "mine.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "mine.csv"


def write_suite2p(folder: Path, content: Content) -> Path:
    """Raw fluorescence of resting level 100 whose dF/F is ``x``, where x has a resting level of 0."""
    real = content.x.dtype.kind in "fiub"
    raw = 100.0 * (1.0 + content.x.T) if real else content.x.T
    plane = folder / "plane0"
    plane.mkdir()
    np.save(plane / "F.npy", raw + 70.0 if real else raw)
    np.save(plane / "Fneu.npy", np.full(raw.shape, 100.0))
    if content.frame_rate is not None:
        np.save(plane / "ops.npy", np.array({"fs": content.frame_rate, "nplanes": 1}), allow_pickle=True)
    return plane


def write_fall(folder: Path, content: Content) -> Path:
    """What suite2p writes for MATLAB, of the same recording."""
    plane = write_suite2p(folder, content)
    rate = {} if content.frame_rate is None else {"fs": content.frame_rate}
    scipy.io.savemat(
        folder / "Fall.mat",
        {
            "F": np.load(plane / "F.npy"),
            "Fneu": np.load(plane / "Fneu.npy"),
            "iscell": np.ones((content.x.shape[1], 2)),
            "ops": {"nplanes": 1, **rate},
        },
    )
    return folder / "Fall.mat"


def _labelled(content: Content) -> Any:
    import xarray

    x = content.x if content.x.dtype.kind != "U" else content.x.astype("U4")
    rate = content.frame_rate
    marks = np.arange(x.shape[0]) / rate if rate is not None else np.arange(x.shape[0])
    if x.ndim == 1:
        return xarray.DataArray(x, dims=["time"])
    names = list(content.names or [f"cell{n}" for n in range(x.shape[1])])
    axes = ["time" if rate is not None else "frame", "unit_id"]
    return xarray.DataArray(x, dims=axes, coords={axes[0]: marks, "unit_id": names}, name="C").T


def write_netcdf(folder: Path, content: Content) -> Path:
    _labelled(content).to_dataset(name="C").to_netcdf(
        folder / "mine.nc", engine="h5netcdf", invalid_netcdf=True
    )
    return folder / "mine.nc"


def write_cascade(folder: Path, content: Content) -> Path:
    """One cell, its segments in a cell array of structs; the array beside is a second segment."""
    stretches = [content.x, *(content.beside or {}).values()]
    cells = np.empty((1, len(stretches)), dtype=object)
    for k, x in enumerate(stretches):
        cells[0, k] = {
            "fluo_time": (np.arange(len(x)) / (content.frame_rate or 30.0))[:, None],
            "fluo_mean": x,
            "events_AP": np.array([[1e4]]),
        }
    scipy.io.savemat(folder / "CAttached_mouse_1_mini.mat", {"CAttached": cells})
    return folder / "CAttached_mouse_1_mini.mat"


def write_cascade_compact(folder: Path, content: Content) -> Path:
    arrays: dict[str, Any] = {}
    for k, x in enumerate([content.x, *(content.beside or {}).values()]):
        arrays[f"DS09_c00_s0{k}_dff"] = x.ravel()
        arrays[f"DS09_c00_s0{k}_spk"] = np.array([1.0])
        arrays[f"DS09_c00_s0{k}_dt"] = 1 / (content.frame_rate or 30.0)
    np.savez(folder / "DS09-GCaMP6f-m-V1.npz", **arrays)
    return folder / "DS09-GCaMP6f-m-V1.npz"


#: by the reader's name; a second layout of a format says which one after a comma
FORMATS: dict[str, Format] = {
    "npy": Format(write_npy),
    "npz": Format(write_npz, tells_rate=True, key="dff"),
    "MATLAB": Format(write_mat, tells_rate=True, key="dff"),
    "MATLAB, compressed": Format(write_compressed_mat, tells_rate=True, key="data.dff"),
    "MATLAB, 7.3": Format(write_mat73, tells_rate=True, key="data.dff"),
    "HDF5": Format(write_hdf5, tells_rate=True, key="session/dff"),
    "CaImAn": Format(write_caiman, fixes_orientation=True, tells_rate=True, rows_are_cells=True),
    "NWB": Format(write_nwb, fixes_orientation=True, tells_rate=True, needs_rate=True, numbers_only=True),
    "xarray": Format(
        write_netcdf, fixes_orientation=True, names=True, tells_rate=True, rows_are_cells=True, slow=4
    ),
    "pynapple": Format(write_pynapple, fixes_orientation=True, names=True, tells_rate=True, needs_rate=True),
    "table": Format(write_table, names=True, tells_rate=True, text=True),
    "table, long": Format(write_long_table, fixes_orientation=True, names=True, tells_rate=True, text=True),
    "table, cells in rows": Format(
        write_table_of_rows,
        fixes_orientation=True,
        names=True,
        tells_rate=True,
        text=True,
        rows_are_cells=True,
    ),
    "Inscopix": Format(
        write_inscopix, fixes_orientation=True, names=True, tells_rate=True, needs_rate=True, text=True
    ),
    "suite2p": Format(
        write_suite2p,
        fixes_orientation=True,
        tells_rate=True,
        relative=1e-6,
        body=lambda folder: folder / "F.npy",
    ),
    "suite2p's Fall": Format(write_fall, fixes_orientation=True, tells_rate=True, relative=1e-6),
    "CASCADE": Format(write_cascade, cells=1, tells_rate=True, needs_rate=True, key="s00"),
    "CASCADE, compact": Format(
        write_cascade_compact, cells=1, tells_rate=True, needs_rate=True, key="DS09_c00_s00_dff"
    ),
}
