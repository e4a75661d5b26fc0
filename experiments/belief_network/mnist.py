"""The user's own copy of MNIST: Keras's ``.npz`` or the four IDX files. Nothing is downloaded."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError

ARRAYS = ("x_train", "x_test")
FILES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
#: first four bytes of an IDX file of unsigned bytes with three dimensions
MAGIC = 0x00000803
PIXELS = 28 * 28

Grey = NDArray[np.float64]


def load_mnist(path: str | Path) -> tuple[Grey, Grey]:
    """Training and test pictures ``(n, 784)``, grey values between 0 and 1.

    Args:
        path: an ``.npz`` with ``x_train`` and ``x_test`` ``(n, 28, 28)`` of whole numbers from 0 to 255, or a
            folder with ``train-images-idx3-ubyte`` and ``t10k-images-idx3-ubyte`` (``.gz`` or not, and with
            a dot before ``idx3`` too).

    Raises:
        UserError: naming the file, what was found and what was expected.
    """
    where = Path(path).expanduser()
    if where.is_dir():
        train, test = (_idx(_find(where, name)) for name in FILES)
    elif where.is_file():
        train, test = _npz(where)
    else:
        raise UserError(
            f"{where}: found no such file or folder, expected MNIST as an .npz or a folder of IDX files"
        )
    return _grey(train, where), _grey(test, where)


def _npz(path: Path) -> list[NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                raise UserError(f"{path}: found no array {missing[0]!r}, expected {' and '.join(ARRAYS)}")
            return [archive[name] for name in ARRAYS]
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path}: found no readable .npz, expected one with {' and '.join(ARRAYS)}") from None


def _find(folder: Path, name: str) -> Path:
    for base in (name, name.replace("-idx3", ".idx3")):
        for ending in ("", ".gz"):
            if (folder / (base + ending)).is_file():
                return folder / (base + ending)
    raise UserError(f"{folder}: found no {name} (or {name}.gz), expected the IDX files of MNIST")


def _idx(path: Path) -> NDArray[np.generic]:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        raise UserError(f"{path}: found a damaged .gz, expected an IDX file of pictures") from None
    head = np.frombuffer(raw[:16], dtype=">u4")
    if len(head) < 4 or head[0] != MAGIC:
        raise UserError(f"{path}: found no IDX file of pictures, expected one that begins with 0x{MAGIC:08x}")
    count, rows, columns = (int(size) for size in head[1:])
    if len(raw) - 16 != count * rows * columns:
        raise UserError(
            f"{path}: found {len(raw) - 16} bytes of pixels, expected {count} × {rows} × {columns}"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(count, rows, columns)


def _grey(found: NDArray[np.generic], path: Path) -> Grey:
    if found.ndim < 2 or not len(found) or found[0].size != PIXELS:
        raise UserError(f"{path}: found pictures of shape {found.shape[1:]}, expected 28 × 28")
    if found.dtype.kind not in "ui" or found.min() < 0 or found.max() > 255:
        raise UserError(f"{path}: found grey values of type {found.dtype}, expected whole numbers 0 to 255")
    return found.reshape(len(found), PIXELS).astype(np.float64) / 255.0
