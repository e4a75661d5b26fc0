"""Spike metrics against values worked out by hand or another way."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dfp.core.errors import UserError
from dfp.metrics import spikes as metrics


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_correlation_is_pearson_over_known_frames() -> None:
    a, b = generator().standard_normal((2, 200))
    assert metrics.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    holes = a.copy()
    holes[::7] = np.nan
    kept = np.isfinite(holes)
    assert metrics.correlation(holes, b) == pytest.approx(np.corrcoef(a[kept], b[kept])[0, 1])
    assert np.isnan(metrics.correlation(np.ones(5), np.arange(5)))
    with pytest.raises(UserError, match="same number of frames"):
        metrics.correlation(a, b[:-1])


def test_rebin_sums_whole_frames_and_shares_split_ones() -> None:
    x = np.arange(12.0)
    assert np.allclose(metrics.rebin(x, 100.0, 0.04), [6, 22, 38])
    # 1.5 frames a bin: the frame across a border is halved.
    assert np.allclose(metrics.rebin(x[:6], 1.0, 1.5), [0.5, 2.5, 5.0, 7.0])
    # 30 Hz in 40 ms bins, 1.2 frames each: all of the mass arrives, five bins from six frames.
    y = generator().random(60)
    assert metrics.rebin(y, 30.0, 0.04).sum() == pytest.approx(y.sum())
    assert len(metrics.rebin(y, 30.0, 0.04)) == 50
    x[5] = np.nan
    assert np.array_equal(np.isnan(metrics.rebin(x, 100.0, 0.04)), [False, True, False])


def test_smoothing_has_the_sd_in_seconds_and_spreads_no_holes() -> None:
    impulse = np.zeros(401)
    impulse[200] = 1.0
    out = metrics.smooth(impulse, 100.0, 0.2)
    time = (np.arange(401) - 200) / 100.0
    assert out.sum() == pytest.approx(1.0)
    assert np.sqrt((out * time**2).sum()) == pytest.approx(0.2, rel=0.01)
    flat = np.full(100, 3.0)
    flat[40:45] = np.nan
    smoothed = metrics.smooth(flat, 100.0, 0.05)
    assert np.array_equal(np.isnan(smoothed), np.isnan(flat))
    assert np.allclose(smoothed[np.isfinite(smoothed)], 3.0)


def test_a_negative_lag_moves_the_inferred_trace_earlier() -> None:
    assert np.array_equal(metrics.shift(np.arange(4.0), -1), [1, 2, 3, np.nan], equal_nan=True)
    assert np.array_equal(metrics.shift(np.arange(4.0), 2), [np.nan, np.nan, 0, 1], equal_nan=True)
    assert np.array_equal(metrics.shift(np.arange(4.0), 0), np.arange(4.0))


def test_best_lag_undoes_a_delay() -> None:
    true = [(generator(k).random(2000) < 0.05).astype(float) for k in range(3)]
    late = [np.roll(g, 2) + 0.2 * generator(10 + k).standard_normal(2000) for k, g in enumerate(true)]
    assert metrics.best_lag(late, true, [30.0] * 3) == -2
    assert metrics.best_lag(true, true, [30.0] * 3) == 0
    at_best = metrics.correlation_smoothed(late[0], true[0], 30.0, lag=-2)
    assert at_best > metrics.correlation_smoothed(late[0], true[0], 30.0) + 0.3
    with pytest.raises(UserError, match="no cell has both"):
        metrics.best_lag([np.zeros(9)], [np.zeros(9)], [30.0])


def test_correlations_at_their_widths() -> None:
    g = (generator().random(3000) < 0.1).astype(float)
    jittered = np.roll(g, 1)
    assert metrics.correlation_binned(g, g, 100.0) == pytest.approx(1.0)
    # One frame of jitter of 100 Hz spoils frames, less so 40 ms bins, hardly 1 s bins.
    narrow = metrics.correlation(jittered, g)
    spikefinder = metrics.correlation_binned(jittered, g, 100.0)
    wide = metrics.correlation_binned(jittered, g, 100.0, 1.0)
    assert narrow < 0.15 < 0.6 < spikefinder < 0.9 < 0.95 < wide
    assert np.isnan(metrics.correlation_binned(g, g, 20.0, 0.04)), "40 ms is less than a frame of 50 ms"
    # A smoothed rate compared as it is: a perfect method that gives smoothed rates scores 1.
    rate = metrics.smooth(g, 30.0)
    assert metrics.correlation_smoothed(rate, g, 30.0, smooth_inferred=False) == pytest.approx(1.0)
    assert metrics.correlation_smoothed(rate, g, 30.0) < 0.99


def test_error_bias_and_ratio_by_hand() -> None:
    g, p = np.array([0.0, 2.0, 0.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 3.0, np.nan])
    assert metrics.relative_error(p, g) == pytest.approx(3 / 4)
    assert metrics.relative_bias(p, g) == pytest.approx(1 / 4)
    assert metrics.count_ratio(p, g) == pytest.approx(5 / 4)
    assert np.isnan(metrics.relative_error(p, np.zeros(5))) and np.isnan(metrics.count_ratio(p, np.zeros(5)))


def test_log_score_by_hand_and_against_the_base_rate() -> None:
    p, z = np.array([0.5, 0.25, 0.9]), np.array([1, 0, 3])
    assert metrics.log_score(p, z) == pytest.approx((np.log(0.5) + np.log(0.75) + np.log(0.9)) / 3)
    truth = generator().beta(0.3, 2.0, 20_000)
    spike = (generator(1).random(20_000) < truth).astype(int)
    base = metrics.base_log_score(spike)
    rate = spike.mean()
    assert base == pytest.approx(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert metrics.log_score(truth, spike) > base
    # A proper score: the truth beats an overconfident and a timid forecast.
    for wrong in (truth**2, np.sqrt(truth)):
        assert metrics.log_score(truth, spike) > metrics.log_score(wrong, spike)
    assert np.isfinite(metrics.log_score(np.array([0.0, 1.0]), np.array([1, 0])))
    with pytest.raises(UserError, match="expected 0 to 1"):
        metrics.log_score(np.array([0.2, 1.3]), np.array([0, 1]))


def test_calibration_error() -> None:
    p = np.repeat([0.05, 0.55, 0.95], [80, 10, 10])
    z = np.concatenate([np.zeros(80), np.ones(10), np.repeat([1, 0], 5)])
    # 0.8 · 0.05 + 0.1 · 0.45 + 0.1 · 0.45
    assert metrics.expected_calibration_error(p, z) == pytest.approx(0.13)
    table = metrics.reliability(p, z)
    assert table["count"].sum() == 100 and table["happened"][5] == 1.0 and table["happened"][9] == 0.5
    assert np.isnan(table["said"][3])
    truth = generator().random(200_000)
    spike = generator(1).random(200_000) < truth
    assert metrics.expected_calibration_error(truth, spike) < 0.01
    assert metrics.expected_calibration_error(truth**2, spike) > 0.1
    assert metrics.reliability(np.array([1.0]), np.array([1]))["count"][-1] == 1, "1 belongs to the last bin"


def test_score_tables_agree_with_their_parts() -> None:
    g = generator().poisson(0.1, 3000)
    p = np.clip(np.roll(g, 1) * 0.6 + 0.1 * generator(1).random(3000), 0, 1)
    scores = metrics.cell_scores(p, g, 30.0, lag=-1)
    assert set(scores) == {"r_40ms", "r_25ms", "r_1s", "error", "bias", "count_ratio"}
    assert scores["r_25ms"] == pytest.approx(metrics.correlation_smoothed(p, g, 30.0, lag=-1))
    assert scores["r_25ms"] > metrics.cell_scores(p, g, 30.0)["r_25ms"]
    perfect = metrics.cell_scores(g, g, 30.0)
    assert [round(perfect[k], 9) for k in scores] == [1, 1, 1, 0, 0, 1]
    probable = metrics.probability_scores(p, g)
    assert probable["log_score_base"] == pytest.approx(metrics.base_log_score(g))
    assert probable["ece"] == pytest.approx(metrics.expected_calibration_error(p, g))


@pytest.mark.skipif(
    not os.environ.get("DFP_RECORDINGS"), reason="set DFP_RECORDINGS to a folder of recordings"
)
def test_oasis_scores_on_recordings_are_in_the_published_range() -> None:
    """Median over GCaMP6f cells (DS09), 30 Hz, noise level 2: .41 for OASIS, and a lag of −1 to −3."""
    pytest.importorskip("oasis")
    from dfp.data.preprocess import add_noise_to_level
    from dfp.data.recordings import load_recordings
    from dfp.references.peers.oasis import oasis_deconvolve

    inferred, true = [], []
    for recording in load_recordings(None, ["DS09"], frame_rate=30.0):
        noisy = recording.dff
        if recording.noise_level < 2:
            noisy = add_noise_to_level(recording.dff, 2.0, 30.0, generator())
        if recording.spike_counts.sum() >= 3:
            inferred.append(oasis_deconvolve(noisy).spikes)
            true.append(recording.spike_counts)
    scores = [metrics.cell_scores(p, g, 30.0)["r_25ms"] for p, g in zip(inferred, true, strict=True)]
    assert np.median(scores) == pytest.approx(0.41, abs=0.06)
    assert -3 <= metrics.best_lag(inferred, true, [30.0] * len(true)) <= -1
