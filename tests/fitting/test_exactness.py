"""What is measured against the exact posterior, in seconds whatever the bins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dfp.fitting.exactness import _calibration
from dfp.metrics.statistics import count_coverage


@pytest.mark.parametrize(("bin_rate", "window"), [(30.0, 30), (10.4, 10), (0.2, 1), (200.0, 90)])
def test_windows_of_counts_are_one_second_of_the_bins_there_are(bin_rate: float, window: int) -> None:
    """At least a bin, at most the trial."""
    rng = torch.Generator().manual_seed(0)
    z = (torch.rand(20, 6, 90, 2, generator=rng) < 0.1).double()
    samples = SimpleNamespace(z=z[1:], probability=z[1:].mean(0))
    rows = {(n, name): value for n, name, value in _calibration(samples, z[0], bin_rate)}  # type: ignore[arg-type]
    for level in (50, 90):
        expected = count_coverage(z[1:], z[0], level / 100, window=window)
        found = [rows[n, f"coverage_{level}_windowed"] for n in range(2)]
        assert found == pytest.approx(expected.tolist())
