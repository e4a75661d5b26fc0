"""Cells of the prior: how many spikes they have, and what a spike does to the trace."""

from __future__ import annotations

import numpy as np
import pytest

from dfp.amortised.simulate import Cell, simulate_cell

STILL = {"amplitude": 0.3, "decay": 0.5, "rise": 0.02, "noise": 0.0}


def rate_of(cell: Cell, windows: int = 100, seconds: float = 128.0) -> tuple[float, float]:
    """Mean spikes a second, and its standard error."""
    bins = round(seconds * 32)
    counts = [simulate_cell(cell, bins, 1 / 32, seed)[1].sum() / seconds for seed in range(windows)]
    return float(np.mean(counts)), float(np.std(counts) / np.sqrt(windows))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"modulation": 1.0, "modulation_seconds": 0.5},
        {"burst_share": 0.5, "burst_size": 2.0},
        {"burst_share": 0.5, "burst_size": 4.0},
    ],
)
def test_a_cell_fires_at_its_rate(how: dict[str, float]) -> None:
    mean, error = rate_of(Cell(**STILL, rate_hz=1.0, **how))
    assert abs(mean - 1) < 0.05 + 3 * error


def test_a_refractory_time_keeps_spikes_apart() -> None:
    _, counts = simulate_cell(Cell(**STILL, rate_hz=15.0, refractory=0.02), 50000, 0.004, 1)
    places = np.flatnonzero(counts)
    assert counts.max() == 1 and np.diff(places).min() >= 5
    _, free = simulate_cell(Cell(**STILL, rate_hz=15.0, refractory=0.002), 50000, 0.004, 1)
    assert np.diff(np.flatnonzero(free)).min() < 5


def lone_spike(cell: Cell, bins: int, bin_seconds: float) -> tuple[np.ndarray, int]:
    """The trace from its only spike on, and the frame of that."""
    for seed in range(300):
        trace, counts = simulate_cell(cell, bins, bin_seconds, seed)
        (places,) = np.nonzero(counts)
        before, after = round(6 * cell.decay / bin_seconds), round(3 / bin_seconds)
        if counts.sum() != 1 or not before < places[0] < bins - after:
            continue
        if abs(trace[: places[0] - 1]).max() < 1e-3 * cell.amplitude:  # nor one before the window
            return trace[places[0] :], int(places[0])
    raise AssertionError("no window with a lone spike")


@pytest.mark.parametrize("power", [1.0, 1.7])
@pytest.mark.parametrize("saturation", [0.0, 0.05])
def test_one_spike_peaks_at_the_amplitude_and_falls_with_the_decay(power: float, saturation: float) -> None:
    cell = Cell(**STILL, rate_hz=0.05, power=power, saturation=saturation)
    trace, _ = lone_spike(cell, 3000, 0.004)
    assert trace.max() == pytest.approx(cell.amplitude, rel=0.01)
    late = np.arange(100, 500)
    if saturation == 0:
        slope = np.polyfit(late * 0.004, np.log(trace[late]), 1)[0]
        assert -1 / slope == pytest.approx(cell.decay, rel=0.02)
    assert np.argmax(trace) * 0.004 < 0.2


def test_spikes_at_once_are_more_than_their_sum_for_a_power_above_one() -> None:
    busy = {"rate_hz": 3.0, "burst_share": 0.9, "burst_size": 4.0, "burst_interval": 0.003}
    linear, _ = simulate_cell(Cell(**STILL, **busy), 4000, 0.02, 3)
    steep, _ = simulate_cell(Cell(**STILL, **busy, power=1.6), 4000, 0.02, 3)
    flat, _ = simulate_cell(Cell(**STILL, **busy, saturation=0.3), 4000, 0.02, 3)
    assert steep.max() > 1.5 * linear.max() > 2.5 * flat.max()


def test_a_frame_is_a_mean_or_the_value_in_its_middle() -> None:
    whole, counts = simulate_cell(Cell(**STILL, rate_hz=0.5), 4000, 0.1, 7)
    middle, same = simulate_cell(Cell(**STILL, rate_hz=0.5, exposed=False), 4000, 0.1, 7)
    assert np.array_equal(counts, same)
    assert middle.sum() == pytest.approx(whole.sum(), rel=0.02)
    # a spike after the middle is seen by the mean only
    silent = np.convolve(counts, np.ones(60), "full")[: len(counts)] - counts == 0
    first = np.flatnonzero(silent & (counts == 1))
    assert len(first) > 5
    assert (whole[first] > 1e-3).all()
    unseen = middle[first] < 1e-4
    assert 0.2 < unseen.mean() < 0.8


def test_noise_has_the_sd_that_is_told_and_gaussian_or_heavy_tails() -> None:
    quiet = {**STILL, "rate_hz": 1e-6, "noise": 0.2}
    plain, _ = simulate_cell(Cell(**quiet), 20000, 0.05, 1)
    heavy, _ = simulate_cell(Cell(**quiet, tail=3), 20000, 0.05, 1)
    assert plain.std() == pytest.approx(0.2, rel=0.03)
    assert np.median(abs(heavy)) == pytest.approx(0.2 * 0.765, rel=0.05)  # Student's t with 3 degrees
    assert abs(heavy).max() > 8 * 0.2 > 1.5 * abs(plain).max()


def test_the_slow_part_and_the_drift_have_their_sizes() -> None:
    quiet = {**STILL, "rate_hz": 1e-6}
    slow = np.array(
        [simulate_cell(Cell(**quiet, slow=0.1, slow_seconds=2.0), 400, 0.1, s)[0] for s in range(200)]
    )
    assert slow.std() == pytest.approx(0.1, rel=0.05)
    near = (slow[:, 20:] * slow[:, :-20]).mean() / slow.var()
    assert near == pytest.approx(np.exp(-1), abs=0.08)
    drift = np.array([simulate_cell(Cell(**quiet, drift=0.05), 400, 0.1, s)[0] for s in range(200)])
    ends = drift[:, 399]
    assert ends.std() == pytest.approx(0.05 * np.sqrt(40), rel=0.2)


def test_the_seed_decides_all() -> None:
    cell = Cell(**{**STILL, "noise": 0.05}, rate_hz=2.0, modulation=1.0)
    one, other = simulate_cell(cell, 500, 1 / 30, 4), simulate_cell(cell, 500, 1 / 30, 4)
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
    assert not np.array_equal(one[0], simulate_cell(cell, 500, 1 / 30, 5)[0])
