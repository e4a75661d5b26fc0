"""Stage: spikes from a user's own traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfp.core.errors import UserError
from dfp.data.traces import Orientation, load_traces
from dfp.stages.aggregate import write_table
from dfp.stages.fitted import choose_device, load
from dfp.stages.sampling import draw_samples


def infer(
    checkpoint: Path,
    traces: Path,
    out: Path,
    frame_rate: float | None = None,
    orientation: Orientation | None = None,
    key: str | None = None,
    allow_nan: bool = False,
    device: str = "auto",
) -> None:
    """Write P(spike) per frame and cell for a file of traces, by a trained posterior.

    The table ``out`` (``.csv``) has the columns ``time_s, cell, probability, expected_count_1s, low_1s,
    high_1s``: the spike probability of the frame, and mean and central 90% interval of the number of spikes
    in the second around it, from the posterior samples.

    Raises:
        UserError: for a file that cannot be read, traces that are not as expected, or a checkpoint for other
            cells or another rate.
    """
    where = choose_device(device)
    fitted = load(checkpoint, where)
    loaded = load_traces(traces, frame_rate=frame_rate, key=key, orientation=orientation, allow_nan=allow_nan)
    if loaded.x.shape[1] != fitted.model.cells:
        raise UserError(
            f"{traces}: found {loaded.x.shape[1]} cells, expected {fitted.model.cells} as {checkpoint} was "
            "trained on"
        )
    if abs(loaded.frame_rate / fitted.model.frame_rate - 1.0) > 0.02:
        raise UserError(
            f"{traces}: found {loaded.frame_rate:g} Hz, expected {fitted.model.frame_rate:g} Hz as "
            f"{checkpoint} was trained at; "
            "resample the traces or train at their rate"
        )
    fitted.model.double()
    fitted.posterior.double()
    x = torch.as_tensor(loaded.x[None], dtype=torch.float64, device=where)
    samples = draw_samples(fitted, x, seed=0)
    width = max(1, round(loaded.frame_rate))
    mean, low, high = _windowed_counts(samples.z[:, 0].cpu().numpy(), width)
    probability = samples.probability[0].cpu().numpy()
    time = np.arange(loaded.x.shape[0]) / loaded.frame_rate
    pieces = [
        pd.DataFrame(
            {
                "time_s": time,
                "cell": name,
                "probability": probability[:, n],
                "expected_count_1s": mean[:, n],
                "low_1s": low[:, n],
                "high_1s": high[:, n],
            }
        )
        for n, name in enumerate(loaded.names)
    ]
    write_table(pd.concat(pieces, ignore_index=True), out)


def _windowed_counts(z: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and central 90% interval of the spikes within ``width`` bins
    around each bin, from ``(S, T, N)`` samples.
    """
    total = np.concatenate([np.zeros_like(z[:, :1], dtype=np.int32), z.cumsum(1, dtype=np.int32)], 1)
    bins = np.arange(z.shape[1])
    first, last = np.maximum(bins - width // 2, 0), np.minimum(bins - width // 2 + width, z.shape[1])
    counts = total[:, last] - total[:, first]
    low, high = np.quantile(counts, [0.05, 0.95], axis=0)
    return counts.mean(0), low, high
