"""Real recordings as a data set: a panel of cells side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfp.config.schema import RecordingsSpec
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.own import first_guess
from dfp.data.preprocess import initial_estimates
from dfp.data.recording import Recording
from dfp.data.recordings import load_recordings


def recorded(spec: RecordingsSpec, folder: Path) -> Dataset:
    """The cells of ``spec``, one trial each, cut or padded with NaN to the same length.

    The first recording of every cell is used, from its start. The spike counts per frame go into ``z`` (they
    may exceed 1; with several bins per frame they stand in the frame's last bin), for scoring only: nothing
    is trained on them.

    Raises:
        UserError: for a missing folder or cell, a frame rate below ``rate_hz``, or an indicator without time
            constants.
    """
    cells = [_load(folder, key, spec) for key in spec.cells]
    frames = min(int(spec.seconds * spec.rate_hz), max(len(cell.dff) for cell in cells))
    step = spec.bins_per_frame
    x = np.full((1, frames * step, len(cells)), np.nan, dtype=np.float32)
    z = np.zeros((1, frames * step, len(cells)), dtype=np.int8)
    for n, cell in enumerate(cells):
        length = min(frames, len(cell.dff))
        x[0, step - 1 : length * step : step, n] = cell.dff[:length]
        z[0, step - 1 : length * step : step, n] = np.minimum(cell.spike_counts[:length], 127)
    estimates = [initial_estimates(cell.dff[:frames], spec.rate_hz) for cell in cells]
    bin_rate = spec.rate_hz * step
    start = first_guess(
        estimates,
        rise=np.array([_constant(spec.rise, cell, "rise") for cell in cells]),
        decay=np.array([_constant(spec.decay, cell, "decay") for cell in cells]),
        rate_guess_hz=spec.rate_guess_hz,
        bin_rate=bin_rate,
        history=spec.history,
        basis=np.zeros((0, 1)),
    )
    return Dataset(
        x=x,
        z=z,
        x_test=x[:0],
        z_test=z[:0],
        bin_rate=bin_rate,
        seed=np.arange(len(cells)),
        names=tuple(f"{cell.name} {cell.indicator}" for cell in cells),
        start=start,
        known=False,
        kernel_bins=0,
        facts={"bins_per_frame": float(step)},
    )


def _load(folder: Path, key: str, spec: RecordingsSpec) -> Recording:
    window = spec.baseline_seconds or None
    return load_recordings(folder, [key], frame_rate=spec.rate_hz, baseline_window_seconds=window)[0]


def _constant(table: dict[str, float], cell: Recording, what: str) -> float:
    if cell.indicator not in table:
        raise UserError(
            f"datasets: {what}: found no time constant for indicator '{cell.indicator}' of {cell.name}, "
            f"expected one of {', '.join(sorted(table)) or 'them'} or an entry of its own"
        )
    return table[cell.indicator]
