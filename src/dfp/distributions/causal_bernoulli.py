"""The one distribution over spikes: Bernoulli in every bin, with logits that see the past."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.core.noise import logistic_noise
from dfp.distributions.terms import CausalTerm, Parts
from dfp.samplers.base import Effort, Sampler
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Relaxation


@dataclass(frozen=True)
class Weights:
    """What a hard draw weighs, per bin and cell, each ``(S, B, T, N)``.

    Attributes:
        ratio: ``log p − log q`` of whatever q has a density of: with ``log p(x | z)`` added and summed, its
            mean is at most log p(x).
        over_spikes: another ratio whose mean, as the first one's, is at most that of ``log p(z) − log q(z)``;
            the same tensor where q has a pmf.
        probability: P(spike) under q, as far as it is known given the draw.
    """

    ratio: Tensor
    over_spikes: Tensor
    probability: Tensor


@dataclass(frozen=True)
class CausalBernoulli:
    """``p(z) = Π_t Π_n Bernoulli(z[t, n]; σ(u[t, n]))`` with ``u[t] = drive[t] + Σ_k term_k(z[<t])``.

    Within a bin the cells are independent given the past. Priors and posteriors are both of this class.

    Args:
        drive: the part of the logits that ignores z, ``(B, T, N)``, or ``(S, B, T, N)``.
        terms: causal terms; none makes the distribution factorised.

    Raises:
        UserError: for a drive without bins and cells, or terms of another number of cells.

    Example:
        >>> drive = torch.zeros(1, 100, 2)
        >>> q = dfp.CausalBernoulli(drive, (dfp.OwnHistory(torch.tensor([[-4.0]])),))
        >>> draw = q.draw(q.noise(5, dfp.generator(0)), dfp.FixedPoint(), dfp.Hard())
        >>> draw.converged, draw.z.shape
        (True, torch.Size([5, 1, 100, 2]))
        >>> q.log_prob(draw.z).sum((2, 3)).shape  # log q(z) of every sample and trial
        torch.Size([5, 1])
    """

    drive: Tensor
    terms: tuple[CausalTerm, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.drive, Tensor) or self.drive.dim() not in (2, 3, 4):
            found = tuple(self.drive.shape) if isinstance(self.drive, Tensor) else type(self.drive).__name__
            raise UserError(f"drive: found {found}, expected a tensor of shape (B, T, N) or (S, B, T, N)")
        if isinstance(self.terms, CausalTerm):
            raise UserError("terms: found a single term, expected a tuple of terms")
        for term in self.terms:
            term.check(self.drive.shape[-1])

    @property
    def memory(self) -> int:
        """Bins looked back by the longest term."""
        return max((term.memory for term in self.terms), default=0)

    @property
    def effort(self) -> Effort:
        """What the logits cost."""
        return sum((term.effort for term in self.terms), Effort(0, 0.0))

    @property
    def couples_cells(self) -> bool:
        """Whether any term carries one cell's past to another."""
        return any(term.couples_cells for term in self.terms)

    def logits(self, z: Tensor) -> Tensor:
        """All logits u, ``(S, B, T, N)``, given all values z ``(S, B, T, N)``."""
        total = self.drive.expand_as(z)
        for term in self.terms:
            total = total + term(z)
        return total

    def step(self, window: Tensor, t: int) -> Tensor:
        """Logits of bin ``t``, ``(S, B, N)``.

        ``(S, B, memory, N)`` are the values of the last ``memory`` bins, most recent last.
        """
        total = self.drive[..., t, :].expand(window.shape[0], window.shape[1], -1)
        for term in self.terms:
            total = total + term.step(window[:, :, window.shape[2] - term.memory :], t)
        return total

    def recursion(self) -> Recursion | None:
        """The same law as plain tensors, with their gradients; None where a term cannot be written so."""
        cells, parts = self.drive.shape[-1], Parts()
        if not all(term.lower(cells, parts) for term in self.terms) or len(parts.hidden) > 1:
            return None
        own = self.drive.new_zeros(cells, max((taps.shape[1] for taps in parts.own), default=0))
        for taps in parts.own:
            own = own + pad(taps, (0, own.shape[1] - taps.shape[1]))
        lags = max((basis.shape[1] for _, basis in parts.coupling), default=0)
        none = self.drive.new_zeros(0, cells, cells), self.drive.new_zeros(0, lags)
        weights = torch.cat([none[0], *(weights for weights, _ in parts.coupling)])
        basis = torch.cat([none[1], *(pad(basis, (0, lags - basis.shape[1])) for _, basis in parts.coupling)])
        return Recursion(self.drive, own, weights, basis, *parts.hidden)

    def draw(self, noise: Tensor, sampler: Sampler, relaxation: Relaxation) -> Draw:
        """Sample with logistic ``noise`` ``(S, B, T, N)``.

        Raises:
            UserError: for noise that is not of the drive's trials, bins and cells.
        """
        own, given = tuple(self.drive.shape), tuple(noise.shape)
        sizes = zip(reversed(own), reversed(given), strict=False)
        if len(given) != 4 or any(size not in (1, of_noise) for size, of_noise in sizes):
            raise UserError(
                f"noise: found shape {given}, expected (S, B, T, N) with the drive's {own} (as "
                "`noise(samples, rng)` makes it)"
            )
        return sampler.draw(self, noise, relaxation)

    def noise(self, samples: int, rng: torch.Generator) -> Tensor:
        """Logistic noise for ``samples`` draws of every trial, ``(S, B, T, N)``.

        Raises:
            UserError: for fewer than one sample.
        """
        if samples < 1:
            raise UserError(f"samples: found {samples}, expected at least 1")
        return logistic_noise((samples, *self.drive.shape[-3:]), rng, self.drive.dtype).to(self.drive.device)

    def log_prob(self, z: Tensor, logits: Tensor | None = None) -> Tensor:
        """``log p(z[t, n] | z[<t])``, one entry per bin and cell, ``(S, B, T, N)``.

        The sum over (T, N) is ``log p(z)``.

        For relaxed z this is the relaxed pmf ``z·u − softplus(u)``, which is not a probability.
        """
        return bernoulli_log_prob(z, self.logits(z) if logits is None else logits)

    def weigh(self, prior: CausalBernoulli, draw: Draw) -> Weights:
        """``log p(z) − log q(z)`` of a hard draw, and P(z[t] = 1 | z[<t]) under q.

        After exactly K sweeps the logits are taken at z itself.
        """
        logits = draw.logits if draw.converged else self.logits(draw.z)
        ratio = prior.log_prob(draw.z) - self.log_prob(draw.z, logits)
        return Weights(ratio, ratio, torch.sigmoid(logits))

    def with_drive(self, drive: Tensor) -> CausalBernoulli:
        """The same terms on another drive."""
        return replace(self, drive=drive)

    def with_terms(self, terms: Iterable[CausalTerm]) -> CausalBernoulli:
        """The same drive with other terms."""
        return replace(self, terms=tuple(terms))


def bernoulli_log_prob(z: Tensor, logits: Tensor) -> Tensor:
    """``z·u − softplus(u)``: the log of σ(u) for z = 1, of 1 − σ(u) for z = 0, linear between."""
    return z * logits - softplus(logits)


def bernoulli_entropy(logits: Tensor) -> Tensor:
    """``H(σ(u)) = softplus(u) − u σ(u)`` in nats."""
    return softplus(logits) - logits * torch.sigmoid(logits)


def logistic_log_density(noise: Tensor) -> Tensor:
    """``log Logistic(ℓ; 0, 1) = −ℓ − 2 softplus(−ℓ)``, in the form symmetric in ±ℓ that does not overflow."""
    size = noise.abs()
    return -size - 2.0 * softplus(-size)
