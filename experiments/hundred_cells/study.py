"""The clock of `wall_clock`, on a hundred cells."""

from __future__ import annotations

from ..wall_clock.study import Timing

__all__ = ["Timing"]
