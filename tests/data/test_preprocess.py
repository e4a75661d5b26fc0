"""Noise level, frame averaging, baseline and first guesses, on traces whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from dfp.core.errors import UserError
from dfp.data.preprocess import (
    add_noise_to_level,
    average_frames,
    correct_baseline,
    initial_estimates,
    noise_level,
    noise_sd,
    rolling_percentile,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def calcium(bins: int, rate: float, decay: float, seed: int = 0) -> np.ndarray:
    spikes = (generator(seed).random(bins) < rate).astype(float)
    trace = np.zeros(bins)
    level = 0.0
    for t in range(bins):
        level = decay * level + spikes[t]
        trace[t] = level
    return trace


def test_noise_level_of_white_noise() -> None:
    """median|x − y| of two Gaussians is 0.9539 sd; averaging frames leaves the level as it is."""
    x = 0.1 * generator().standard_normal(400_000)
    assert noise_level(x, 60.0) == pytest.approx(100 * 0.1 * 0.95387 / np.sqrt(60), rel=0.01)
    assert noise_level(average_frames(x, 60.0, 20.0), 20.0) == pytest.approx(noise_level(x, 60.0), rel=0.01)


def test_noise_level_leaves_out_missing_frames() -> None:
    x = np.array([0.0, 1.0, np.nan, 5.0, 6.0])
    assert noise_level(x, 1.0) == pytest.approx(100.0)
    assert np.isnan(noise_level(np.full(5, np.nan), 1.0))


@pytest.mark.parametrize("nu", [1.0, 2.0, 8.0])
def test_noise_is_raised_to_the_level(nu: float) -> None:
    x = calcium(20_000, 0.1, 0.9) * 0.2 + 0.01 * generator(1).standard_normal(20_000)
    x[50:60] = np.nan
    noisy = add_noise_to_level(x, nu, 30.0, generator(2))
    assert noise_level(x, 30.0) < 1.0
    assert noise_level(noisy, 30.0) == pytest.approx(nu, rel=0.006)
    assert np.array_equal(np.isnan(noisy), np.isnan(x))
    assert noisy.dtype == np.float32


def test_a_trace_above_the_level_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected at most the level wanted, 0.5"):
        add_noise_to_level(generator().standard_normal(100), 0.5, 30.0, generator())


def test_average_frames_by_a_whole_number_is_a_reshaped_mean() -> None:
    x = generator().standard_normal(603)
    assert np.allclose(average_frames(x, 90.0, 30.0), x.reshape(-1, 3).mean(1))
    both = np.stack([x, 2 * x], axis=1)
    assert np.allclose(average_frames(both, 90.0, 30.0)[:, 1], 2 * average_frames(x, 90.0, 30.0))


def test_average_frames_at_any_ratio_follows_the_frame_centres() -> None:
    x = generator().standard_normal(1583)
    out = average_frames(x, 158.28, 30.0)
    centre = (np.arange(len(x)) + 0.5) / 158.28
    assert len(out) == int(1583 / 158.28 * 30)
    for k in (0, 1, 7, 150, len(out) - 1):
        inside = (centre >= k / 30) & (centre < (k + 1) / 30)
        assert out[k] == pytest.approx(x[inside].mean())


def test_average_frames_keeps_missing_frames_and_refuses_a_higher_rate() -> None:
    x = np.arange(9.0)
    x[4] = np.nan
    assert np.array_equal(average_frames(x, 3.0, 1.0), [1.0, np.nan, 7.0], equal_nan=True)
    assert np.array_equal(average_frames(np.arange(3.0), 3.0, 3.0), [0, 1, 2])
    with pytest.raises(UserError, match="not higher"):
        average_frames(x, 3.0, 4.0)
    with pytest.raises(UserError, match="shorter than one"):
        average_frames(x, 30.0, 1.0)


def test_rolling_percentile_follows_a_slow_drift_under_transients() -> None:
    bins, rate = 9000, 30.0
    drift = 0.3 + 0.2 * np.sin(2 * np.pi * np.arange(bins) / bins)
    x = drift + calcium(bins, 0.005, 0.95)
    x[100:200] = np.nan
    slow = rolling_percentile(x, rate, 20.0, 20.0)
    assert np.all(np.isfinite(slow))
    assert np.abs(slow - drift).max() < 0.05
    corrected = correct_baseline(x, rate, 20.0, 20.0)
    assert np.array_equal(np.isnan(corrected), np.isnan(x))
    quiet = np.isfinite(x) & (x - drift < 0.01)
    assert np.std(corrected[quiet]) < 0.2 * np.std(x[quiet])
    assert np.median(corrected[quiet]) == pytest.approx(0.3, abs=0.05)


def test_rolling_percentile_of_a_wide_window_is_the_percentile() -> None:
    x = generator().standard_normal(500)
    assert np.allclose(rolling_percentile(x, 1.0, 30.0, 2000.0), np.percentile(x, 30.0))
    with pytest.raises(UserError, match="every frame is NaN"):
        rolling_percentile(np.full(5, np.nan), 1.0)
    with pytest.raises(UserError, match="0 to 100"):
        rolling_percentile(x, 1.0, 130.0)


def test_noise_sd_sees_through_transients() -> None:
    x = calcium(50_000, 0.02, 0.95) + 0.2 * generator(1).standard_normal(50_000)
    assert noise_sd(x) == pytest.approx(0.2, rel=0.05)
    digitised = (generator(2).random(1000) < 0.1).astype(float)
    assert noise_sd(digitised) == pytest.approx(np.diff(digitised).std() / np.sqrt(2))


@pytest.mark.parametrize(
    ("amplitude", "baseline", "noise"), [(1.0, 0.0, 0.15), (0.3, 0.5, 0.03), (2.0, -1.0, 0.3)]
)
def test_initial_estimates_are_near_the_truth(amplitude: float, baseline: float, noise: float) -> None:
    x = baseline + amplitude * calcium(20_000, 0.01, 0.93) + noise * generator(3).standard_normal(20_000)
    x[10:30] = np.nan
    guess = initial_estimates(x, 30.0)
    assert guess.noise == pytest.approx(noise, rel=0.1)
    assert guess.baseline == pytest.approx(baseline, abs=0.3 * noise)
    assert 0.6 * amplitude < guess.amplitude < 1.5 * amplitude


def test_initial_estimates_of_noise_alone_and_of_too_little() -> None:
    x = 2.0 + 0.1 * generator().standard_normal(300)
    guess = initial_estimates(x, 30.0)
    assert guess.baseline == pytest.approx(2.0, abs=0.03)
    assert guess.amplitude < 0.7
    with pytest.raises(UserError, match="9 finite frames, expected at least 10"):
        initial_estimates(np.append(np.arange(9.0), np.nan), 30.0)


def test_a_corrected_baseline_rests_at_the_middle_of_the_slow_one() -> None:
    """A drift from 0 to 2 goes; what rests is the median of the percentile, not where it began."""
    x = np.linspace(0, 2, 4000) + 0.05 * np.random.default_rng(0).standard_normal(4000)
    slow = rolling_percentile(x, 30.0, window_seconds=20.0)
    found = correct_baseline(x, 30.0, window_seconds=20.0)
    assert np.allclose(found, x - slow + np.median(slow), atol=1e-6)
    assert np.median(found) == pytest.approx(1.0, abs=0.08)
    assert np.median(found[:500]) == pytest.approx(np.median(found[-500:]), abs=0.05)


@pytest.mark.parametrize("frame_rate", [30.0, 120.0])
def test_the_first_amplitude_is_that_of_a_rise_over_a_tenth_of_a_second(frame_rate: float) -> None:
    """Transients that take 80 ms to their peak of 1: a frame's own step would be a part of it."""
    time = np.arange(int(60 * frame_rate)) / frame_rate
    after = (time[:, None] - np.arange(2, 58, 4)) % 60
    x = (np.minimum(after / 0.08, 1) * np.exp(-after / 0.5)).sum(1)
    noisy = x + 0.02 * np.random.default_rng(1).standard_normal(len(x))
    assert initial_estimates(noisy, frame_rate).amplitude == pytest.approx(0.85, abs=0.1)


def test_noise_alone_is_no_rise() -> None:
    """The largest of 3,000 differences of white noise stays below four of their own standard deviations."""
    x = np.random.default_rng(2).standard_normal(3000)
    found = initial_estimates(x, 30.0)
    assert found.amplitude == pytest.approx(3 * found.noise) and found.noise == pytest.approx(1, abs=0.1)
