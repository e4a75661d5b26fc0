"""A prior twisted towards the frames to come: the prior's logits plus what the future tells of a spike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm


@dataclass(frozen=True)
class Twist(CausalTerm):
    """``u^p[t, j](z) + ψ[t, j](z[<t], x)``: all of a posterior's logits, from the prior's.

    The exact conditional of a spike is its prior times the probability of all that comes after,

        ``P(z[t, j] | z[<t], x) ∝ P(z[t, j] | z[<t]) · p(x[≥t] | z[≤t])``,

    so that its log-odds are the prior's plus the log-ratio ψ of the second factor with and without the spike.
    ψ is learned by a network of the trace around t, of the cell's own sampled past and of the prior's logit,
    which together say how much of the fluorescence is still unexplained,

        ``h_j = tanh(context[t, j] + Σ_τ A[τ] z[t − τ, j] + d · u^p[t, j])``,

    and of what the cell's children i say, each through the weight that j has onto it,

        ``m_c[t, j] = Σ_i f_c(W)[i, j] · (e_c · h_i[t])``,
        ``ψ[t, j] = drive[t, j] + w · tanh(B h_j + Σ_c k_c m_c + b) + Σ_c v_c m_c``.

    To first order in a weight w_ij the child's part is w_ij (P(z[t+1, i] | x, past) − P(z[t+1, i] | past)):
    a message times a weight.

    Args:
        prior: the law of the spikes.
        context: ``(B, T, N, H)``, the part that depends on the trace only.
        inward: A, ``(G, L, H)``; lag 1 is ``inward[:, 0]``. G = N, or 1 where the cells share a network.
        drift: d, ``(G, H)``.
        mixing, mixing_bias, outward: B ``(G, H, H)``, b ``(G, H)``, w ``(G, H)``.
        weights: f(W), ``(C, N, N)``; ``[c, i, j]`` belongs to the effect of cell j onto cell i. C is 0 where
            no cell acts on another.
        speaking, listening, direct: e ``(H, C)``, k ``(C, H)``, v ``(C,)``.

    Source: twisted models, Whiteley & Lee 2014 and Guarniero, Johansen & Lee 2017; the network and the
    messages are ours.
    """

    prior: CausalBernoulli
    context: Tensor
    inward: Tensor
    drift: Tensor
    mixing: Tensor
    mixing_bias: Tensor
    outward: Tensor
    weights: Tensor
    speaking: Tensor
    listening: Tensor
    direct: Tensor

    @property
    def couples_cells(self) -> bool:  # type: ignore[override]
        """Whether the prior or a message carries one cell's past to another."""
        return self.prior.couples_cells or self.weights.shape[0] > 0

    @property
    def memory(self) -> int:
        return max(self.prior.memory, int(self.inward.shape[1]))

    def __call__(self, z: Tensor) -> Tensor:
        lags = self.inward.shape[1]
        padded = torch.nn.functional.pad(z, (0, 0, lags, 0))[:, :, : z.shape[2]]
        return self._logits(padded.unfold(2, lags, 1), self.context, self.prior.logits(z))

    def step(self, window: Tensor, t: int) -> Tensor:
        bins = window.shape[2]
        past = window[:, :, bins - self.inward.shape[1] :].transpose(2, 3)[:, :, None]
        prior = self.prior.step(window[:, :, bins - self.prior.memory :], t)
        return self._logits(past, self.context[:, t : t + 1], prior[:, :, None])[:, :, 0]

    def _logits(self, past: Tensor, context: Tensor, prior: Tensor) -> Tensor:
        """From own pasts ``(S, B, T, N, L)``, most recent last, and the prior's logits ``(S, B, T, N)``."""
        hidden = _product(past, self.inward.flip(1)) + context + prior[..., None] * self.drift
        hidden = torch.tanh(hidden)
        mixed = _product(hidden, self.mixing) + self.mixing_bias
        twisted = prior
        if self.weights.shape[0]:
            said = hidden @ self.speaking
            heard = torch.einsum("sbtic,cij->sbtjc", said, self.weights)
            mixed = mixed + heard @ self.listening
            twisted = twisted + heard @ self.direct
        return twisted + (torch.tanh(mixed) * self.outward).sum(-1)


def _product(rows: Tensor, weights: Tensor) -> Tensor:
    """``(S, B, T, N, F)`` times ``(G, F, H)``: one matrix for all cells, or one each."""
    if weights.shape[0] == 1:
        return rows @ weights[0]
    return (rows.movedim(3, 0).flatten(1, 3) @ weights).unflatten(1, rows.shape[:3]).movedim(0, 3)
