"""A discrete flow over counts: how many spikes fall into each bin, given the trace, a cell's constants θ and
the counts before.

    n_t = #{k ≥ 1 : ℓ_t + s_t u_t ≥ c_k},   u_t ~ Logistic(0, 1),   0 = c_1 < c_2 < … ,
    ℓ_t = m_t + Σ_r a_r(θ) b_rt − Σ_j g_jt φ(h_jt),   log s_t = σ_t + Σ_r a'_r(θ) b'_rt,
    h_jt = Σ_{t'<t} n_t' exp(−(t − t') Δ / τ_j),   φ(h) = h / (1 + h/4).

With one threshold and s = 1 this is the discrete flow of the source document, ``z = Θ(ℓ + u)``; the further
thresholds make it one over counts. Its pmf is the ordered logistic one,
``P(n ≥ k) = σ((ℓ − c_k)/s)``. m, σ, g, b, b' come from the network, once a trace; θ enters by a low rank, so
that a draw of θ costs a few multiplications a bin and not a pass of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

#: seconds over which the past counts of a cell are remembered (our choice: longer ones ran away in free runs)
MEMORY_SECONDS = (0.04, 0.15)
#: the largest count of a bin
LARGEST = 48
#: bounds of log s
SCALES = LOWEST, HIGHEST = (-3.0, 3.0)

#: P(n ≥ k) below which further thresholds add nothing to a mean; P(n ≥ 1) below which two spikes are seldom
NEGLIGIBLE, SELDOM = 1e-6, 0.02

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class CountLaw:
    """The law of the counts of one trace, for S draws of the cell's constants.

    Attributes:
        base: ``(2, T)``: m and σ.
        gains: ``(J, T)``.
        basis, scale_basis: ``(R, T)`` and ``(R', T)``.
        weights, scale_weights: ``(S, R)`` and ``(S, R')``.
        thresholds: ``(K,)``, c_1 = 0 first.
        decays: ``(J,)``: exp(−Δ/τ_j).
    """

    base: Array
    gains: Array
    basis: Array
    scale_basis: Array
    weights: Array
    scale_weights: Array
    thresholds: Array
    decays: Array

    @property
    def shape(self) -> tuple[int, int]:
        """S and T."""
        return len(self.weights), self.base.shape[1]

    def locations(self) -> tuple[Array, Array]:
        """ℓ without the past counts, and s: ``(S, T)`` each, in double precision.

        They are summed as the seeded draw sums them, since a product of matrices rounds otherwise.
        """
        location, scale = np.zeros(self.shape), np.zeros(self.shape)
        _locations(self.base, self.basis, self.scale_basis, self.weights, self.scale_weights, location, scale)
        return location, scale

    def draw(self, noise: Array) -> Array:
        """Counts ``(S, T)`` driven by logistic noise ``(S, T)``: bin by bin, compiled."""
        location, scale = self.locations()
        out = np.zeros(self.shape, np.uint8)
        _draw(location, scale, self.gains, self.decays, self.thresholds, noise, out)
        return out

    def draw_seeded(self, seed: int) -> Array:
        """Counts ``(S, T)``, as ``draw`` of ``seeded_noise(seed, S, T)``, without an array of that size."""
        return self.draw_with_means(seed)[0]

    def draw_with_means(self, seed: int) -> tuple[Array, Array, Array]:
        """``draw_seeded``, and of the counts of each bin P(n ≥ 1) and the mean, ``(T,)`` each.

        They are means over the samples of what each expects, given its θ and its past: less noisy than the
        means of the counts themselves (Rao-Blackwell).
        """
        out, means = np.zeros(self.shape, np.uint8), np.zeros((2, self.shape[1]))
        _draw_seeded(
            self.base, self.gains, self.basis, self.scale_basis, self.weights, self.scale_weights,
            self.thresholds, self.decays, np.uint64(seed), out, means,
        )  # fmt: skip
        return out, means[0], means[1]

    def fixed_point(self, noise: Array, limit: int | None = None) -> tuple[Array, int]:
        """The same counts by sweeps over all bins at once, and how many sweeps it took.

        A sweep puts the counts of the one before into the past of every bin. Bin t is right after t + 1
        sweeps at the latest, and usually after a few.
        """
        location, scale = self.locations()
        driven = scale * noise
        counts = np.zeros(self.shape, np.uint8)
        for sweep in range(1, (limit or self.shape[1]) + 2):
            level = location - past_effect(counts, self.gains, self.decays)
            new = np.searchsorted(self.thresholds, level + driven, side="right").astype(np.uint8)
            if np.array_equal(new, counts):
                return counts, sweep
            counts = new
        return counts, sweep


def saturated(past: Array) -> Array:
    """φ(h) = h / (1 + h/4)."""
    return past / (1 + 0.25 * past)


def past_effect(counts: Array, gains: Array, decays: Array) -> Array:
    """``Σ_j g_jt φ(h_jt)``, ``(S, T)``, summed in the order of j as the compiled loop does."""
    total = np.zeros(counts.shape)
    for j, decay in enumerate(decays):
        total = total + gains[j] * saturated(traces_of(counts, decay))
    return total


def traces_of(counts: Array, decay: float) -> Array:
    """``h_t = Σ_{t'<t} decay^{t−t'} n_t'`` along the last dimension."""
    shape = np.shape(counts)
    out = np.zeros((int(np.prod(shape[:-1], dtype=int)), shape[-1]))
    _traces(np.ascontiguousarray(counts).reshape(out.shape).astype(np.float64), decay, out)
    return out.reshape(shape)


@njit(cache=True, nogil=True)
def _traces(counts: Array, decay: float, out: Array) -> None:
    for s in range(out.shape[0]):
        h = 0.0
        for t in range(out.shape[1]):
            out[s, t] = h
            h = decay * (h + counts[s, t])


@njit(cache=True, nogil=True, inline="always")
def _projected(start: Array, row: int, weights: Array, basis: Array, s: int, t: int) -> float:
    """``start[row, t] + Σ_r weights[s, r] basis[r, t]``."""
    total = 0.0
    for r in range(weights.shape[1]):
        total += weights[s, r] * basis[r, t]
    return total + start[row, t]


@njit(cache=True, nogil=True, inline="always")
def _scale(base: Array, weights: Array, basis: Array, s: int, t: int) -> float:
    return np.exp(min(max(_projected(base, 1, weights, basis, s, t), LOWEST), HIGHEST))


@njit(cache=True, nogil=True)
def _locations(
    base: Array,
    basis: Array,
    scale_basis: Array,
    weights: Array,
    scale_weights: Array,
    location: Array,
    scale: Array,
) -> None:
    for s in range(location.shape[0]):
        for t in range(location.shape[1]):
            location[s, t] = _projected(base, 0, weights, basis, s, t)
            scale[s, t] = _scale(base, scale_weights, scale_basis, s, t)


@njit(cache=True, nogil=True)
def _draw(
    location: Array, scale: Array, gains: Array, decays: Array, thresholds: Array, noise: Array, out: Array
) -> None:
    past = np.zeros(len(decays))
    for s in range(out.shape[0]):
        past[:] = 0.0
        for t in range(out.shape[1]):
            effect = 0.0
            for j in range(len(decays)):
                effect += gains[j, t] * (past[j] / (1 + 0.25 * past[j]))
            level = (location[s, t] - effect) + scale[s, t] * noise[s, t]
            n = 0
            while n < len(thresholds) and level >= thresholds[n]:
                n += 1
            out[s, t] = n
            for j in range(len(decays)):
                past[j] = decays[j] * (past[j] + n)


@njit(cache=True, nogil=True)
def seeded_uniform(seed: Any, s: int, t: int) -> float:
    """A uniform number in (0, 1) that belongs to a sample and a bin: SplitMix64 of their numbers.

    Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators": the mixing function.
    """
    place = np.uint64(s) * np.uint64(1 << 32) + np.uint64(t) + np.uint64(1)
    z = seed + np.uint64(0x9E3779B97F4A7C15) * place
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(12)) + 0.5) / 4503599627370496.0  # 2⁵²


@njit(cache=True, nogil=True)
def _seeded_noise(seed: Any, out: Array) -> None:
    for s in range(out.shape[0]):
        for t in range(out.shape[1]):
            u = seeded_uniform(seed, s, t)
            out[s, t] = np.log(u / (1.0 - u))


def seeded_noise(seed: int, samples: int, bins: int) -> Array:
    """Logistic noise ``(S, T)``: each number depends on the seed, its sample and its bin only."""
    out = np.zeros((samples, bins))
    _seeded_noise(np.uint64(seed), out)
    return out


@njit(cache=True, nogil=True, inline="always")
def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + np.exp(-x)) if x > -700.0 else 0.0


@njit(cache=True, nogil=True)
def _draw_seeded(
    base: Array,
    gains: Array,
    basis: Array,
    scale_basis: Array,
    weights: Array,
    scale_weights: Array,
    thresholds: Array,
    decays: Array,
    seed: Any,
    out: Array,
    means: Array,
) -> None:
    past = np.zeros(len(decays))
    share = 1.0 / out.shape[0]
    for s in range(out.shape[0]):
        past[:] = 0.0
        for t in range(out.shape[1]):
            effect = 0.0
            for j in range(len(decays)):
                effect += gains[j, t] * (past[j] / (1 + 0.25 * past[j]))
            location = _projected(base, 0, weights, basis, s, t)
            scale = _scale(base, scale_weights, scale_basis, s, t)
            u = seeded_uniform(seed, s, t)
            n = 0
            # ℓ + s log(u / (1 − u)) ≥ c is u ≥ 1 − σ((ℓ − c) / s): no logarithm, and the mean comes along
            reached = _sigmoid((location - effect - thresholds[0]) / scale)
            few = reached < SELDOM
            means[0, t] += share * reached
            expected = reached
            while u >= 1.0 - reached:
                n += 1
                if n == len(thresholds):
                    break
                reached = _sigmoid((location - effect - thresholds[n]) / scale)
                if not few:
                    expected += reached
            if few:  # where a second spike is as good as never, the drawn ones are mean enough
                expected += max(n - 1, 0)
            else:
                for k in range(n + 1, len(thresholds)):
                    reached = _sigmoid((location - effect - thresholds[k]) / scale)
                    if reached < NEGLIGIBLE:
                        break
                    expected += reached
            means[1, t] += share * expected
            out[s, t] = n
            for j in range(len(decays)):
                past[j] = decays[j] * (past[j] + n)


def log_prob(location: Tensor, log_scale: Tensor, thresholds: Tensor, counts: Tensor) -> Tensor:
    """``log P(n)`` of the ordered logistic law; ℓ here holds the effect of the past.

    With a = (ℓ − c_n)/s and b = (ℓ − c_{n+1})/s, ``P(n) = σ(a) − σ(b) = σ(a) σ(−b) (1 − e^{b−a})``, where the
    first and the last factor are 1 for n = 0.

    Args:
        location, log_scale: of one shape.
        thresholds: ``(K + 1,)``: c_1 = 0 to c_{K+1}.
        counts: long, at most K, broadcast against ``location``.
    """
    inverse = torch.exp(-log_scale)
    above = (location - thresholds[(counts - 1).clamp(min=0)]) * inverse
    below = (location - thresholds[counts]) * inverse
    reached = F.logsigmoid(above) + torch.log(-torch.expm1(-(above - below).clamp(min=1e-6)))
    return F.logsigmoid(-below) + torch.where(counts > 0, reached, torch.zeros_like(reached))
