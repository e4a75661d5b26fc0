"""Causal basis functions: how long, and in what shape, a spike acts on the cells it reaches.

A basis is an array ``(R, L)``: row r is one filter φ_r, column k its value at lag k + 1. There is no lag 0,
so every filter is strictly causal: the logit of bin t sees only spikes of bins before t.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError

Array = NDArray[np.float64]

#: An exponential filter is cut where it has fallen below this fraction of its peak, unless a length is given.
EXPONENTIAL_CUT = 0.01


def lag_basis(lags: int) -> Array:
    """Identity taps ``(L, L)``, φ_r(τ) = 1 if τ = r + 1 else 0: one free weight for each of L = ``lags``.

    Raises:
        UserError: if ``lags`` is not a positive whole number.
    """
    if lags < 1:
        raise UserError(f"lag_basis: lags is {lags}, expected a whole number of bins of at least 1")
    return np.eye(int(lags))


def exponential_basis(
    time_constants: Sequence[float], bin_rate: float, length: int | None = None, normalise: str = "peak"
) -> Array:
    """Decaying exponentials, φ_r(τ) = exp(−(τ − 1) / (τ_r f)) for lags τ = 1..L.

    Args:
        time_constants: τ_r in seconds, one for each row.
        bin_rate: f, bins a second (Hz).
        length: L in bins; by default where the slowest filter falls below 1% of its peak.
        normalise: ``"peak"`` gives φ_r(1) = 1, so a weight is the jump of the logit one bin after a spike;
            ``"sum"`` gives Σ_τ φ_r(τ) = 1, so a weight is the total effect.

    Returns:
        ``(R, L)``.

    Raises:
        UserError: for a time constant, frame rate or length that is not positive, or an unknown
            ``normalise``.
    """
    constants = np.asarray(time_constants, dtype=float)
    if constants.ndim != 1 or constants.size == 0 or not np.all(np.isfinite(constants) & (constants > 0)):
        raise UserError(
            f"exponential_basis: time_constants is {time_constants!r}, expected positive numbers of seconds"
        )
    if not bin_rate > 0:
        raise UserError(f"exponential_basis: bin_rate is {bin_rate}, expected a positive number of Hz")
    bins = constants * bin_rate
    if length is None:
        length = 1 + int(np.ceil(-np.log(EXPONENTIAL_CUT) * bins.max()))
    if length < 1:
        raise UserError(
            f"exponential_basis: length is {length}, expected a whole number of bins of at least 1"
        )
    basis = np.exp(-np.arange(length)[None, :] / bins[:, None])
    return _normalised(basis, normalise, "exponential_basis")


def raised_cosine_basis(count: int, length: int, stretch: float = 1.0, normalise: str = "peak") -> Array:
    """Raised cosines on a logarithmic time axis (Pillow et al. 2008, Nature 454:995).

    φ_r(τ) = ½ [1 + cos(clip((ln(τ + c) − p_r) π / (2 Δ), −π, π))], with the peaks p_r spaced evenly by Δ in
    ln(τ + c) from lag 1 to the lag at which the last bump still ends within L bins. Small c packs the bumps
    near lag 1.

    Args:
        count: R, the number of bumps.
        length: L in bins; at least ``count``.
        stretch: c ≥ 0 in bins, the larger the more linear the spacing.
        normalise: ``"peak"`` or ``"sum"``, as in ``exponential_basis``.

    Returns:
        ``(R, L)``. A single bump is half a raised cosine that starts at its peak at lag 1.

    Raises:
        UserError: for ``count`` < 1, ``length`` < ``count`` or a negative ``stretch``.
    """
    if count < 1 or length < count:
        raise UserError(
            f"raised_cosine_basis: count is {count} and length {length}, expected 1 <= count <= length in "
            "bins"
        )
    if stretch < 0:
        raise UserError(f"raised_cosine_basis: stretch is {stretch}, expected a number of bins of at least 0")
    time = np.log(np.arange(1, length + 1) + stretch)
    # A bump reaches zero 2Δ after its peak, so count − 1 spacings and two more fill the axis up to lag L + 1.
    spacing = (np.log(length + 1 + stretch) - time[0]) / (count + 1)
    peaks = time[0] + spacing * np.arange(count)
    angle = np.clip((time[None, :] - peaks[:, None]) * np.pi / (2 * spacing), -np.pi, np.pi)
    basis = 0.5 * (1 + np.cos(angle))
    if np.linalg.matrix_rank(basis) < count:
        raise UserError(
            f"raised_cosine_basis: {count} bumps in {length} bins are not independent, expected fewer bumps, "
            "more bins or a larger stretch"
        )
    return _normalised(basis, normalise, "raised_cosine_basis")


def _normalised(basis: Array, normalise: str, source: str) -> Array:
    if normalise == "peak":
        return basis / basis.max(axis=1, keepdims=True)
    if normalise == "sum":
        return basis / basis.sum(axis=1, keepdims=True)
    raise UserError(f"{source}: normalise is '{normalise}', expected 'peak' or 'sum'")
