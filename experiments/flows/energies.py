"""The four two-dimensional test energies of Rezende & Mohamed (2015, table 1), on a box.

Three of them do not fall off along z₁, so that exp(−U) has no integral over the plane (twice the box adds
about ln 2 to log Z). The target is ``p(z) = exp(−U(z)) / Z`` on ``[−4, 4]²`` and 0 outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

#: half the side of the box
HALF = 4.0
#: standard deviation of the walls' Gaussian fall (our choice), see ``walls``
WALL = 0.1

Energy = Callable[[Tensor], Tensor]


def ring(z: Tensor) -> Tensor:
    """U₁: ``½ ((‖z‖ − 2)/0.4)² − ln(exp(−½ ((z₁ − 2)/0.6)²) + exp(−½ ((z₁ + 2)/0.6)²))``; z ``(..., 2)``."""
    x = z[..., 0]
    around = 0.5 * ((torch.hypot(x, z[..., 1]) - 2) / 0.4).square()
    return around - torch.logaddexp(_bell(x - 2, 0.6), _bell(x + 2, 0.6))


def wave(z: Tensor) -> Tensor:
    """U₂: ``½ ((z₂ − w₁)/0.4)²``, ``w₁ = sin(2πz₁/4)``."""
    return -_bell(_above(z), 0.4)


def split(z: Tensor) -> Tensor:
    """U₃: ``−ln(exp(−½ ((z₂ − w₁)/0.35)²) + exp(−½ ((z₂ − w₁ + w₂)/0.35)²))``.

    Here ``w₂ = 3 exp(−½ ((z₁ − 1)/0.6)²)``.
    """
    above, bump = _above(z), 3 * torch.exp(_bell(z[..., 0] - 1, 0.6))
    return -torch.logaddexp(_bell(above, 0.35), _bell(above + bump, 0.35))


def step(z: Tensor) -> Tensor:
    """U₄: as U₃ with ``w₃ = 3 σ((z₁ − 1)/0.3)`` in place of w₂, and 0.4 in place of the first 0.35."""
    above, rise = _above(z), 3 * torch.sigmoid((z[..., 0] - 1) / 0.3)
    return -torch.logaddexp(_bell(above, 0.4), _bell(above + rise, 0.35))


ENERGIES: dict[str, Energy] = {"U1": ring, "U2": wave, "U3": split, "U4": step}


def inside(z: Tensor) -> Tensor:
    """Whether points ``(..., 2)`` lie in the box."""
    return (z.abs() <= HALF).all(-1)


def walls(z: Tensor) -> Tensor:
    """``½ (d/0.1)²`` with d the distance from the box, 0 inside it.

    It is added to an energy in training, because the free energy has no minimum without it.
    """
    return 0.5 * ((z.abs() - HALF).clamp(min=0) / WALL).square().sum(-1)


def log_normaliser(energy: Energy, half: float = HALF, points: int = 800) -> float:
    """``log Z`` over ``[−half, half]²``, by the midpoint rule on ``points × points`` cells in float64."""
    side = 2 * half / points
    axis = -half + side * (torch.arange(points, dtype=torch.float64) + 0.5)
    rows = [torch.stack(torch.meshgrid(axis, part, indexing="ij"), -1) for part in axis.chunk(16)]
    total = torch.logsumexp(torch.stack([(-energy(part)).flatten().logsumexp(0) for part in rows]), 0)
    return float(total) + 2 * math.log(side)


def _above(z: Tensor) -> Tensor:
    """``z₂ − w₁(z₁)``."""
    return z[..., 1] - torch.sin(2 * math.pi * z[..., 0] / 4)


def _bell(x: Tensor, width: float) -> Tensor:
    return -0.5 * (x / width).square()
