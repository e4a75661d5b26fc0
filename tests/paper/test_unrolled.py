"""Gradients through exactly K sweeps: their bias, figures and claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from claim_tables import claims_of

from dfp.config import load_experiment
from dfp.core.errors import NumericalError, UserError
from dfp.plotting import style
from dfp.results.judging import FAILS
from dfp.results.tables import ResultTables
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.sequential import Sequential
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.unrolled.study import PARTS, Unrolled, _squared

FOLDER = Path(__file__).parents[2] / "experiments" / "unrolled"
CPU = torch.device("cpu")


def tiny(**over: Any) -> Unrolled:
    own: dict[str, Any] = {
        "cells": [1, 3],
        "sweeps": [1, 4, 8, 12, 14],
        "temperatures": [1.0, 0.3],
        "density": 0.8,
        "bins": 12,
        "draws": 4,
        "samples": 64,
        "seeds": [0, 1],
    }
    return Unrolled(**(own | over))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame(tiny().rows(CPU)).assign(experiment="unrolled", scale="smoke")


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def test_the_bias_is_gone_after_as_many_sweeps_as_bins_and_large_after_one(table: pd.DataFrame) -> None:
    for metric in ("relative_bias", "worst_draw"):
        found = table[table["metric"] == metric]
        assert len(found) == 2 * 2 * 2 * 2 * 5
        assert found.loc[found["sweeps"] == 14, "value"].abs().max() < 1e-10
        assert found.loc[found["sweeps"] == 12, "value"].abs().max() < 1e-10
        assert found.loc[found["sweeps"] == 1, "value"].min() > 0.05
    still = table[table["metric"] == "sweeps_until_still"]
    assert still["value"].between(2, 13).all()


@pytest.mark.parametrize("cells", [1, 3])
def test_the_reference_is_the_gradient_of_the_recursion(cells: int) -> None:
    study = tiny()
    side = study.side(cells, 0)
    reference, by_steps, far = (
        study.gradient(side, how, 0.3, 0, 5) for how in (Compiled(), Sequential(), FixedPoint(sweeps=2))
    )
    assert set(reference) == set(PARTS)
    assert reference["phi"].numel() == 2 * 12 * cells + 2 * cells + (cells**2 if cells > 1 else 0)
    assert reference["theta"].numel() == 3 * cells + (cells**2 if cells > 1 else 0)
    for part in PARTS:
        assert torch.allclose(reference[part], by_steps[part], rtol=1e-10, atol=1e-13)
        assert not torch.allclose(reference[part], far[part], rtol=1e-2)


def test_squared_norms_are_estimated_without_bias() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.3, -0.4], dtype=torch.float64)
    found = [_squared(truth + torch.randn(4, 2, generator=rng, dtype=torch.float64)) for _ in range(20_000)]
    mean = sum(found) / len(found)
    assert abs(mean - 0.25) < 5 * float(torch.tensor(found).std()) / len(found) ** 0.5


def test_the_sweeps_needed_are_the_last_that_the_bias_asks_for() -> None:
    study = tiny()
    assert study.needed({1: 0.5, 4: 0.005, 8: 0.02, 12: 0.001, 14: -0.3}) == 12
    assert study.needed({1: 0.005, 4: 0.0}) == 1
    assert study.needed({1: 0.5, 4: 0.2}) == 12  # the bins, after which nothing is missing
    assert study.needed({1: float("nan"), 4: 0.0}) == 4


def test_a_gradient_that_is_not_told_from_nothing_stops_the_study() -> None:
    study, noise = tiny(), torch.randn(4, 10, generator=torch.Generator().manual_seed(1))
    centred = noise - noise.mean(0)
    with pytest.raises(NumericalError, match="∇phi is lost in the noise of its draws"):
        list(study._part({"cells": 1}, "phi", centred, torch.zeros(4, 5, 10)))


_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("cells", {"cells": []}),
    ("cells", {"cells": [0]}),
    ("sweeps", {"sweeps": [0, 2]}),
    ("sweeps", {"sweeps": [4, 2]}),
    ("sweeps", {"sweeps": [2, 2]}),
    ("temperatures", {"temperatures": [0.0]}),
    ("seeds", {"seeds": []}),
    ("bins", {"bins": 1}),
    ("draws", {"draws": 1}),
    ("samples", {"samples": 0}),
    ("trials", {"trials": 0}),
    ("kernel_bins", {"kernel_bins": 0}),
    ("history", {"history": []}),
    ("tolerance", {"tolerance": 0.0}),
    ("noise", {"noise": 0.0}),
    ("decay", {"decay": 1.0}),
    ("perturbation", {"perturbation": -1.0}),
]


@pytest.mark.parametrize(("key", "over"), _REFUSED, ids=[str(over) for _, over in _REFUSED])
def test_settings_without_meaning_are_refused_with_a_sentence(key: str, over: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        tiny(**over)
    told = str(refusal.value)
    assert key in told and "found" in told and "expected" in told and "\n" not in told


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    study = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(study, Unrolled)
    assert {4, 8} <= set(study.sweeps), "the claims are about these"


def test_every_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        for figure in drawn.values():
            figure.draw_without_rendering()
            assert all(axes.has_data() for axes in figure.axes)


def test_every_claim_is_judged_and_can_fail(table: pd.DataFrame, tmp_path: Path) -> None:
    def after(metric: str, value: float) -> pd.DataFrame:
        changed = table.copy()
        rows = changed["metric"] == metric
        changed.loc[rows, "value"] = value * (1 + 0.01 * changed.loc[rows, "seed"])
        return changed

    planted = {
        "K1": after("relative_bias", 0.05),
        "K2": after("relative_bias", 0.05),
        "K3": after("sweeps_needed", 40.0),
    }
    assert {claim.id for claim in claims_of("unrolled")} == set(planted)
    for claim in claims_of("unrolled"):
        assert list(claim.judge(results(table, tmp_path)))
        assert {finding.outcome for finding in claim.judge(results(planted[claim.id], tmp_path))} == {FAILS}
