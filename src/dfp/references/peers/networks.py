"""Connectivity without a posterior over spikes.

There are three methods: regression on the true spikes, OASIS followed by regression, and lagged correlation
of OASIS output.

Each method has settings (how to deconvolve, what to make of the output, penalty, lag). They are chosen on a
network of their own, whose weights are known: those whose estimates correlate best with the true weights.
Every method is told the calcium constants, baseline and noise (``start``), as the posteriors are, and
may make use of them or not: what pays is chosen on the tuning network as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.metrics.connectivity import correlation
from dfp.models.base import Parameters, require_kind
from dfp.models.calcium import CalciumParameters
from dfp.models.kernels import calcium_kernel
from dfp.models.served import OASIS
from dfp.references.peers.oasis import oasis_deconvolve, oasis_kernel
from dfp.references.regression import lagged, regress

Array = NDArray[np.float64]


METHODS = ("glm_true_spikes", "oasis_glm", "oasis_correlation")

#: ``estimated``: OASIS as it comes, with the true time constants, finds noise and baseline itself. ``known``:
#: it is told both. ``plain``: non-negative least squares with the true baseline and no penalty. ``jumps``: no
#: spike below 0.3 of the amplitude is let in. ``response``: non-negative least squares with the true response
#: where that is cut, which no autoregressive model matches.
DECONVOLUTIONS = ("estimated", "known", "plain", "jumps", "response")

#: What is made of the deconvolved trace, in units of one spike.
OUTPUTS: dict[str, Callable[[Array], Array]] = {
    "raw": lambda s: s,
    "clipped": lambda s: np.clip(s, 0.0, 1.0),
    "above_0.3": lambda s: (s >= 0.3).astype(np.float64),
    "above_0.5": lambda s: (s >= 0.5).astype(np.float64),
}

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
LAGS = (1, 2, 3)

#: Regressions are tuned on the weights onto at most so many cells: the time grows with the cube of N.
TUNED_RECEIVERS = 20


class Recording(Protocol):
    """What a method is given: a ``Dataset``, or anything with the same attributes."""

    @property
    def x(self) -> NDArray[Any]:
        """``(B, T, N)`` traces, NaN where not observed."""

    @property
    def z(self) -> NDArray[Any] | None:
        """``(B, T, N)`` true spikes, if known."""

    @property
    def bin_rate(self) -> float:
        """Bins per second."""

    @property
    def kernel_bins(self) -> int:
        """Bins after which the calcium response is cut; 0 for uncut."""

    @property
    def names(self) -> tuple[str, ...]:
        """N cell names."""

    @property
    def start(self) -> Parameters:
        """The calcium constants; for tuning, the true weights as well."""

    @property
    def known(self) -> bool:
        """Whether ``start`` is the truth."""


@dataclass(frozen=True)
class PeerSettings:
    """What a method does; settings that it does not use keep their defaults.

    Attributes:
        deconvolution: one of ``DECONVOLUTIONS``; output: one of ``OUTPUTS``.
        ridge: penalty of ``regress``.
        lag: bins between sender and receiver, ≥ 1.
        score: weight correlation on the tuning network (over the tuned receivers).
    """

    deconvolution: str = "known"
    output: str = "clipped"
    ridge: float = 1e-4
    lag: int = 1
    score: float = float("nan")


@dataclass(frozen=True, eq=False)
class NetworkEstimate:
    """Weights ``(R, N, N)`` with a zero diagonal; ``history (N, Lh)`` and ``bias (N,)`` in logits or None.

    ``scaled``: whether the weights are logits; correlations are not. ``facts``: what else is known of how
    they were found, by name.
    """

    coupling: Array
    history: Array | None
    bias: Array | None
    scaled: bool
    facts: dict[str, float] = field(default_factory=dict)


class Deconvolved:
    """The traces of a data set deconvolved in any of the ways above, each way once.

    Traces are cut to the frames from the first to the last observed one of each trial and cell; frames
    missing between these are bridged, and there are no spikes outside.
    """

    def __init__(self, data: Recording) -> None:
        self.data = data
        self._found: dict[str, Array] = {}
        self.observed = np.isfinite(data.x)
        if not self.observed.any(axis=(0, 1)).all():
            name = data.names[int(np.argmin(self.observed.any(axis=(0, 1))))]
            raise UserError(f"traces: found no observed frame of cell {name}, expected at least one")

    def ways(self) -> tuple[str, ...]:
        """``response`` differs from ``plain`` only where the response is cut."""
        return DECONVOLUTIONS if self.data.kernel_bins else DECONVOLUTIONS[:-1]

    def spikes(self, way: str) -> Array:
        """``(B, T, N)`` in units of one spike."""
        if way not in self._found:
            self._found[way] = self._deconvolve(way)
        return self._found[way]

    def _deconvolve(self, way: str) -> Array:
        require_kind(self.data.start.kind, OASIS, "OASIS", "glm_true_spikes serves every kind")
        found = np.zeros(self.data.x.shape)
        responses = _responses(self.data)
        for trial, trace in enumerate(self.data.x.astype(np.float64)):
            for n, response in enumerate(responses):
                frames = np.flatnonzero(self.observed[trial, :, n])
                if len(frames):
                    part = slice(frames[0], frames[-1] + 1)
                    found[trial, part, n] = _one_trace(trace[part, n], self.data, n, way, response)
        return found


def _responses(data: Recording) -> Array:
    """The response of each cell to one spike, ``(N, L)``, peak 1; several decays long where it is not cut."""
    assert isinstance(data.start, CalciumParameters)
    rise, decay = torch.as_tensor(data.start.rise), torch.as_tensor(data.start.decay)
    slowest = float(torch.maximum(rise, decay).max())
    bins = data.kernel_bins or 2 + int(5 * slowest * data.bin_rate)
    response: Array = calcium_kernel(rise.double(), decay.double(), data.bin_rate, bins).numpy()
    return response


def _one_trace(trace: Array, data: Recording, n: int, way: str, response: Array) -> Array:
    """Deconvolved spikes ``(T,)`` of cell n, in units of one spike."""
    start = data.start
    assert isinstance(start, CalciumParameters)
    amplitude, baseline, noise = (float(v[n]) for v in (start.amplitude, start.baseline, start.noise))
    if way == "response":
        return oasis_kernel((trace - baseline) / amplitude, response)
    rise, decay = sorted((float(start.rise[n]), float(start.decay[n])))
    # OASIS takes the square root of (d − r)², which rounding can make negative for equal times.
    options: dict[str, Any] = {
        "tau_d": decay,
        "tau_r": min(rise, 0.999 * decay),
        "framerate": data.bin_rate,
    }
    # The autoregressive response to a jump of 1 starts at 1; ours peaks at 1.
    unit = amplitude * response[0]
    ways: dict[str, dict[str, Any]] = {
        "estimated": {},
        "known": {"b": baseline, "sn": noise},
        "plain": {"penalty": None, "b": baseline},
        "jumps": {"penalty": None, "b": baseline, "s_min": 0.3 * unit},
    }
    options |= ways[way]
    return oasis_deconvolve(trace, **options).spikes / unit


def run(
    methods: Sequence[str], tuning: Recording, data: Recording
) -> dict[str, tuple[PeerSettings, NetworkEstimate]]:
    """Settings and estimate of each method, every data set deconvolved once for all of them."""
    separate, own = Deconvolved(tuning), Deconvolved(data)
    found = {}
    for method in methods:
        settings = tune(method, tuning, separate)
        found[method] = settings, estimate(method, data, settings, own)
    return found


def tune(method: str, tuning: Recording, deconvolved: Deconvolved | None = None) -> PeerSettings:
    """The settings whose weights correlate best with the true ones of a separate network.

    Regressions: deconvolution and output at a middling penalty, then the penalty (the two hardly interact).
    Correlation: all combinations.

    Args:
        method: one of ``METHODS``.
        tuning: a network with known parameters, not the one to be scored on.
        deconvolved: of the same data set, so as to deconvolve it once for several methods.

    Raises:
        UserError: for an unknown method, or a tuning network whose weights are not known or all alike.
    """
    _known(method)
    truth = tuning.start.coupling
    if not tuning.known or truth.size == 0 or np.ptp(truth[:, ~np.eye(truth.shape[1], dtype=bool)]) == 0:
        raise UserError(
            "tuning: found a data set without known, differing weights, expected a simulated network"
        )
    cells = truth.shape[1]
    receivers = np.unique(np.linspace(0, cells - 1, min(cells, TUNED_RECEIVERS)).round().astype(int)).tolist()
    compared = np.zeros(truth.shape, dtype=bool)
    compared[:, receivers] = ~np.eye(cells, dtype=bool)[receivers]
    traces = deconvolved or Deconvolved(tuning)

    def best(candidates: Sequence[PeerSettings]) -> PeerSettings:
        scored = []
        for settings in candidates:
            found = estimate(method, tuning, settings, traces, receivers)
            scored.append(replace(settings, score=correlation(found.coupling[compared], truth[compared])))
        return max(scored, key=lambda settings: settings.score)

    start = PeerSettings()
    if method == "glm_true_spikes":
        return best([replace(start, ridge=ridge) for ridge in RIDGES])
    shapes = [replace(start, deconvolution=way, output=output) for way in traces.ways() for output in OUTPUTS]
    if method == "oasis_correlation":
        return best([replace(shape, lag=lag) for shape in shapes for lag in LAGS])
    # the regression wants values in [0, 1]
    chosen = best([shape for shape in shapes if shape.output != "raw"])
    return best([replace(chosen, ridge=ridge) for ridge in RIDGES])


def estimate(
    method: str,
    data: Recording,
    settings: PeerSettings,
    deconvolved: Deconvolved | None = None,
    receivers: Sequence[int] | None = None,
) -> NetworkEstimate:
    """One method's weights of a network, from its training traces (or true spikes).

    ``glm_true_spikes``: ``regress`` on the true spikes. ``oasis_glm``: ``regress`` on deconvolved traces,
    bins that were not observed left out as targets. ``oasis_correlation``: ``lagged_correlation`` of these.

    Raises:
        UserError: for an unknown method, or true spikes that the data set does not have.
    """
    _known(method)
    basis, history = data.start.basis, data.start.history.shape[1]
    if method == "glm_true_spikes":
        if data.z is None:
            raise UserError("data set: found no true spikes, expected them for 'glm_true_spikes'")
        spikes, targets = data.z.astype(np.float64), None
    else:
        traces = deconvolved or Deconvolved(data)
        spikes = OUTPUTS[settings.output](traces.spikes(settings.deconvolution))
        targets = np.where(traces.observed, spikes, np.nan)
        if method == "oasis_correlation":
            return NetworkEstimate(
                lagged_correlation(spikes, targets, basis, settings.lag), None, None, scaled=False
            )
    found = regress(spikes, basis, history, settings.ridge, targets, receivers)
    return NetworkEstimate(found.coupling, found.history, found.bias, scaled=True)


def lagged_correlation(s: Array, targets: Array, basis: Array, lag: int) -> Array:
    """C_r[i, j] = corr(s_i[t], (φ_r * s_j)[t − ℓ + 1]) over the bins of all trials, zero on the diagonal.

    With the basis of lag 1 alone, this is the correlation of s_i[t] with s_j[t − ℓ]. It is 0 where either is
    constant.

    Args:
        s: ``(B, T, N)``, zero before each trial's first bin; targets: the same, NaN where left out.
        basis: ``(R, L)``; lag: ℓ ≥ 1.

    Returns:
        ``(R, N, N)``, from j onto i.
    """
    shifted = np.concatenate([np.zeros((basis.shape[0], lag - 1)), basis], axis=1)
    counted = np.isfinite(targets).reshape(-1, s.shape[2])
    y = np.where(counted, targets.reshape(counted.shape), 0.0)
    bins = np.maximum(counted.sum(0), 1)[:, None]
    mean = y.sum(0)[:, None] / bins
    spread = (y**2).sum(0)[:, None] / bins - mean**2
    found = np.zeros((basis.shape[0], s.shape[2], s.shape[2]))
    for r, past in enumerate(lagged(s, shifted)):
        f = past.reshape(counted.shape)
        # each receiving cell has bins of its own that count
        average = counted.T @ f / bins
        scale = np.sqrt(np.maximum(spread * (counted.T @ f**2 / bins - average**2), 0.0))
        covariance = y.T @ f / bins - mean * average
        np.divide(covariance, scale, out=found[r], where=scale > 1e-12)
        np.fill_diagonal(found[r], 0.0)
    return found


def _known(method: str) -> None:
    if method not in METHODS:
        raise UserError(
            f"peers: unknown method {method!r}{suggest(method, METHODS)}; known: {', '.join(METHODS)}"
        )
