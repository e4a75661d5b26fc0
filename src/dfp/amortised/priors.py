"""Placeholder until the table of priors is merged: the response to one spike by indicator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dfp.amortised.simulate import Cell

#: amplitude, its log-sd; decay, log-sd; rise, log-sd; power, sd
TABLE = {
    "OGB-1": (0.08, 0.5, 0.8, 0.4, 0.02, 0.5, 1.0, 0.05),
    "GCaMP6f": (0.06, 0.7, 0.35, 0.4, 0.04, 0.5, 1.6, 0.25),
    "GCaMP6s": (0.13, 0.6, 0.9, 0.4, 0.09, 0.5, 1.5, 0.25),
    "GCaMP7f": (0.20, 0.5, 0.45, 0.4, 0.04, 0.5, 1.45, 0.2),
    "GCaMP8f": (0.22, 0.5, 0.25, 0.5, 0.015, 0.6, 1.3, 0.2),
    "GCaMP8m": (0.35, 0.5, 0.25, 0.5, 0.015, 0.6, 1.15, 0.15),
    "GCaMP8s": (0.45, 0.5, 0.45, 0.5, 0.02, 0.6, 1.15, 0.15),
    "R-CaMP": (0.06, 0.6, 0.7, 0.4, 0.05, 0.5, 1.2, 0.2),
    "jRGECO1a": (0.10, 0.6, 0.6, 0.4, 0.03, 0.5, 1.4, 0.25),
}


@dataclass(frozen=True)
class Prior:
    """The response of cells of one indicator, or of any."""

    indicator: str | None

    def draw(self, rng: np.random.Generator) -> Cell:
        from dfp.amortised.simulate import Cell

        e = rng.standard_normal(4)
        if self.indicator is not None:
            a, sa, d, sd, r, sr, p, sp = TABLE[self.indicator]
            amplitude, decay, rise, power = a * np.exp(sa * e[0]), d * np.exp(sd * e[1]), r * np.exp(sr * e[2]), p + sp * e[3]
        else:
            amplitude = 0.2 * np.exp(1.1 * e[0])
            decay, rise = np.exp(rng.uniform(np.log(0.08), np.log(2.2))), np.exp(rng.uniform(np.log(0.004), np.log(0.2)))
            power = rng.uniform(1, 1.9)
        if rng.random() < 0.3:
            power = 1.0
        decay = float(np.clip(decay, 0.05, 4.0))
        saturation = 0.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(0.002), np.log(0.08))))
        return Cell(float(amplitude), decay, float(np.clip(rise, 0.003, 0.6 * decay)), float(max(power, 1.0)), saturation=saturation)
