"""A prior twisted towards the frames to come: the prior's logits plus what the future tells of a spike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm
from dfp.samplers.base import Effort


@dataclass(frozen=True)
class Messages:
    """What cells tell each other within a bin, before any of them has fired in it, in R rounds.

    Attributes:
        weights: f(W), ``(R, C, N, N)``; ``[r, c, i, j]`` is what cell i's word c counts for cell j. C is 0
            where no cell hears another.
        speaking: e, ``(R, H, C)``.
        listening: k, ``(R, C, H)``.
        direct: v, ``(R, C)``.
    """

    weights: Tensor
    speaking: Tensor
    listening: Tensor
    direct: Tensor

    def heard(self, hidden: Tensor, r: int) -> Tensor:
        """``m_c[j] = Σ_i f_c(W)[i, j] (e_c · h_i)``, ``(S, B, T, N, C)``, from ``(S, B, T, N, H)``."""
        return torch.einsum("sbtic,cij->sbtjc", hidden @ self.speaking[r], self.weights[r])


@dataclass(frozen=True)
class Twist(CausalTerm):
    """``u^p[t, j](z) + ψ[t, j](z[<t], x)``: the prior's logits and a learned twist, all of a posterior's.

    The exact conditional of a spike is its prior times the probability of all that comes after,

        ``P(z[t, j] | z[<t], x) ∝ P(z[t, j] | z[<t]) · p(x[≥t] | z[≤t])``,

    so that its log-odds are the prior's plus the log-ratio ψ of the second factor with and without the spike.
    ψ is learned, by a network that sees the trace around t, the cell's own sampled past and the prior's
    logit, which together say how much of the fluorescence is still unexplained,

        ``h_j = tanh(B₀ tanh(context[t, j] + Σ_τ A[τ] z[t − τ, j] + d · u^p[t, j]) + b₀)``,

    and, in R rounds, what the cells have to say that it acts on and that act on it:

        ``m_c[j] = Σ_i f_c(W)[i, j] (e_c · h_i)``,  ``h_j ← tanh(B_r h_j + Σ_c k_c m_c[j] + b_r)``,
        ``ψ[t, j] = w · h_j + Σ_r Σ_c v_rc m_rc[j]``.

    A cell i that a spike of j would excite, and whose own frames ask for a spike, speaks for a spike of j: to
    first order in the weight, ψ gains w_ij (P(z[t+1, i] | x, past) − P(z[t+1, i] | past)). A cell that
    excites j and is about to fire speaks for waiting.

    Args:
        prior: the law of the spikes.
        context: ``(B, T, N, H)``, the part that depends on the trace only.
        inward: A, ``(G, L, H)``; lag 1 is ``inward[:, 0]``. G = N, or 1 where the cells share a network.
        drift: d, ``(G, H)``.
        mixing, mixing_bias: B ``(1 + R, G, H, H)``, b ``(1 + R, G, H)``.
        outward: w, ``(G, H)``.
        messages: between cells.

    Source: twisted models, Whiteley & Lee 2014 and Guarniero, Johansen & Lee 2017; the network and its
    messages are ours.
    """

    prior: CausalBernoulli
    context: Tensor
    inward: Tensor
    drift: Tensor
    mixing: Tensor
    mixing_bias: Tensor
    outward: Tensor
    messages: Messages

    @property
    def couples_cells(self) -> bool:  # type: ignore[override]
        """Whether the prior or a message carries one cell's past to another."""
        return self.prior.couples_cells or self._talks

    @property
    def memory(self) -> int:
        return max(self.prior.memory, int(self.inward.shape[1]))

    @property
    def _talks(self) -> bool:
        return self.messages.weights.shape[1] > 0

    @property
    def effort(self) -> Effort:
        rounds, words, cells = self.messages.weights.shape[:3]
        lags, units = self.inward.shape[1:]
        own = units * (lags + units)
        between = rounds * (units**2 + words * (2 * units + cells))
        return self.prior.effort + Effort(6 + 6 * rounds, own + between)

    def __call__(self, z: Tensor) -> Tensor:
        lags = self.inward.shape[1]
        padded = torch.nn.functional.pad(z, (0, 0, lags, 0))[:, :, :-1]
        return self._logits(padded.unfold(2, lags, 1), self.context, self.prior.logits(z))

    def step(self, window: Tensor, t: int) -> Tensor:
        bins = window.shape[2]
        past = window[:, :, bins - self.inward.shape[1] :].transpose(2, 3)[:, :, None]
        prior = self.prior.step(window[:, :, bins - self.prior.memory :], t)
        return self._logits(past, self.context[:, t : t + 1], prior[:, :, None])[:, :, 0]

    def _logits(self, past: Tensor, context: Tensor, prior: Tensor) -> Tensor:
        """From own pasts ``(S, B, T, N, L)``, most recent last, and the prior's logits ``(S, B, T, N)``."""
        unexplained = product(past, self.inward.flip(1)) + context + prior[..., None] * self.drift
        hidden = torch.tanh(product(torch.tanh(unexplained), self.mixing[0]) + self.mixing_bias[0])
        total = prior
        for r in range(len(self.mixing) - 1):
            mixed = product(hidden, self.mixing[1 + r]) + self.mixing_bias[1 + r]
            if self._talks:
                heard = self.messages.heard(hidden, r)
                mixed = mixed + heard @ self.messages.listening[r]
                total = total + heard @ self.messages.direct[r]
            hidden = torch.tanh(mixed)
        return total + (hidden * self.outward).sum(-1)


def product(rows: Tensor, weights: Tensor) -> Tensor:
    """``(…, N, F)`` times ``(G, F, H)``: one matrix for all cells, or one each."""
    if weights.shape[0] == 1:
        return rows @ weights[0]
    by_cell = rows.movedim(-2, 0)
    return (by_cell.flatten(1, -2) @ weights).unflatten(1, by_cell.shape[1:-1]).movedim(0, -2)
