"""Windows cut from recordings, and numbers that change over a phase."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.training.schedules import SHAPES, Schedule
from dfp.training.windows import Windows


def numbered(trials: int, bins: int, cells: int = 2) -> torch.Tensor:
    """Traces whose value tells trial, bin and cell."""
    count = torch.arange(trials * bins, dtype=torch.float64).reshape(trials, bins, 1)
    return count + 0.25 * torch.arange(cells)


@given(
    trials=st.integers(1, 4), bins=st.integers(1, 30), batch=st.integers(1, 6),
    length=st.integers(0, 40), burn_in=st.integers(0, 10), seed=st.integers(0, 100),
)  # fmt: skip
def test_windows_are_stretches_of_one_trial(
    trials: int, bins: int, batch: int, length: int, burn_in: int, seed: int
) -> None:
    if length and burn_in >= length:
        with pytest.raises(
            UserError, match=f"burn_in: found {burn_in}, expected less than the window of {length}"
        ):
            Windows(numbered(trials, bins), batch, length, burn_in)
        return
    x, weights = Windows(numbered(trials, bins), batch, length, burn_in).cut(generator(seed))
    expected = min(length or bins, bins)
    assert (
        x.shape == (batch, expected, 2) and weights.shape == (batch, expected, 1) and weights.dtype == x.dtype
    )
    first = x[:, 0, 0].long()
    trial, start = first // bins, first % bins
    assert torch.equal(x[..., 0], (first[:, None] + torch.arange(expected)).double())
    assert (start + expected <= bins).all(), "a window crosses into the next trial"
    burnt = torch.where(start == 0, 0, burn_in)
    assert torch.equal(weights[..., 0], (torch.arange(expected) >= burnt[:, None]).double())
    if batch <= trials:
        assert len(set(trial.tolist())) == batch, "a trial is drawn twice although there are enough"


def test_whole_trials_count_in_full() -> None:
    x, weights = Windows(numbered(5, 8), 5, burn_in=3).cut(generator(0))
    assert sorted(x[:, 0, 0].tolist()) == [0.0, 8.0, 16.0, 24.0, 32.0] and bool((weights == 1).all())


def test_every_bin_is_counted_and_the_first_ones_are_not_forgotten() -> None:
    """60 bins, windows of 20 with 6 of burn-in: starts from −6, those left of the trial clipped to it."""
    bins, length, burn_in = 60, 20, 6
    rng = generator(1)
    windows = Windows(numbered(1, bins, 1), 200, length, burn_in)
    starts: Counter[int] = Counter()
    counted = torch.zeros(bins)
    for _ in range(100):
        x, weights = windows.cut(rng)
        first = x[:, 0, 0].long()
        starts.update(first.tolist())
        for start, row in zip(first.tolist(), weights[..., 0], strict=True):
            counted[start : start + length] += row
    places = bins - length + 1 + burn_in
    assert set(starts) == set(range(bins - length + 1))
    assert starts[0] / 20_000 == pytest.approx((burn_in + 1) / places, rel=0.05)
    later = torch.tensor([starts[start] for start in range(1, bins - length + 1)]) / 20_000
    assert float((later * places - 1).abs().max()) < 0.25
    share = counted / 20_000 * places  # expected number of places that count a bin
    assert float(share[: burn_in + 1].min()) > burn_in and float(share.min()) > 0.7
    assert float(share[length : bins - length].mean()) == pytest.approx(length - burn_in, rel=0.03)


def test_windows_are_the_generators_doing() -> None:
    windows = Windows(numbered(4, 30), 3, 10, 2)
    first, again, other = (windows.cut(generator(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 0}, "batch: found 0"),
        ({"batch": 1, "length": -1}, "window, burn_in: found -1, 0"),
        ({"batch": 1, "burn_in": -2}, "window, burn_in: found 0, -2"),
        ({"batch": 1, "length": 5, "burn_in": 5}, "burn_in: found 5, expected less than the window of 5"),
    ],
)
def test_windows_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Windows(numbered(1, 10), **settings)


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize("shape", SHAPES)
def test_schedules_go_from_start_to_end(shape: str) -> None:
    schedule = Schedule(0.5, 0.1, shape, over=0.5)
    values = [schedule.at(step, 100) for step in range(100)]
    assert values[0] == 0.5
    assert values == sorted(values, reverse=True)
    if shape == "constant":
        assert set(values) == {0.5} and schedule.smallest == 0.5
        return
    assert values[50:] == [pytest.approx(0.1)] * 50 and values[49] > 0.1 and schedule.smallest == 0.1
    middle = {"linear": 0.3, "cosine": 0.3, "geometric": math.sqrt(0.05)}[shape]
    assert values[25] == pytest.approx(middle)


def test_a_schedule_may_rise() -> None:
    schedule = Schedule(0.1, 0.4, "linear")
    assert schedule.smallest == 0.1 and schedule.at(5, 10) == pytest.approx(0.25)
    assert schedule.at(0, 1) == 0.1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shape": "cosin", "end": 1.0}, r"schedule shape: found 'cosin' \(did you mean 'cosine'\?\)"),
        ({"shape": "linear"}, "found shape 'linear' without an end"),
        ({"over": 0.0}, "schedule over: found 0.0"),
        ({"over": 1.5}, "schedule over: found 1.5"),
        ({"shape": "geometric", "end": 0.0}, "found 0.5 to 0.0 for a geometric shape"),
    ],
)
def test_schedules_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Schedule(0.5, **settings)
