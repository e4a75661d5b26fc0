"""What a fitted posterior says of a recording, as tables: spikes, cells, connections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from dfp.core.errors import NumericalError
from dfp.data.traces import Traces, times_of
from dfp.fitting.fitted import Fitted
from dfp.fitting.sampling import draw_samples

#: constants of the calcium models as columns, in their order; others go by their own names, after these
COLUMNS = {
    **{name: name for name in ("amplitude", "baseline", "noise")},
    "rise": "rise_s",
    "decay": "decay_s",
}


def spikes_table(fitted: Fitted, traces: Traces) -> pd.DataFrame:
    """What the posterior says of traces ``(T, N)``, cell after cell.

    Their slow baseline is taken away already.

    Columns: ``time_s`` (of the frame: the file's own, else from the first one on), ``cell``,
    ``probability`` (of at least one spike in the frame), ``expected_count`` (of spikes in the frame),
    and of the spikes in the second around
    the frame the mean, ``expected_count_1s``, and the central 90% interval, ``low_1s`` and ``high_1s``;
    ``observed``, false where the frame is missing.

    Args:
        fitted: in float64 (``Fitted.double``).

    Raises:
        NumericalError: for probabilities that are not finite.
    """
    preparation = fitted.facts.preparation
    x = torch.as_tensor(preparation.spread(traces.x)[None], dtype=torch.float64)
    x = x.to(fitted.model.value("bias").device)
    samples = draw_samples(fitted, x, seed=0)
    marginal = samples.probability[0].cpu().numpy()
    if not np.isfinite(marginal).all():
        raise NumericalError("spike probabilities: found some that are not finite, expected other traces")
    step, frames = preparation.bins_per_frame, len(traces.x)
    width = max(1, round(traces.frame_rate))
    time = times_of(traces)
    pieces = []
    for n, name in enumerate(traces.names):
        counts = samples.z[:, 0, :, n].cpu().numpy().reshape(-1, frames, step).sum(2, dtype=np.int32)
        # with one bin a frame the marginal itself, which varies less than the mean of the samples
        probability = marginal[:, n] if step == 1 else (counts > 0).mean(0)
        mean, low, high = _windowed_counts(counts, width)
        expected = marginal[:, n].reshape(frames, step).sum(1)
        columns = {"probability": probability, "expected_count": expected, "expected_count_1s": mean}
        columns |= {"low_1s": low, "high_1s": high, "observed": np.isfinite(traces.x[:, n])}
        pieces.append(pd.DataFrame({"time_s": time, "cell": name, **columns}))
    return pd.concat(pieces, ignore_index=True)


def cells_table(fitted: Fitted, traces: Traces, spikes: pd.DataFrame) -> pd.DataFrame:
    """A row for every cell, with its firing rate and its parameters.

    Columns: ``cell``, ``rate_hz`` (posterior mean of the spikes per second that was measured), ``amplitude``
    (of one spike), ``baseline`` and ``noise`` (sd of a frame) in the traces' unit, ``rise_s``, ``decay_s``,
    what else the observation model has (``freedom``), and the model's own history, ``history_1``, …, in
    logits per spike.
    """
    now = fitted.model.parameters_now()
    seconds = np.isfinite(traces.x).sum(0) / traces.frame_rate
    measured = spikes["expected_count"].where(spikes["observed"], 0.0)
    counts = measured.groupby(spikes["cell"], sort=False).sum()
    names = sorted(now.constants, key=lambda name: [*COLUMNS, name].index(name))
    constants = {COLUMNS.get(name, name): getattr(now, name) for name in names}
    history = {f"history_{lag + 1}": now.history[:, lag] for lag in range(now.history.shape[1])}
    return pd.DataFrame(
        {
            "cell": traces.names,
            "rate_hz": [counts[name] / seconds[n] for n, name in enumerate(traces.names)],
            **constants,
            **history,
        }
    )


def connections_table(fitted: Fitted, traces: Traces) -> pd.DataFrame:
    """A row for every ordered pair of different cells and every lag.

    Columns: ``source``, ``target``, ``lag_bins``, ``lag_s`` and ``weight``, which is what a spike of the
    source adds to the logit of a spike of the target that much later.
    """
    coupling = fitted.model.parameters_now().coupling
    lag, target, source = np.nonzero(np.broadcast_to(~np.eye(coupling.shape[1], dtype=bool), coupling.shape))
    names = np.array(traces.names, dtype=object)
    return pd.DataFrame(
        {
            "source": names[source],
            "target": names[target],
            "lag_bins": lag + 1,
            "lag_s": (lag + 1) / fitted.model.bin_rate,
            "weight": coupling[lag, target, source],
        }
    )


def _windowed_counts(counts: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and central 90% interval of the spikes within ``width`` frames around each, from ``(S, T)``."""
    total = np.concatenate([np.zeros_like(counts[:, :1]), counts.cumsum(1, dtype=np.int32)], 1)
    frames = np.arange(counts.shape[1])
    first, last = np.maximum(frames - width // 2, 0), np.minimum(frames - width // 2 + width, counts.shape[1])
    within = total[:, last] - total[:, first]
    low, high = np.quantile(within, [0.05, 0.95], axis=0)
    return within.mean(0), low, high
