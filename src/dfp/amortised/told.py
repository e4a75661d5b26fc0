"""What a user may tell of a cell: its indicator, and the response to one spike."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from dfp.amortised.indicators import is_other, known, named
from dfp.core.errors import UserError, suggest

#: the constants that may be told, in the order of the network's inputs
TELLABLE = ("amplitude", "decay", "rise")


@dataclass(frozen=True)
class Told:
    """What is known of every cell of a recording; what is not told is inferred from each trace.

    Attributes:
        indicator: one of ``indicators.known()``, in any case, with or without a leading "j"; None where it is
            not known. One of ``indicators.OTHERS`` is None too, with a warning.
        amplitude: peak of the response to one spike, in dF/F as a fraction.
        decay: its decay time constant, in seconds.
        rise: its rise time constant, in seconds.

    Raises:
        UserError: for an unknown indicator, or a constant that is not a positive number.

    Example:
        >>> dfp.Told(indicator="gcamp6f", amplitude=0.15).indicator
        'GCaMP6f'
    """

    indicator: str | None = None
    amplitude: float | None = None
    decay: float | None = None
    rise: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "indicator", _indicator(self.indicator))
        for name in TELLABLE:
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise UserError(f"{name}: found {value:g}, expected a number above 0, or none to infer it")
        if self.rise is not None and self.decay is not None and self.rise >= self.decay:
            raise UserError(
                f"rise: found {self.rise:g} s, expected less than the decay of {self.decay:g} s "
                "(both are time constants of the response to one spike)"
            )

    def constants(self) -> tuple[float | None, float | None, float | None]:
        """Amplitude, decay and rise; None where not told."""
        return self.amplitude, self.decay, self.rise


def _indicator(name: str | None) -> str | None:
    if name is None:
        return None
    found = named(name)
    if found is None and is_other(name):
        warnings.warn(
            f"indicator: the posterior has not learned {name} by name, so that its response is inferred from "
            f"each trace (by name: {', '.join(known())})",
            stacklevel=4,
        )
    elif found is None:
        raise UserError(
            f"indicator: found '{name}'{suggest(name, known())}, expected one of {', '.join(known())}; leave "
            "it out for another one: the response is then inferred from each trace"
        )
    return found
