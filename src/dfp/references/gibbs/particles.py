"""Particle Gibbs sampling of the spikes of coupled cells, for calcium responses too long for exact blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp.core.errors import UserError
from dfp.models.base import Parameters
from dfp.models.calcium import CalciumParameters
from dfp.references.gibbs.base import Array, GibbsChain, Spikes
from dfp.references.gibbs.blocks import LONGEST, BlockedGibbs, reach
from dfp.references.gibbs.particle_path import LONGEST_PAST, draw_particles

#: particles where no number is asked for
PARTICLES = 32


class ParticleGibbs(GibbsChain):
    """The path of a cell drawn by a Markov step that leaves its exact law given the others unchanged.

    Conditional particles with backward sampling, of which no two are the same path: both values of a spike
    are tried from each of P paths, and P of the 2P are kept by Fearnhead & Clifford's (2003) resampling,
    given that the current path is kept (discrete particle Gibbs: Whiteley, Andrieu & Doucet 2010). With S_t
    the paths up to bin t, W their weights and γ_t the targets, γ_T the law wanted,

        ``w(z[≤t]) = W_{t−1}(z[<t]) γ_t(z[≤t]) / γ_{t−1}(z[<t])``,  ``Σ min(1, w / c) = P``,
        ``W_t = max(w, c)``,  kept with probability ``min(1, w / c)``.

    Then backward from the last bin, given the path z′ after t chosen so far (Lindsten, Jordan & Schön 2014,
    their ancestor sampling, which is for the current path what this is for a new one),

        ``P(z[≤t]) ∝ W_t(z[≤t]) γ_T(z[≤t], z′) / γ_t(z[≤t])``.

    No Markov property is needed: the last factor holds all later frames, the cell's later spikes and its
    children's. With s = (y, w) the calcium state, moved by A = [[d, r], [0, r]] and by b = (1, 1) a spike,
    fluorescence g y, the frames' part is quadratic in s, exact without a cut, ``G·s − ½ sᵀHs``, backward

        ``M = H + g² e₁e₁ᵀ``,  ``G ← Aᵀ(G + g x[t + 1] e₁ − z′[t + 1] M b)``,  ``H ← Aᵀ M A``,

    frames that are not observed left out. γ_t is the law of the spikes up to t, of the frames up to t and of
    the children's spikes up to t + 1, twisted by ``gaussian_twist`` towards the frames to come.

    Cost of a sweep O(B · N · T · P); memory 40 T P bytes. Successive sweeps are correlated, the more the
    fewer particles there are; with P ≥ 2^T they have the law of ``BlockedGibbs``.

    Args:
        particles: P, ≥ 2.

    Raises:
        UserError: besides what ``GibbsChain`` refuses, for fewer particles, or a cut kernel, own history or
            coupling of more than 62 bins (an uncut kernel has no limit).
    """

    name = "particle Gibbs"

    def __init__(
        self,
        parameters: Parameters,
        bin_rate: float,
        kernel_bins: int,
        x: ArrayLike,
        seed: int,
        start: ArrayLike | None = None,
        particles: int = PARTICLES,
    ) -> None:
        if particles < 2:
            raise UserError(f"particle Gibbs: found {particles} particles, expected at least 2")
        self._particles = particles
        super().__init__(parameters, bin_rate, kernel_bins, x, seed, start)

    @property
    def memory(self) -> int:
        return max(path.memory for path in self._paths)

    def _prepare(self, effects: Array, response: Array, parameters: CalciumParameters) -> None:
        slow, fast = (
            pick(np.asarray(parameters.rise, dtype=float), np.asarray(parameters.decay, dtype=float))
            for pick in (np.maximum, np.minimum)
        )
        d = np.exp(-1.0 / (self._rate * slow))
        r = np.exp(-1.0 / (self._rate * np.maximum(fast, 1e-12)))
        bins = self._x.shape[2]
        cut = 0 < self._kernel_bins < bins
        self._paths = [
            _path(i, effects[:, i], response[i, :bins], cut, float(d[i]), float(r[i]))
            for i in range(parameters.cells)
        ]

    def _draw(self, cell: int, x: Array, z: Spikes, logits: Array) -> None:
        path = self._paths[cell]
        uniforms = self._rng.random((2, x.shape[0]))
        draw_particles(
            cell, z, logits, x, path.response, path.cut, path.d, path.r, path.own, path.children, path.onto,
            self._particles, uniforms,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Path:
    """What ``draw_particles`` needs to know of one cell."""

    response: Array
    cut: bool
    d: float
    r: float
    own: Array
    children: NDArray[np.int64]
    onto: Array

    @property
    def memory(self) -> int:
        lags = max(len(self.own), self.onto.shape[1])
        return max(lags, len(self.response) - 1)


def _path(cell: int, effects: Array, response: Array, cut: bool, d: float, r: float) -> _Path:
    """From the cell's effects ``(N, lags)`` on all cells and its response ``(L,)`` in units of the noise."""
    others = np.any(effects != 0, axis=1)
    others[cell] = False
    children = np.flatnonzero(others)
    own = effects[cell, : reach(effects[cell])]
    onto = effects[children, : reach(np.abs(effects[children]).sum(0))]
    longest = max(len(own), onto.shape[1], len(response) if cut else 0)
    if longest > LONGEST_PAST:
        raise UserError(
            f"particle Gibbs: found a memory of {longest} bins, expected at most {LONGEST_PAST} "
            "(a kernel that is not cut, kernel_bins: 0, has no limit)"
        )
    return _Path(
        np.ascontiguousarray(response),
        cut,
        d,
        r,
        np.ascontiguousarray(own),
        children.astype(np.int64),
        np.ascontiguousarray(onto),
    )


def gibbs_chain(
    parameters: Parameters,
    bin_rate: float,
    kernel_bins: int,
    x: ArrayLike,
    seed: int,
    start: ArrayLike | None = None,
    particles: int = 0,
) -> GibbsChain:
    """The sampler for a network: blocked where its memory allows, by particles where it does not.

    Args:
        particles: 0 chooses; another number asks for so many particles, whatever the memory.

    Raises:
        UserError: see ``GibbsChain``, ``ParticleGibbs``.

    Example:
        >>> network = dfp.from_edges([(0, 1)], [2.0], 2, np.random.default_rng(0))
        >>> data = dfp.simulate(network, [0], bin_rate=30, bins=60, kernel_bins=6)
        >>> chain = dfp.gibbs_chain(data.start, 30, 6, data.x, seed=0)
        >>> chain.run(sweeps=10, burn_in=5).shape  # S, B, T, N
        (10, 1, 60, 2)
    """
    given = (parameters, bin_rate, kernel_bins, x, seed, start)
    bins = np.asarray(x).shape[1] if np.ndim(x) == 3 else 0
    lags = max(parameters.history.shape[1], parameters.basis.shape[1], (kernel_bins or bins) - 1)
    if particles or lags > LONGEST:
        return ParticleGibbs(*given, particles or PARTICLES)
    return BlockedGibbs(*given)
