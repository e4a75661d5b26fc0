"""The posterior that is trained once, for all cells: the law of a cell, network, training and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfp.amortised.posterior import CellPosterior, Draws, Pretrained, load_pretrained
    from dfp.amortised.told import Told

__all__ = ["CellPosterior", "Draws", "Pretrained", "Told", "load_pretrained"]


def __getattr__(name: str) -> Any:
    """What is asked for, and torch with it only then: tables and figures read the priors without."""
    if name not in __all__:
        raise AttributeError(f"module 'dfp.amortised' has no attribute {name!r}")
    from dfp.amortised import posterior, told

    return getattr(told if name == "Told" else posterior, name)
