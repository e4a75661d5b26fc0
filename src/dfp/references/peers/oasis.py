"""The peers: other tools for the same question, called through their own packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.extras import optional

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Deconvolved:
    """What OASIS makes of traces ``(T,)`` or ``(T, N)``: arrays of that shape, or ``()`` or ``(N,)``.

    Attributes:
        spikes: s ≥ 0 in the units of the trace: no probability and no count; it may exceed 1.
        calcium: the denoised trace without its baseline.
        baseline: one number a cell.
        decay: first autoregressive coefficient, one number a cell: exp(−1 / (τ · frame rate)) in the AR(1)
            model.
    """

    spikes: Array
    calcium: Array
    baseline: Array
    decay: Array


def oasis_deconvolve(x: NDArray[Any], **options: Any) -> Deconvolved:
    """OASIS: sparse non-negative deconvolution.

    Friedrich, Zhou & Paninski 2017, PLoS Comput. Biol. 13:e1005423. min ‖s‖₁ subject to ‖c + b − x‖² = σ² T,
    s[t] = c[t] − g c[t − 1] ≥ 0. With no options, g, σ and b are found from the trace, as in
    ``oasis.functions.deconvolve(y, penalty=1)``, which is the setting that its published scores come from.
    Two things are done for it (version 0.3.2, `findings/oasis_baseline_under_a_penalty.sh`): a baseline ``b``
    that is known is subtracted here, since under a penalty it is not; and one that is found may lie below
    zero, where the default gives such a trace no spikes.
    NaN frames are replaced by straight lines between their neighbours, since OASIS has no notion of a missing
    frame; the result is finite there.

    Args:
        x: ``(T,)`` or ``(T, N)``; each cell is deconvolved by itself.
        options: handed on to ``deconvolve``: ``tau_d`` (s) with ``framerate`` (Hz), ``sn``, ``b``,
            ``optimize_g``, ``penalty``, ….

    Raises:
        UserError: when the package is missing, an option is unknown, or a trace is constant or has no finite
            frames.
    """
    deconvolve = _oasis("deconvolve")
    values = np.asarray(x, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise UserError(f"oasis: traces of shape {values.shape}, expected (frames,) or (frames, cells)")
    columns = values[:, None] if values.ndim == 1 else values
    spikes, calcium = np.empty_like(columns), np.empty_like(columns)
    baseline, decay = np.empty(columns.shape[1]), np.empty(columns.shape[1])
    given: dict[str, Any] = {"penalty": 1, "b_nonneg": False, **options}
    known = float(given.get("b") or 0.0)
    if given.get("b") is not None:
        given["b"] = 0.0
    for n in range(columns.shape[1]):
        trace = _filled(columns[:, n], n) - known
        try:
            result = deconvolve(trace, **given)
        except (TypeError, ValueError) as error:
            raise UserError(f"oasis: refused its options {sorted(options)} for trace {n} ({error})") from None
        # Differences of the denoised trace: rounding leaves some at −1e-24.
        calcium[:, n], spikes[:, n] = result[0], np.maximum(result[1], 0.0)
        baseline[n] = result[2] + known
        decay[n] = np.ravel(result[3])[0]
    if values.ndim == 1:
        return Deconvolved(spikes[:, 0], calcium[:, 0], baseline[0, ...], decay[0, ...])
    return Deconvolved(spikes, calcium, baseline, decay)


def oasis_kernel(x: NDArray[Any], kernel: NDArray[Any]) -> Array:
    """OASIS for a response of any shape: min ½ ‖k * s − x‖² over s ≥ 0, spikes ``(T,)`` of traces ``(T,)``.

    Where the calcium response is cut after L bins, no autoregressive model is right: against a cut slow
    response the AR(2) model loses a third of the correlation with the true spikes. This is
    ``oasis.functions.onnls`` (online non-negative least squares; what ``deconvolve`` uses for AR(2)) with the
    true response, over windows of 4 L bins that move on by 2 L (longer ones change nothing but the time).

    Args:
        x: ``(T,)`` with its baseline subtracted; NaN frames are bridged by straight lines.
        kernel: ``(L,)``, the response to one spike, its own bin first.

    Raises:
        UserError: when the package is missing, or the trace is constant or has no finite frames.
    """
    onnls = _oasis("onnls")
    trace = _filled(np.asarray(x, dtype=np.float64), 0)
    window = max(4 * len(kernel), 20)
    response = np.zeros(window)
    response[: len(kernel)] = kernel
    shift = max(1, min(window // 2, len(trace) // 2))
    spikes: Array = onnls(trace, response, lam=0, shift=shift, window=window)[1]
    return np.maximum(spikes, 0.0)


def _oasis(name: str) -> Any:
    """A function of OASIS."""
    with optional():
        import oasis.functions
    return getattr(oasis.functions, name)


def _filled(trace: Array, number: int) -> Array:
    """The trace as contiguous float64 with its missing frames interpolated."""
    if np.isinf(trace).any():
        raise UserError(f"oasis: trace {number} holds infinite values, expected numbers or NaN")
    finite = np.isfinite(trace)
    if finite.sum() < 2 or np.ptp(trace[finite]) == 0:
        raise UserError(
            f"oasis: trace {number} is constant or has no finite frames, expected fluorescence that varies"
        )
    frames = np.arange(len(trace))
    return np.ascontiguousarray(np.interp(frames, frames[finite], trace[finite]))
