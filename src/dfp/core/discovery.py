"""Finding the classes of a package: a new posterior, objective, … is one file, listed nowhere else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

from dfp.core.errors import UserError, suggest

T = TypeVar("T")


def discover(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """All concrete subclasses of ``base`` in the modules of ``package``, by their ``name`` attribute."""
    found: dict[str, type[T]] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for member in vars(module).values():
            if not (inspect.isclass(member) and issubclass(member, base) and not inspect.isabstract(member)):
                continue
            if member.__module__ != module.__name__ or "name" not in vars(member):
                continue
            name = vars(member)["name"]
            if name in found and found[name] is not member:
                raise TypeError(f"{package.__name__}: two classes are named '{name}'")
            found[name] = member
    return found


def pick(known: dict[str, type[T]], name: object, where: str, what: str) -> type[T]:
    """The class called ``name``. Raises ``UserError`` naming ``where`` and the known names."""
    if not isinstance(name, str) or name not in known:
        hint = suggest(str(name), known)
        raise UserError(f"{where}: unknown {what} {name!r}{hint}; known: {', '.join(sorted(known))}")
    return known[name]
