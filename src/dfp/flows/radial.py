"""Radial flows: ``f(z) = z + β (z − z₀) / (α + ‖z − z₀‖)`` (Rezende & Mohamed 2015, eq. 14, appendix A.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.flows.stable import log_softplus, norm, softplus


def radial(z: Tensor, centre: Tensor, alpha_raw: Tensor, beta_raw: Tensor) -> tuple[Tensor, Tensor]:
    """``f = z + β (z − z₀) / (α + r)``, r = ‖z − z₀‖, and ``log |det ∂f/∂z|``.

    ``α = softplus(alpha_raw) > 0`` and ``β = softplus(beta_raw) − α ≥ −α``, the source's constraint. With
    s = α + β, in which nothing cancels,

    ``log det = (D − 1) log((r + s)/(r + α)) + log((r² + 2αr + sα)/(r + α)²)``.

    Args:
        z: points ``(..., D)``.
        centre: z₀ ``(..., D)``; alpha_raw, beta_raw: ``(...,)``; broadcast against z, so that they may be
            parameters per sample or per trial (a conditional flow).

    Returns:
        f ``(..., D)`` and the log-determinant ``(...,)``.
    """
    radius, unit = polar(z - centre)
    alpha = softplus(alpha_raw)
    f = move(z, radius, unit, alpha, softplus(beta_raw) - alpha)
    return f, log_volume(radius, alpha_raw, beta_raw, z.shape[-1])


def radial_inverse(y: Tensor, centre: Tensor, alpha_raw: Tensor, beta_raw: Tensor) -> tuple[Tensor, Tensor]:
    """``z`` with ``radial(z, …) = y``, and ``log |det ∂z/∂y|``; shapes as in ``radial``.

    The radius is the positive root of ``r² + (s − R) r − αR = 0``, R = ‖y − z₀‖, by whichever of its two
    forms does not cancel.
    """
    reach, unit = polar(y - centre)
    alpha, s = softplus(alpha_raw), softplus(beta_raw)
    half = s - reach
    root = torch.hypot(half, 2 * _sqrt(alpha * reach))
    inner = 2 * alpha * reach / (half.clamp(min=0) + root).clamp(min=torch.finfo(y.dtype).tiny)
    radius = torch.where(half > 0, inner, (root - half) / 2)
    z = centre + radius.unsqueeze(-1) * unit
    return z, -log_volume(radius, alpha_raw, beta_raw, y.shape[-1])


def move(z: Tensor, radius: Tensor, unit: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """z moved by ``β r/(α + r)`` along its direction from the centre."""
    share = radius / (alpha + radius).clamp(min=torch.finfo(z.dtype).tiny)
    return z + (beta * share).unsqueeze(-1) * unit


def log_volume(radius: Tensor, alpha_raw: Tensor, beta_raw: Tensor, dims: int | Tensor) -> Tensor:
    """The log-determinant at a distance ``radius`` from the centre, in logarithms throughout:
    with ``p = r/(r + α)`` and ``v = s/(r + α)`` it is ``(D − 1) log(p + v) + log(p (2 − p) + (1 − p) v)``.

    Args:
        dims: D, or where points are padded with zeros how many of their coordinates are not, ``(...,)``.
    """
    positive = radius > 0
    log_r = torch.where(positive, torch.where(positive, radius, 1.0).log(), -torch.inf)
    log_alpha = log_softplus(alpha_raw)
    log_sum = torch.logaddexp(log_r, log_alpha)
    inside, outside = log_r - log_sum, log_alpha - log_sum
    scaled = log_softplus(beta_raw) - log_sum
    across = torch.logaddexp(inside, scaled)
    along = torch.logaddexp(inside + torch.log1p(outside.exp()), outside + scaled)
    return (dims - 1) * across + along


def polar(offset: Tensor) -> tuple[Tensor, Tensor]:
    """Length ``(...,)`` and direction ``(..., D)``; the direction of 0 is 0."""
    radius = norm(offset)
    return radius, offset / radius.clamp(min=torch.finfo(offset.dtype).tiny).unsqueeze(-1)


def _sqrt(x: Tensor) -> Tensor:
    """Square root with gradient 0 at 0."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
