"""Blocked Gibbs sampling of the spikes of coupled cells: one cell's whole path at a time, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dfp.core.errors import UserError
from dfp.models.calcium import CalciumParameters
from dfp.models.kernels import calcium_kernel

Array = NDArray[np.float64]
Spikes = NDArray[np.int8]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

#: without it the module can be imported, but a sampler cannot be made
HAS_NUMBA = find_spec("numba") is not None
#: the most past bins that a block's state may hold (65,536 states)
LONGEST = 16


def _compiled(function: Kernel) -> Kernel:
    """To machine code at the first call, kept on disk for the next process."""
    if not HAS_NUMBA:
        return function
    from numba import njit

    return cast(Kernel, njit(cache=True, nogil=True)(function))


@_compiled
def _softplus(u: float) -> float:
    """log(1 + e^u); beyond 37 what is left out is below double precision."""
    if u > 37.0:
        return u
    if u < -37.0:
        return np.exp(u)
    return max(u, 0.0) + np.log(1.0 + np.exp(-abs(u)))


@_compiled
def _scatter(sign: float, z: Any, logits: Any, targets: Any, effects: Any) -> None:
    """Add ``sign`` times what the path z ``(T,)`` does to its targets' logits ``(N, T)``, in place."""
    bins, lags = z.shape[0], effects.shape[1]
    for t in range(bins):
        if z[t]:
            for k in range(targets.shape[0]):
                for lag in range(1, min(lags, bins - 1 - t) + 1):
                    logits[targets[k], t + lag] += sign * effects[k, lag - 1]


@_compiled
def _draw_path(
    cell: int,
    z: Any,
    logits: Any,
    x: Any,
    mean: Any,
    step: float,
    own: Any,
    children: Any,
    onto: Any,
    threshold: Any,
) -> None:
    """Draw z[cell] ``(T,)`` in place, given all others; the equations are at ``BlockedGibbs``.

    Args:
        z: ``(N, T)`` spikes.
        logits: ``(N, T)``, without anything that the cell's own spikes add to them.
        x: ``(T,)`` trace above baseline, in units of the noise; NaN where not observed.
        mean: ``(2^M,)`` fluorescence of the state before a bin in a silent bin, in units of the noise.
        step: what a spike adds to the fluorescence of its bin, same units.
        own: ``(2^h,)`` what the newest h bits of the state add to the cell's own logit.
        children: ``(K,)`` other cells that the cell acts on.
        onto: ``(K, 2^c)`` what the newest c bits of the state add to theirs.
        threshold: ``(T,)`` standard logistic noise: a spike where it is below the logit.
    """
    bins, size = x.shape[0], mean.shape[0]
    half = size // 2
    own_mask, child_mask = own.shape[0] - 1, onto.shape[1] - 1
    decisions = np.empty((bins, size), dtype=np.bool_)
    beta, before = np.zeros(size), np.empty(size)
    normaliser, likelihood = np.empty(own.shape[0]), np.empty(onto.shape[1])
    for t in range(bins - 1, -1, -1):
        base, limit = logits[cell, t], threshold[t]
        for s in range(own.shape[0]):
            normaliser[s] = _softplus(base + own[s])
        likelihood[:] = 0.0
        for k in range(children.shape[0]):
            child_base, spike = logits[children[k], t], float(z[children[k], t])
            for s in range(onto.shape[1]):
                u = child_base + onto[k, s]
                likelihood[s] += spike * u - _softplus(u)
        seen = np.isfinite(x[t])
        frame, gain = (x[t], step) if seen else (0.0, 0.0)
        weight = 1.0 if seen else 0.0
        for s in range(size):
            after = 2 * (s if s < half else s - half)
            residual = weight * (frame - mean[s])
            silent = beta[after] - 0.5 * residual * residual
            d = base + own[s & own_mask] + gain * (residual - 0.5 * gain) + beta[after + 1] - beta[after]
            decisions[t, s] = limit < d
            before[s] = silent + _softplus(d) - normaliser[s & own_mask] + likelihood[s & child_mask]
        # kept near 0, so that no digits are lost over a long trace
        level = before[0]
        for s in range(size):
            beta[s] = before[s] - level
    state = 0
    for t in range(bins):
        spike_now = 1 if decisions[t, state] else 0
        z[cell, t] = spike_now
        state = (2 * state + spike_now) & (size - 1)


class BlockedGibbs:
    """A Markov chain whose law converges to ``p(z | x)`` of the coupled calcium model.

    z[t, i] ~ Bernoulli(σ(u[t, i])),
    u[t, i] = b_i + Σ_r Σ_{j≠i} W_r[i, j] (φ_r * z_j)[t] + Σ_τ h_iτ z[t − τ, i], φ_r from lag 1 on,
    x[t, i] = baseline_i + amplitude_i Σ_{k<Lk} kernel_i[k] z[t − k, i] + noise_i ε, no spikes before t = 0.

    A block is the whole path of one cell i in one trial, drawn from its exact law given the others. That has
    three factors a bin: the cell's own spiking law, its frame, and its children's spikes (cells j with
    W[j, i] ≠ 0), whose logits its last spikes enter. With s = (z[t−1], …, z[t−M]) of the cell as the bits 0,
    1, …, M − 1 of an integer, s0 and s1 the states that silence and a spike lead to, and backward in the log
    domain from β = 0 after the last bin,

        ``d_t(s) = u_t(s) + log p(x[t] | s, 1) − log p(x[t] | s, 0) + β_t(s1) − β_t(s0)``,
        ``β_{t−1}(s) = β_t(s0) + log p(x[t] | s, 0) + softplus(d_t(s)) − softplus(u_t(s))
        + Σ_j log p(z[t, j] | s)``,

    d_t(s) is the logit of a spike given the past and everything else: the path is then drawn forward from
    s = 0. (Backward filtering, forward sampling: Carter & Kohn 1994, Scott 2002; for spikes given calcium one
    bin at a time Mishchenko et al. 2011.) Logistic noise is drawn first, so that one byte for each bin and
    state is kept: its spike or silence. M = max(Lk − 1, own lags, coupling lags), trailing zeros not counted:
    one bit less than ``dfp.evaluation.exact``, as z[t] itself is summed out within a step.

    Cost of a sweep O(B · N · T · (2^M + children · 2^(coupling lags))), double precision, one thread; memory
    T · 2^M bytes. The machine code lets go of Python's lock, so that chains may run in threads. Without
    coupling every sweep is an independent exact sample.

    Args:
        parameters: of the network.
        frame_rate: bins per second.
        kernel_bins: Lk, the cut of the calcium response; 0 leaves it uncut, T bins.
        x: ``(B, T, N)`` traces; a frame that is not finite is not observed.
        seed: of the chain.
        start: ``(B, T, N)`` spikes to start from, 0 or 1; none at all by default.

    Raises:
        UserError: when numba is missing, shapes disagree, or M exceeds 16.
    """

    def __init__(
        self,
        parameters: CalciumParameters,
        frame_rate: float,
        kernel_bins: int,
        x: ArrayLike,
        seed: int,
        start: ArrayLike | None = None,
    ) -> None:
        if not HAS_NUMBA:
            raise UserError("blocked Gibbs: numba is not installed (pip install numba)")
        traces = np.asarray(x, dtype=np.float64)
        if traces.ndim != 3 or traces.shape[2] != parameters.cells or not traces.size:
            raise UserError(
                f"blocked Gibbs: found traces of shape {traces.shape}, "
                f"expected (trials, bins, {parameters.cells} cells), none of them 0"
            )
        if not frame_rate > 0 or kernel_bins < 0:
            raise UserError(
                f"blocked Gibbs: found a frame rate of {frame_rate} Hz and {kernel_bins} kernel bins, "
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
        self._rate, self._kernel_bins = float(frame_rate), int(kernel_bins)
        self._rng = np.random.default_rng(seed)
        self.set_parameters(parameters)

    @property
    def z(self) -> Spikes:
        """The current spikes ``(B, T, N)``, a copy."""
        return np.ascontiguousarray(self._z.transpose(0, 2, 1))

    @property
    def memory(self) -> int:
        """Past bins M that the state of the cell with the longest memory holds."""
        return max(block.bits for block in self._blocks)

    def set_parameters(self, parameters: CalciumParameters) -> None:
        """Go on from the current spikes under other parameters."""
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
        self._blocks = [_block(i, effects[:, i], response[i]) for i in range(p.cells)]
        self._scaled = (self._x - np.asarray(p.baseline)[:, None]) / np.asarray(p.noise)[:, None]

    def sweep(self) -> None:
        """Draw every cell's path once, in random order."""
        # once a sweep, so that rounding does not add up over many of them
        self._logits = self._logits_now()
        for i in self._rng.permutation(len(self._blocks)):
            block = self._blocks[i]
            for x, z, logits in zip(self._scaled, self._z, self._logits, strict=True):
                _scatter(-1.0, z[i], logits, block.targets, block.effects)
                uniform = self._rng.random(x.shape[1])
                # 0 can come up; a spike that is certain enough to follow from it is one anyway
                threshold = np.log(np.maximum(uniform, 1e-300)) - np.log1p(-uniform)
                _draw_path(
                    i, z, logits, x[i], block.mean, block.step,
                    block.own, block.children, block.onto, threshold,
                )  # fmt: skip
                _scatter(1.0, z[i], logits, block.targets, block.effects)

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

    def marginals(self, sweeps: int, burn_in: int = 0) -> Array:
        """``P(z[t] = 1 | x)`` as the average of ``sweeps`` sweeps after ``burn_in``, ``(B, T, N)``."""
        if sweeps < 1 or burn_in < 0:
            raise UserError(f"marginals: found {sweeps} sweeps, burn-in {burn_in}; expected at least 1 and 0")
        for _ in range(burn_in):
            self.sweep()
        total = np.zeros(self._z.shape)
        for _ in range(sweeps):
            self.sweep()
            total += self._z
        return np.ascontiguousarray(total.transpose(0, 2, 1)) / sweeps


@dataclass(frozen=True, eq=False)
class _Block:
    """What ``_draw_path`` and ``_scatter`` need to know of one cell."""

    bits: int
    mean: Array
    step: float
    own: Array
    children: NDArray[np.int64]
    onto: Array
    targets: NDArray[np.int64]
    effects: Array


def _block(cell: int, effects: Array, response: Array) -> _Block:
    """From the cell's effects ``(N, lags)`` on all cells and its response ``(Lk,)`` in units of the noise."""
    others = np.any(effects != 0, axis=1)
    others[cell] = False
    children = np.flatnonzero(others)
    own_lags = _reach(effects[cell])
    child_lags = _reach(np.abs(effects[children]).sum(0))
    bits = max(1, _reach(response) - 1, own_lags, child_lags)
    if bits > LONGEST:
        raise UserError(
            f"blocked Gibbs: found a memory of {bits} bins, expected at most {LONGEST} "
            "(cut the kernel with kernel_bins)"
        )
    states = ((np.arange(2**bits)[:, None] >> np.arange(bits)) & 1).astype(np.float64)
    past = response[1 : bits + 1]
    targets = np.concatenate([[cell], children]).astype(np.int64)
    return _Block(
        bits=bits,
        mean=states[:, : len(past)] @ past,
        step=float(response[0]),
        own=states[: 2**own_lags, :own_lags] @ effects[cell, :own_lags],
        children=targets[1:],
        onto=np.ascontiguousarray(effects[children, :child_lags] @ states[: 2**child_lags, :child_lags].T),
        targets=targets,
        effects=np.ascontiguousarray(effects[targets]),
    )


def _reach(values: Array) -> int:
    """Length without trailing zeros."""
    found = np.flatnonzero(values)
    return int(found[-1]) + 1 if found.size else 0
