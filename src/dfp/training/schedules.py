"""Numbers that change over the steps of a phase."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dfp.core.errors import UserError, suggest

SHAPES = ("constant", "linear", "geometric", "cosine")


@dataclass(frozen=True)
class Schedule:
    """From ``start`` to ``end`` over the first ``over`` share of a phase, then constant.

    Attributes:
        start, end: values; ``end`` is ignored by the constant shape.
        shape: ``constant``, ``linear``, ``geometric`` (linear in the logarithm) or ``cosine``.
        over: share of the phase's steps, in (0, 1].
    """

    start: float
    end: float | None = None
    shape: str = "constant"
    over: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UserError(
                f"schedule shape: found {self.shape!r}{suggest(self.shape, SHAPES)}, expected one of "
                f"{', '.join(SHAPES)}"
            )
        if self.shape != "constant" and self.end is None:
            raise UserError(f"schedule: found shape {self.shape!r} without an end, expected an end value")
        if not 0 < self.over <= 1:
            raise UserError(f"schedule over: found {self.over}, expected a share of the steps in (0, 1]")
        if self.shape == "geometric" and not (self.start > 0 and (self.end or 0) > 0):
            raise UserError(
                f"schedule: found {self.start} to {self.end} for a geometric shape, expected numbers above 0"
            )

    def at(self, step: int, steps: int) -> float:
        """The value at ``step`` (from 0) of ``steps``."""
        if self.shape == "constant" or self.end is None:
            return self.start
        share = min(1.0, step / max(1.0, self.over * steps))
        if self.shape == "geometric":
            return self.start * (self.end / self.start) ** share
        if self.shape == "cosine":
            share = 0.5 - 0.5 * math.cos(math.pi * share)
        return self.start + (self.end - self.start) * share

    @property
    def smallest(self) -> float:
        """The smallest value that the schedule takes."""
        return self.start if self.shape == "constant" or self.end is None else min(self.start, self.end)
