"""Relaxed samples of a ``Recursion`` with the gradient of the recursion, each in one compiled pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dfp.core.filters import causal_filter
from dfp.samplers.passes import forward_pass, laid_out, reverse_pass
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Concrete, MeanField, Relaxation, StraightThrough


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
    drive, own, weights, basis, *hidden = (tensor.detach() for tensor in recursion.tensors)
    given = laid_out(own, weights, basis, hidden, noise)
    warmth = temperatures(relaxation, noise)
    _, logits = forward_pass(given, drive, noise, warmth, relaxation.stochastic)
    # the same but for rounding: z = relax(logits, noise) holds exactly
    return relaxation(logits, noise.detach()).detach(), logits


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
    """``z`` and ``logits`` ``(S, B, T, N)`` with the gradient of the recursion at z, wherever they come from.

    ``slopes`` are the recursion's ``dz/du``. Only z and the slopes are kept for the gradient, whatever the
    number of sweeps.
    """
    found: tuple[Tensor, Tensor] = _Adjoint.apply(z, logits, slopes.detach(), *recursion.tensors)
    return found


class _Adjoint(torch.autograd.Function):
    """A function whose backward pass is the adjoint recursion in reverse time.

    It is exact after one pass, as the Jacobian is strictly causal. The hidden units, H numbers for each
    value, are computed again and not kept.
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
        z, slopes, drive, own, weights, basis, *hidden = ctx.saved_tensors
        found = reverse_pass(laid_out(own, weights, basis, hidden, z), grad_z, grad_logits, slopes, z)
        wanted = ctx.needs_input_grad[5:7]
        across = coupling_gradients(found.logits, found.sent, z, weights, basis, wanted)
        inside = _hidden_gradients(found.logits, found.units, z, hidden[0], hidden[2]) if hidden else []
        return (None, None, None, reduced(found.logits, drive), found.own, *across, *inside)


def temperatures(relaxation: Relaxation, noise: Tensor) -> Tensor:
    """``(N,)``, 0 for a step."""
    value: float | Tensor = 1.0
    if isinstance(relaxation, StraightThrough):
        value = 0.0
    elif isinstance(relaxation, Concrete):
        value = relaxation.temperature
    return torch.as_tensor(value, dtype=noise.dtype, device=noise.device).expand(noise.shape[-1])


def reduced(gradient: Tensor, like: Tensor) -> Tensor:
    """A gradient summed over what ``like`` was repeated over."""
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
