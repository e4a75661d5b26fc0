"""A cell's constants θ: their names, units, and the real numbers that the flow is over."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: rate_hz: spikes of this recording a second; amplitude: peak of the response to one spike, dF/F as a
#: fraction; decay and rise: time constants in seconds; power: n spikes at once have n^power times the
#: response
#: to one.
#: The rate comes first: it is known of every recording with true spikes, the others are not.
NAMES = ("rate_hz", "amplitude", "decay", "rise", "power")
#: those whose logarithm is taken
LOGARITHMIC = (True, True, True, True, False)
#: what the real numbers are centred and divided by (our choice: about their mean and sd over the broad prior)
CENTRE = np.array([-0.5, -1.7, -0.8, -3.3, 1.4])
SPREAD = np.array([1.4, 1.0, 0.8, 1.0, 0.4])

Array = NDArray[np.float64]


def to_real(constants: Mapping[str, float]) -> Array:
    """``(5,)`` standardised real numbers of a cell's constants."""
    values = [
        np.log(constants[n]) if log else constants[n] for n, log in zip(NAMES, LOGARITHMIC, strict=True)
    ]
    return np.asarray((np.array(values) - CENTRE) / SPREAD)


def measured_rate(spikes: int, seconds: float) -> float:
    """Spikes a second, half a spike added so that its logarithm is finite."""
    return (spikes + 0.5) / seconds


def from_real(real: Array) -> dict[str, Array]:
    """Constants by name, ``(S,)`` each, of real numbers ``(S, 5)``."""
    values = np.asarray(real, float) * SPREAD + CENTRE
    pairs = enumerate(zip(NAMES, LOGARITHMIC, strict=True))
    return {name: np.exp(values[..., i]) if log else values[..., i] for i, (name, log) in pairs}
