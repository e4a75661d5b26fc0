"""The exact posterior over one cell's spikes, by forward-backward over the last L bins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import UserError

#: the longest memory in bins (65,536 states)
LONGEST = 16
#: bytes of conditional logits held at once; trials are worked off in chunks that fit
_CHUNK_BYTES = 200_000_000


@dataclass(frozen=True)
class CellParameters:
    """Independent cells under the calcium model, all torch float64.

    Attributes:
        bias: ``(N,)`` logits.
        history: ``(N, Lh)`` logits per spike, lag 1 first.
        kernel: ``(N, Lk)`` calcium response, lag 0 first.
        amplitude, baseline, noise: ``(N,)`` fluorescence.
    """

    bias: Tensor
    history: Tensor
    kernel: Tensor
    amplitude: Tensor
    baseline: Tensor
    noise: Tensor

    @property
    def memory(self) -> int:
        """Bins L that the state has to hold: what the likelihood of a bin and the next spike depend on."""
        return max(self.kernel.shape[1], self.history.shape[1], 1)


class ExactPosterior:
    """``p(z | x)`` for cells without coupling, exactly.

    The state after bin t holds z[t], z[t−1], …, z[t−L+1] as the bits 0, 1, …, L−1 of an integer; a step shifts them, so no transition matrix is
    needed. Backward, in the log domain, ``β_t(s) = log p(x[t+1..] | s_t = s)`` gives the exact conditional law of every spike given the
    past, ``logit P(z[t] = 1 | s_{t−1}, x) = u(s) + e_t(s1) − e_t(s0) + β_t(s1) − β_t(s0)``, e the log-likelihood of a frame. With it the
    posterior is a Markov chain that is run forward, in probabilities, for marginals and moments, or sampled.

    Cost O(T · B · N · 2^L); memory at most about 200 MB of conditional logits at a time (trials are worked off in chunks) plus a few
    ``(B, N, 2^L)`` arrays.

    Args:
        parameters: of the cells.
        x: ``(B, T, N)`` traces, float64; NaN frames are not observed.

    Attributes:
        log_evidence: ``(B, N)`` log p(x), nats.
        marginals: ``(B, T, N)`` P(z[t] = 1 | x).

    Raises:
        UserError: when L exceeds 16 or shapes disagree.
    """

    def __init__(self, parameters: CellParameters, x: Tensor) -> None:
        memory = parameters.memory
        if memory > LONGEST:
            raise UserError(
                f"exact posterior: found a memory of {memory} bins, expected at most {LONGEST} (cut the kernel with kernel_bins)"
            )
        if x.dim() != 3 or x.shape[2] != parameters.bias.shape[0]:
            raise UserError(
                f"exact posterior: found traces of shape {tuple(x.shape)}, expected (trials, bins, {parameters.bias.shape[0]} cells)"
            )
        self.memory = memory
        self._x = x.double()
        states = torch.arange(2**memory, device=x.device)
        self._bits = ((states[:, None] >> torch.arange(memory, device=x.device)) & 1).double()  # (2^L, L)
        self._noise = parameters.noise
        # spike logits given the state before, and mean fluorescence given the state after: (N, 2^L)
        history = self._bits[:, : parameters.history.shape[1]]
        self._logits = parameters.bias[:, None] + parameters.history @ history.t()
        calcium = parameters.kernel @ self._bits[:, : parameters.kernel.shape[1]].t()
        self._mean = parameters.baseline[:, None] + parameters.amplitude[:, None] * calcium
        pieces = [self._forward(conditional, evidence) for conditional, evidence in self._chunks()]
        self.log_evidence = torch.cat([piece[0] for piece in pieces])
        self._pairs = torch.cat([piece[1] for piece in pieces])  # (B, T, N, L): P(z[t] = 1, z[t − j] = 1)
        self.marginals = self._pairs[..., 0]
        self._count_mean = torch.cat([piece[2] for piece in pieces])
        self._count_square = torch.cat([piece[3] for piece in pieces])

    def pairwise(self, lag: int = 1) -> Tensor:
        """``P(z[t] = 1, z[t + lag] = 1 | x)``, ``(B, T − lag, N)``, for 0 ≤ lag < L."""
        if not 0 <= lag < self.memory:
            raise UserError(f"pairwise lag: found {lag}, expected 0 to {self.memory - 1}")
        return self._pairs[:, lag:, :, lag]

    def count_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the number of spikes in a trial, each ``(B, N)``."""
        variance = (self._count_square - self._count_mean**2).clamp_min(0)
        return self._count_mean, variance.sqrt()

    def sample(self, samples: int, rng: torch.Generator) -> Tensor:
        """Exact samples, ``(S, B, T, N)`` int8. The generator lives on the traces' device."""
        drawn = []
        for conditional, _ in self._chunks():
            bins, trials, cells, _ = conditional.shape
            state = torch.zeros(samples, trials, cells, dtype=torch.long, device=self._x.device)
            z = torch.empty(samples, trials, bins, cells, dtype=torch.int8, device=self._x.device)
            mask = 2**self.memory - 1
            for t in range(bins):
                logit = conditional[t].expand(samples, -1, -1, -1).gather(-1, state[..., None])[..., 0]
                uniform = torch.rand(logit.shape, generator=rng, dtype=torch.float64, device=self._x.device)
                spike = uniform < torch.sigmoid(logit)
                z[:, :, t] = spike
                state = ((state << 1) | spike.long()) & mask
            drawn.append(z)
        return torch.cat(drawn, 1)

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        trials, bins, cells = self._x.shape
        size = max(1, _CHUNK_BYTES // (bins * cells * 2**self.memory * 8))
        for first in range(0, trials, size):
            yield self._backward(self._x[first : first + size])

    def _backward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Exact conditional logits ``(T, B, N, 2^L)`` by state before the bin, and log-evidence ``(B, N)``."""
        trials, bins, cells = x.shape
        half = 2 ** (self.memory - 1)
        log_spike = torch.nn.functional.logsigmoid(self._logits)
        log_silent = torch.nn.functional.logsigmoid(-self._logits)
        conditional = x.new_empty(bins, trials, cells, 2 * half)
        beta = x.new_zeros(trials, cells, 2 * half)
        for t in reversed(range(bins)):
            # the state after the bin is (lower bits of the state before, z); the oldest bit, b, falls out
            onwards = (beta + self._frame(x[:, t])).reshape(trials, cells, half, 2).repeat(1, 1, 2, 1)
            silent, spike = log_silent + onwards[..., 0], log_spike + onwards[..., 1]
            conditional[t] = spike - silent
            beta = torch.logaddexp(silent, spike)
        return conditional, beta[..., 0]  # no spikes before the trial: state 0

    def _frame(self, x: Tensor) -> Tensor:
        """Log-likelihood of a frame ``(B, N)`` in every state after the bin, ``(B, N, 2^L)``; 0 if not observed."""
        noise = self._noise[:, None]
        density = -0.5 * ((x[..., None] - self._mean) / noise) ** 2 - noise.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(torch.isfinite(x)[..., None], density, torch.zeros_like(density))

    def _forward(self, conditional: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run the posterior chain: evidence, P(z[t] z[t − j]) for all lags in the state, and the count's first two moments."""
        bins, trials, cells, size = conditional.shape
        weight = conditional.new_zeros(trials, cells, size)  # P(state)
        weight[..., 0] = 1.0
        first, second = torch.zeros_like(weight), torch.zeros_like(weight)  # E[count; state], E[count²; state]
        # z[t] and z[t − j] both spiked, from the state's bits
        both = self._bits * self._bits[:, :1]
        pairs = conditional.new_empty(trials, bins, cells, self.memory)
        for t in range(bins):
            p = torch.sigmoid(conditional[t])

            def shift(silent: Tensor, spike: Tensor) -> Tensor:
                """Sum over the bit that falls out; append z as the lowest bit."""
                stacked = torch.stack([silent, spike], -1).reshape(trials, cells, 2, size // 2, 2)
                return stacked.sum(2).reshape(trials, cells, size)

            second = shift((1 - p) * second, p * (second + 2 * first + weight))
            first = shift((1 - p) * first, p * (first + weight))
            weight = shift((1 - p) * weight, p * weight)
            pairs[:, t] = weight @ both
        return evidence, pairs, first.sum(-1), second.sum(-1)
