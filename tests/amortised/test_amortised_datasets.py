"""Who made the recordings, and which are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from dfp.amortised.datasets import citations, left_in, long_enough, sources, told_of
from dfp.core.errors import UserError
from dfp.data.recording import Recording, counted


def recording(name: str, indicator: str, frames: int = 300, rate: float = 30.0) -> Recording:
    spikes = np.arange(0.5, frames / rate, 1.0)
    return counted(name, indicator, np.zeros(frames, np.float32), rate, spikes, "here")


MANY = [
    recording("DS09_c00_s00", "GCaMP6f"),
    recording("DS09_c00_s01", "GCaMP6f"),
    recording("DS09_c01_s00", "GCaMP6f"),
    recording("DS10_c00_s00", "GCaMP6f"),
    recording("DS04_c00_s00", "OGB1"),
    recording("DS18_c00_s00", "R-CaMP"),
    recording("DS91_c00_s00", "GCaMP8m"),
]


def names(recordings: Sequence[Recording]) -> list[str]:
    return [one.name for one in recordings]


def test_every_data_set_of_the_collection_has_a_publication() -> None:
    table = sources()
    assert {f"DS{n:02d}" for n in (*range(1, 34), 40, 41)} == set(table)
    for row in table.values():
        publications, dois = row["publication"].split("; "), row["doi"].split("; ")
        assert len(publications) == len(dois) and all(publications)
        assert all(re.fullmatch(r"10\.\d{4,5}/\S+", doi) for doi in dois), row


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6]),
        (["DS09"], [3, 4, 5, 6]),
        (["ds09_c00"], [2, 3, 4, 5, 6]),
        (["DS09_c00_s01", "DS91"], [0, 2, 3, 4, 5]),
        (["GCaMP6f"], [4, 5, 6]),
        (["gcamp-6f", "OGB-1", "RCaMP"], [6]),
    ],
)
def test_a_data_set_a_cell_or_an_indicator_is_left_out(entries: list[str], left: list[int]) -> None:
    assert names(left_in(MANY, entries)) == [MANY[i].name for i in left]


@pytest.mark.parametrize("entry", ["DS0", "DS1", "GCaMP6", "DS09_c0", "", "DS99"])
def test_an_entry_that_names_nothing_is_refused(entry: str) -> None:
    with pytest.raises(UserError, match=f"leave-out: no recording of '{entry}'.*DS91.*GCaMP8m"):
        left_in(MANY, [entry])


def test_leaving_all_out_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no recording"):
        left_in(MANY[:4], ["GCaMP6f"])


def test_recordings_that_no_window_fits_into_are_named() -> None:
    brief = recording("DS03_c00_s00", "Cal520", frames=15, rate=10.0)
    gone = counted("DS03_c01_s00", "Cal520", np.full(900, np.nan, np.float32), 30.0, np.zeros(0), "here")
    assert long_enough([brief, MANY[0], gone]) == ([MANY[0]], ["DS03_c00_s00", "DS03_c01_s00"])


def test_what_is_told_of_data_sets() -> None:
    told = {one["data_set"]: one for one in told_of(MANY)}
    assert list(told) == ["DS04", "DS09", "DS10", "DS18", "DS91"]
    known = told["DS09"]
    assert (known["cells"], known["recordings"], known["seconds"], known["spikes"]) == (2, 3, 30.0, 30)
    assert known["doi"] == "10.1038/nature12354" and "cai-1" in known["terms"] and "GPL-3.0" in known["terms"]
    own = told["DS91"]
    assert own["indicator"] == "GCaMP8m" and own["cells"] == 1
    assert own["publication"] is own["doi"] is own["terms"] is None


def test_ones_own_recordings_under_a_taken_name_are_not_said_to_be_anothers() -> None:
    (told,) = told_of([recording("DS09_c00_s00", "GCaMP8s")])
    assert told["publication"] is None and citations([told]) == []


def test_citations_are_each_publication_once_and_the_collection() -> None:
    told = citations(told_of(MANY))
    assert told[0] == "Rupprecht et al. 2021, Nature Neuroscience 24:1324, doi 10.1038/s41593-021-00895-5"
    assert len(told) == len(set(told)) == 4  # DS04 is the collection's own, DS91 nobody's
