"""Which format a name or a file's suffix stands for: the writers of this package, found as readers are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dfp.results.formats
from dfp.core.discovery import discover, pick
from dfp.core.errors import UserError
from dfp.results.formats.base import Writer

DEFAULT = "npz"


@cache
def writers() -> dict[str, type[Writer]]:
    """All formats by name."""
    return discover(dfp.results.formats, Writer)  # type: ignore[type-abstract]


def written_as_file(out: Path) -> type[Writer] | None:
    """The format of the one file that ``out`` names; None where it names a folder.

    Raises:
        UserError: for the name of a file of another kind, or a folder that is named like a file.
    """
    suffix = out.suffix.lower()
    for kind in writers().values():
        if suffix in kind.suffixes:
            if out.is_dir():
                raise UserError(f"{out}: found a folder, expected a file of that name or another name")
            return kind
    if suffix[1:].isalpha() and len(suffix) <= 6 and not out.is_dir():
        known = sorted(suffix for kind in writers().values() for suffix in kind.suffixes)
        raise UserError(
            f"{out}: found a name that ends in '{out.suffix}', expected a folder or a file ending in "
            f"{', '.join(known)}"
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: found a file, expected a folder to write into")
    return None


def chosen(name: str | None, out: Path) -> tuple[Writer, bool]:
    """The writer for ``--format`` and ``--out``, and whether it writes one file.

    Raises:
        UserError: for an unknown format, or one that contradicts the name of the file.
    """
    by_name = None if name is None else pick(writers(), name, "format", "format")
    by_file = written_as_file(out)
    if by_file is None:
        return (by_name or writers()[DEFAULT])(), False
    if by_name is not None and by_name is not by_file:
        raise UserError(
            f"format: found '{name}' for {out}, which says {by_file.name}, expected one of the two or a "
            "folder"
        )
    return by_file(), True
