"""A posterior that stands in for that of the package: what its users rely on, and spikes by a threshold."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pytest

from dfp.core.errors import UserError
from dfp.data.preprocess import noise_sd

#: finite frames that a trace needs
FEWEST = 1


class Draws(Protocol):
    """``counts`` (S, T), unsigned; ``constants``: name → (S,)."""

    counts: np.ndarray
    constants: dict[str, np.ndarray]


class Conditioned(Protocol):
    """The posterior of one cell."""

    def sample(self, samples: int, seed: int) -> Draws: ...


class Posterior(Protocol):
    """What ``load_pretrained`` returns."""

    provenance: dict[str, Any]
    digest: str

    def condition(self, y: np.ndarray, frame_rate: float, told: Any) -> Conditioned: ...


@dataclass(frozen=True)
class Told:
    indicator: str | None = None
    amplitude: float | None = None
    rise: float | None = None
    decay: float | None = None

    def __post_init__(self) -> None:
        if self.amplitude is not None and not self.amplitude > 0:
            raise UserError(f"amplitude: found {self.amplitude:g}, expected a number above 0")


@dataclass(frozen=True)
class Drawn:
    counts: np.ndarray
    constants: dict[str, np.ndarray]
    probability: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class ByThreshold:
    """Spikes at 0.2 Hz, and where the trace is above its median by 3 sd of noise one a frame in the mean."""

    y: np.ndarray
    frame_rate: float
    told: Told

    def sample(self, samples: int, seed: int) -> Drawn:
        rng = np.random.default_rng(seed)
        above = self.y > np.nanmedian(self.y) + 3 * max(float(np.nan_to_num(noise_sd(self.y))), 1e-9)
        counts = rng.poisson(np.where(above, 1.0, 0.2 / self.frame_rate), (samples, len(self.y)))
        middles = {"amplitude": self.told.amplitude or 0.1, "decay": self.told.decay or 0.5, "rise": 0.05}
        middles |= {"power": 1.0, "rate_hz": 0.3}
        constants = {name: rng.lognormal(np.log(value), 0.2, samples) for name, value in middles.items()}
        held = np.minimum(counts, 255).astype(np.uint8)
        return Drawn(held, constants, (held > 0).mean(0), held.mean(0))


@dataclass(frozen=True)
class StandIn:
    provenance: dict[str, Any]
    digest: str

    def condition(self, y: np.ndarray, frame_rate: float, told: Told) -> ByThreshold:
        assert y.ndim == 1 and y.dtype == np.float64
        if np.isfinite(y).sum() < FEWEST:
            raise UserError(f"found {np.isfinite(y).sum()} finite frames, expected at least {FEWEST}")
        return ByThreshold(y, frame_rate, told)


def load_pretrained(weights: Any = "cells") -> Posterior:
    if str(weights) not in ("cells", "simulations"):
        raise UserError(f"{weights}: no such weights, expected cells, simulations or a file of weights")
    return StandIn({"data": [str(weights)]}, f"digest of {weights}")


def install(put: Callable[[str, ModuleType], None] = sys.modules.__setitem__) -> None:
    """Let the package find this where it looks for its own posterior."""
    module = ModuleType("dfp.amortised")
    module.__dict__.update(Told=Told, load_pretrained=load_pretrained)
    put("dfp.amortised", module)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package asks this posterior within the test."""
    install(lambda name, module: monkeypatch.setitem(sys.modules, name, module))


def recording(folder: Path, cells: int = 3, frames: int = 400, missing: bool = False) -> tuple[Path, Any]:
    """A file of traces ``(T, N)`` with transients at 0.5 Hz, and the traces."""
    rng = np.random.default_rng(cells)
    x = 0.05 * rng.normal(size=(frames, cells))
    for t, n in np.argwhere(rng.random((frames, cells)) < 0.5 / 30):
        x[t:, n] += 0.4 * np.exp(-np.arange(frames - t) / 12)
    if missing:
        x[50:90, 0] = np.nan
    x = x.astype(np.float32)
    np.save(folder / "mine.npy", x)
    return folder / "mine.npy", x
