"""What is measured against the exact posterior of one cell."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dfp.core.noise import generator
from dfp.fitting.fitted import Fitted
from dfp.metrics.bounds import HardSamples
from dfp.metrics.statistics import (
    count_coverage,
    count_moments,
    expected_calibration_error,
    marginal_rmse,
    neighbour_covariance,
)
from dfp.models.base import Parameters
from dfp.models.kinds import kinds
from dfp.references.exact.one_cell import ExactPosterior, cell_parameters, exact_neighbour_covariance
from dfp.results.tables import Measured

#: lags whose covariances are measured; the exact one only where the posterior's state holds the lag
COVARIANCE_LAGS = 3


def exact_metrics(
    fitted: Fitted, samples: HardSamples, x: Tensor, spikes: np.ndarray | None, truth: Parameters
) -> tuple[list[Measured], Tensor]:
    """Metrics per cell against the exact posterior, and the exact marginals ``(B, T, N)``.

    They are the gap to the log-evidence, counts, marginals, covariances and calibration.

    The reference is the exact posterior under the *fitted* model: with learned parameters it measures
    inference alone. Only ``count_bias`` is against the exact posterior under the *true* parameters: the
    expected spikes less those that an ideal observer expects, relative.
    """
    exact = ExactPosterior(cell_parameters(fitted.model), x)
    ideal = exact
    if fitted.model.learned or truth.kind != fitted.model.name:
        own = kinds()[truth.kind]
        model = own(truth, fitted.model.bin_rate, kernel_bins=fitted.model.kernel_bins).to(x)
        ideal = ExactPosterior(cell_parameters(model), x)
    wanted = ideal.count_moments()[0].mean(0)
    bins, cells = x.shape[1], x.shape[2]
    settings = fitted.spec.evaluation
    evidence = exact.log_evidence.mean(0) / bins
    elbo = samples.elbo().mean(0) / bins
    over_spikes = samples.elbo_over_spikes() / bins
    iwae = samples.iwae(settings.iwae_samples).mean(0) / bins
    mean, sd = exact.count_moments()
    counts = count_moments(samples.z)[0].mean(0)
    error = marginal_rmse(samples.probability, exact.marginals)
    rows: list[Measured] = []
    for n in range(cells):
        rows += [
            (n, "log_evidence_per_bin", float(evidence[n])),
            (n, "gap_per_bin", float(evidence[n] - elbo[n])),
            (n, "spike_gap_per_bin", float(evidence[n] - over_spikes[n])),
            (n, "iwae_gap_per_bin", float(evidence[n] - iwae[n])),
            (n, "count_mean_exact", float(mean[:, n].mean())),
            (n, "count_sd_exact", float(sd[:, n].mean())),
            (n, "count_bias", float(counts[n] / wanted[n] - 1.0)),
            (n, "marginal_rmse", float(error[n])),
        ]
    for lag in range(1, min(COVARIANCE_LAGS, bins - 1) + 1):
        q = neighbour_covariance(samples.z, lag)
        rows += [(n, f"covariance_lag{lag}", float(q[n])) for n in range(cells)]
        if lag < exact.memory:
            p = exact_neighbour_covariance(exact, lag)
            rows += [(n, f"covariance_lag{lag}_exact", float(p[n])) for n in range(cells)]
    if spikes is not None:
        rows += _calibration(samples, torch.as_tensor(spikes, device=x.device), fitted.model.bin_rate)
    if settings.two_sample:
        rows += _two_sample(exact, samples, x, settings.two_sample_samples)
    return rows, exact.marginals


def _calibration(samples: HardSamples, truth: Tensor, bin_rate: float) -> list[Measured]:
    rows: list[Measured] = []
    second = min(max(1, round(bin_rate)), truth.shape[1])
    for level in (0.5, 0.9):
        whole = count_coverage(samples.z, truth, level)
        windowed = count_coverage(samples.z, truth, level, window=second)
        for n in range(truth.shape[-1]):
            rows += [(n, f"coverage_{round(100 * level)}", float(whole[n]))]
            rows += [(n, f"coverage_{round(100 * level)}_windowed", float(windowed[n]))]
    error = expected_calibration_error(samples.probability, truth)
    return rows + [(n, "ece", float(value)) for n, value in enumerate(error)]


def _two_sample(exact: ExactPosterior, samples: HardSamples, x: Tensor, size: int) -> list[Measured]:
    from dfp.metrics.two_sample import two_sample_accuracy  # scikit-learn takes a second to import

    size = min(size, samples.z.shape[0])
    reference = exact.sample(size, generator(4, x.device))
    rows: list[Measured] = []
    for n in range(x.shape[-1]):
        accuracy = two_sample_accuracy(
            samples.z[:size, ..., n].cpu().numpy(),
            reference[..., n].cpu().numpy(),
            exact.marginals[..., n].cpu().numpy(),
            x[..., n].cpu().numpy(),
            seed=n,
        )
        rows.append((n, "two_sample_accuracy", float(accuracy)))
    return rows
