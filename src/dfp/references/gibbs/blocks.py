"""Blocked Gibbs sampling of the spikes of coupled cells: one cell's whole path at a time, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.models.calcium import CalciumParameters
from dfp.references.gibbs.base import Array, GibbsChain, Spikes, compiled, softplus

#: the most past bins that a block's state may hold (65,536 states)
LONGEST = 16


@compiled
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
            normaliser[s] = softplus(base + own[s])
        likelihood[:] = 0.0
        for k in range(children.shape[0]):
            child_base, spike = logits[children[k], t], float(z[children[k], t])
            for s in range(onto.shape[1]):
                u = child_base + onto[k, s]
                likelihood[s] += spike * u - softplus(u)
        seen = np.isfinite(x[t])
        frame, gain = (x[t], step) if seen else (0.0, 0.0)
        weight = 1.0 if seen else 0.0
        for s in range(size):
            after = 2 * (s if s < half else s - half)
            residual = weight * (frame - mean[s])
            silent = beta[after] - 0.5 * residual * residual
            d = base + own[s & own_mask] + gain * (residual - 0.5 * gain) + beta[after + 1] - beta[after]
            decisions[t, s] = limit < d
            before[s] = silent + softplus(d) - normaliser[s & own_mask] + likelihood[s & child_mask]
        # kept near 0, so that no digits are lost over a long trace
        level = before[0]
        for s in range(size):
            beta[s] = before[s] - level
    state = 0
    for t in range(bins):
        spike_now = 1 if decisions[t, state] else 0
        z[cell, t] = spike_now
        state = (2 * state + spike_now) & (size - 1)


class BlockedGibbs(GibbsChain):
    """The path of a cell drawn from its exact law given the others: all of it in one block.

    That law has three factors a bin: the cell's own spiking law, its frame, and its children's spikes (cells
    j with W[j, i] ≠ 0), whose logits its last spikes enter. With s = (z[t−1], …, z[t−M]) of the cell as the
    bits 0, 1, …, M − 1 of an integer, and s0 and s1 the states that silence and a spike lead to, the backward
    pass in the log domain, from β = 0 after the last bin, is

        ``d_t(s) = u_t(s) + log p(x[t] | s, 1) − log p(x[t] | s, 0) + β_t(s1) − β_t(s0)``,
        ``β_{t−1}(s) = β_t(s0) + log p(x[t] | s, 0) + softplus(d_t(s)) − softplus(u_t(s))
            + Σ_j log p(z[t, j] | s)``.

    d_t(s) is the logit of a spike given the past and everything else: the path is then drawn forward from
    s = 0. (Backward filtering, forward sampling: Carter & Kohn 1994, Scott 2002; for spikes given calcium one
    bin at a time Mishchenko et al. 2011.) Logistic noise is drawn first, so that one byte for each bin and
    state is kept: its spike or silence. M = max(Lk − 1, own lags, coupling lags), trailing zeros not counted:
    one bit less than ``dfp.references.exact.one_cell``, as z[t] itself is summed out within a step.

    Cost of a sweep O(B · N · T · (2^M + children · 2^(coupling lags))), memory T · 2^M bytes.
    Without coupling every sweep is an independent exact sample.

    Raises:
        UserError: besides what ``GibbsChain`` refuses, when M exceeds 16.
    """

    name = "blocked Gibbs"

    @property
    def memory(self) -> int:
        """Past bins M that the state of the cell with the longest memory holds."""
        return max(block.bits for block in self._blocks)

    def _prepare(self, effects: Array, response: Array, parameters: CalciumParameters) -> None:
        self._blocks = [_block(i, effects[:, i], response[i]) for i in range(parameters.cells)]

    def _draw(self, cell: int, x: Array, z: Spikes, logits: Array) -> None:
        block = self._blocks[cell]
        uniform = self._rng.random(x.shape[0])
        # 0 can come up; a spike that is certain enough to follow from it is one anyway
        threshold = np.log(np.maximum(uniform, 1e-300)) - np.log1p(-uniform)
        _draw_path(
            cell, z, logits, x, block.mean, block.step, block.own, block.children, block.onto, threshold
        )


@dataclass(frozen=True, eq=False)
class _Block:
    """What ``_draw_path`` needs to know of one cell."""

    bits: int
    mean: Array
    step: float
    own: Array
    children: NDArray[np.int64]
    onto: Array


def _block(cell: int, effects: Array, response: Array) -> _Block:
    """From the cell's effects ``(N, lags)`` on all cells and its response ``(Lk,)`` in units of the noise."""
    others = np.any(effects != 0, axis=1)
    others[cell] = False
    children = np.flatnonzero(others)
    own_lags = reach(effects[cell])
    child_lags = reach(np.abs(effects[children]).sum(0))
    bits = max(1, reach(response) - 1, own_lags, child_lags)
    if bits > LONGEST:
        raise UserError(
            f"blocked Gibbs: found a memory of {bits} bins, expected at most {LONGEST} "
            "(particle Gibbs has no such limit, and a kernel can be cut with kernel_bins)"
        )
    states = ((np.arange(2**bits)[:, None] >> np.arange(bits)) & 1).astype(np.float64)
    past = response[1 : bits + 1]
    return _Block(
        bits=bits,
        mean=states[:, : len(past)] @ past,
        step=float(response[0]),
        own=states[: 2**own_lags, :own_lags] @ effects[cell, :own_lags],
        children=children.astype(np.int64),
        onto=np.ascontiguousarray(effects[children, :child_lags] @ states[: 2**child_lags, :child_lags].T),
    )


def reach(values: Array) -> int:
    """Length without trailing zeros."""
    found = np.flatnonzero(values)
    return int(found[-1]) + 1 if found.size else 0
