"""Counts in the second around a frame: the moving histogram against NumPy on every window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfp.fitting.tables import _windowed_counts
from dfp.metrics.windows import per_frame, windowed


@given(
    samples=st.integers(1, 60),
    frames=st.integers(1, 80),
    width=st.integers(1, 120),
    mean=st.sampled_from([0.0, 0.03, 0.7, 8.0, 200.0]),
    seed=st.integers(0, 1000),
)
def test_windows_are_those_of_numpy_and_of_a_fit_to_the_bit(
    samples: int, frames: int, width: int, mean: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, (samples, frames)).clip(0, 255).astype(np.uint8)
    found = windowed(counts, width)
    for mine, theirs in zip(found, _windowed_counts(counts.astype(np.int32), width), strict=True):
        assert np.array_equal(mine, theirs)
    first = max(0, -(width // 2))
    within = counts[:, first : max(width - width // 2, 0)].sum(1, dtype=int)
    assert found[1][0] == np.quantile(within, 0.05) and found[2][0] == np.quantile(within, 0.95)


def test_counts_of_two_bytes_are_summed_without_running_over() -> None:
    counts = np.full((3, 50), 60000, dtype=np.uint16)
    mean, low, high = windowed(counts, 30)
    assert mean[25] == low[25] == high[25] == 30 * 60000
    expected, probability = per_frame(counts)
    assert expected.tolist() == [60000.0] * 50 and probability.tolist() == [1.0] * 50


@pytest.mark.parametrize("order", ["C", "F"])
def test_frames_are_counted_over_samples_whatever_the_layout(order: str) -> None:
    counts = np.random.default_rng(0).poisson(0.4, (20, 30)).astype(np.uint8).copy(order=order)  # type: ignore[call-overload]
    expected, probability = per_frame(counts)
    assert np.array_equal(expected, counts.mean(0)) and np.array_equal(probability, (counts > 0).mean(0))
