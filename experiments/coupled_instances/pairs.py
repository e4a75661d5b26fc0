"""Random pairs of coupled cells, side by side in one block-diagonal network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.instances import Ranges, check_ranges, draw_instance
from dfp.data.networks import Network, lag_basis

Array = NDArray[np.float64]

#: what a pair needs a range for; the weights are called ``coupling``
REQUIRED = ("rate_hz", "noise", "decay", "history_1", "coupling")


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs: cells 2p and 2p + 1 are pair p, and no others act on each other.

    Attributes:
        network: of 2P cells.
        decay, noise: ``(2P,)`` seconds, fluorescence.
        drawn: by parameter, ``(P, 2)``: of each cell; of ``coupling``, onto the first and onto the second.
    """

    network: Network
    decay: Array
    noise: Array
    drawn: dict[str, Array]


def pair_ranges(given: Mapping[str, object], bin_rate: float) -> Ranges:
    """The ranges of a pair's parameters, refused where they have no meaning (see ``check_ranges``).

    Besides those of a cell there is ``coupling``, in logits a spike at lag 1, of both directions.

    Raises:
        UserError: besides what ``check_ranges`` refuses, for a range that is missing.
    """
    for name in REQUIRED:
        if name not in given:
            raise UserError(
                f"ranges: found none of '{name}', expected {', '.join(REQUIRED)} and, if wanted, history_2"
            )
    cell = {name: value for name, value in given.items() if name != "coupling"}
    # a weight is a number of logits like a history's: the same is refused
    weight = check_ranges({"history_1": given["coupling"]}, 1, bin_rate)["history_1"]
    return {**check_ranges(cell, 2, bin_rate), "coupling": weight}


def random_pairs(ranges: Ranges, seeds: Sequence[int], bin_rate: float) -> Pairs:
    """A pair of cells for each seed, all its parameters and both weights drawn independently.

    They are uniform, the noise uniform in its logarithm. A value depends on the pair's seed, the cell's
    place, its name and its range only.

    Args:
        ranges: of ``pair_ranges``.
    """
    cell = {name: pair for name, pair in ranges.items() if name != "coupling"}
    weights = {f"coupling_{place}": ranges["coupling"] for place in (1, 2)}
    drawn = [[draw_instance(cell, 2 * seed + place) for place in (0, 1)] for seed in seeds]
    values = {name: np.array([[one[name] for one in both] for both in drawn]) for name in cell}
    onto = np.array([list(draw_instance(weights, 2 * seed).values()) for seed in seeds])
    cells = 2 * len(seeds)
    probability = values["rate_hz"].ravel() / bin_rate
    lags = [name for name in ("history_1", "history_2") if name in values]
    coupling = np.zeros((1, cells, cells))
    first = np.arange(0, cells, 2)
    coupling[0, first, first + 1], coupling[0, first + 1, first] = onto.T
    network = Network(
        bias=np.log(probability / (1 - probability)),
        history=np.stack([values[name].ravel() for name in lags], 1),
        coupling=coupling,
        basis=lag_basis(1),
        names=tuple(f"pair{seed}_{place}" for seed in seeds for place in (0, 1)),
    )
    return Pairs(network, values["decay"].ravel(), values["noise"].ravel(), {**values, "coupling": onto})
