"""All bins at once by Newton's method: fewer sweeps than the fixed point's, each of them dearer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.samplers.banded import solve_banded
from dfp.samplers.base import CausalProcess, Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.implicit import with_gradient
from dfp.samplers.pathwise import slope_of
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Concrete, MeanField, Relaxation


@dataclass(frozen=True)
class Newton(Sampler):
    """Newton's method for ``z = f(z) = relax(u(z) + ℓ)`` over all bins at once.

    A step is ``z ← f(z) + J (z⁺ − z)`` with z⁺, the new z, on both sides: a linear recursion, which is solved
    in parallel (``samplers.banded``).

    J, the Jacobian of f, is strictly causal. So, as with the fixed point's sweeps, k sweeps make the first k
    bins exact, whichever entries of J are left out and whatever J is scaled by. Values that a step takes
    beyond [0, 1] are put back to its ends (*choice*): without that the method overshoots at low temperatures,
    where the slope is high, and is slower than the fixed point.

    Hard and straight-through values have no slope, a process that is no ``Recursion`` no known Jacobian; both
    are left to ``FixedPoint``. The gradient is the implicit one.

    Sources: Lim et al. 2024 (DEER); Gonzalez et al. 2024 (quasi-DEER, which keeps the diagonal of the
    Jacobian of a state; ELK, which attenuates it).

    Args:
        jacobian: ``"own"`` keeps what a cell's past does to itself, a quasi-Newton method whose cost grows
            linearly with the cells; ``"full"`` keeps all, at a cost that grows with their cube.
        damping: J is scaled by ``1 − damping``; 0 is Newton's method, 1 the fixed point's.
        tolerance: still when no value moved more than this from z to f(z).
        max_sweeps: cap; None allows T + 1, which always suffices.
        chunk: bins that are solved for by one triangle.

    Example:
        >>> history = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> q = dfp.CausalBernoulli(torch.full((1, 500, 1), -1.0), (history,))
        >>> noise = q.noise(8, dfp.generator(0))
        >>> warm = dfp.Concrete(2.0)
        >>> fewer, more = q.draw(noise, dfp.Newton(), warm), q.draw(noise, dfp.FixedPoint(), warm)
        >>> fewer.sweeps < more.sweeps, torch.allclose(fewer.z, more.z, atol=1e-3)
        (True, True)
    """

    jacobian: str = "own"
    damping: float = 0.0
    tolerance: float = 1e-4
    max_sweeps: int | None = None
    chunk: int = 32
    name: ClassVar[str] = "newton"

    def __post_init__(self) -> None:
        if self.jacobian not in ("own", "full"):
            raise UserError(f"newton jacobian: found {self.jacobian!r}, expected 'own' or 'full'")
        if not 0 <= self.damping <= 1:
            raise UserError(f"newton damping: found {self.damping}, expected a number from 0 to 1")
        if not self.tolerance > 0:
            raise UserError(f"newton tolerance: found {self.tolerance}, expected a number above 0")
        if self.max_sweeps is not None and self.max_sweeps < 1:
            raise UserError(f"newton max_sweeps: found {self.max_sweeps}, expected at least 1")
        if self.chunk < 1:
            raise UserError(f"newton chunk: found {self.chunk}, expected at least 1")

    def draw(self, process: CausalProcess, noise: Tensor, relaxation: Relaxation) -> Draw:
        smooth = process.memory and isinstance(relaxation, Concrete | MeanField)
        recursion = process.recursion() if smooth else None
        if recursion is None:
            sweeping = FixedPoint(tolerance=self.tolerance, max_sweeps=self.max_sweeps)
            return sweeping.draw(process, noise, relaxation)
        with torch.no_grad():
            solved = self._solve(process, recursion, noise, relaxation)
        if not torch.is_grad_enabled():
            return solved
        return with_gradient(process, solved, relaxation, self.tolerance)

    def _solve(
        self, process: CausalProcess, recursion: Recursion, noise: Tensor, relaxation: Relaxation
    ) -> Draw:
        cap = min(self.max_sweeps or noise.shape[2] + 1, noise.shape[2] + 1)
        fixed = own_taps(recursion) if self.jacobian == "own" else coupled_taps(recursion)
        fixed = fixed * (1 - self.damping)
        z = torch.zeros_like(noise)
        for sweep in range(1, cap + 1):
            logits = process.logits(z)
            image = relaxation(logits, noise)
            residual = float((image - z).abs().amax())
            if residual <= self.tolerance or sweep == cap:
                break
            slopes = slope_of(relaxation, image, logits)
            if self.jacobian == "own":
                step = self._own(recursion, fixed, z, slopes, image - z)
            else:
                step = self._full(recursion, fixed, z, slopes, image - z)
            # where the linear recursion outgrew the precision: as the fixed point
            z = torch.where(step.isfinite(), image + step, image).clamp(0, 1)
        return Draw(image, logits, noise, sweep, residual, converged=residual <= self.tolerance)

    def _own(self, recursion: Recursion, fixed: Tensor, z: Tensor, slopes: Tensor, error: Tensor) -> Tensor:
        """``J δ`` with ``δ = error + J δ``, ``(S, B, T, N)``, every cell on its own."""
        taps = fixed + (1 - self.damping) * hidden_taps(recursion, z, fixed.shape[1])
        rows = (slopes[..., None] * taps).movedim(3, 2).flatten(0, 2)  # (S·B·N, T, L)
        given = error.movedim(3, 2)
        found = solve_banded(rows[..., None, None], given.flatten(0, 2)[..., None], self.chunk)
        return found.reshape(given.shape).movedim(2, 3) - error

    def _full(self, recursion: Recursion, fixed: Tensor, z: Tensor, slopes: Tensor, error: Tensor) -> Tensor:
        """The same with all cells together."""
        own = (1 - self.damping) * hidden_taps(recursion, z, fixed.shape[0])
        taps = fixed + torch.diag_embed(own.transpose(-1, -2))  # (…, L, N to, N from)
        rows = (slopes[..., None, :, None] * taps).flatten(0, 1)
        return solve_banded(rows, error.flatten(0, 1), self.chunk).reshape(error.shape) - error


def own_taps(recursion: Recursion) -> Tensor:
    """``∂u[t, n] / ∂z[t − τ, n]`` without the hidden units' part, ``(N, L)``."""
    within = torch.einsum("rnn,rl->nl", recursion.weights, recursion.basis)
    inward = recursion.own.new_zeros(0) if recursion.hidden is None else recursion.hidden.inward[0, :, 0]
    lags = max(recursion.own.shape[1], within.shape[1], len(inward))
    return pad(recursion.own, (0, lags - recursion.own.shape[1])) + pad(within, (0, lags - within.shape[1]))


def coupled_taps(recursion: Recursion) -> Tensor:
    """``∂u[t, i] / ∂z[t − τ, j]`` without the hidden units' part, ``(L, N, N)`` as ``[τ, i, j]``."""
    lags = own_taps(recursion).shape[1]
    own = pad(recursion.own, (0, lags - recursion.own.shape[1]))
    across = torch.einsum("rij,rl->lij", recursion.weights, recursion.basis)
    return torch.diag_embed(own.t()) + pad(across, (0, 0, 0, 0, 0, lags - len(across)))


def hidden_taps(recursion: Recursion, z: Tensor, lags: int) -> Tensor:
    """``∂u[t, n] / ∂z[t − τ, n]`` by the hidden units at ``z``, ``(S, B, T, N, L)``.

    It broadcasts where there are no hidden units.
    """
    if recursion.hidden is None:
        return z.new_zeros(1, 1, 1, 1, lags)
    inward, outward = recursion.hidden.inward, recursion.hidden.outward
    inside = recursion.hidden.context.expand(*z.shape, -1).clone()
    for lag in range(1, min(inward.shape[1], z.shape[2] - 1) + 1):
        inside[:, :, lag:] += z[:, :, :-lag, :, None] * inward[:, lag - 1]
    through = outward * (1 - torch.tanh(inside).square())
    return pad(torch.einsum("sbtnh,nlh->sbtnl", through, inward), (0, lags - inward.shape[1]))
