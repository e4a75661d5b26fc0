"""What the network sees of a trace: the same for the same cell, whatever the unit of time or the gaps."""

from __future__ import annotations

import numpy as np
import pytest

from dfp.amortised.features import CHANNELS, NUMBERS, OBSERVED, see
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.amortised.told import Told

RELATIVE = (0, 1, 3, 4)  # channels in units of the noise
CELL = Cell(amplitude=0.4, decay=0.5, rise=0.02, rate_hz=1.5, noise=0.08, slow=0.05)
TRACE, _ = simulate_cell(CELL, 900, 1 / 30, 1)


def test_shapes_and_kinds() -> None:
    seen = see(TRACE, 1 / 30)
    assert seen.frames.shape == (CHANNELS, 900) and seen.numbers.shape == (NUMBERS,)
    assert seen.frames.dtype == seen.numbers.dtype == np.float32
    assert seen.noise == pytest.approx(0.08, rel=0.15)


@pytest.mark.parametrize("factor", [1e-3, 0.2, 50.0])
def test_channels_relative_to_the_noise_do_not_know_the_unit(factor: float) -> None:
    one, other = see(TRACE, 1 / 30), see(TRACE * factor, 1 / 30)
    assert np.allclose(one.frames[list(RELATIVE)], other.frames[list(RELATIVE)], atol=1e-4)
    assert not np.allclose(one.frames[2], other.frames[2], atol=1e-2)  # this one knows dF/F


def test_an_offset_is_not_seen() -> None:
    one, other = see(TRACE, 1 / 30), see(TRACE + 3.0, 1 / 30)
    assert np.allclose(one.frames, other.frames, atol=1e-4) and np.allclose(
        one.numbers, other.numbers, atol=1e-4
    )


def test_an_amplitude_that_is_told_scales_a_channel() -> None:
    one = see(TRACE, 1 / 30, Told(amplitude=0.4))
    other = see(5 * TRACE, 1 / 30, Told(amplitude=2.0))
    assert np.allclose(one.frames[6], other.frames[6], atol=1e-5) and one.frames[6].max() > 0.5
    assert (see(TRACE, 1 / 30).frames[6] == 0).all()


def test_what_is_told_is_seen_and_what_is_not_is_zero() -> None:
    nothing = see(TRACE, 1 / 30)
    for told in (Told(indicator="GCaMP6f"), Told(amplitude=0.2), Told(decay=0.5), Told(rise=0.01)):
        changed = np.flatnonzero(see(TRACE, 1 / 30, told).numbers != nothing.numbers)
        assert len(changed) == 2


def test_missing_frames_are_zero_and_said_to_be_missing() -> None:
    gapped = TRACE.copy()
    gapped[100:200] = np.nan
    gapped[0] = gapped[-1] = np.nan
    seen = see(gapped, 1 / 30)
    assert np.isfinite(seen.frames).all() and np.isfinite(seen.numbers).all()
    assert np.array_equal(seen.frames[OBSERVED] == 0, np.isnan(gapped))
    assert (seen.frames[[0, 1, 2, 3]][:, np.isnan(gapped)] == 0).all()
    whole = see(TRACE, 1 / 30)
    assert np.allclose(seen.frames[0, 300:-1], whole.frames[0, 300:-1], atol=0.2)


@pytest.mark.parametrize(
    "trace",
    [
        np.array([0.1, 0.3]),
        np.array([np.nan, 0.1, np.nan, 0.4]),
        np.zeros(50),
        np.r_[np.full(500, np.nan), 0.1, 0.2, np.full(500, np.nan)],
    ],
)
def test_little_is_enough(trace: np.ndarray) -> None:
    seen = see(trace, 0.1)
    assert seen.frames.shape == (CHANNELS, len(trace))
    assert np.isfinite(seen.frames).all() and np.isfinite(seen.numbers).all()


def test_the_frame_rate_is_a_number_and_not_a_shape() -> None:
    fast, slow = see(TRACE, 1 / 300), see(TRACE, 1 / 30)
    assert np.array_equal(fast.frames[0], slow.frames[0])
    assert not np.array_equal(fast.numbers, slow.numbers)
