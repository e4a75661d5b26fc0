"""A valid small file of every format, for the conformance tests: a writer and what its format can hold.

A new reader adds an entry to ``FORMATS``; everything in ``test_reader_conformance.py`` then runs over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        rows_are_cells: found by the reader itself, where there are more frames than cells.
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
