"""Every claim: what is said and by whom (``experiments/claims.yaml``), and how an experiment judges it.

The catalogue is a list of ``id``, ``statement`` and ``source``, in the order in which claims are reported. An
experiment's ``claims.py`` holds ``JUDGES``, from a claim's id to the function that judges it from that
experiment's table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfp.core.errors import UserError, suggest
from dfp.core.folders import has_part, list_experiments, load_part
from dfp.core.parse import build, convert
from dfp.core.read import read_yaml
from dfp.results.judging import Claim

FILE = "claims.yaml"


@dataclass(frozen=True)
class Entry:
    """A line of the catalogue.

    Attributes:
        id: ``C1``, ``G3a``, ….
        statement: a sentence that can be wrong.
        source: a key of the catalogue's ``sources``.
    """

    id: str
    statement: str
    source: str


@dataclass(frozen=True)
class Catalogue:
    """The keys of ``claims.yaml``: sources by a short name, and the claims."""

    sources: dict[str, str]
    claims: list[dict[str, Any]]


def read_catalogue(experiments: Path) -> list[Entry]:
    """The catalogue below a folder of experiments, each source written out.

    Raises:
        UserError: for a catalogue that is missing or not understood, an id that is there twice, or a source
            without a name.
    """
    path = Path(experiments) / FILE
    raw = build(Catalogue, read_yaml(path), str(path))
    entries: list[Entry] = []
    for place, item in enumerate(raw.claims):
        entry = build(Entry, item, f"{path}: claims[{place}]")
        if entry.source not in raw.sources:
            raise UserError(
                f"{path}: claim {entry.id}: unknown source {entry.source!r}"
                f"{suggest(entry.source, raw.sources)}; known: {', '.join(raw.sources)}"
            )
        if entry.id in {other.id for other in entries}:
            raise UserError(f"{path}: claim {entry.id}: found twice, expected each id once")
        entries.append(Entry(entry.id, entry.statement, raw.sources[entry.source]))
    return entries


def load_claims(experiments: Path) -> tuple[Claim, ...]:
    """All claims, in the catalogue's order and by experiment in the experiments' own.

    There are none where there is neither a catalogue nor a ``claims.py``.

    Raises:
        UserError: as ``read_catalogue``; for a claim that an experiment judges and the catalogue lacks; and
            for one that nobody judges.
    """
    experiments = Path(experiments)
    names = list_experiments(experiments.parent, experiments.name)
    judging = [name for name in names if has_part(experiments / name, "claims")]
    for path in sorted(experiments.glob("*/claims.py")):
        if path.parent.name not in names:
            raise UserError(f"{path}: found no config.yaml beside it, expected an experiment")
    if not judging and not (experiments / FILE).exists():
        return ()
    entries = read_catalogue(experiments)
    known = [entry.id for entry in entries]
    judges: dict[str, list[tuple[str, Any]]] = {name: [] for name in known}
    for name in judging:
        folder = experiments / name
        found = getattr(load_part(folder, "claims"), "JUDGES", None)
        where = f"{folder / 'claims.py'}: JUDGES"
        if found is None:
            raise UserError(
                f"{where}: found none, expected the claims' ids and the functions that judge them"
            )
        for claim, judge in convert(dict[str, Any], found, where).items():
            if claim not in judges:
                raise UserError(
                    f"{where}: unknown claim {claim!r}{suggest(claim, known)}, expected one of "
                    f"{experiments / FILE}; add it there"
                )
            if not callable(judge):
                raise UserError(f"{where}: {claim}: found {judge!r}, expected a function of the tables")
            judges[claim].append((name, judge))
    for name, found in judges.items():
        if not found:
            raise UserError(
                f"{experiments / FILE}: claim {name}: found no experiment that judges it, expected one whose "
                "claims.py has it in JUDGES"
            )
    return tuple(
        Claim(entry.id, entry.statement, entry.source, experiment, judge)
        for entry in entries
        for experiment, judge in judges[entry.id]
    )
