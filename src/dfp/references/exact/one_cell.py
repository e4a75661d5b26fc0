"""The exact posterior over the spikes of cells without coupling, by forward-backward over the last L bins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dfp.core.errors import UserError
from dfp.models.base import ObservationModel, require_kind
from dfp.models.calcium import CalciumNetwork
from dfp.models.served import EXACT

#: the longest memory in bins (65,536 states)
LONGEST = 16
#: bytes of conditional logits held at once; cells and trials are worked off in chunks that fit
_CHUNK_BYTES = 200_000_000
#: arrays of one number per state that a step holds besides, for the same account
_STEP_ARRAYS = 16


@dataclass(frozen=True)
class CellParameters:
    """Cells without coupling under the calcium model, all torch float64 on one device.

    Attributes:
        bias: ``(N,)`` logits.
        history: ``(N, Lh)`` logits per spike, lag 1 first; Lh may be 0.
        kernel: ``(N, Lk)`` calcium response, lag 0 first; Lk ≥ 1.
        amplitude: ``(N,)`` fluorescence per unit of calcium.
        baseline: ``(N,)`` fluorescence.
        noise: ``(N,)`` standard deviation of a frame, fluorescence, > 0.

    Raises:
        UserError: when shapes disagree, or a number is not finite, not float64, or a noise not above 0.
    """

    bias: Tensor
    history: Tensor
    kernel: Tensor
    amplitude: Tensor
    baseline: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        cells = self.bias.shape[0]
        for name, value in vars(self).items():
            dimensions = 2 if name in ("history", "kernel") else 1
            if value.dim() != dimensions or value.shape[0] != cells:
                shape = f"({cells}, bins)" if dimensions == 2 else f"({cells},)"
                raise UserError(
                    f"cell parameters, {name}: found shape {tuple(value.shape)}, expected {shape}"
                )
            if value.dtype != torch.float64:
                raise UserError(f"cell parameters, {name}: found {value.dtype}, expected torch.float64")
            if not torch.isfinite(value).all():
                raise UserError(
                    f"cell parameters, {name}: found a value that is not finite, expected numbers"
                )
        if not self.kernel.shape[1]:
            raise UserError("cell parameters, kernel: found 0 bins, expected at least 1")
        if not (self.noise > 0).all():
            lowest = float(self.noise.min())
            raise UserError(f"cell parameters, noise: found {lowest:g}, expected numbers above 0")

    @property
    def memory(self) -> int:
        """Bins L that a state has to hold: as many as a frame, or the next spike, depends on."""
        return max(self.kernel.shape[1], self.history.shape[1])


def cell_parameters(model: ObservationModel, bins: int = 0) -> CellParameters:
    """A model's cells as the exact posterior takes them, float64, without gradient.

    Args:
        bins: length of a trial, needed where the kernel is not cut.

    Raises:
        UserError: for an observation model that is not in ``EXACT``.
    """
    require_kind(model.name, EXACT, "exact posterior", "evaluation: {exact: false} does without")
    assert isinstance(model, CalciumNetwork)
    names = ("bias", "history", "amplitude", "baseline", "noise")
    values = {name: model.value(name).detach().double() for name in names}
    return CellParameters(kernel=model.kernel(bins).detach().double(), **values)


class ExactPosterior:
    """``p(z | x)``, exactly, for cells that do not influence each other.

    ``z[t] ~ Bernoulli(σ(bias + Σ_{τ=1..Lh} history[τ−1] z[t−τ]))``, ``c[t] = Σ_{j<Lk} kernel[j] z[t−j]``,
    ``x[t] = baseline + amplitude · c[t] + noise · ε``; no spikes before t = 0.

    The state s after bin t holds z[t], z[t−1], …, z[t−L+1] as the bits 0, 1, …, L−1 of an integer. A step
    shifts them and drops the oldest, so that no transition matrix is needed. Backward, in the log domain,
    ``β_t(s) = log p(x[t+1..] | s)`` gives the exact law of every spike given the spikes before it:

        ``logit P(z[t] = 1 | s, x) = u(s) + e_t(s1) − e_t(s0) + β_t(s1) − β_t(s0)``,

    where u is the prior's logit, s1 and s0 are the states that a spike and a silent bin lead to, and e_t is
    the log-likelihood of the frame. With these logits the posterior is a Markov chain, which is run forward
    in probabilities for marginals and moments, or sampled. (The backward-filtering, forward-sampling form
    of the usual recursions, Rabiner 1989; the shift structure is that of a de Bruijn graph.)

    Cost O(B · N · T · 2^L). Memory: the logits take 8 · T · 2^L bytes a trial and cell (2.5 MB for T = 300,
    L = 10; 157 MB for L = 16). As many trials and cells as fit into 200 MB are worked off together, at least
    one; they are not kept, so that ``sample`` goes through the backward pass once more. What is kept is
    8 · B · T · N · L bytes.

    Args:
        parameters: of the cells.
        x: ``(B, T, N)`` traces on the parameters' device; a frame that is not finite is not observed.

    Attributes:
        memory: L, bins.
        log_evidence: ``(B, N)`` log p(x), nats.
        marginals: ``(B, T, N)`` P(z[t] = 1 | x).

    Raises:
        UserError: when L exceeds 16 or the traces do not fit the parameters.

    Example:
        >>> cells = dfp.sparse_random(2, np.random.default_rng(0), density=0)
        >>> data = dfp.simulate(cells, [0], bin_rate=30, bins=60, kernel_bins=8)
        >>> model = dfp.CalciumNetwork(data.start, 30, kernel_bins=8)
        >>> exact = dfp.ExactPosterior.of(model, torch.as_tensor(data.x))
        >>> exact.log_evidence.shape, exact.marginals.shape
        (torch.Size([1, 2]), torch.Size([1, 60, 2]))
    """

    def __init__(self, parameters: CellParameters, x: Tensor) -> None:
        memory, cells = parameters.memory, parameters.bias.shape[0]
        if memory > LONGEST:
            raise UserError(
                f"exact posterior: found a memory of {memory} bins, expected at most {LONGEST} "
                "(cut the kernel with kernel_bins)"
            )
        if x.dim() != 3 or x.shape[2] != cells or not x.numel():
            raise UserError(
                f"exact posterior: found traces of shape {tuple(x.shape)}, "
                f"expected (trials, bins, {cells} cells), none of them 0"
            )
        self.memory = memory
        self._shape = tuple(x.shape)
        # a trial of a cell is a chain of its own: (T, B·N), the cell of a chain its number modulo N
        self._x = x.double().transpose(0, 1).flatten(1)
        lags = torch.arange(memory, device=x.device)
        self._bits = ((torch.arange(2**memory, device=x.device)[:, None] >> lags) & 1).double()  # (2^L, L)
        # the prior's logit in the state before a bin, the mean fluorescence in the state after it: (N, 2^L)
        history, kernel = parameters.history, parameters.kernel
        self._logits = parameters.bias[:, None] + history @ self._bits[:, : history.shape[1]].t()
        calcium = kernel @ self._bits[:, : kernel.shape[1]].t()
        self._mean = parameters.baseline[:, None] + parameters.amplitude[:, None] * calcium
        self._noise = parameters.noise[:, None]

        forward = [self._forward(*self._backward(chunk)) for chunk in self._chunks()]
        evidence, pairs, mean, square = (torch.cat(parts) for parts in zip(*forward, strict=True))
        trials, bins, cells = self._shape
        self.log_evidence = evidence.reshape(trials, cells)
        # P(z[t] = 1, z[t − j] = 1) for the L lags j that the state holds: (B, T, N, L)
        self._pairs = pairs.reshape(trials, cells, bins, memory).transpose(1, 2)
        self.marginals = self._pairs[..., 0].contiguous()
        self._count_mean = mean.reshape(trials, cells)
        self._count_square = square.reshape(trials, cells)

    @classmethod
    def of(cls, model: ObservationModel, x: Tensor) -> ExactPosterior:
        """The exact posterior under a model without coupling, for traces ``(B, T, N)``.

        The kernel has to be cut.
        """
        return cls(cell_parameters(model, x.shape[1]), x.double())

    def pairwise(self, lag: int = 1) -> Tensor:
        """``P(z[t] = 1, z[t + lag] = 1 | x)``, ``(B, T − lag, N)``, for 0 ≤ lag < L.

        Raises:
            UserError: for a lag that the state does not hold.
        """
        if not 0 <= lag < self.memory:
            raise UserError(f"pairwise lag: found {lag} bins, expected 0 to {self.memory - 1}")
        return self._pairs[:, lag:, :, lag]

    def count_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the number of spikes in a trial, each ``(B, N)``, both exact."""
        variance = (self._count_square - self._count_mean**2).clamp_min(0)
        return self._count_mean, variance.sqrt()

    def sample(self, samples: int, rng: torch.Generator) -> Tensor:
        """Independent exact samples, ``(S, B, T, N)`` int8. The generator lives on the traces' device."""
        trials, bins, cells = self._shape
        drawn = torch.cat([self._draw(chunk, samples, rng) for chunk in self._chunks()], 1)
        return drawn.reshape(bins, trials, cells, samples).permute(3, 1, 0, 2).contiguous()

    def _draw(self, chunk: slice, samples: int, rng: torch.Generator) -> Tensor:
        """Samples of some chains, ``(T, C, S)`` int8."""
        conditional, _ = self._backward(chunk)
        bins, chains, size = conditional.shape
        state = torch.zeros(chains, samples, dtype=torch.long, device=self._x.device)
        z = torch.empty(bins, chains, samples, dtype=torch.int8, device=self._x.device)
        for t in range(bins):
            probability = torch.sigmoid(conditional[t].gather(1, state))
            uniform = torch.rand(state.shape, generator=rng, dtype=torch.float64, device=state.device)
            spike = uniform < probability
            z[t] = spike
            state = ((state << 1) | spike) & (size - 1)
        return z

    def _chunks(self) -> Iterator[slice]:
        """As many chains at a time as fit into the memory."""
        bins, chains = self._x.shape
        size = max(1, _CHUNK_BYTES // (8 * (bins + _STEP_ARRAYS) * 2**self.memory))
        for first in range(0, chains, size):
            yield slice(first, min(first + size, chains))

    def _backward(self, chunk: slice) -> tuple[Tensor, Tensor]:
        """Exact logits of bin t given the state before it, ``(T, C, 2^L)``; log-evidence, ``(C,)``."""
        x = self._x[:, chunk]
        cell = torch.arange(chunk.start, chunk.stop, device=x.device) % self._shape[2]
        bins, chains = x.shape
        half = 2 ** (self.memory - 1)
        # a state is (oldest bit, the others): both values of the oldest lead to the same two states
        logits = self._logits[cell].reshape(chains, 2, half)
        log_spike, log_silent = logsigmoid(logits), logsigmoid(-logits)
        mean, noise = self._mean[cell], self._noise[cell]
        conditional = x.new_empty(bins, chains, 2, half)
        beta = x.new_zeros(chains, 2 * half)
        evidence = x.new_zeros(chains)
        for t in reversed(range(bins)):
            onwards = (beta + _frame(x[t], mean, noise)).reshape(chains, 1, half, 2)
            silent, spike = log_silent + onwards[..., 0], log_spike + onwards[..., 1]
            torch.sub(spike, silent, out=conditional[t])
            beta = torch.logaddexp(silent, spike).reshape(chains, 2 * half)
            # kept near 0, so that no digits are lost over a long trace; state 0 is where the trace begins
            level = beta[:, :1].clone()
            beta -= level
            evidence += level[:, 0]
        return conditional.reshape(bins, chains, 2 * half), evidence

    def _forward(self, conditional: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run the chain of the logits ``(T, C, 2^L)``.

        Returns:
            The evidence as it came ``(C,)``; P(z[t] = 1, z[t − j] = 1) ``(C, T, L)``; mean and mean square of
            the count, each ``(C,)``.
        """
        bins, chains, size = conditional.shape
        weight = conditional.new_zeros(chains, size)  # P(s)
        weight[:, 0] = 1.0
        first, second = torch.zeros_like(weight), torch.zeros_like(weight)  # E[n; s], E[n²; s]
        both = self._bits * self._bits[:, :1]
        pairs = conditional.new_empty(chains, bins, self.memory)
        for t in range(bins):
            p = torch.sigmoid(conditional[t])
            quiet = torch.sigmoid(-conditional[t])
            second = _shift(quiet * second, p * (second + 2 * first + weight))
            first = _shift(quiet * first, p * (first + weight))
            weight = _shift(quiet * weight, p * weight)
            # rounding alone moves the sum from 1, but over thousands of bins it adds up
            total = weight.sum(1, keepdim=True)
            weight, first, second = weight / total, first / total, second / total
            pairs[:, t] = weight @ both
        return evidence, pairs.clamp_(0, 1), first.sum(1), second.sum(1)


def _frame(x: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
    """``log N(x; mean, noise²)`` of a frame ``(C,)`` in every state ``(C, 2^L)``; 0 if it is not observed."""
    observed = torch.isfinite(x)[:, None]
    residual = torch.where(observed, x[:, None] - mean, torch.zeros_like(mean)) / noise
    constant = torch.where(observed, -noise.log() - 0.5 * math.log(2 * math.pi), torch.zeros_like(noise))
    return constant - 0.5 * residual**2


def _shift(silent: Tensor, spike: Tensor) -> Tensor:
    """Masses by state before, ``(C, 2^L)`` → by state after: sum over the bit that falls out, append z."""
    chains, size = silent.shape
    masses = torch.stack([silent, spike], -1).reshape(chains, 2, size // 2, 2)
    return masses.sum(1).reshape(chains, size)


def exact_neighbour_covariance(exact: ExactPosterior, lag: int) -> Tensor:
    """``cov(z[t], z[t + lag] | x)`` of the exact posterior, averaged over bins and trials, ``(N,)``.

    Raises:
        UserError: for a lag outside 1 to T − 1, or beyond the posterior's memory.
    """
    p = exact.marginals
    if not 1 <= lag < p.shape[1]:
        raise UserError(f"lag: found {lag}, expected 1 to {p.shape[1] - 1}, one less than the bins")
    return (exact.pairwise(lag) - p[:, :-lag] * p[:, lag:]).mean((0, 1))
