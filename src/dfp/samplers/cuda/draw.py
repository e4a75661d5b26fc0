"""Drawing a ``Recursion`` with the fused operators, hard or relaxed with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dfp.samplers.cuda.ops import adjoint_bins, hard_bins, relaxed_bins
from dfp.samplers.grid import linear_taps
from dfp.samplers.pathwise import can_relax, coupling_gradients, reduced, slope_of, temperatures
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Hard, Relaxation

#: the longest memory, and the most coupled cells, that a program's tiles are made for
MEMORY, CELLS = 1024, 1024


def can_fuse(recursion: Recursion, noise: Tensor, relaxation: Relaxation) -> bool:
    """Whether ``fused`` draws this: own history and coupling, no hidden units, sizes that fit a program."""
    coupled = len(recursion.weights) > 0 and recursion.basis.shape[1] > 0
    memory = max(recursion.own.shape[1], recursion.basis.shape[1])
    fits = memory <= MEMORY and (not coupled or noise.shape[-1] <= CELLS)
    known = isinstance(relaxation, Hard) or can_relax(noise, relaxation)
    return recursion.hidden is None and fits and known


def fused(recursion: Recursion, noise: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """Values and logits ``(S, B, T, N)`` of a draw by the fused kernels.

    Hard samples have the bits of ``samplers.compiled``; relaxed ones are differentiable once in every tensor
    of ``recursion``.
    """
    if isinstance(relaxation, Hard):
        own, dense = linear_taps(recursion)
        z, logits = hard_bins(noise.detach(), recursion.drive.detach(), own, dense)
        return z, logits
    z, logits = _Fused.apply(noise, relaxation, *recursion.tensors)
    return z, logits


class _Fused(torch.autograd.Function):
    """``samplers.pathwise`` without hidden units, by operators that know more than one device."""

    @staticmethod
    def forward(ctx: Any, noise: Tensor, relaxation: Relaxation, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        warmth = temperatures(relaxation, noise)
        _, logits = relaxed_bins(noise, *(t.detach() for t in tensors), warmth, relaxation.stochastic)
        z = relaxation(logits, noise)  # the same but for rounding: z = relax(logits, noise) holds exactly
        ctx.save_for_backward(z, logits, *tensors)
        ctx.relaxation = relaxation
        return z, logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_logits: Tensor) -> tuple[Tensor | None, ...]:
        z, logits, drive, own, weights, basis = ctx.saved_tensors
        slope = slope_of(ctx.relaxation, z, logits)
        adjoint, sent, of_own = adjoint_bins(grad_z, grad_logits, slope, z, own, weights, basis)
        across = coupling_gradients(adjoint, sent, z, weights, basis, ctx.needs_input_grad[4:6])
        return (None, None, reduced(adjoint, drive), of_own, *across)
