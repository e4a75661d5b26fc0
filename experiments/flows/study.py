"""Normalizing flows on the four 2-D energies of Rezende & Mohamed (2015): divergence against flow length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from dfp.core.errors import UserError
from dfp.flows.chain import KINDS
from dfp.flows.stable import check_constraint
from dfp.results.study import Study
from dfp.results.tables import Row

from .energies import ENERGIES, log_normaliser
from .fits import Fit, densities, fit, grid, score

#: densities below are written as 0, which keeps the table short
FAINT = 1e-5


@dataclass(frozen=True)
class FlowSpec:
    """A kind of flow.

    Attributes:
        kind: ``planar`` or ``radial``.
        constraint: of planar flows, ``safe`` or ``source``.
        rate: first learning rate of Adam.
    """

    kind: str
    constraint: str = "safe"
    rate: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"kind: found {self.kind!r}, expected planar or radial")
        check_constraint(self.constraint)
        if not self.rate > 0:
            raise UserError(f"rate: found {self.rate:g}, expected a number above 0")


@dataclass(frozen=True)
class Flows(Study):
    """Densities of flows of several lengths fitted to energies on a box, from several seeds.

    Attributes:
        flows: kinds of flow by name, which is the table's run.
        energies: of ``ENERGIES``; the table's data sets.
        lengths: K.
        seeds: of initial parameters and noise.
        steps: of Adam.
        samples: of q, a step.
        anneal: share of the steps over which β rises to 1 (0: β = 1 throughout).
        points: quasi-random samples of the final divergences.
        cells: of a row of the density pictures, of the first seed (0: none).

    Raises:
        UserError: for a setting without meaning, naming it.
    """

    flows: dict[str, FlowSpec]
    energies: list[str] = field(default_factory=lambda: list(ENERGIES))
    lengths: list[int] = field(default_factory=lambda: [2, 8, 32])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    steps: int = 2_000
    samples: int = 128
    anneal: float = 0.5
    points: int = 16_384
    cells: int = 40

    def __post_init__(self) -> None:
        if not self.flows:
            raise UserError("flows: found none, expected at least one kind of flow")
        for key in ("energies", "lengths", "seeds"):
            found = getattr(self, key)
            if not found or len(set(found)) != len(found):
                raise UserError(f"{key}: found {found}, expected a list of different values, at least one")
        for name in self.energies:
            if name not in ENERGIES:
                raise UserError(f"energies: found {name!r}, expected {', '.join(ENERGIES)}")
        if min(self.lengths) < 0:
            raise UserError(f"lengths: found {min(self.lengths)}, expected numbers of at least 0")
        for key, lowest in (("steps", 1), ("samples", 1), ("points", 2), ("cells", 0)):
            if getattr(self, key) < lowest:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least {lowest}")
        if not 0 <= self.anneal <= 1:
            raise UserError(f"anneal: found {self.anneal:g}, expected a share between 0 and 1")

    def rows(self, device: torch.device) -> Iterator[Row]:
        """Scores by flow, energy, seed and label ``length``, and densities on a grid.

        Scores are ``kl``, ``kl_walls`` and ``outside`` (see ``Scores``). ``density`` is that of the first
        seed, and of the run ``truth``; the grid's labels are ``x`` and ``y``.
        """
        yield from self._truth()
        for name, spec in self.flows.items():
            for length in self.lengths:
                how = Fit(
                    spec.kind, spec.constraint, length, spec.rate, self.steps, self.samples, self.anneal
                )
                yield from self._fitted(name, how, device)

    def _fitted(self, name: str, how: Fit, device: torch.device) -> Iterator[Row]:
        density = fit(self.energies, self.seeds, how, device)
        labels = {"run": name, "length": how.length}
        for metric, values in vars(score(self.energies, density, self.points)).items():
            for energy, line in zip(self.energies, values.tolist(), strict=True):
                for seed, value in zip(self.seeds, line, strict=True):
                    yield labels | {"dataset": energy, "seed": seed, "metric": metric, "value": value}
        if self.cells:
            axis, points = grid(self.cells)
            found = densities(density, 0, points.to(device)).cpu()
            for energy, values in zip(self.energies, found.T, strict=True):
                yield from self._picture(labels | {"dataset": energy}, axis, values)

    def _truth(self) -> Iterator[Row]:
        for name in self.energies:
            log_z = log_normaliser(ENERGIES[name])
            labels = {"run": "truth", "dataset": name, "seed": self.seeds[0]}
            yield labels | {"metric": "log_z", "value": log_z}
            if self.cells:
                axis, points = grid(self.cells)
                yield from self._picture(labels, axis, torch.exp(-ENERGIES[name](points) - log_z))

    def _picture(self, labels: dict[str, Any], axis: torch.Tensor, values: torch.Tensor) -> Iterator[Row]:
        places = [(x, y) for x in axis.tolist() for y in axis.tolist()]
        for (x, y), value in zip(places, values.tolist(), strict=True):
            row = labels | {"seed": self.seeds[0], "x": round(x, 4), "y": round(y, 4)}
            yield row | {"metric": "density", "value": float(f"{value:.3g}") if value > FAINT else 0.0}
