"""Stage: spikes from a user's own traces."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfp.core.errors import NumericalError, UserError
from dfp.data.own import Preparation
from dfp.data.preprocess import initial_estimates
from dfp.data.readers.registry import read_traces
from dfp.data.traces import Orientation, Traces
from dfp.fitting.fitted import Fitted, choose_device, load
from dfp.fitting.sampling import draw_samples
from dfp.results.tables import write_table

#: noise sd, or distance of the baselines in noise sds, this many times off: traces of another kind or unit
UNLIKE = 5.0


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

    The traces are prepared as those of the training were (slow baseline, latent bins a frame). The table
    ``out`` (``.csv``) is that of ``spikes_table``. Traces far from those of the training are told of in a
    sentence on stderr.

    Raises:
        UserError: for a file that cannot be read, traces that are not as expected, or a checkpoint for other
            cells or another rate.
    """
    fitted = load(checkpoint, choose_device(device))
    loaded = read_traces(traces, key=key, orientation=orientation, frame_rate=frame_rate, allow_nan=allow_nan)
    preparation = Preparation(**fitted.facts.get("preparation", {}))
    _check(fitted, loaded, preparation, checkpoint, traces)
    x = preparation.levelled(loaded.x, loaded.frame_rate)
    for sentence in unlike(fitted, x, loaded):
        print(f"{traces}: {sentence}", file=sys.stderr)
    write_table(spikes_table(fitted, Traces(x, loaded.frame_rate, loaded.names), preparation), out)


def spikes_table(fitted: Fitted, traces: Traces, preparation: Preparation) -> pd.DataFrame:
    """What the posterior says of traces ``(T, N)`` that have no slow baseline any more, cell after cell.

    Columns: ``time_s`` (of the frame, from the first one on), ``cell``, ``probability`` (of at least one
    spike in the frame), ``expected_count`` (of spikes in the frame), and of the spikes in the second around
    the frame the mean, ``expected_count_1s``, and the central 90% interval, ``low_1s`` and ``high_1s``.

    Raises:
        NumericalError: for probabilities that are not finite.
    """
    fitted.model.double()
    fitted.posterior.double()
    x = torch.as_tensor(preparation.spread(traces.x)[None], dtype=torch.float64)
    x = x.to(fitted.model.value("bias").device)
    samples = draw_samples(fitted, x, seed=0)
    marginal = samples.probability[0].cpu().numpy()
    if not np.isfinite(marginal).all():
        raise NumericalError("spike probabilities: found some that are not finite, expected other traces")
    step, frames = preparation.bins_per_frame, len(traces.x)
    width = max(1, round(traces.frame_rate))
    time = np.arange(frames) / traces.frame_rate
    pieces = []
    for n, name in enumerate(traces.names):
        counts = samples.z[:, 0, :, n].cpu().numpy().reshape(-1, frames, step).sum(2, dtype=np.int32)
        # with one bin a frame the marginal itself, which varies less than the mean of the samples
        probability = marginal[:, n] if step == 1 else (counts > 0).mean(0)
        mean, low, high = _windowed_counts(counts, width)
        expected = marginal[:, n].reshape(frames, step).sum(1)
        told = {"probability": probability, "expected_count": expected, "expected_count_1s": mean}
        pieces.append(pd.DataFrame({"time_s": time, "cell": name, **told, "low_1s": low, "high_1s": high}))
    return pd.concat(pieces, ignore_index=True)


def unlike(fitted: Fitted, x: np.ndarray, traces: Traces) -> list[str]:
    """A sentence for the first cell whose noise or baseline is far from the fitted one; none if all are near.

    Args:
        x: ``(T, N)`` prepared traces.
    """
    now = fitted.model.parameters_now()
    for n, name in enumerate(traces.names):
        if np.isfinite(x[:, n]).sum() < 10:
            continue
        found = initial_estimates(x[:, n], traces.frame_rate)
        noise, baseline = float(now.noise[n]), float(now.baseline[n])
        apart = abs(found.baseline - baseline) / max(noise, found.noise)
        if not 1 / UNLIKE < found.noise / noise < UNLIKE or apart > UNLIKE:
            return [
                f"{name} has a baseline near {found.baseline:.3g} and noise of {found.noise:.2g}, the "
                f"checkpoint was trained on {baseline:.3g} and {noise:.2g}: what it says of others "
                "is not to be trusted (`dfp fit` trains on these)"
            ]
    return []


def _check(fitted: Fitted, loaded: Traces, preparation: Preparation, checkpoint: Path, traces: Path) -> None:
    """Refuse traces of other cells or of another rate than the checkpoint's."""
    if loaded.x.shape[1] != fitted.model.cells:
        raise UserError(
            f"{traces}: found {loaded.x.shape[1]} cells, expected {fitted.model.cells} as {checkpoint} was "
            "trained on (`dfp fit` trains on traces of your own)"
        )
    expected = fitted.model.frame_rate / preparation.bins_per_frame
    if abs(loaded.frame_rate / expected - 1.0) > 0.02:
        raise UserError(
            f"{traces}: found {loaded.frame_rate:g} Hz, expected {expected:g} Hz as {checkpoint} was trained "
            "at; resample the traces or train at their rate"
        )
    known = fitted.facts.get("cells", list(loaded.names))
    if sorted(known) == sorted(loaded.names) and list(known) != list(loaded.names):
        raise UserError(
            f"{traces}: found the cells in the order {', '.join(loaded.names)}, expected that of "
            f"{checkpoint}, {', '.join(known)}"
        )


def _windowed_counts(counts: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and central 90% interval of the spikes within ``width`` frames around each, from ``(S, T)``."""
    total = np.concatenate([np.zeros_like(counts[:, :1]), counts.cumsum(1, dtype=np.int32)], 1)
    frames = np.arange(counts.shape[1])
    first, last = np.maximum(frames - width // 2, 0), np.minimum(frames - width // 2 + width, counts.shape[1])
    within = total[:, last] - total[:, first]
    low, high = np.quantile(within, [0.05, 0.95], axis=0)
    return within.mean(0), low, high
