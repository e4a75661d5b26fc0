"""What a user may tell of a cell."""

from __future__ import annotations

import numpy as np
import pytest

from dfp.amortised.indicators import known, place
from dfp.amortised.told import Told
from dfp.core.errors import UserError


@pytest.mark.parametrize("name", ["gcamp6f", "GCAMP6F", "GCaMP-6f", "jGCaMP6f", "gcamp 6f", "GCaMP_6f"])
def test_an_indicator_is_known_however_it_is_spelt(name: str) -> None:
    assert Told(indicator=name).indicator == "GCaMP6f"


def test_every_indicator_is_known_by_its_own_name() -> None:
    assert [Told(indicator=name).indicator for name in known()] == list(known())
    assert sorted(place(name) for name in (None, *known())) == list(range(len(known()) + 1))


def test_nothing_has_to_be_told() -> None:
    assert Told().constants() == (None, None, None) and Told().indicator is None
    assert Told(amplitude=0.1, decay=0.4, rise=0.02).constants() == (0.1, 0.4, 0.02)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"indicator": "GCaMP9"}, "indicator: found 'GCaMP9'"),
        ({"amplitude": 0.0}, "amplitude: found 0, expected a number above 0"),
        ({"amplitude": -0.2}, "amplitude: found -0.2, expected"),
        ({"decay": np.nan}, "decay: found nan, expected"),
        ({"rise": np.inf}, "rise: found inf, expected"),
        ({"rise": 0.5, "decay": 0.5}, "rise: found 0.5 s, expected less than the decay of 0.5 s"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as told:
        Told(**given)  # type: ignore[arg-type]
    assert str(told.value).startswith(sentence) and "\n" not in str(told.value)


def test_a_misspelt_indicator_is_guessed_and_all_are_listed() -> None:
    with pytest.raises(UserError, match=r"did you mean 'GCaMP8[fms]'.*leave it out"):
        Told(indicator="GCaMP8x")


def test_an_indicator_that_was_not_learned_is_said_and_left_open() -> None:
    with pytest.warns(UserWarning, match="has not learned gcamp6m by name"):
        assert Told("gcamp6m") == Told()
