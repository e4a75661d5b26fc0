"""The posterior that is trained once, for all cells: the law of a cell, network, training and weights."""

from dfp.amortised.posterior import CellPosterior, Draws, Pretrained, load_pretrained
from dfp.amortised.told import Told

__all__ = ["CellPosterior", "Draws", "Pretrained", "Told", "load_pretrained"]
