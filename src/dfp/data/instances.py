"""Random instances: parameters of a panel's cells drawn from stated ranges, each cell by its own seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dfp.core.errors import UserError, suggest

Ranges = dict[str, tuple[float, float]]

#: parameters above 0; history may have any sign
_POSITIVE = ("rate_hz", "noise", "decay")
#: drawn evenly in the logarithm: a factor, not a difference, is what changes the problem
_LOGARITHMIC = ("noise",)
#: keeps these draws apart from whatever else a cell's seed is used for
_STREAM = 11


def check_ranges(given: object, lags: int, bin_rate: float) -> Ranges:
    """The ranges ``{parameter: (low, high)}`` of a panel, refused where they have no meaning.

    Args:
        given: parameter → [low, high]; parameters are ``rate_hz``, ``noise`` (fluorescence), ``decay``
            (seconds) and ``history_1`` to ``history_<lags>`` (logits per spike).
        lags: of own history.
        bin_rate: bins per second; a rate has to stay below it.

    Raises:
        UserError: for an unknown parameter, a range that is no pair of numbers, low above high, or a value
            that the parameter cannot have.
    """
    if not isinstance(given, Mapping):
        raise UserError(f"ranges: found {given!r}, expected a mapping of parameters to [low, high]")
    known = [*_POSITIVE, *(f"history_{lag + 1}" for lag in range(lags))]
    ranges: Ranges = {}
    for name, pair in given.items():
        if name not in known:
            raise UserError(
                f"ranges: unknown parameter {name!r}{suggest(str(name), known)}; known: {', '.join(known)}"
            )
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(_is_number, pair)):
            raise UserError(f"ranges.{name}: found {pair!r}, expected two numbers [low, high]")
        low, high = float(pair[0]), float(pair[1])
        if low > high:
            raise UserError(f"ranges.{name}: found low {low:g} above high {high:g}, expected low ≤ high")
        if name in _POSITIVE and not low > 0:
            raise UserError(f"ranges.{name}: found {low:g}, expected numbers above 0")
        if name == "rate_hz" and not high < bin_rate:
            raise UserError(
                f"ranges.rate_hz: found {high:g} Hz at {bin_rate:g} bins a second, expected rates below "
                "that, since a bin holds at most one spike"
            )
        ranges[str(name)] = (low, high)
    return ranges


def draw_instance(ranges: Ranges, seed: int) -> dict[str, float]:
    """One value a range: uniform, for ``noise`` uniform in the logarithm.

    A value depends on the cell's seed, the parameter's name and its range only, so that a range more or
    less, or other cells beside it, change nothing else.
    """
    return {name: _draw(name, low, high, seed) for name, (low, high) in ranges.items()}


def _draw(name: str, low: float, high: float, seed: int) -> float:
    share = np.random.default_rng([seed, _STREAM, *name.encode()]).random()
    if name in _LOGARITHMIC:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return float(min(max(value, low), high))  # rounding must not leave the range


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
