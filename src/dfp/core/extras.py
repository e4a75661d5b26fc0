"""Libraries that only parts of dfp need, and what is said where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dfp.core.errors import UserError

#: module that is imported: the package that brings it, and the extra of ``pyproject.toml`` which that is in
OPTIONAL = {
    "matplotlib": ("matplotlib", "plot"),
    "seaborn": ("seaborn", "plot"),
    "sklearn": ("scikit-learn", "paper"),
    "oasis": ("oasis-deconv", "paper"),
    "h5py": ("h5py", "hdf5"),
    "pynwb": ("pynwb", "nwb"),
    "xarray": ("xarray", "xarray"),
    "zarr": ("zarr", "xarray"),
    "h5netcdf": ("h5netcdf", "xarray"),
}


@contextmanager
def optional() -> Iterator[None]:
    """Import optional libraries inside this block: a missing one is a ``UserError`` that says how to get it.

    Any other import that fails is an error of dfp's own and passes through.

    >>> with optional():
    ...     import matplotlib

    Raises:
        UserError: where one of ``OPTIONAL`` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in OPTIONAL:
            raise
        package, extra = OPTIONAL[module]
        raise UserError(
            f"{package}: not installed, expected it for this (it is of the extra '{extra}'); install it with "
            f"'pip install {package}', or all extras with \"pip install -e '.[all]'\" in dfp's folder"
        ) from None
