"""Relaxed samples of a ``Recursion`` with the gradient of the recursion, each in one compiled pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dfp.core.filters import causal_filter
from dfp.samplers.grid import Array
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Concrete, MeanField, Relaxation, StraightThrough
from dfp.samplers.threads import in_threads

#: own history, coupling and its basis; more weights than these are those of hidden units
_PLAIN = 3


def can_relax(noise: Tensor, relaxation: Relaxation) -> bool:
    """Whether ``relaxed`` knows this relaxation, and all gradients that are asked for."""
    if isinstance(relaxation, Concrete):
        tempered = isinstance(relaxation.temperature, Tensor) and relaxation.temperature.requires_grad
        return not noise.requires_grad and not tempered
    return isinstance(relaxation, (MeanField, StraightThrough)) and not noise.requires_grad


def relaxed(recursion: Recursion, noise: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """Values and logits ``(S, B, T, N)``, differentiable once in every tensor of ``recursion``."""
    z, logits = solve(recursion, noise, relaxation)
    if not torch.is_grad_enabled():
        return z, logits
    return attach(recursion, z, logits, slope_of(relaxation, z, logits))


def solve(recursion: Recursion, noise: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """Values and logits ``(S, B, T, N)`` in one compiled pass over the bins, without gradient."""
    from dfp.samplers.kernels.relaxed import forward

    drive, *weights = (tensor.detach() for tensor in recursion.tensors)
    noise = noise.detach()
    own, across, basis, inward, outward = _laid_out(weights, noise)
    z, logits = (torch.empty(noise.shape, dtype=noise.dtype) for _ in range(2))
    given = (
        as_array(drive if drive.dim() == 4 else drive[None]), as_array(noise), own, across, basis, inward,
        _context(weights, noise), outward, as_array(temperatures(relaxation, noise)),
        float(relaxation.stochastic),
    )  # fmt: skip
    written = (z.numpy(), logits.numpy())
    in_threads(lambda first, last: forward(*given, first, last, *written), noise)
    # the same but for rounding: z = relax(logits, noise) holds exactly
    return relaxation(logits, noise).detach(), logits


def slope_of(relaxation: Relaxation, z: Tensor, logits: Tensor) -> Tensor:
    """``dz/du`` at values z of ``logits``, ``(S, B, T, N)``."""
    if isinstance(relaxation, Concrete):
        return z * (1 - z) / relaxation.temperature
    if isinstance(relaxation, MeanField):
        return z * (1 - z)
    if isinstance(relaxation, StraightThrough) and relaxation.reading == "literal":
        return torch.ones_like(z)
    spiking = torch.sigmoid(logits)
    return spiking * (1 - spiking)


def attach(recursion: Recursion, z: Tensor, logits: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """``z`` and ``logits`` ``(S, B, T, N)``, however they were come by, with the gradient of the recursion at
    z, whose ``dz/du`` is ``slopes``. What is kept for it is z and the slopes, whatever the number of sweeps.
    """
    found: tuple[Tensor, Tensor] = _Adjoint.apply(z, logits, slopes.detach(), *recursion.tensors)
    return found


class _Adjoint(torch.autograd.Function):
    """Backward: the adjoint in reverse time, exact after one pass, as the Jacobian is strictly causal. The
    hidden units, H numbers for each value, are computed again and not kept.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, logits: Tensor, slopes: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(z, slopes, *tensors)
        return z.view_as(z), logits.view_as(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_logits: Tensor) -> tuple[Tensor | None, ...]:
        from dfp.samplers.kernels.relaxed import backward, hidden_units

        z, slopes, drive, *weights = ctx.saved_tensors
        own, across, basis, inward, outward = _laid_out(weights, z)
        context = _context(weights, z)
        adjoint = torch.empty(z.shape, dtype=z.dtype)
        sent = z.new_empty(*z.shape[:3], across.shape[0], z.shape[3])
        units = z.new_empty(*z.shape, outward.shape[1])
        given = tuple(as_array(tensor) for tensor in (grad_z, grad_logits, slopes, z))
        parts: list[Array] = []
        write_units: Any = hidden_units
        write: Any = backward

        def work(first: int, last: int) -> None:
            parts.append(np.zeros_like(own))
            write_units(given[3], inward, context, first, last, units.numpy())
            write(
                *given, own, across, basis, inward, outward, units.numpy(), first, last, adjoint.numpy(),
                sent.numpy(), parts[-1],
            )  # fmt: skip

        in_threads(work, z)
        found: list[Tensor | None] = [reduced(adjoint, drive)]
        found.append(torch.from_numpy(np.sum(parts, 0).T.copy()))
        found += coupling_gradients(adjoint, sent, z, weights[1], weights[2], ctx.needs_input_grad[5:7])
        if len(weights) > _PLAIN:
            found += _hidden_gradients(adjoint, units, z, weights[3], weights[5])
        return (None, None, None, *found)


def as_array(tensor: Tensor) -> Array:
    """Contiguous, without its gradient."""
    return np.ascontiguousarray(tensor.detach().numpy())


def _laid_out(weights: list[Tensor], like: Tensor) -> tuple[Array, ...]:
    """Own taps ``(L, N)``, W ``(R, N from, N to)``, basis, inward ``(L, N, H)``, outward ``(N, H)``."""
    own, across, basis = weights[:_PLAIN]
    cells = own.shape[0]
    inward, outward = like.new_zeros(cells, 0, 0), like.new_zeros(cells, 0)
    if len(weights) > _PLAIN:
        inward, outward = weights[3], weights[5]
    parts = (own.t(), across.transpose(1, 2), basis, inward.transpose(0, 1), outward)
    return tuple(as_array(part) for part in parts)


def _context(weights: list[Tensor], like: Tensor) -> Array:
    """What the hidden units are told, ``(B, T, N, H)``, H = 0 without any."""
    return as_array(weights[4] if len(weights) > _PLAIN else like.new_empty(*like.shape[1:], 0))


def temperatures(relaxation: Relaxation, noise: Tensor) -> Tensor:
    """``(N,)``, 0 for a step."""
    value: float | Tensor = 1.0
    if isinstance(relaxation, StraightThrough):
        value = 0.0
    elif isinstance(relaxation, Concrete):
        value = relaxation.temperature
    return torch.as_tensor(value, dtype=noise.dtype, device=noise.device).expand(noise.shape[-1])


def reduced(gradient: Tensor, like: Tensor) -> Tensor:
    """Summed over what ``like`` was repeated over."""
    return (
        gradient
        if like.dim() == 4 and like.shape[0] == gradient.shape[0]
        else gradient.sum_to_size(like.shape)
    )


def coupling_gradients(
    adjoint: Tensor, sent: Tensor, z: Tensor, weights: Tensor, basis: Tensor, wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """``Σ a_i[t] (φ_r * z_j)[t]``, ``(R, N, N)``, and ``Σ (Wᵀ a)[t, j] z_j[t − τ]``, ``(R, L')``."""
    of_weights = of_basis = None
    if wanted[0]:
        of_weights = torch.stack(
            [
                adjoint.flatten(0, 2).t() @ causal_filter(z, taps[None]).flatten(0, 2)
                for taps in basis.detach()
            ]
        ) if len(basis) else torch.zeros_like(weights)  # fmt: skip
    if wanted[1]:
        of_basis = torch.zeros_like(basis)
        for lag in range(1, min(basis.shape[1], z.shape[2] - 1) + 1):
            of_basis[:, lag - 1] = torch.einsum("sbtrn,sbtn->r", sent[:, :, lag:], z[:, :, :-lag])
    return [of_weights, of_basis]


def _hidden_gradients(
    adjoint: Tensor, units: Tensor, z: Tensor, inward: Tensor, outward: Tensor
) -> list[Tensor | None]:
    """Of ``inward`` ``(N, L, H)``, ``context`` ``(B, T, N, H)`` and ``outward`` ``(N, H)``."""
    inside = adjoint[..., None] * outward * (1 - units.square())
    of_inward = torch.zeros_like(inward)
    for lag in range(1, min(inward.shape[1], z.shape[2] - 1) + 1):
        of_inward[:, lag - 1] = torch.einsum("sbtnh,sbtn->nh", inside[:, :, lag:], z[:, :, :-lag])
    return [of_inward, inside.sum(0), torch.einsum("sbtnh,sbtn->nh", units, adjoint)]
