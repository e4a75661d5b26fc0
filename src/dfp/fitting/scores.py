"""What is measured against known parameters, and against recorded spikes."""

from __future__ import annotations

import numpy as np

from dfp.data.dataset import Dataset
from dfp.fitting.fitted import Fitted
from dfp.metrics.bounds import HardSamples
from dfp.metrics.spikes import cell_scores
from dfp.models.calcium import CalciumParameters
from dfp.results.tables import Measured


def parameter_metrics(fitted: Fitted, data: Dataset) -> list[Measured]:
    """How far the learned parameters are from the true ones, per cell.

    Learned minus true are ``rate_bias`` and ``history_bias_1``, … (logits), ``baseline_bias`` (in units of
    the amplitude) and, relative to the truth, ``amplitude_bias``, ``noise_bias``, ``rise_bias``,
    ``decay_bias`` and whatever else is above 0. For constants that were told there are also
    ``amplitude_off``, …: ``|ln(value ÷ true)|`` of what the model ends with, and with them ``history_off_1``,
    …: ``|learned − true|``, in which the errors of cells do not cancel.
    """
    learned, truth = fitted.model.parameters_now(), data.start
    rows: list[Measured] = []
    for n in range(truth.cells):
        found: dict[str, float] = {}
        if "bias" in fitted.model.learned:
            found["rate_bias"] = learned.bias[n] - truth.bias[n]
        if "history" in fitted.model.learned:
            for lag in range(truth.history.shape[1]):
                error = learned.history[n, lag] - truth.history[n, lag]
                found[f"history_bias_{lag + 1}"] = error
                if fitted.spec.model.told:
                    found[f"history_off_{lag + 1}"] = abs(error)
        for name in learned.logarithmic:
            true = getattr(truth, name, np.zeros(truth.cells))[n]
            if not true:  # an instant rise, or a constant that the data set's own kind does not have
                continue
            ratio = getattr(learned, name)[n] / true
            if name in fitted.model.learned:
                found[f"{name}_bias"] = ratio - 1.0
            if name in fitted.spec.model.told:
                found[f"{name}_off"] = abs(np.log(ratio))
        if "baseline" in fitted.model.learned and isinstance(truth, CalciumParameters):
            found["baseline_bias"] = (learned.baseline[n] - truth.baseline[n]) / truth.amplitude[n]
        rows += [(n, name, float(value)) for name, value in found.items()]
    return rows


def instance_metrics(data: Dataset) -> list[Measured]:
    """The true parameters of a panel's cells where they are drawn from ranges.

    They are ``true_rate_hz`` (of a cell at rest, ``bin_rate · σ(bias)``), ``true_noise`` (÷ amplitude),
    ``true_decay`` (seconds) and ``true_history_1``, … (logits).

    No rows where noise, decay and history are the same for all cells, nor for coupled ones.
    """
    truth = data.start
    if not isinstance(truth, CalciumParameters):
        return []
    found = {"true_noise": truth.noise / truth.amplitude, "true_decay": truth.decay}
    found |= {f"true_history_{lag + 1}": truth.history[:, lag] for lag in range(truth.history.shape[1])}
    if truth.basis.shape[0] or not any(np.ptp(values) for values in found.values()):
        return []
    found["true_rate_hz"] = data.bin_rate / (1.0 + np.exp(-truth.bias))
    return [(n, name, float(values[n])) for name, values in found.items() for n in range(truth.cells)]


def recording_metrics(samples: HardSamples, data: Dataset) -> list[Measured]:
    """Agreement of the expected spikes per frame with the recorded ones, per cell.

    ``correlation_25ms`` (25 ms Gaussian, lag 0), ``correlation_40ms`` (40 ms bins), ``correlation_1s``,
    ``error``, ``bias`` (of smoothed rates, relative), ``count_ratio``.
    """
    expected = samples.probability[0].cpu().numpy()
    _, spikes = data.evaluation
    assert spikes is not None
    step = int(data.facts.get("bins_per_frame", 1))
    rows: list[Measured] = []
    for n in range(expected.shape[1]):
        seen = np.isfinite(data.x[0, step - 1 :: step, n])
        last = int(np.flatnonzero(seen)[-1]) + 1
        inferred = expected[: last * step, n].reshape(last, step).sum(1)
        recorded = spikes[0, step - 1 :: step, n][:last].astype(float)
        rows += named_scores(n, inferred, recorded, data.bin_rate / step)
    return rows


def named_scores(cell: int, inferred: np.ndarray, recorded: np.ndarray, frame_rate: float) -> list[Measured]:
    """Rows of one cell's scores under the names used in the tables."""
    names = {"r_25ms": "correlation_25ms", "r_40ms": "correlation_40ms", "r_1s": "correlation_1s"}
    scores = cell_scores(inferred, recorded, frame_rate)
    return [(cell, names.get(name, name), float(value)) for name, value in scores.items()]
