"""Recordings of simulated cells in the compact layout of ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfp.amortised.simulate import Cell, simulate_cell


@pytest.fixture(scope="session")
def ground_truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as docs/recordings.md says: two files, of two cells and of one."""
    folder = tmp_path_factory.mktemp("truth")
    for name, indicator, cells in (("DS91", "GCaMP8m", 2), ("DS92", "mine", 1)):
        arrays: dict[str, np.ndarray] = {}
        for number in range(cells):
            cell = Cell(amplitude=0.3, decay=0.3, rise=0.02, rate_hz=1.5, noise=0.05)
            trace, counts = simulate_cell(cell, 1800, 1 / 30, number)
            key = f"{name}_c{number:02d}_s00"
            spikes = np.repeat(np.arange(1800), counts) / 30.0
            values = {"dff": trace.astype(np.float32), "spk": spikes, "dt": np.array(1 / 30)}
            arrays |= {f"{key}_{part}": value for part, value in values.items()}
        np.savez(folder / f"{name}-{indicator}-here.npz", **arrays)
    return folder
