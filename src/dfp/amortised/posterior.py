"""The amortised posterior of a trace: a cell's constants and its spikes, drawn together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from dfp.amortised.constants import from_real
from dfp.amortised.counts import seeded_uniform
from dfp.amortised.features import see
from dfp.amortised.network import DIMS, Network, Parts
from dfp.amortised.told import Told
from dfp.amortised.weights import find, load
from dfp.core.errors import UserError

#: the fastest bins that the network was trained on (Hz): faster frames are averaged, spikes dealt out again
FASTEST_HZ = 64.0
#: the frame rates that it was trained on (Hz)
RATES_HZ = (2.0, 500.0)
#: the fewest finite frames that say anything
FEWEST = 10
#: no bins slower than this, and no larger share of bins lost one by one
SLOWEST_HZ, LONE = 2.0, 0.22

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Draws:
    """S joint draws.

    Attributes:
        counts: ``(S, T)`` spikes in each frame.
        probability, expected: ``(T,)`` of at least one spike in each frame, and of their number: means over
            the samples of what each expects, which is less noisy than the mean of its counts.
        constants: by name, ``(S,)``: amplitude (dF/F), decay and rise (s), power, rate_hz.
    """

    counts: NDArray[np.uint8]
    constants: dict[str, NDArray[np.float64]]
    probability: NDArray[np.float64]
    expected: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellPosterior:
    """``q(θ, counts | trace)`` of one trace.

    Attributes:
        frames: T.
        per_bin: frames of a bin of the network.
        bin_seconds: of such a bin.
    """

    network: Network
    parts: Parts
    frames: int
    per_bin: int
    bin_seconds: float

    @torch.no_grad()
    def constants(self, samples: int, seed: int) -> Tensor:
        """Standardised θ ``(S, 5)``."""
        # NumPy's numbers come one after the other; torch's depend on how many are asked for
        noise = np.random.default_rng(seed).standard_normal((samples, 1, DIMS + 1)).astype(np.float32)
        return self.network.constants.draw(self.parts.context, torch.from_numpy(noise))[:, 0]

    def sample(self, samples: int, seed: int) -> Draws:
        """Joint draws of the constants and of the counts in every frame.

        The same seed gives the same draws, however many there are of them.
        """
        if samples < 1:
            raise UserError(f"samples: found {samples}, expected at least 1")
        theta = self.constants(samples, seed)
        law = self.network.law(self.parts, theta, self.bin_seconds)
        counts, probability, expected = law.draw_with_means(seed)
        if self.per_bin > 1:
            probability, expected = self._shared(counts, expected)
            dealt = np.zeros((samples, self.frames), np.uint8)
            _deal(counts, self.per_bin, np.uint64(seed) ^ np.uint64(0x5EED), dealt)
            counts = dealt
        constants = from_real(theta.numpy().astype(np.float64))
        return Draws(counts, constants, probability, expected)

    def _shared(self, counts: Array, expected: Array) -> tuple[Array, Array]:
        """P(n ≥ 1) and mean of the frames of bins ``(S, T')``, each spike in any frame of its bin."""
        frame = np.arange(self.frames) // self.per_bin
        size = np.bincount(frame)[frame]  # the last bin may be shorter
        none = np.mean((1 - 1 / size) ** counts[:, frame].astype(np.float64), axis=0)
        share = expected[frame] / size
        return np.minimum(1 - none, share), share


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The posterior that is trained once, for all cells.

    Attributes:
        provenance: data sets, citations, commit, command, time, as in the file beside the weights.
    """

    network: Network
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return str(self.provenance["sha256"])

    @torch.no_grad()
    def condition(self, trace: Array, frame_rate: float, told: Told = Told()) -> CellPosterior:
        """The posterior of a trace ``(T,)`` in dF/F as a fraction; NaN marks a missing frame.

        Raises:
            UserError: for a frame rate that is not positive, or fewer than ten finite frames.
        """
        x = np.asarray(trace, dtype=np.float64)
        if not (np.isfinite(frame_rate) and frame_rate > 0):
            raise UserError(f"frame_rate: found {frame_rate:g} Hz, expected a positive number")
        per_bin = frames_per_bin(x, frame_rate)
        bins = binned(x, per_bin)
        if np.isfinite(bins).sum() < FEWEST:
            raise UserError(f"found {np.isfinite(bins).sum()} finite frames, expected at least {FEWEST}")
        seen = see(bins, per_bin / frame_rate, told)
        parts = self.network(torch.from_numpy(seen.frames)[None], torch.from_numpy(seen.numbers)[None])
        return CellPosterior(self.network, parts, len(x), per_bin, per_bin / frame_rate)


def load_pretrained(weights: str | Path = "cells") -> Pretrained:
    """The posterior with the shipped weights of a name, or with those of a file.

    Args:
        weights: ``cells`` (learned from simulated cells and true recordings), ``simulations`` (from simulated
            cells alone), or the path of a file that ``dfp pretrain`` made.

    Raises:
        UserError: where there is no such file, or it is not what the file beside it says.

    Example:
        >>> posterior = dfp.load_pretrained("simulations")
        >>> cell = posterior.condition(np.random.default_rng(0).normal(size=600), frame_rate=30)
        >>> cell.sample(20, seed=0).counts.shape
        (20, 600)
    """
    return Pretrained(*load(find(weights)))


def frames_per_bin(x: Array, frame_rate: float) -> int:
    """Frames that are averaged into a bin: as many as make at most ``FASTEST_HZ``, and more where single
    frames are lost again and again, as by a camera that drops every third.

    The network has learned gaps, not combs: with every second frame missing, a cell of 108 spikes came out
    at 4. ``LONE`` is our choice: a fifth of all frames lost at random did no harm, a third cost 8%.
    """
    per_bin = max(1, int(np.ceil(frame_rate / FASTEST_HZ - 1e-9)))
    while frame_rate / (per_bin + 1) >= SLOWEST_HZ and lone(binned(x, per_bin)) > LONE:
        per_bin += 1
    return per_bin


def lone(x: Array) -> float:
    """The share of bins that are missing in gaps of three or fewer, among these and the observed ones."""
    observed = np.flatnonzero(np.isfinite(x))
    gaps = np.diff(observed) - 1
    short = int(gaps[gaps <= 3].sum())
    return short / max(1, short + len(observed))


def binned(x: Array, per_bin: int) -> Array:
    """Means of ``per_bin`` frames, missing ones left out; the last bin may have fewer."""
    if per_bin == 1:
        return x
    padded = np.pad(x, (0, -len(x) % per_bin), constant_values=np.nan).reshape(-1, per_bin)
    finite = np.isfinite(padded)
    sums, sizes = np.where(finite, padded, 0.0).sum(1), finite.sum(1)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


@njit(cache=True, nogil=True)
def _deal(counts: Array, per_bin: int, seed: Any, out: Array) -> None:
    """Each spike of a bin to one of its frames, all alike."""
    frames = out.shape[1]
    for s in range(counts.shape[0]):
        for b in range(counts.shape[1]):
            first = b * per_bin
            size = min(per_bin, frames - first)
            for k in range(counts[s, b]):
                u = seeded_uniform(seed, s, b * 64 + k)
                out[s, first + min(int(u * size), size - 1)] += 1
