"""A cell's constants θ: their names, units, and the real numbers that the flow is over."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: amplitude: peak of the response to one spike, dF/F as a fraction; decay and rise: time constants in seconds;
#: power: the response to n spikes at once is n^power times that to one; rate_hz: spikes a second
NAMES = ("amplitude", "decay", "rise", "power", "rate_hz")
#: those whose logarithm is taken
LOGARITHMIC = (True, True, True, False, True)
#: what the real numbers are centred and divided by (our choice: about their mean and sd over the broad prior)
CENTRE = np.array([-1.7, -0.8, -3.3, 1.35, -0.5])
SPREAD = np.array([1.0, 0.8, 1.0, 0.3, 1.4])

Array = NDArray[np.float64]


def to_real(constants: Mapping[str, float]) -> Array:
    """``(5,)`` standardised real numbers of a cell's constants."""
    values = [
        np.log(constants[n]) if log else constants[n] for n, log in zip(NAMES, LOGARITHMIC, strict=True)
    ]
    return np.asarray((np.array(values) - CENTRE) / SPREAD)


def from_real(real: Array) -> dict[str, Array]:
    """Constants by name, ``(S,)`` each, of real numbers ``(S, 5)``."""
    values = np.asarray(real, float) * SPREAD + CENTRE
    pairs = enumerate(zip(NAMES, LOGARITHMIC, strict=True))
    return {name: np.exp(values[..., i]) if log else values[..., i] for i, (name, log) in pairs}
