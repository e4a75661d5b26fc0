"""What lies beyond an axis, as triangles at its edge, and what of an interval its bound cuts off.

Whether a value is off the axis is decided when the figure is drawn, so that a triangle stays right when the
limits change after it was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

TRIANGLES = {("x", "low"): "<", ("x", "high"): ">", ("y", "low"): "v", ("y", "high"): "^"}
#: the mark of a bar's end that its measure's bound has cut
CUT = "cut at a bound"


class Beyond(Line2D):
    """A triangle at one edge of an axis for every value that lies beyond it, and for no other.

    Args:
        values: along the axis ``which`` (``x`` or ``y``).
        places: along the other axis, in its data.
        side: the edge, ``low`` or ``high``.
    """

    def __init__(
        self,
        axes: Axes,
        values: np.ndarray,
        places: np.ndarray,
        which: str,
        side: str,
        **look: Any,
    ) -> None:
        super().__init__([], [], ls="none", marker=TRIANGLES[which, side], mew=0, clip_on=False, **look)
        self.values = np.asarray(values, dtype=float)
        self.places = np.broadcast_to(np.asarray(places, dtype=float), self.values.shape)
        self.which, self.side = which, side
        both = (axes.transAxes, axes.transData) if which == "x" else (axes.transData, axes.transAxes)
        self.set_transform(blended_transform_factory(*both))
        self.set_in_layout(False)
        axes.add_artist(self)

    @property
    def beyond(self) -> np.ndarray:
        """Which of the values lie beyond the axis as it is now."""
        assert self.axes is not None
        low, high = sorted(self.axes.get_xlim() if self.which == "x" else self.axes.get_ylim())
        found: np.ndarray = self.values < low if self.side == "low" else self.values > high
        return found

    def draw(self, renderer: RendererBase) -> None:
        places = self.places[self.beyond]
        edge = np.full(len(places), 0.0 if self.side == "low" else 1.0)
        self.set_data(*((edge, places) if self.which == "x" else (places, edge)))
        super().draw(renderer)


def beyond(axes: Axes, values: Any, places: Any, which: str, **look: Any) -> None:
    """Mark with triangles at both edges of the axis ``which`` those of ``values`` that are off it.

    They are found when the figure is drawn; ``places`` are where they stand along the other axis.
    """
    values = np.atleast_1d(np.asarray(values, dtype=float))
    if np.isfinite(values).any():
        for side in ("low", "high"):
            Beyond(axes, values, places, which, side, **look)


def cut(low: float, high: float, within: tuple[float, float] | None) -> tuple[float, float, list[float]]:
    """An interval ``(low, high)`` inside the bounds of its measure, and the bounds that cut it.

    An interval cut at a bound that the mean cannot pass holds it as often as before, and no verdict about a
    value inside the bounds changes.
    """
    if within is None or not np.isfinite([low, high]).all():
        return low, high, []
    ends = [
        bound for bound, passed in zip(within, (low < within[0], high > within[1]), strict=True) if passed
    ]
    return max(low, within[0]), min(high, within[1]), ends


def notes(figure: Figure) -> Iterator[str]:
    """Sentences on the triangles and the cut bars that a figure shows."""
    lines = [line for axes in figure.axes for line in axes.lines]
    if any(isinstance(one, Beyond) and one.beyond.any() for one in lines):
        yield "A triangle at an edge: goes on beyond the axis."
    if any(one.get_gid() == CUT for one in lines):
        yield "A bar that ends in a stroke is cut at its measure's bound (claims keep the whole interval)."
