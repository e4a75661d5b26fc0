"""Recordings that a posterior may learn from: who made them, what is left out, what is told of those used.

``datasets.csv`` lists CASCADE's collection (Rupprecht et al. 2021) with the publications that its repository
asks to cite for each data set. Terms are given where they are known to go beyond those of the repository.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfp.amortised.ground_truth import FEWEST, rebinned
from dfp.core.errors import UserError, suggest
from dfp.data.recording import Recording

TABLE = Path(__file__).with_name("datasets.csv")
#: of every data set of the table, besides its own
COLLECTION = "Rupprecht et al. 2021, Nature Neuroscience 24:1324"
COLLECTION_DOI = "10.1038/s41593-021-00895-5"
COLLECTION_TERMS = "GPL-3.0 (the collection's repository); the laboratory's own were not checked"


def sources() -> dict[str, dict[str, str]]:
    """The rows of the table by the short name of the data set (``DS09``); what is not known is empty."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["data_set"]: row for row in csv.DictReader(file)}


def data_set(recording: Recording) -> str:
    """``DS09`` of ``DS09_c00_s01``."""
    return recording.name.split("_")[0]


def left_in(recordings: Sequence[Recording], leave_out: Sequence[str]) -> list[Recording]:
    """Those that no entry of ``leave_out`` names.

    An entry is a data set (``DS09``), a cell (``DS09_c00``), a recording, or an indicator: then every
    recording of that indicator is meant, in whichever data set.

    Raises:
        UserError: for an entry that names no recording, or where none is left.
    """
    found = list(recordings)
    for entry in leave_out:
        named = [one for one in recordings if _names(entry, one)]
        if not named:
            known = sorted({data_set(one) for one in recordings} | {one.indicator for one in recordings})
            raise UserError(
                f"leave-out: no recording of '{entry}'{suggest(entry, known)}, expected a data set, cell or "
                f"indicator of the recordings ({', '.join(known)})"
            )
        found = [one for one in found if one not in named]
    if not found:
        raise UserError(f"leave-out: {', '.join(leave_out)} leaves no recording, expected some to learn from")
    return found


def long_enough(recordings: Sequence[Recording]) -> tuple[list[Recording], list[str]]:
    """Recordings of ``FEWEST`` finite frames or more (at 30 Hz, or their own rate), and the others' names."""
    kept: list[Recording] = []
    short: list[Recording] = []
    for one in recordings:
        trace, _, _ = rebinned(one, min(30.0, one.frame_rate))
        (kept if np.isfinite(trace).sum() >= FEWEST else short).append(one)
    return kept, [one.name for one in short]


def told_of(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """What a provenance file says of each data set: its size, its publication, its terms.

    A data set is looked up by its name and indicator; publication, doi and terms of others are None.
    """
    known, told = sources(), []
    for name in sorted({data_set(one) for one in recordings}):
        own = [one for one in recordings if data_set(one) == name]
        row = known.get(name, {})
        if plain(row.get("indicator", "")) != plain(own[0].indicator):
            row = {}
        terms = "; ".join(filter(None, (row.get("terms"), COLLECTION_TERMS))) if row else None
        told.append(
            {
                "data_set": name,
                "indicator": own[0].indicator,
                "cells": len({one.cell for one in own}),
                "recordings": len(own),
                "seconds": round(sum(len(one.dff) / one.frame_rate for one in own), 1),
                "spikes": int(sum(len(one.spike_times) for one in own)),
                **{key: row.get(key) or None for key in ("preparation", "laboratory", "publication", "doi")},
                "terms": terms,
            }
        )
    return told


def citations(told: Sequence[dict[str, Any]]) -> list[str]:
    """What to cite for the data sets of ``told_of``: each publication once, the collection first."""
    found = {}
    for one in told:
        if one["publication"]:
            found[COLLECTION] = COLLECTION_DOI
            names, dois = one["publication"].split("; "), one["doi"].split("; ")
            found |= dict(zip(names, dois, strict=True))
    return [f"{name}, doi {doi}" for name, doi in found.items()]


def plain(name: str) -> str:
    """A name without case, spaces, hyphens and underscores."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _names(entry: str, recording: Recording) -> bool:
    name = recording.name.lower()
    return (
        name == entry.lower()
        or name.startswith(f"{entry.lower()}_")
        or plain(entry) == plain(recording.indicator)
    )
