"""Geweke's joint test: do the simulator and the sampler of the posterior agree about one joint law?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from dfp.core.errors import UserError
from dfp.references.gibbs.chains import diagnostics

Array = NDArray[np.float64]
#: traces ``(C, T, N)`` given spikes of that shape, by the simulator
Observe = Callable[[Array], Array]
#: spikes given traces and the spikes before, by the sampler under test
Draw = Callable[[Array, Array], Array]

#: lags at which spikes are multiplied with spikes, and the trace with spikes
_SPIKE_LAGS, _TRACE_LAGS = (1, 2), (0, 1, 2, 3)

FUNCTIONS = (
    "z[t]",
    *(f"z[t] z[t−{lag}]" for lag in _SPIKE_LAGS),
    *(f"x[t] z[t−{lag}]" for lag in _TRACE_LAGS),
    "x[t]",
    "x[t]²",
    "x[t] x[t−1]",
)
#: of coupled cells besides: the other cells' spikes, weighted as they act
COUPLED = tuple(f"z[t] Σ w z'[t−{lag}]" for lag in _SPIKE_LAGS)


@dataclass(frozen=True, eq=False)
class Joint:
    """What the joint test found.

    Attributes:
        names: of the G test functions.
        scores: ``(…, G)`` difference of their means, successive − marginal, in standard errors.
        p: ``(…,)`` p-value of the largest |score|, Bonferroni over the G functions.
        effective: effective share of the successive draws of the spike count (1: independent).
    """

    names: tuple[str, ...]
    scores: Array
    p: Array
    effective: float


def moments(z: NDArray, x: Array, weights: Array | None = None) -> Array:
    """The test functions, averaged over the bins of a trial, ``(C, N, G)`` of z and x ``(C, T, N)``.

    First and second moments of spikes and trace within and across lags, which a filter shifted by a bin
    moves: ``FUNCTIONS``, and with ``weights (N, N)``, onto the first from the second, ``COUPLED``.

    Raises:
        UserError: for shapes that disagree or fewer than 5 bins.
    """
    spikes, trace = np.asarray(z, dtype=np.float64), np.asarray(x, dtype=np.float64)
    if spikes.shape != trace.shape or spikes.ndim != 3 or spikes.shape[1] < 5:
        raise UserError(
            f"joint test: found spikes of shape {spikes.shape} and traces of shape {trace.shape}, expected "
            "the same, (trials, at least 5 bins, cells)"
        )
    found = [spikes, *(_product(spikes, spikes, lag) for lag in _SPIKE_LAGS)]
    found += [_product(trace, spikes, lag) for lag in _TRACE_LAGS]
    found += [trace, trace**2, _product(trace, trace, 1)]
    if weights is not None:
        others = spikes @ weights.T
        found += [_product(spikes, others, lag) for lag in _SPIKE_LAGS]
    return np.stack([value.mean(1) for value in found], -1)


def _product(a: Array, b: Array, lag: int) -> Array:
    """a[t] b[t − lag], the bins before the trial left out."""
    return a[:, lag:] * b[:, : b.shape[1] - lag]


def joint_test(
    marginal: tuple[NDArray, Array],
    start: NDArray,
    observe: Observe,
    draw: Draw,
    steps: int,
    weights: Array | None = None,
) -> Joint:
    """Marginal-conditional against successive-conditional simulation of (z, x), parameters fixed.

    Marginal: independent (z, x) from the simulator. Successive: C chains, each started from simulated spikes
    and hence in the joint law already, in turn ``x ~ p(x | z)`` by the simulator and ``z ~ p(z | x)`` by the
    sampler under test. If both are right the chains stay in the joint law, and the mean of every test
    function g is the same; with ḡ_c the mean over the steps of chain c,

        ``score = (mean_c ḡ_c − mean_r g_r) / √(var_c ḡ_c / C + var_r g_r / R)``.

    The chains are independent of each other, so that var_c ḡ_c holds all autocorrelation within a chain.
    A sampler for other parameters, or another model, drifts away and is noticed more surely with more
    steps. (Geweke 2004, JASA 99:799, there with one long chain and the parameters drawn too.)

    Args:
        marginal: spikes and traces ``(R, T, N)``, independent trials.
        start: spikes ``(C, T, N)`` of other trials.
        steps: turns of the chains.
        weights: ``(N, N)`` by which cells act on each other: a trial is then the unit, and means are over its
            cells; without it each cell is a test of its own, a row of ``scores``.

    Raises:
        UserError: for fewer than 8 chains, marginal trials or steps.
    """
    if min(len(start), len(marginal[0]), steps) < 8:
        raise UserError(
            f"joint test: found {len(start)} chains, {len(marginal[0])} trials and {steps} steps, "
            "expected at least 8 of each"
        )
    z = np.asarray(start)
    drawn = []
    for _ in range(steps):
        x = observe(z.astype(np.float64))
        z = draw(x, z)
        drawn.append(moments(z, x, weights))
    chains = np.stack(drawn, 1)  # (C, steps, N, G)
    free = moments(*marginal, weights)  # (R, N, G)
    if weights is not None:
        chains, free = chains.mean(2), free.mean(1)
    means = chains.mean(1)
    error = np.sqrt(means.var(0, ddof=1) / len(means) + free.var(0, ddof=1) / len(free))
    scores = (means.mean(0) - free.mean(0)) / error
    count = scores.shape[-1]
    p = np.minimum(1.0, 2 * norm.sf(np.abs(scores).max(-1)) * count)
    size = diagnostics(chains[..., 0])[1]
    effective = float(np.nanmean(size)) / (chains.shape[0] * chains.shape[1])
    return Joint(FUNCTIONS + (() if weights is None else COUPLED), scores, np.asarray(p), effective)
