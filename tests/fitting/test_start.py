"""Where a fit starts: the amplitude that the posterior trained once makes of a trace."""

from __future__ import annotations

import numpy as np
import pytest

from dfp.amortised.simulate import Cell, simulate_cell
from dfp.data.own import Response
from dfp.data.preprocess import initial_estimates
from dfp.data.traces import Traces
from dfp.fitting.start import learned_amplitudes, through


def made(x: np.ndarray) -> Traces:
    return Traces(x.astype(np.float32), 30.0, tuple(f"cell{n}" for n in range(x.shape[1])))


def test_a_response_has_a_peak_of_one_and_starts_in_the_frame_of_its_spike() -> None:
    counts = np.zeros(200)
    counts[20] = 2
    found = through(counts, Response(0.05, 0.5), 30.0)
    assert found.max() == pytest.approx(2.0) and not found[:20].any() and found[40] > found[80]
    sharp = through(counts, Response(0.0, 0.5), 30.0)
    assert sharp[20] == 2 and sharp[35] == pytest.approx(2 * np.exp(-15 / 15))


def test_small_transients_that_pile_up_do_not_start_several_times_too_high() -> None:
    cell = Cell(0.12, 0.7, 0.05, rate_hz=1.5, noise=0.06)
    x = np.stack([simulate_cell(cell, 3600, 1 / 30, seed)[0] for seed in range(4)], 1)
    found = learned_amplitudes(made(x), Response(0.05, 0.7))
    before = np.array([initial_estimates(trace, 30.0).amplitude for trace in x.T])
    # nothing told, the scale of a cell stays open by about two; too high is what led to silence
    assert np.all((found > 0.4 * 0.12) & (found < 1.3 * 0.12))
    assert before.mean() > 2 * 0.12  # what it started from before


def test_what_tells_no_amplitude_is_left_open() -> None:
    rng = np.random.default_rng(0)
    raw = 4000 + 300 * rng.normal(size=900)
    short = np.full(900, np.nan)
    short[:5] = 0.1 * rng.normal(size=5)
    assert np.isnan(learned_amplitudes(made(np.stack([raw, short], 1)), Response(0.05, 0.6))).all()
