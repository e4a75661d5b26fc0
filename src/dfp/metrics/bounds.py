"""Bounds from hard samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import logistic_noise
from dfp.distributions.law import SpikeLaw
from dfp.models.base import ObservationModel
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

#: numbers held at once while sampling, per tensor; keeps evaluation within a few hundred MB
_CHUNK = 1_000_000


@dataclass(frozen=True)
class HardSamples:
    """Exact samples of a posterior, and what they say of the bound.

    Attributes:
        z: ``(S, B, T, N)`` int8.
        log_weights: ``log p(x, z) − log q(z)``, ``(S, B, N)``, summed over bins; for coupled cells the sum
            over all cells stands in every column.
        probability: ``E_q P(z[t] = 1 | z[<t])``, ``(B, T, N)``: the marginals, with less variance than the
            mean of z.
        sweeps: sweeps of every chunk.
        over_spikes: as ``log_weights``, of another bound from below on ``E_q[log p(x, z) − log q(z)]``; equal
            where q has a pmf.
    """

    z: Tensor
    log_weights: Tensor
    probability: Tensor
    sweeps: tuple[int, ...]
    over_spikes: Tensor

    def elbo(self) -> Tensor:
        """``E_q[log p(x, z) − log q(z)]`` per trial, ``(B, N)``, nats; expected below the log-evidence."""
        return self.log_weights.mean(0)

    def elbo_over_spikes(self) -> Tensor:
        """What is known of ``E_q[log p(x, z) − log q(z)]``, mean over trials, ``(N,)``, nats.

        It is the greater of two numbers below it, which are the same where q has a pmf.
        """
        return torch.maximum(self.over_spikes.mean((0, 1)), self.log_weights.mean((0, 1)))

    def iwae(self, samples: int) -> Tensor:
        """``E log (1/K) Σ_k p(x, z_k)/q(z_k)`` with K = ``samples``, ``(B, N)``, nats.

        Averaged over as many groups of K as there are; samples beyond the last whole group are not used.

        Raises:
            UserError: for a K below 1 or above the number of samples.
        """
        drawn = self.log_weights.shape[0]
        if not 1 <= samples <= drawn:
            raise UserError(
                f"importance bound: found {samples} importance samples, expected 1 to the {drawn} drawn"
            )
        groups = drawn // samples
        grouped = self.log_weights[: groups * samples].reshape(groups, samples, *self.log_weights.shape[1:])
        return (torch.logsumexp(grouped, 1) - math.log(samples)).mean(0)


def sample_hard(
    model: ObservationModel,
    q: SpikeLaw,
    x: Tensor,
    samples: int,
    rng: torch.Generator,
    *,
    independent: bool,
    sweeps: int | None = None,
    max_sweeps: int | None = None,
    sampler: Sampler | None = None,
) -> HardSamples:
    """Draw exact hard samples, and weigh them.

    Args:
        model, q: in the precision and on the device of ``x`` (float64 for reported numbers).
        x: ``(B, T, N)``.
        samples: S.
        independent: cells are problems of their own, so that log-weights are kept per cell.
        sweeps: make exactly this many sweeps instead; then z need not be a sample of q and the bounds are
            not bounds.
        max_sweeps: cap.
        sampler: another sampler; by default the fixed point, swept until nothing changes. The samples are the
            same.

    Raises:
        NumericalError: when the cap is hit: such samples are not exact.
    """
    sampler = sampler or FixedPoint(sweeps=sweeps, max_sweeps=max_sweeps)
    size = max(1, _CHUNK // max(1, x.numel()))
    z: list[Tensor] = []
    weights: list[Tensor] = []
    over_spikes: list[Tensor] = []
    used: list[int] = []
    probability = torch.zeros_like(x)
    for first in range(0, samples, size):
        count = min(size, samples - first)
        noise = logistic_noise((count, *x.shape), rng, x.dtype)
        draw = q.draw(noise, sampler, Hard())
        if sweeps is None and not draw.converged:
            raise NumericalError(
                f"evaluation: samples still changed after {draw.sweeps} sweeps, so they are not exact; raise "
                "evaluation.max_sweeps (0 allows as many as bins), or ask for at_sweeps"
            )
        found = q.weigh(model.prior(*x.shape[:2]), draw)
        likelihood = model.log_likelihood(x, draw.z)
        weights.append(_summed(likelihood + found.ratio, independent))
        same = found.over_spikes is found.ratio
        over_spikes.append(weights[-1] if same else _summed(likelihood + found.over_spikes, independent))
        probability += found.probability.sum(0) / samples
        z.append(draw.z.to(torch.int8))
        used.append(draw.sweeps)
    return HardSamples(torch.cat(z), torch.cat(weights), probability, tuple(used), torch.cat(over_spikes))


def _summed(terms: Tensor, independent: bool) -> Tensor:
    """``(S, B, T, N)`` over bins, and over cells unless they are problems of their own: ``(S, B, N)``."""
    summed = terms.sum(2)
    return summed if independent else summed.sum(-1, keepdim=True).expand_as(summed)
