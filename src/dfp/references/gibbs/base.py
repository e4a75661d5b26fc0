"""Gibbs sampling of the spikes of coupled cells, one cell's whole path at a time: what its samplers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dfp.core.errors import UserError
from dfp.models.base import Parameters, require_kind
from dfp.models.calcium import CalciumParameters
from dfp.models.kernels import calcium_kernel
from dfp.models.served import GIBBS

Array = NDArray[np.float64]
Spikes = NDArray[np.int8]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

#: without it the module can be imported, but a sampler cannot be made
HAS_NUMBA = find_spec("numba") is not None


def compiled(function: Kernel) -> Kernel:
    """Compile a function at its first call, and keep the code on disk for the next process."""
    if not HAS_NUMBA:
        return function
    from numba import njit

    return cast(Kernel, njit(cache=True, nogil=True)(function))


@compiled
def softplus(u: float) -> float:
    """log(1 + e^u); above u = 37 the term left out is below double precision."""
    if u > 37.0:
        return u
    if u < -37.0:
        return np.exp(u)
    return max(u, 0.0) + np.log(1.0 + np.exp(-abs(u)))


@compiled
def scatter(sign: float, z: Any, logits: Any, targets: Any, effects: Any) -> None:
    """Add ``sign`` times what the path z ``(T,)`` does to its targets' logits ``(N, T)``, in place."""
    bins, lags = z.shape[0], effects.shape[1]
    for t in range(bins):
        if z[t]:
            for k in range(targets.shape[0]):
                for lag in range(1, min(lags, bins - 1 - t) + 1):
                    logits[targets[k], t + lag] += sign * effects[k, lag - 1]


class GibbsChain(ABC):
    """A Markov chain whose law converges to ``p(z | x)`` of the coupled calcium model.

    z[t, i] ~ Bernoulli(σ(u[t, i])),
    u[t, i] = b_i + Σ_r W_r[i, j] (φ_r * z_j)[t] + Σ_τ h_iτ z[t − τ, i], j ≠ i, φ_r from lag 1 on,
    x[t, i] = baseline_i + amplitude_i Σ_{k<Lk} kernel_i[k] z[t − k, i] + noise_i ε, no spikes before t = 0.

    A sweep visits every cell in every trial once, in random order, and draws its whole path anew given all
    others: their spikes speak for or against its own through the logits of the cells that it acts on. Double
    precision, one thread; the machine code lets go of Python's lock, so that chains may run in threads.

    Args:
        parameters: of the network.
        bin_rate: bins per second.
        kernel_bins: Lk, the cut of the calcium response; 0 leaves it uncut, T bins.
        x: ``(B, T, N)`` traces; a frame that is not finite is not observed.
        seed: of the chain.
        start: ``(B, T, N)`` spikes to start from, 0 or 1; none at all by default.

    Raises:
        UserError: when numba is missing, shapes disagree, or the sampler cannot hold the memory.
    """

    #: how a sentence names the sampler
    name: ClassVar[str]

    def __init__(
        self,
        parameters: Parameters,
        bin_rate: float,
        kernel_bins: int,
        x: ArrayLike,
        seed: int,
        start: ArrayLike | None = None,
    ) -> None:
        if not HAS_NUMBA:
            raise UserError(f"{self.name}: numba is not installed (pip install numba)")
        traces = np.asarray(x, dtype=np.float64)
        if traces.ndim != 3 or traces.shape[2] != parameters.cells or not traces.size:
            raise UserError(
                f"{self.name}: found traces of shape {traces.shape}, "
                f"expected (trials, bins, {parameters.cells} cells), none of them 0"
            )
        if not bin_rate > 0 or kernel_bins < 0:
            raise UserError(
                f"{self.name}: found a frame rate of {bin_rate} Hz and {kernel_bins} kernel bins, "
                "expected a rate above 0 and at least 0 bins"
            )
        # time last, so that a cell's path is one piece of memory
        self._x = np.ascontiguousarray(traces.transpose(0, 2, 1))
        self._z: Spikes = np.zeros(self._x.shape, dtype=np.int8)
        if start is not None:
            given = np.asarray(start)
            if given.shape != traces.shape or not np.isin(given, (0, 1)).all():
                raise UserError(
                    f"start: found shape {given.shape}, expected spikes (0 or 1) of shape {traces.shape}"
                )
            self._z[:] = given.transpose(0, 2, 1)
        self._rate, self._kernel_bins = float(bin_rate), int(kernel_bins)
        self._rng = np.random.default_rng(seed)
        self.set_parameters(parameters)

    @property
    def z(self) -> Spikes:
        """The current spikes ``(B, T, N)``, a copy."""
        return np.array(self._z.transpose(0, 2, 1), order="C")

    @property
    @abstractmethod
    def memory(self) -> int:
        """The longest of the cells' memories, in past bins."""

    @abstractmethod
    def _prepare(self, effects: Array, response: Array, parameters: CalciumParameters) -> None:
        """Take on a law.

        Its effects are ``(N, N, lags)`` from the second cell onto the first, own history on the diagonal, and
        its responses ``(N, Lk)``, in units of the noise.
        """

    @abstractmethod
    def _draw(self, cell: int, x: Array, z: Spikes, logits: Array) -> None:
        """Draw z[cell] ``(T,)`` in place, given the other cells of ``z`` ``(N, T)``.

        Args:
            x: ``(T,)`` trace above baseline, in units of the noise; NaN where not observed.
            logits: ``(N, T)``, without anything that the cell's own spikes add to them.
        """

    def set_parameters(self, parameters: Parameters) -> None:
        """Go on from the current spikes under other parameters, of a kind in ``GIBBS``."""
        require_kind(parameters.kind, GIBBS, self.name, "posteriors serve every kind")
        assert isinstance(parameters, CalciumParameters)
        if parameters.cells != self._x.shape[1]:
            raise UserError(f"parameters: found {parameters.cells} cells, expected {self._x.shape[1]}")
        p = parameters
        kernel = calcium_kernel(
            torch.as_tensor(p.rise, dtype=torch.float64),
            torch.as_tensor(p.decay, dtype=torch.float64),
            self._rate,
            self._kernel_bins or self._x.shape[2],
        ).numpy()
        lags = max(p.history.shape[1], p.basis.shape[1], 1)
        effects = np.zeros(
            (p.cells, p.cells, lags)
        )  # [i, j, τ − 1]: from j onto i, own history on the diagonal
        effects[..., : p.basis.shape[1]] = np.einsum("rl,rij->ijl", p.basis, p.coupling)
        cells = np.arange(p.cells)
        effects[cells, cells] = 0.0
        effects[cells, cells, : p.history.shape[1]] = p.history
        self._bias, self._effects = np.asarray(p.bias, dtype=np.float64), effects
        response = np.asarray(p.amplitude / p.noise)[:, None] * kernel
        self._prepare(effects, response, parameters)
        self._scaled = (self._x - np.asarray(p.baseline)[:, None]) / np.asarray(p.noise)[:, None]

    def sweep(self) -> None:
        """Draw every cell's path once, in random order."""
        # once a sweep, so that rounding does not add up over many of them
        self._logits = self._logits_now()
        for i in self._rng.permutation(self._x.shape[1]):
            reached = np.any(self._effects[:, i] != 0, axis=1)
            reached[i] = False
            targets = np.concatenate([[i], np.flatnonzero(reached)]).astype(np.int64)
            effects = np.ascontiguousarray(self._effects[targets, i])
            for x, z, logits in zip(self._scaled, self._z, self._logits, strict=True):
                scatter(-1.0, z[i], logits, targets, effects)
                self._draw(int(i), x[i], z, logits)
                scatter(1.0, z[i], logits, targets, effects)

    def _logits_now(self) -> Array:
        """``(B, N, T)`` of the current spikes."""
        spikes = self._z.astype(np.float64)
        bins = spikes.shape[2]
        logits = np.tile(self._bias[:, None], (spikes.shape[0], 1, bins))
        for lag in range(1, min(self._effects.shape[2], bins - 1) + 1):
            logits[..., lag:] += self._effects[..., lag - 1] @ spikes[..., : bins - lag]
        return logits

    def run(self, sweeps: int, burn_in: int = 0, thin: int = 1) -> Spikes:
        """``burn_in`` sweeps, then ``sweeps`` more of which every ``thin``-th is kept: ``(S, B, T, N)`` int8.

        S = sweeps // thin.

        Raises:
            UserError: for numbers of which nothing comes.
        """
        if not 1 <= thin <= sweeps or burn_in < 0:
            raise UserError(
                f"run: found {sweeps} sweeps, burn-in {burn_in}, thin {thin}; expected 1 ≤ thin ≤ sweeps"
            )
        for _ in range(burn_in):
            self.sweep()
        kept = np.empty((sweeps // thin, *self.z.shape), dtype=np.int8)
        for n in range(len(kept)):
            for _ in range(thin):
                self.sweep()
            kept[n] = self.z
        return kept

    def marginals(self, sweeps: int) -> Array:
        """``P(z[t] = 1 | x)`` as the average of the next ``sweeps`` sweeps, ``(B, T, N)``."""
        if sweeps < 1:
            raise UserError(f"marginals: found {sweeps} sweeps, expected at least 1")
        total = np.zeros(self._z.shape)
        for _ in range(sweeps):
            self.sweep()
            total += self._z
        return np.ascontiguousarray(total.transpose(0, 2, 1)) / sweeps
