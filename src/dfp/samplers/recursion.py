"""A causal process written as numbers, which is all that a compiled sampler can run."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hidden:
    """``Σ_h w[n, h] tanh(context[t, n, h] + Σ_τ A[n, τ, h] z[t − τ, n])``.

    Attributes:
        inward: A, ``(N, L, H)``; lag 1 is ``inward[:, 0]``.
        context: ``(B, T, N, H)``.
        outward: w, ``(N, H)``.
    """

    inward: Tensor
    context: Tensor
    outward: Tensor


@dataclass(frozen=True)
class Recursion:
    """What the logits of a process are made of, in numbers.

    ``u[t, n]`` is the sum of

        ``drive[t, n] + Σ_τ own[n, τ] z[t − τ, n] + Σ_r Σ_j W[r, n, j] Σ_τ φ[r, τ] z[t − τ, j]``

    and of the hidden units' part, where there are some.

    Attributes:
        drive: ``(B, T, N)`` or ``(S, B, T, N)``.
        own: ``(N, L)``, L = 0 for none; lag 1 is ``own[:, 0]``.
        weights: W, ``(R, N, N)``, R = 0 for none; ``[r, i, j]`` acts from cell j onto cell i.
        basis: φ, ``(R, L')``; lag 1 is ``basis[:, 0]``.
        hidden: a small network of each cell's own past, or None.
    """

    drive: Tensor
    own: Tensor
    weights: Tensor
    basis: Tensor
    hidden: Hidden | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that a gradient may be asked for, in the order of the fields."""
        first = (self.drive, self.own, self.weights, self.basis)
        if self.hidden is None:
            return first
        return (*first, *(getattr(self.hidden, entry.name) for entry in fields(self.hidden)))

    def coupling_taps(self) -> Tensor:
        """``Σ_r φ[r, τ] W[r, i, j]``, ``(L', N, N)`` as ``[τ, j, i]``: what a spike of j adds to u of i."""
        return torch.einsum("rij,rl->lji", self.weights.double(), self.basis.double())
