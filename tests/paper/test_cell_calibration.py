"""Calibration of the posterior trained once: a right posterior passes, a wrong one does not; figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfp.amortised.constants import NAMES, from_real
from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.results.judging import FAILS, HOLDS
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import study
from experiments.cell_calibration import study as module
from experiments.cell_calibration.claims import calibrated, told
from experiments.cell_calibration.study import QUANTITIES, CellCalibration, _active

FOLDER = Path(__file__).parents[2] / "experiments" / "cell_calibration"


@dataclass
class Drawn:
    counts: np.ndarray
    constants: dict[str, np.ndarray]


class Prior:
    """A posterior that knows nothing but is right: θ and counts of the prior itself, ``shift`` too high."""

    def __init__(self, shift: float) -> None:
        self.shift, self.rng = shift, np.random.default_rng(1)

    def condition(self, trace: np.ndarray, rate: float, told: Any) -> Prior:
        self.bins = len(trace)
        return self

    def sample(self, samples: int, seed: int) -> Drawn:
        theta = from_real(self.rng.normal(size=(samples, len(NAMES))) + self.shift)
        return Drawn(self.rng.poisson(0.1, (samples, self.bins)), theta)


def ranks(monkeypatch: pytest.MonkeyPatch, shift: float) -> pd.Series:
    rng = np.random.default_rng(2)

    @dataclass
    class One:
        trace: np.ndarray
        counts: np.ndarray
        theta: np.ndarray
        bin_seconds: float = 0.1
        told: Any = None

    def example(bins: int, _: Any) -> One:
        return One(np.zeros(bins), rng.poisson(0.1, bins), rng.normal(size=len(NAMES)))

    monkeypatch.setattr(module, "simulated_example", example)
    made = CellCalibration(calibrated=200, bins=50)
    rows = pd.DataFrame(made._ranks(Prior(shift), "x", 1.0))  # type: ignore[arg-type]
    return rows[rows["metric"] == "band_excess"].set_index("quantity")["value"]


def test_a_posterior_that_is_right_stays_in_the_band_and_a_shifted_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = ranks(monkeypatch, 0.0)
    assert list(right.index) == list(QUANTITIES) and (right < 1.3).all()
    wrong = ranks(monkeypatch, 1.0)
    assert (wrong[list(NAMES)] > 2).all() and (wrong[["count", "count_1s"]] < 1.3).all()


def test_cover_is_of_the_seconds_with_spikes() -> None:
    counts = np.array([1, 1, 0, 0, 3, 0])
    assert _active(np.repeat(counts[None], 10, 0), counts, 2.0) == 1.0
    assert _active(np.zeros((10, 6), int), counts, 2.0) == 0.0
    assert np.isnan(_active(np.zeros((10, 6), int), np.zeros(6, int), 2.0))


def test_figures_and_claims_are_made_of_the_table(tmp_path: Path) -> None:
    study(FOLDER / "config.yaml", "smoke", tmp_path / "table.csv", "cpu")
    results = ResultTables(tmp_path)
    drawn = load_plots(FOLDER).figures(results)
    assert set(drawn) == set(load_experiment(FOLDER / "config.yaml", "smoke").figures)
    assert {one.outcome for one in calibrated(results)} <= {HOLDS, FAILS}
    assert {one.where for one in told(results)} >= {"simulations, GCaMP6s, 5 Hz, noise 2"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"calibrated": 3}, "calibrated: found 3"),
        ({"indicator": "X"}, "indicator"),
        ({"cells": 0}, "above 0"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        CellCalibration(**settings)
