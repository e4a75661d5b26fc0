"""Calibration of the posterior trained once, on simulated cells of its own law."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from dfp.amortised import Pretrained, Told, load_pretrained
from dfp.amortised.constants import NAMES, from_real
from dfp.amortised.indicators import known
from dfp.amortised.priors import Prior
from dfp.amortised.simulate import ABS_DIFFERENCE, Cell, simulate_cell
from dfp.amortised.training import simulated_example
from dfp.core.errors import UserError
from dfp.results.study import Study
from dfp.results.tables import Row

from ..calibration.rank_uniformity import FEWEST, uniformity

#: whose ranks are taken: the constants, the count of a second in the middle, and of the whole trace
QUANTITIES = (*NAMES, "count_1s", "count")


@dataclass(frozen=True)
class CellCalibration(Study):
    """Settings of ``cell_calibration``.

    Attributes:
        weights: names of shipped weights, or files.
        calibrated: cells of the prior whose ranks are taken.
        bins: of their traces.
        samples: of the posterior.
        planted: the amplitude is told so many times too large, of cells that are told it: has to be found.
        rates_hz, noises: of the map; ν in %/√Hz.
        indicator: whose response the cells of the map have; every indicator at 30 Hz and noise 2.
        cells: of each place of the map.
        seconds: of their traces.
    """

    weights: list[str] = field(default_factory=lambda: ["simulations"])
    calibrated: int = 600
    bins: int = 1024
    samples: int = 99
    planted: float = 1.6
    rates_hz: list[float] = field(default_factory=lambda: [30.0])
    noises: list[float] = field(default_factory=lambda: [2.0])
    indicator: str = "GCaMP6s"
    cells: int = 16
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.calibrated < FEWEST:
            raise UserError(f"calibrated: found {self.calibrated} cells, expected at least {FEWEST}")
        if min(self.samples, self.cells, self.bins, self.seconds) < 1 or not self.planted > 0:
            raise UserError("samples, cells, bins, seconds, planted: expected numbers above 0")
        if self.indicator not in known():
            raise UserError(f"indicator: found '{self.indicator}', expected one of {', '.join(known())}")

    def rows(self, device: torch.device) -> Iterator[Row]:
        """Rows of the ranks of each quantity, and of each cell of the map."""
        for name in self.weights:
            posterior, run = load_pretrained(name), Path(name).stem
            yield from self._ranks(posterior, run, 1.0)
            yield from self._ranks(posterior, f"{run}_planted", self.planted)
            for rate in self.rates_hz:
                for noise in self.noises:
                    yield from self._place(posterior, run, "map", self.indicator, rate, noise)
            for indicator in known():
                yield from self._place(posterior, run, "indicators", indicator, 30.0, 2.0)

    def _ranks(self, posterior: Pretrained, run: str, factor: float) -> Iterator[Row]:
        rng = np.random.default_rng(20)
        ranks: dict[str, list[float]] = {name: [] for name in QUANTITIES}
        for number in range(self.calibrated):
            one = simulated_example(self.bins, rng)
            told = one.told
            if factor != 1 and told.amplitude is not None:
                told = replace(told, amplitude=told.amplitude * factor)
            drawn = posterior.condition(one.trace, 1 / one.bin_seconds, told).sample(self.samples, number)
            width = max(1, round(1 / one.bin_seconds))
            start = max(0, (len(one.counts) - width) // 2)
            true = {name: float(value) for name, value in from_real(np.asarray(one.theta)).items()}
            mine = dict(drawn.constants)
            for name, part in (("count_1s", slice(start, start + width)), ("count", slice(None))):
                true[name] = float(one.counts[part].sum())
                mine[name] = drawn.counts[:, part].sum(1).astype(float)
            for name in QUANTITIES:
                below, same = (mine[name] < true[name]).sum(), (mine[name] == true[name]).sum()
                ranks[name].append(float((below + rng.random() * (same + 1)) / (self.samples + 1)))
        for name in QUANTITIES:
            found = uniformity(ranks[name])
            labels = {"run": run, "dataset": "prior", "seed": 0, "part": "ranks", "quantity": name}
            yield {**labels, "metric": "band_excess", "value": found.excess}
            yield {**labels, "metric": "rank_mean", "value": found.mean}
            yield {**labels, "metric": "rank_spread", "value": found.spread}
            shares = np.histogram(ranks[name], 10, (0, 1))[0] / len(ranks[name])
            for place, share in enumerate(shares):
                yield {**labels, "metric": f"rank_{place}", "value": float(share)}

    def _place(
        self, posterior: Pretrained, run: str, part: str, indicator: str, rate: float, noise: float
    ) -> Iterator[Row]:
        """Cells with a linear response of the indicator's medians, everything told."""
        row = Prior(indicator).row()
        amplitude, decay, rise = row["amplitude"], row["decay"], min(row["rise"], 0.6 * row["decay"])
        cell = Cell(amplitude, decay, rise, rate_hz=1.0, noise=noise * np.sqrt(rate) / 100 / ABS_DIFFERENCE)
        told = Told(indicator, amplitude, decay, rise)
        labels = {"run": run, "dataset": "told", "part": part, "indicator": indicator}
        labels |= {"rate_hz": f"{rate:g}", "noise": f"{noise:g}"}
        for number in range(self.cells):
            trace, counts = simulate_cell(cell, round(self.seconds * rate), 1 / rate, 1000 + number)
            drawn = posterior.condition(trace, rate, told).sample(self.samples, number).counts
            own = {**labels, "seed": number}
            yield {**own, "metric": "found", "value": float(drawn.sum(1).mean())}
            yield {**own, "metric": "true", "value": float(counts.sum())}
            yield {**own, "metric": "active_cover", "value": _active(drawn, counts, rate)}


def _active(drawn: np.ndarray, counts: np.ndarray, rate: float) -> float:
    """Share of the seconds with spikes whose 90% interval holds their number; NaN without any."""
    width = max(1, round(rate))
    mine, true = _seconds(drawn, width), _seconds(counts, width)
    low, high = np.quantile(mine, [0.05, 0.95], axis=0, method="inverted_cdf")
    active = true > 0
    return float(((true >= low) & (true <= high))[active].mean()) if active.any() else float("nan")


def _seconds(counts: np.ndarray, width: int) -> np.ndarray:
    whole = counts.shape[-1] // width
    summed: np.ndarray = (
        counts[..., : whole * width].reshape(*counts.shape[:-1], whole, width).sum(-1, dtype=np.int64)
    )
    return summed
