"""When do fixed-point sweeps settle?

Sweeps against length, couplings, rate and temperature, what one run predicts of them, and trainings with and
without a guard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dfp.core.errors import UserError
from dfp.results.study import Study
from dfp.results.tables import Row

from .networks import Law, changing, exponents, growth, relaxed
from .training import Training

#: seeds of a length's draws are a thousand apart from the next one's
MOST_DRAWS = 1000


@dataclass(frozen=True)
class Growth:
    """Sweeps against T.

    Attributes:
        laws: by name.
        bins: lengths T, the first the one that growth is measured from.
        draws: at the shortest; half as many at each longer one, no fewer than ``fewest``.
    """

    laws: dict[str, Law]
    bins: list[int] = field(default_factory=lambda: [1000, 10_000, 100_000])
    draws: int = 16
    fewest: int = 2

    def __post_init__(self) -> None:
        if not self.laws or min(self.draws, self.fewest) < 2 or self.draws > MOST_DRAWS:
            raise UserError(
                f"laws, draws, fewest: found {len(self.laws)}, {self.draws}, {self.fewest}, expected at "
                f"least one law and 2 to {MOST_DRAWS} draws"
            )
        for where, bins in [("bins", self.bins)] + [
            (f"laws.{name}.bins", law.bins) for name, law in self.laws.items() if law.bins
        ]:
            _check_numbers(where, bins, 50)


@dataclass(frozen=True)
class Diagram:
    """The grid of a phase diagram.

    Attributes:
        law: what is not varied.
        weight_sds: of both diagrams.
        densities: at the law's rate.
        rates_hz: at the law's density.
        bins: two lengths, whose sweeps are compared.
        networks: of every point, those of the study's first seeds.
        sizes: numbers of cells, with as many inputs a cell as under ``law`` on average, at its own sd.
    """

    law: Law
    weight_sds: list[float]
    densities: list[float]
    rates_hz: list[float]
    bins: list[int] = field(default_factory=lambda: [250, 1000])
    networks: int = 3
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for key in ("weight_sds", "densities", "rates_hz"):
            _check_numbers(key, getattr(self, key), 1e-9)
        _check_numbers("bins", self.bins, 50)
        if len(self.bins) != 2:
            raise UserError(f"bins: found {self.bins}, expected two lengths")
        if self.sizes:
            _check_numbers("sizes", self.sizes, max(2.0, self.law.density * self.law.cells))
        if self.networks < 1:
            raise UserError(f"networks: found {self.networks}, expected at least 1")

    def places(self) -> Iterator[tuple[str, Law]]:
        """(diagram, law) of every point; a point of both is made once, under ``both``."""
        for sd in self.weight_sds:
            at = replace(self.law, weight_sd=sd)
            for density in self.densities:
                yield ("both" if self._shared(density) else "density"), replace(at, density=density)
            for rate in self.rates_hz:
                if rate != self.law.rate_hz or self.law.density not in self.densities:
                    yield "rate", replace(at, rate_hz=rate)
        for cells in self.sizes:
            yield "size", replace(self.law, cells=cells, density=self.law.density * self.law.cells / cells)

    def _shared(self, density: float) -> bool:
        return density == self.law.density and self.law.rate_hz in self.rates_hz


@dataclass(frozen=True)
class Temperatures:
    """Sweeps of relaxed draws, at the law's other settings for every sd of the weights.

    Attributes:
        bins: T.
    """

    law: Law
    weight_sds: list[float]
    temperatures: list[float]
    bins: int = 1000

    def __post_init__(self) -> None:
        _check_numbers("weight_sds", self.weight_sds, 1e-9)
        _check_numbers("temperatures", self.temperatures, 1e-9)
        _check_numbers("bins", [self.bins], 50)


@dataclass(frozen=True)
class Convergence(Study):
    """Four parts, all optional but one: ``growth``, ``diagram``, ``temperatures``, ``training``.

    Attributes:
        seeds: networks, each with noise of its own; those of the training's cells are in its data.
    """

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    growth: Growth | None = None
    diagram: Diagram | None = None
    temperatures: Temperatures | None = None
    training: Training | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f"seeds: found {self.seeds}, expected different numbers of at least 0")
        if not (self.growth or self.diagram or self.temperatures or self.training):
            raise UserError("growth, diagram, temperatures, training: found none, expected at least one part")

    def rows(self, device: torch.device) -> Iterator[Row]:
        """The parts in their order, seed by seed."""
        for part in (self._growth, self._diagram, self._temperatures, self._training):
            yield from part(device)

    def _growth(self, device: torch.device) -> Iterator[Row]:
        for name, law in self.growth.laws.items() if self.growth else ():
            assert self.growth is not None
            for seed in self.seeds:
                part = self.growth
                found = growth(law, seed, part.bins, part.draws, device, part.fewest)
                for bins, metric, value in found:
                    yield _row("growth", name, seed, metric, value, cells=law.cells, bins=bins)
            first = self.seeds[0]
            for bins, sweep, metric, value in changing(law, first, self.growth.bins, device):
                yield _row("growth", name, first, metric, value, cells=law.cells, bins=bins, step=sweep)

    def _diagram(self, device: torch.device) -> Iterator[Row]:
        for which, law in self.diagram.places() if self.diagram else ():
            assert self.diagram is not None
            labels = {"density": law.density, "rest_rate_hz": law.rate_hz, "weight_sd": law.weight_sd}
            for seed in self.seeds[: self.diagram.networks]:
                dataset = f"n{law.cells}_sd{law.weight_sd:g}_d{law.density:g}_r{law.rate_hz:g}"
                for metric, value in exponents(law, seed, self.diagram.bins, device):
                    yield _row(
                        "diagram", dataset, seed, metric, value, cells=law.cells, which=which, **labels
                    )

    def _temperatures(self, device: torch.device) -> Iterator[Row]:
        part = self.temperatures
        for sd in part.weight_sds if part else ():
            assert part is not None
            law = replace(part.law, weight_sd=sd)
            for seed in self.seeds:
                found = relaxed(law, seed, part.bins, part.temperatures, device)
                for temperature, metric, value in found:
                    labels = {"cells": law.cells, "weight_sd": sd, "temperature": temperature}
                    yield _row("relaxed", f"sd{sd:g}", seed, metric, value, bins=part.bins, **labels)

    def _training(self, device: torch.device) -> Iterator[Row]:
        if self.training is None:
            return
        for run, step, metric, values in self.training.rows(device):
            for seed, value in zip(self.training.data.seeds, values, strict=True):
                yield _row(run, "training", seed, metric, value, step=step) | {
                    "posterior": self.training.posterior["kind"],
                    "objective": "relaxed_pmf",
                }


def _check_numbers(key: str, found: list[int] | list[float], lowest: float) -> None:
    if not found or list(found) != sorted(set(found)) or found[0] < lowest:
        raise UserError(
            f"{key}: found {list(found)}, expected different numbers of at least {lowest:g}, in rising order"
        )


def _row(run: str, dataset: str, seed: int, metric: str, value: float, **labels: Any) -> dict[str, Any]:
    return {"run": run, "dataset": dataset, "seed": seed, "sampler": "fixed_point", **labels} | {
        "metric": metric,
        "value": value,
    }
