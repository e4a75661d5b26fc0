"""One compiled pass over the bins, and one back: what relaxed samples and their gradients are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfp.samplers.grid import Array
from dfp.samplers.threads import in_threads


@dataclass(frozen=True)
class Weights:
    """A recursion's weights as the kernels take them, in the precision of the noise.

    Attributes:
        own: ``(L, N)``.
        across: W, ``(R, N from, N to)``.
        basis: φ, ``(R, L')``.
        inward, context, outward: of the hidden units, ``(L'', N, H)``, ``(B, T, N, H)``, ``(N, H)``; H = 0
            for none.
    """

    own: Array
    across: Array
    basis: Array
    inward: Array
    context: Array
    outward: Array


def laid_out(own: Tensor, weights: Tensor, basis: Tensor, hidden: Sequence[Tensor], like: Tensor) -> Weights:
    """The tensors of a ``Recursion`` but for its drive, as the kernels take them.

    Args:
        hidden: inward ``(N, L'', H)``, context ``(B, T, N, H)`` and outward ``(N, H)``, or nothing.
        like: a tensor ``(S, B, T, N)`` of the pass, for sizes and precision.
    """
    trials, bins, cells = like.shape[1:]
    none = like.new_zeros(cells, 0, 0), like.new_zeros(trials, bins, cells, 0), like.new_zeros(cells, 0)
    inward, context, outward = hidden or none
    parts = (own.t(), weights.transpose(1, 2), basis, inward.transpose(0, 1), context, outward)
    return Weights(*(as_array(part) for part in parts))


def forward_pass(
    weights: Weights, drive: Tensor, noise: Tensor, temperature: Tensor, heard: bool
) -> tuple[Tensor, Tensor]:
    """Relaxed values and logits, both ``(S, B, T, N)``, without gradient.

    Args:
        drive: ``(B, T, N)`` or ``(S, B, T, N)``.
        noise: ``(S, B, T, N)``.
        temperature: ``(N,)``, 0 for a step.
        heard: whether the noise is used.
    """
    from dfp.samplers.kernels.relaxed import forward

    kernel: Any = forward
    z, logits = (torch.empty(noise.shape, dtype=noise.dtype) for _ in range(2))
    given = (
        as_array(drive if drive.dim() == 4 else drive[None]), as_array(noise), weights.own, weights.across,
        weights.basis, weights.inward, weights.context, weights.outward, as_array(temperature), float(heard),
    )  # fmt: skip
    written = (z.numpy(), logits.numpy())
    in_threads(lambda first, last: kernel(*given, first, last, *written), noise)
    return z, logits


@dataclass(frozen=True)
class Adjoint:
    """What a backward pass yields.

    Attributes:
        logits: the loss's gradient in the logits through all later bins, ``(S, B, T, N)``.
        sent: what it sends to the cells that act on them, ``(S, B, T, R, N)``.
        own: its gradient in the own taps, ``(N, L)``.
        units: the hidden units at z, ``(S, B, T, N, H)``.
    """

    logits: Tensor
    sent: Tensor
    own: Tensor
    units: Tensor


def reverse_pass(weights: Weights, grad_z: Tensor, grad_logits: Tensor, slopes: Tensor, z: Tensor) -> Adjoint:
    """The adjoint of ``forward_pass`` at its values z, bins from last to first.

    Args:
        grad_z, grad_logits: of the loss in values and logits, ``(S, B, T, N)``.
        slopes: ``dz/du``, ``(S, B, T, N)``.
        z: ``(S, B, T, N)``.
    """
    from dfp.samplers.kernels.relaxed import backward, hidden_units

    write_units: Any = hidden_units
    write: Any = backward
    solved = torch.empty(z.shape, dtype=z.dtype)
    sent = z.new_empty(*z.shape[:3], weights.across.shape[0], z.shape[3])
    units = z.new_empty(*z.shape, weights.outward.shape[1])
    given = tuple(as_array(tensor) for tensor in (grad_z, grad_logits, slopes, z))
    parts: dict[int, Array] = {}  # a thread's own sum, by its first chain

    def work(first: int, last: int) -> None:
        own = parts[first] = np.zeros_like(weights.own)
        write_units(given[3], weights.inward, weights.context, first, last, units.numpy())
        write(
            *given, weights.own, weights.across, weights.basis, weights.inward, weights.outward,
            units.numpy(), first, last, solved.numpy(), sent.numpy(), own,
        )  # fmt: skip

    in_threads(work, z)
    # in the order of the chains and not of who was done first: the same bits every time
    total = np.sum([parts[first] for first in sorted(parts)], 0)
    return Adjoint(solved, sent, torch.from_numpy(total.T.copy()), units)


def as_array(tensor: Tensor) -> Array:
    """A contiguous array of a tensor, without its gradient."""
    return np.ascontiguousarray(tensor.detach().numpy())
