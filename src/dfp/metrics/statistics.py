"""What hard samples say of counts, dependencies and calibration, and what the exact posterior says.

Everything is per cell. Samples are ``(S, B, T, N)`` of 0 and 1 in any type; sums are exact integers and
results float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.core.errors import UserError
from dfp.metrics import spikes


def count_moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over samples of the number of spikes in a trial, each ``(B, N)``.

    The deviation is that of the unbiased variance (divided by S − 1), S ≥ 2.
    """
    _several(z)
    counts = windowed_counts(z, 0)[:, :, 0]
    return counts.mean(0), counts.std(0)


def marginals(z: Tensor) -> Tensor:
    """Share of samples with a spike, ``(B, T, N)``."""
    return z.sum(0, dtype=torch.int32).double() / z.shape[0]


def neighbour_covariance(z: Tensor, lag: int) -> Tensor:
    """``cov(z[t], z[t + lag])`` over samples, averaged over bins and trials, ``(N,)``.

    The unbiased estimate (divided by S − 1), so that independent bins average to 0; S ≥ 2.

    Raises:
        UserError: for a lag outside 1 to T − 1, or one sample.
    """
    _lag(lag, z.shape[2])
    samples = _several(z)
    total = torch.zeros(z.shape[-1], dtype=torch.float64, device=z.device)
    for trial in z.unbind(1):  # a trial at a time, for the memory
        early, late = trial[:, :-lag], trial[:, lag:]
        covariance = marginals(early * late) - marginals(early) * marginals(late)
        total += covariance.mean(0)
    return total / z.shape[1] * samples / (samples - 1)


def marginal_rmse(probability: Tensor, exact: Tensor) -> Tensor:
    """Root of the mean squared difference of two P(spike) ``(B, T, N)`` over trials and bins, ``(N,)``."""
    return (probability.double() - exact.double()).square().mean((0, 1)).sqrt()


def windowed_counts(z: Tensor, window: int) -> Tensor:
    """Spikes in stretches of ``window`` bins, ``(..., T // window, N)`` float64; 0 counts the whole trial.

    Stretches do not overlap; bins left over at the end are not counted.

    Raises:
        UserError: for a window longer than a trial, or below 0.
    """
    bins = z.shape[-2]
    if not 0 <= window <= bins:
        raise UserError(f"count window: found {window} bins, expected 0 (the whole trial) to {bins}")
    width = window or bins
    kept = z[..., : bins // width * width, :]
    return kept.unflatten(-2, (-1, width)).sum(-2, dtype=torch.int32).double()


def randomised_ranks(samples: Tensor, truth: Tensor, rng: torch.Generator) -> Tensor:
    """Rank of the truth among the samples as a share in (0, 1), ties broken at random.

    ``(#{s: n_s < n} + v · (#{s: n_s = n} + 1)) / (S + 1)``, v uniform on (0, 1), for samples ``(S, ...)`` and
    a truth ``(...)``: exactly uniform where the truth is a draw from the same law as the samples.

    Source: Talts et al. 2018 (simulation-based calibration), with the randomisation that whole numbers need.
    """
    low, high = _rank_bounds(samples, truth)
    uniform = torch.rand(truth.shape, generator=rng, device=truth.device, dtype=torch.float64)
    return low + uniform * (high - low)


def count_coverage(
    z: Tensor, truth: Tensor, level: float, rng: torch.Generator | None = None, window: int = 0
) -> Tensor:
    """Share of trials whose true spike count lies in the central interval of the sampled counts, ``(N,)``.

    Membership is by ``randomised_ranks``, so that a calibrated posterior covers ``level`` in expectation,
    exactly, although counts are whole numbers.

    Args:
        z: samples ``(S, B, T, N)``.
        truth: true spikes ``(B, T, N)``.
        level: probability of the interval, in (0, 1).
        rng: breaks the ties; without one the share is averaged over all ways of breaking them, which has the
            same expectation and less variance.
        window: count in stretches of this many bins; 0 the whole trial.

    Raises:
        UserError: for a level outside (0, 1), a window longer than a trial, or shapes that disagree.
    """
    if not 0 < level < 1:
        raise UserError(f"coverage: found a level of {level}, expected one between 0 and 1")
    if z.shape[1:] != truth.shape:
        raise UserError(
            f"coverage: found samples of shape {tuple(z.shape)} and true spikes of shape "
            f"{tuple(truth.shape)}, expected the same trials, bins and cells"
        )
    counts, true_counts = windowed_counts(z, window), windowed_counts(truth, window)
    if rng is not None:
        inside = ((randomised_ranks(counts, true_counts, rng) - 0.5).abs() < level / 2).double()
    else:
        low, high = _rank_bounds(counts, true_counts)
        overlap = high.clamp(max=0.5 + level / 2) - low.clamp(min=0.5 - level / 2)
        inside = overlap.clamp(min=0) / (high - low)
    return inside.mean((0, 1))


def expected_calibration_error(probability: Tensor, truth: Tensor, groups: int = 10) -> Tensor:
    """Expected calibration error of P(spike), ``(N,)``: ``Σ_g (n_g / n) |share of spikes − mean P|``.

    Groups of equal width, as in ``dfp.metrics.spikes`` (Guo et al. 2017), frames that are NaN left out.

    Args:
        probability: P(spike) ``(B, T, N)``; rounding beyond 0 or 1 is cut off.
        truth: true spikes ``(B, T, N)``; above 1 counts as 1.
        groups: number of groups.
    """
    p = probability.double().clamp(0, 1).flatten(0, 1).cpu().numpy()
    z = truth.double().flatten(0, 1).cpu().numpy()
    errors = [spikes.expected_calibration_error(p[:, n], z[:, n], groups) for n in range(p.shape[1])]
    return torch.tensor(errors, dtype=torch.float64, device=probability.device)


def _rank_bounds(samples: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Between which shares the truth's rank lies, as ties are broken: two tensors ``(...)``."""
    below, equal = (samples < truth).sum(0).double(), (samples == truth).sum(0).double()
    return below / (samples.shape[0] + 1), (below + equal + 1) / (samples.shape[0] + 1)


def _several(z: Tensor) -> int:
    if z.shape[0] < 2:
        raise UserError(f"sample statistics: found {z.shape[0]} sample, expected at least 2")
    return z.shape[0]


def _lag(lag: int, bins: int) -> None:
    if not 1 <= lag < bins:
        raise UserError(f"neighbour covariance: found a lag of {lag} bins, expected 1 to {bins - 1}")
