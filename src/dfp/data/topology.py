"""Measured or published wirings: who is joined to whom, and turning that into a network with strengths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp.core.errors import UserError, suggest
from dfp.data.networks import Network, from_edges

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Topology:
    """Who is wired to whom, with signs and no strengths.

    Attributes:
        edges: ``(E, 2)`` int, sending then receiving cell, counted from 0.
        signs: ``(E,)``, +1 or −1.
        positions: ``(N, 2)`` in mm.
        names: N cell names.
    """

    edges: IntArray
    signs: Array
    positions: Array
    names: tuple[str, ...]

    def subnetwork(self, cells: int, generator: np.random.Generator | None = None) -> Topology:
        """The wiring among the first ``cells`` cells or, with a generator, among as many drawn at random."""
        total = len(self.names)
        if not 1 <= cells <= total:
            raise UserError(f"topology: a sub-network of {cells} cells was asked for, expected 1 to {total}")
        kept = (
            np.arange(cells) if generator is None else np.sort(generator.choice(total, cells, replace=False))
        )
        position = np.full(total, -1)
        position[kept] = np.arange(cells)
        edges = position[self.edges]
        inside = np.all(edges >= 0, axis=1)
        names = tuple(self.names[n] for n in kept)
        return Topology(edges[inside], self.signs[inside], self.positions[kept], names)


def load_topology(path: Path | str, name: str = "normal1") -> Topology:
    """Read one wiring of 1,000 cells from an ``.npz`` file of the ChaLearn connectomics challenge.

    For a network ``<name>`` the file holds ``<name>_edges_pre_post`` ``(E, 2)`` counted from 1,
    ``<name>_weight`` ``(E,)`` of ±1, and ``<name>_pos_mm`` ``(N, 2)``. Origin:
    github.com/orlandi/connectomicsPCV, networks/original (MIT, J. G. Orlandi 2014).

    Raises:
        UserError: when the file or the network in it is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected an .npz of edge lists (<name>_edges_pre_post)")
    try:
        with np.load(path) as stored:
            known = [key.removesuffix("_edges_pre_post") for key in stored if key.endswith("_edges_pre_post")]
            if name not in known:
                raise UserError(
                    f"{path}: no network '{name}'{suggest(name, known)}, expected one of "
                    f"{', '.join(known) or 'none'}"
                )
            pairs = stored[f"{name}_edges_pre_post"].astype(np.int64) - 1
            signs = np.sign(stored[f"{name}_weight"].astype(float))
            positions = stored[f"{name}_pos_mm"].astype(float)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: could not be read as an .npz of edge lists ({error})") from None
    return Topology(pairs, signs, positions, tuple(f"{name}_{n + 1}" for n in range(len(positions))))


def from_topology(
    topology: Topology,
    generator: np.random.Generator,
    *,
    weight_mean: float = 0.5,
    weight_sd: float = 0.15,
    rate_hz: float = 2.0,
    bin_rate: float = 30.0,
    bias_sd: float = 0.3,
    history: ArrayLike = (-2.0,),
    basis: Array | None = None,
) -> Network:
    """A network on a given wiring: weights sign · |N(weight_mean, weight_sd²)|, else as ``from_edges``.

    The default strength keeps the ChaLearn wirings (15 edges a cell, four in five excitatory) subcritical at
    2 Hz and 30 bins a second; a sub-network has fewer edges a cell and bears stronger ones.
    """
    strengths = np.abs(weight_mean + weight_sd * generator.standard_normal(len(topology.edges)))
    return from_edges(
        topology.edges,
        topology.signs * strengths,
        len(topology.names),
        generator,
        rate_hz=rate_hz,
        bin_rate=bin_rate,
        bias_sd=bias_sd,
        history=history,
        basis=basis,
        names=topology.names,
    )
