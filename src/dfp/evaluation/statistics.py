"""What hard samples say of counts, dependencies and calibration. Everything per cell."""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.core.errors import UserError


def neighbour_covariance(z: Tensor, lag: int) -> Tensor:
    """``cov(z[t], z[t + lag])`` over samples, averaged over bins and trials, ``(N,)``, from samples ``(S, B, T, N)``, S ≥ 2.

    The unbiased estimate (divided by S − 1), so that independent samples average to 0.
    """
    early, late = z[:, :, :-lag].double(), z[:, :, lag:].double()
    samples = z.shape[0]
    covariance = ((early * late).mean(0) - early.mean(0) * late.mean(0)) * samples / (samples - 1)
    return covariance.mean((0, 1))


def windowed_counts(z: Tensor, window: int) -> Tensor:
    """Spikes in stretches of ``window`` bins that do not overlap, ``(..., T // window, N)``; 0 counts the whole trial."""
    bins = z.shape[-2]
    if window < 0 or window > bins:
        raise UserError(f"count window: found {window} bins, expected 0 to {bins}")
    if window == 0:
        return z.sum(-2, keepdim=True, dtype=torch.float64)
    kept = z[..., : bins // window * window, :]
    return kept.unflatten(-2, (-1, window)).sum(-2, dtype=torch.float64)


def randomised_ranks(samples: Tensor, truth: Tensor, rng: torch.Generator) -> Tensor:
    """Rank of the truth among the samples, as a share in (0, 1): uniform where posterior and truth agree, ties broken at random.

    ``(#{s: n_s < n} + v · (#{s: n_s = n} + 1)) / (S + 1)``, v uniform on (0, 1), for samples ``(S, ...)`` and truth ``(...)``.
    Source: Talts et al. 2018, with the randomisation that discrete quantities need.
    """
    below, equal = (samples < truth).sum(0), (samples == truth).sum(0)
    uniform = torch.rand(truth.shape, generator=rng, device=truth.device, dtype=torch.float64)
    return (below + uniform * (equal + 1)) / (samples.shape[0] + 1)


def count_coverage(z: Tensor, truth: Tensor, level: float, rng: torch.Generator, window: int = 0) -> Tensor:
    """Share of trials whose true spike count lies in the central ``level`` interval of the sampled counts, ``(N,)``.

    Membership is by randomised rank, so that a calibrated posterior covers ``level`` exactly in expectation although counts are whole
    numbers.

    Args:
        z: samples ``(S, B, T, N)``.
        truth: true spikes ``(B, T, N)``.
        level: in (0, 1).
        window: count in stretches of this many bins; 0 the whole trial.
    """
    ranks = randomised_ranks(windowed_counts(z, window), windowed_counts(truth, window), rng)
    return ((ranks - 0.5).abs() < level / 2).double().mean((0, 1))


def expected_calibration_error(probability: Tensor, truth: Tensor, groups: int = 10) -> Tensor:
    """Expected calibration error of P(spike), ``(N,)``: bins are sorted into ``groups`` of equal size by probability, and
    |mean probability − share of spikes| is averaged over the groups.

    Args:
        probability, truth: ``(B, T, N)``.
    """
    flat, spikes = probability.flatten(0, 1).double(), (truth.flatten(0, 1) > 0).double()
    order = flat.argsort(0)
    parts_p = flat.gather(0, order).tensor_split(groups)
    parts_z = spikes.gather(0, order).tensor_split(groups)
    errors = [
        (p.mean(0) - s.mean(0)).abs() * p.shape[0] for p, s in zip(parts_p, parts_z, strict=True) if p.shape[0]
    ]
    return torch.stack(errors).sum(0) / flat.shape[0]
