"""Calcium constants as a method is told them: not always those that made the traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError, suggest
from dfp.models.base import Parameters

Kind = TypeVar("Kind", bound=Parameters)

#: what can be told wrong by a factor; a baseline of 0 has none
CONSTANTS = ("rise", "decay", "amplitude", "noise")
#: sets the draws of factors apart from all others that start from a data set's seed
_STREAM = 7919


@dataclass(frozen=True)
class Told:
    """What a constant is multiplied by before a method is told it.

    The factor of a cell is ``factor · exp(spread · ε)``, with ε ~ N(0, 1) drawn once a cell.

    Attributes:
        factor: the median over cells, above 0; 1 is the truth.
        spread: standard deviation of the logarithm between cells, at least 0.
    """

    factor: float = 1.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        if not (
            np.isfinite(self.factor) and self.factor > 0 and np.isfinite(self.spread) and self.spread >= 0
        ):
            raise UserError(
                f"factor, spread: found {self.factor:g}, {self.spread:g}, expected a factor above 0 and a "
                "spread of at least 0"
            )


def read_told(raw: Mapping[str, float | Told], where: str = "told") -> dict[str, Told]:
    """Factors by constant, a bare number standing for the same factor in every cell.

    Raises:
        UserError: for a name that is no constant of ``CONSTANTS``, or a factor that is not above 0.
    """
    found = {}
    for name, value in raw.items():
        if name not in CONSTANTS:
            raise UserError(
                f"{where}: found {name!r}{suggest(str(name), CONSTANTS)}, expected some of "
                f"{', '.join(CONSTANTS)}"
            )
        try:
            found[name] = value if isinstance(value, Told) else Told(value)
        except UserError as error:
            raise UserError(f"{where}.{name}: {error}") from None
    return found


def factors(told: Told, name: str, seed: NDArray[np.integer]) -> NDArray[np.float64]:
    """The factor of every cell, ``(N,)``: the same for every method that is told a constant of a data set.

    Args:
        name: of ``CONSTANTS``; each has draws of its own.
        seed: ``(N,)`` the seed of each cell, as in a ``Dataset``.
    """
    place = CONSTANTS.index(name)
    draws = [np.random.default_rng([_STREAM, place, int(s), n]).normal() for n, s in enumerate(seed)]
    return told.factor * np.exp(told.spread * np.array(draws))


def as_told(
    start: Kind,
    truth: Parameters,
    told: Mapping[str, float | Told],
    seed: NDArray[np.integer],
) -> Kind:
    """``start`` with the told constants in place of its own: those of ``truth`` times their factors.

    Args:
        start: where everything that is not told is taken from.
        truth: the data set's own parameters.
        told: factor by constant.
        seed: ``(N,)`` the seed of each cell.
    """
    return replace(
        start,
        **{name: getattr(truth, name) * factors(one, name, seed) for name, one in read_told(told).items()},
    )
