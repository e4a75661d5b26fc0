"""A user's own traces as a data set: no truth, first guesses of the parameters, time constants as told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.bases import lag_basis
from dfp.data.dataset import Dataset
from dfp.data.preprocess import TraceEstimates, correct_baseline, initial_estimates
from dfp.data.traces import Traces
from dfp.models.calcium import CalciumParameters


@dataclass(frozen=True)
class Preparation:
    """What is done to traces before a model sees them. Inference has to do what training did.

    Attributes:
        baseline_seconds: width of the rolling 20th percentile that is subtracted; 0 for none.
        bins_per_frame: latent bins a frame. A bin holds one spike at most; the frame is the fluorescence in
            the last of its bins, and the bins before are not observed.
    """

    baseline_seconds: float = 0.0
    bins_per_frame: int = 1

    def __post_init__(self) -> None:
        if self.baseline_seconds < 0 or self.bins_per_frame < 1:
            raise UserError(
                f"baseline_seconds, bins_per_frame: found {self.baseline_seconds:g}, {self.bins_per_frame}, "
                "expected at least 0 and 1"
            )

    def levelled(self, traces: Traces) -> Traces:
        """The same traces without their slow baseline."""
        if not self.baseline_seconds:
            return replace(traces, x=np.asarray(traces.x, dtype=np.float32))
        columns = [
            correct_baseline(column, traces.frame_rate, window_seconds=self.baseline_seconds)
            for column in traces.x.T
        ]
        return replace(traces, x=np.stack(columns, axis=1))

    def spread(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Traces ``(T, N)`` at the rate of the latent bins, ``(T · bins_per_frame, N)``, NaN between."""
        wide = np.full((len(x) * self.bins_per_frame, x.shape[1]), np.nan, dtype=np.float32)
        wide[self.bins_per_frame - 1 :: self.bins_per_frame] = x
        return wide


@dataclass(frozen=True)
class OwnSpec:
    """How a user's traces become a data set.

    Attributes:
        bin_rate_hz: frames slower than this are given several latent bins, to make as many a second.
        baseline_seconds: as in ``Preparation``.
        rate_guess_hz: firing rate that the fit starts from.
        history: lags of the model's own-history filter, started at 0.
        coupling_lags: lags at which a cell acts on others, one weight each; used where couplings are learned.
    """

    bin_rate_hz: float = 60.0
    baseline_seconds: float = 60.0
    rate_guess_hz: float = 1.0
    history: int = 2
    coupling_lags: int = 1

    def __post_init__(self) -> None:
        if not (self.bin_rate_hz > 0 and self.rate_guess_hz > 0):
            raise UserError(
                f"bin_rate_hz, rate_guess_hz: found {self.bin_rate_hz:g}, {self.rate_guess_hz:g}, expected "
                "numbers of Hz above 0"
            )
        if self.baseline_seconds < 0 or self.history < 0 or self.coupling_lags < 1:
            raise UserError(
                f"baseline_seconds, history, coupling_lags: found {self.baseline_seconds:g}, {self.history}, "
                f"{self.coupling_lags}, expected at least 0, 0 and 1"
            )

    def preparation(self, frame_rate: float) -> Preparation:
        """For traces of ``frame_rate`` Hz; a rate within 5% of ``bin_rate_hz`` is taken as it is."""
        return Preparation(self.baseline_seconds, max(1, math.ceil(0.95 * self.bin_rate_hz / frame_rate)))


@dataclass(frozen=True)
class Response:
    """The fluorescence that one spike adds, the same for all cells.

    Attributes:
        rise, decay: seconds; rise may be 0.
        amplitude: of its peak, in the traces' unit; None where it is not known.
    """

    rise: float
    decay: float
    amplitude: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.decay) and self.decay > 0 and math.isfinite(self.rise) and self.rise >= 0):
            raise UserError(
                f"rise, decay: found {self.rise:g} and {self.decay:g} s, expected a rise of at least 0 and a "
                "decay above 0"
            )
        if self.amplitude is not None and not (math.isfinite(self.amplitude) and self.amplitude > 0):
            raise UserError(f"amplitude: found {self.amplitude:g}, expected a number above 0")


def first_guess(
    estimates: Sequence[TraceEstimates],
    *,
    rise: NDArray[Any],
    decay: NDArray[Any],
    rate_guess_hz: float,
    bin_rate: float,
    history: int,
    basis: NDArray[Any],
) -> CalciumParameters:
    """Parameters that a fit of real traces starts from.

    The measurement is as estimated and the time constants as told; the bias is that of a guessed firing rate,
    and past spikes have no influence.

    Args:
        estimates: one a cell.
        rise, decay: seconds, ``(N,)``.
        rate_guess_hz: firing rate, Hz.
        bin_rate: latent bins per second, above the firing rate.
        history: lags of the own history.
        basis: of the coupling, ``(R, L)``.
    """
    cells = len(estimates)
    return CalciumParameters(
        bias=np.full(cells, np.log(rate_guess_hz / (bin_rate - rate_guess_hz))),
        history=np.zeros((cells, history)),
        coupling=np.zeros((len(basis), cells, cells)),
        basis=basis,
        rise=rise,
        decay=decay,
        amplitude=np.array([entry.amplitude for entry in estimates]),
        baseline=np.array([entry.baseline for entry in estimates]),
        noise=np.array([entry.noise for entry in estimates]),
    )


def own_dataset(
    traces: Traces, spec: OwnSpec, response: Response, coupled: bool, source: str = "traces"
) -> Dataset:
    """One trial ``(1, T · bins_per_frame, N)`` without truth; nothing is held out.

    Args:
        traces: without their slow baseline (``Preparation.levelled``).
        response: the indicator's.
        coupled: give the model weights between cells, started at 0.
        source: what messages call the traces.

    Raises:
        UserError: for too few frames, one cell to learn connections between, or a firing rate to start from
            that the bins cannot hold.
    """
    preparation, x = spec.preparation(traces.frame_rate), traces.x
    if coupled and x.shape[1] < 2:
        raise UserError(f"{source}: found one cell, expected at least two to learn connections between")
    for name, column in zip(traces.names, x.T, strict=True):
        if np.isfinite(column).sum() < 10:
            raise UserError(
                f"{source}: {name} has {int(np.isfinite(column).sum())} frames, expected at least 10 (and "
                "minutes of them, to learn anything)"
            )
    bin_rate, cells = traces.frame_rate * preparation.bins_per_frame, x.shape[1]
    if spec.rate_guess_hz >= bin_rate:
        raise UserError(
            f"{source}: rate_guess_hz: found {spec.rate_guess_hz:g} Hz, expected less than the "
            f"{bin_rate:g} bins a second"
        )
    start = first_guess(
        [initial_estimates(column, traces.frame_rate) for column in x.T],
        rise=np.full(cells, float(response.rise)),
        decay=np.full(cells, float(response.decay)),
        rate_guess_hz=spec.rate_guess_hz,
        bin_rate=bin_rate,
        history=spec.history,
        basis=lag_basis(spec.coupling_lags) if coupled else np.zeros((0, 1)),
    )
    if response.amplitude is not None:
        start = replace(start, amplitude=np.full(cells, float(response.amplitude)))
    wide = preparation.spread(x)[None]
    return Dataset(
        x=wide,
        x_test=wide[:0],
        bin_rate=bin_rate,
        seed=np.arange(cells) if not coupled else np.zeros(cells, dtype=int),
        names=traces.names,
        start=start,
        known=False,
        kernel_bins=0,
        facts={"bins_per_frame": float(preparation.bins_per_frame)},
    )
