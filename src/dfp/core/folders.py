"""Code in folders outside the package: the parts of an experiment, which import each other relatively.

A folder ``experiments/flows`` with ``study.py`` and ``fits.py`` is a package without an ``__init__.py``:
``study.py`` says ``from .fits import fit``, and another experiment ``from ..flows.fits import fit``.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from dfp.core.read import read_yaml


def list_experiments(root: Path | str = ".", below: str = "experiments") -> list[str]:
    """Names of the folders of ``<root>/experiments`` that hold a ``config.yaml``, in the order they say."""
    folders = sorted(path.parent for path in (Path(root) / below).glob("*/config.yaml"))
    orders = {folder.name: read_yaml(folder / "config.yaml").get("order", 0) for folder in folders}
    return sorted(orders, key=lambda name: (orders[name] if isinstance(orders[name], int) else 0, name))


def has_part(folder: Path, part: str) -> bool:
    """Whether the folder holds the file ``<part>.py``."""
    return (Path(folder) / f"{part}.py").is_file()


def load_part(folder: Path, part: str) -> ModuleType:
    """The module ``<folder>/<part>.py``; loaded once, as Python does it.

    Args:
        folder: of an experiment; its siblings are other experiments.

    Raises:
        FileNotFoundError: where there is no such file.
    """
    path = (Path(folder) / f"{part}.py").resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    package = _package(path.parent.parent)
    importlib.invalidate_caches()  # a file may be younger than Python's last look at its folder
    return importlib.import_module(f"{package}.{path.parent.name}.{part}")


def _package(root: Path) -> str:
    """The name under which folders below ``root`` are imported: that folder's own, unless it is taken."""
    for name in (root.name, f"{root.name}_{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"):
        loaded = sys.modules.get(name)
        if loaded is None:
            loaded = sys.modules[name] = ModuleType(name)
            loaded.__path__ = [str(root)]
        if {Path(place).resolve() for place in getattr(loaded, "__path__", [])} == {root}:
            return name
    raise ImportError(f"{root}: another package of that name is loaded")
