"""The posterior of a trace: any frame rate, any length, gaps, and the same draws for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from amortised_parts import random_network
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dfp.amortised.constants import NAMES, from_real, to_real
from dfp.amortised.posterior import (
    FASTEST_HZ,
    FEWEST,
    Pretrained,
    _deal,
    binned,
    frames_per_bin,
    load_pretrained,
)
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.amortised.told import Told
from dfp.core.errors import UserError

POSTERIOR = Pretrained(random_network(1), {"sha256": "0" * 64})


def trace_of(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.2, frames)


@given(
    rate=st.floats(0.5, 1000.0),
    frames=st.integers(12, 5000),
    missing=st.floats(0.0, 0.9),
    seed=st.integers(0, 1000),
)
def test_any_trace_has_draws_of_its_own_shape_or_a_sentence(
    rate: float, frames: int, missing: float, seed: int
) -> None:
    trace = trace_of(frames, seed)
    trace[: int(missing * frames)] = np.nan
    trace[seed % frames] = np.nan
    per_bin = frames_per_bin(trace, rate)
    if np.isfinite(binned(trace, per_bin)).sum() < FEWEST:
        with pytest.raises(UserError, match=r"found \d finite frames, expected at least 10"):
            POSTERIOR.condition(trace, rate)
        return
    cell = POSTERIOR.condition(trace, rate, Told(decay=0.5))
    drawn = cell.sample(3, seed)
    assert drawn.counts.shape == (3, frames) and drawn.counts.dtype == np.uint8
    assert set(drawn.constants) == set(NAMES)
    assert all(np.isfinite(one).all() and one.shape == (3,) for one in drawn.constants.values())
    assert cell.bin_seconds <= 1 / rate or cell.per_bin > 1
    assert 1 / cell.bin_seconds <= FASTEST_HZ + 1e-9


@pytest.mark.parametrize("rate", [30.0, 400.0])
def test_the_same_seed_gives_the_same_draws_however_many(rate: float) -> None:
    cell = POSTERIOR.condition(trace_of(2000), rate)
    many = cell.sample(40, 3)
    assert many.counts.sum() > 0 and many.counts.std(0).max() > 0
    for samples in (1, 2, 3, 4, 17):
        few = cell.sample(samples, 3)
        assert np.array_equal(few.counts, many.counts[:samples])
        for name in NAMES:
            assert np.allclose(few.constants[name], many.constants[name][:samples], rtol=1e-5)
    assert not np.array_equal(cell.sample(40, 4).counts, many.counts)


def test_constants_and_counts_are_drawn_together() -> None:
    """Draws whose constants make spikes likelier have more of them."""
    cell = POSTERIOR.condition(trace_of(400), 30.0)
    theta = cell.constants(300, 5)
    law = cell.network.law(cell.parts, theta, cell.bin_seconds)
    assert np.array_equal(law.draw_seeded(5), cell.sample(300, 5).counts)
    location, scale = law.locations()
    likely = stats.logistic.cdf(location / scale).mean(1)
    total = cell.sample(300, 5).counts.sum(1)
    assert stats.spearmanr(likely, total).statistic > 0.3
    assert abs(stats.spearmanr(likely, cell.sample(300, 6).counts.sum(1)).statistic) < 0.2


@given(
    counts=st.lists(st.integers(0, 48), min_size=1, max_size=30),
    per_bin=st.integers(2, 16),
    lacking=st.integers(0, 15),
    seed=st.integers(0, 2**40),
)
def test_dealing_out_keeps_every_spike_in_its_bin(
    counts: list[int], per_bin: int, lacking: int, seed: int
) -> None:
    frames = len(counts) * per_bin - min(lacking, per_bin - 1)
    bins = np.array([counts, counts[::-1]], np.uint8)
    out = np.zeros((2, frames), np.uint8)
    _deal(bins, per_bin, np.uint64(seed), out)
    padded = np.pad(out, ((0, 0), (0, -frames % per_bin))).reshape(2, -1, per_bin)
    assert np.array_equal(padded.sum(-1), bins)


def test_dealing_out_prefers_no_frame() -> None:
    bins = np.full((200, 50), 3, np.uint8)
    out = np.zeros((200, 50 * 7), np.uint8)
    _deal(bins, 7, np.uint64(1), out)
    observed = out.reshape(200, 50, 7).sum((0, 1))
    assert stats.chisquare(observed).pvalue > 1e-3
    # two spikes of a bin go to frames that have nothing to do with each other
    assert (out.max() >= 2) and abs((out >= 2).mean() - (3 / 49 - 2 / 343)) < 0.005


def test_bins_are_means_of_what_was_observed() -> None:
    x = np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 7.0])
    assert np.array_equal(binned(x, 2), [2.0, 5.0, np.nan, 7.0], equal_nan=True)
    assert np.array_equal(binned(x, 3), [2.0, 5.0, 7.0])
    assert binned(x, 1) is x


@pytest.mark.parametrize("rate", [0.0, -30.0, np.nan, np.inf])
def test_a_frame_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match=r"frame_rate: found .* Hz, expected a positive number"):
        POSTERIOR.condition(trace_of(100), rate)


def test_no_samples_are_refused() -> None:
    with pytest.raises(UserError, match="samples: found 0, expected at least 1"):
        POSTERIOR.condition(trace_of(100), 30.0).sample(0, 1)


def test_real_numbers_are_constants_and_back() -> None:
    constants = {"amplitude": 0.15, "decay": 0.4, "rise": 0.03, "power": 1.4, "rate_hz": 0.8}
    real = to_real(constants)
    again = from_real(real[None])
    assert {name: pytest.approx(float(value[0])) for name, value in again.items()} == constants
    assert np.abs(real).max() < 3  # a usual cell is near the centre


@pytest.mark.parametrize("kept", [[1, 1, 0], [1, 0], [1, 1, 1, 0], [1, 1, 0, 1, 0]])
def test_frames_lost_one_by_one_are_no_silence(kept: list[int]) -> None:
    """As by a camera that drops every third: counts are those of the whole trace, to a fifth."""
    cell = Cell(0.3, 0.4, 0.03, rate_hz=1.0, noise=0.08)
    x, counts = simulate_cell(cell, 3600, 1 / 30, seed=2)
    comb = np.where(np.resize(kept, len(x)) == 1, x, np.nan)
    posterior, told = load_pretrained("cells"), Told(amplitude=0.3, decay=0.4, rise=0.03)
    whole, holed = (posterior.condition(y, 30.0, told).sample(50, seed=0).expected.sum() for y in (x, comb))
    assert whole == pytest.approx(counts.sum(), rel=0.15)
    assert holed == pytest.approx(whole, rel=0.2)
    assert frames_per_bin(x, 30.0) == 1 < frames_per_bin(comb, 30.0) <= 3
    blocks = np.where(np.arange(len(x)) % 300 < 45, np.nan, x)
    assert frames_per_bin(blocks, 30.0) == 1, "stretches of missing frames are what the network has learned"
