"""Labelled arrays on disk: netCDF, zarr, and the folder that minian leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from dfp.core.errors import UserError
from dfp.data.arrays import part_of
from dfp.data.readers.base import Part, Reader, check_readable

#: what minian calls the traces of its units
_MINIAN = "C"


class Xarray(Reader):
    """Variables of a netCDF file or a zarr store, understood by the names of their axes.

    Axes named ``time``, ``frame``, … and ``cell``, ``unit_id``, … may come in either order; coordinates name
    the cells and tell times. Of a folder that minian leaves, ``C`` is taken.
    """

    name: ClassVar[str] = "xarray"
    what: ClassVar[str] = "netCDF or zarr"
    summary: ClassVar[str] = (
        "the only variable over frames and cells, or `--key`; its axes' names say which is which (`frame` "
        "or `time`, `cell` or `unit_id`), its coordinates name the cells and tell times; of minian's folder"
        " `C`"
    )
    suffixes: ClassVar[tuple[str, ...]] = (".nc", ".zarr")
    install: ClassVar[str] = "pip install 'dfp[xarray]'"

    def recognises(self, path: Path) -> bool:
        if path.is_dir():
            return _is_zarr(path) or (path / f"{_MINIAN}.zarr").is_dir()
        return path.suffix.lower() == ".nc"

    def parts(self, path: Path) -> Mapping[str, Part]:
        import xarray

        folder = path / f"{_MINIAN}.zarr" if path.is_dir() and not _is_zarr(path) else path
        if folder.is_dir():
            held = xarray.open_zarr(folder, chunks=None, consolidated=None)
        else:
            check_readable(path)
            held = xarray.open_dataset(path, engine="h5netcdf", decode_times=False)
        with held:
            found: dict[str, Part] = {}
            for name, variable in held.data_vars.items():
                if variable.dtype.kind in "fiub" and variable.ndim == 0:
                    found[str(name)] = Part(variable.to_numpy())
                elif 1 <= variable.ndim <= 2:
                    found[str(name)] = _part(path, variable)
        if path != folder and _MINIAN in found:
            note = "minian's C is denoised and in units of its own, not dF/F"
            found[_MINIAN] = replace(found[_MINIAN], notes=(*found[_MINIAN].notes, note), preferred=True)
        return found


def _part(path: Path, variable: Any) -> Part:
    if variable.dtype.kind not in "fiub":
        return Part(variable.to_numpy())
    try:
        return part_of(variable, None, path)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: '{variable.name}' could not be understood ({error})") from error


def _is_zarr(path: Path) -> bool:
    return path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in (".zgroup", "zarr.json"))
