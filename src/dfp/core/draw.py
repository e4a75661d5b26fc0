"""The record that every sampler returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """A sample and how it was obtained.

    Attributes:
        z: the sample, ``(S, B, T, N)``; 0/1 for hard relaxations, in [0, 1] for relaxed ones.
        logits: the logits that ``z`` was drawn from, ``(S, B, T, N)``: ``z = relax(logits, noise)`` holds
            exactly.
        noise: the logistic noise used, ``(S, B, T, N)``.
        sweeps: passes over all bins that were made (a sequential pass counts as one).
        residual: largest absolute change of ``z`` in the last sweep; 0 proves that a hard sample is the
            sequential one.
        converged: whether the sampler's own stopping rule was met before its cap. False after exactly K
            sweeps unless the K-th changed nothing.
        log_volume: ``log |det|`` of the map from the noise to the latents ``logits + noise``, a share per
            bin, ``(S, B, T, N)``; 0 for causal logits, whose map has a unit triangular Jacobian.
    """

    z: Tensor
    logits: Tensor
    noise: Tensor
    sweeps: int
    residual: float
    converged: bool
    log_volume: Tensor | float = 0.0
