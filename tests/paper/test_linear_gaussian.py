"""The study of linear-Gaussian networks: refinement's end, planar flows, figures, claims, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from claim_tables import claims_of

from dfp.belief.linear_gaussian import random_linear_gaussian
from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.linear_gaussian.study import (
    ROUTES,
    LinearGaussianStudy,
    PlanarPosteriors,
    fit_planar,
    flow_weights,
    refined_path,
)

FOLDER = Path(__file__).parents[2] / "experiments" / "linear_gaussian"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A study of seconds that still gets there."""
    study = LinearGaussianStudy(
        units=[2],
        seeds=[0, 1, 2],
        trials=4,
        steps=[0, 20, 500],
        flows=[0, 2],
        flow_samples=128,
        flow_steps=600,
        test_samples=20_000,
    )
    frame = pd.DataFrame(study.rows(CPU))
    return frame.assign(experiment="linear_gaussian", scale="smoke", objective="", sampler="")


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_reaches_the_best_diagonal(route: str) -> None:
    """Exact gradients to 1e-5 nats; samples, with a falling rate, to 0.02."""
    model = random_linear_gaussian(3, 5, 1.0, generator(1))
    x = model.simulate(5, generator(2))
    path = refined_path(model, x, route, 500, 8, 0.99, generator(3))
    assert len(path) == 501
    excess = model.log_evidence(x) - model.bound(x, path[-1]) - model.gap
    assert float(excess.abs().max()) < (0.02 if route == "sampled" else 1e-5)


def test_a_planar_flow_closes_the_gap_and_a_diagonal_does_not() -> None:
    """Fresh samples: K = 0 at the formula's gap, K = 2 below 0.01 nats, for every model."""
    models = [random_linear_gaussian(2, 1, 0.5, generator(seed)) for seed in range(4)]
    x = torch.cat([model.simulate(1, generator(9)) for model in models])
    evidence = torch.cat([model.log_evidence(x[i : i + 1]) for i, model in enumerate(models)])
    left = {}
    for length in (0, 2):
        fit = fit_planar(models, length, 128, 1000, generator(0))
        left[length] = evidence - flow_weights(models, x, fit, 50_000, generator(1)).mean(0)
    formula = torch.tensor([model.gap for model in models], dtype=torch.float64)
    assert float(formula.max()) > 0.1
    assert torch.allclose(left[0], formula, atol=0.03)
    assert float(left[2].max()) < 0.01 and float(left[2].min()) > -0.005


def test_densities_of_planar_posteriors_are_normalised() -> None:
    """Importance sampling of 1: E_q[N(h)/q(h)] = 1 to five standard errors, maps away from the identity."""
    fit = PlanarPosteriors(2, 2, 3, generator(0)).double()
    with torch.no_grad():
        for parameter in fit.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(1)))
        z, log_q = fit.draw(200_000, generator(2))
        narrow = torch.distributions.Normal(z.mean(0), 0.5 * z.std(0))
        ratio = (narrow.log_prob(z).sum(-1) - log_q).exp()
    error = ratio.std(0) / len(z) ** 0.5
    assert bool(((ratio.mean(0) - 1).abs() < 5 * error).all()) and float(error.max()) < 0.02


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("units", {"units": []}),
        ("units", {"units": [0]}),
        ("seeds", {"seeds": [1, 1]}),
        ("steps", {"steps": [-1]}),
        ("flows", {"flows": []}),
        ("pixels", {"pixels": 0}),
        ("samples", {"samples": 0}),
        ("test_samples", {"test_samples": 1}),
        ("noise", {"noise": 0.0}),
        ("decay", {"decay": 1.5}),
    ],
)
def test_settings_without_meaning_are_refused_with_a_sentence(key: str, own: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        LinearGaussianStudy(**own)
    told = str(refusal.value)
    assert key in told and "found" in told and "expected" in told and "\n" not in told


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    study = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(study, LinearGaussianStudy)
    assert scale == "smoke" or len(study.seeds) >= 5


def test_every_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        for figure in drawn.values():
            figure.draw_without_rendering()
            assert all(axes.has_data() for axes in figure.axes)


def test_every_claim_holds_and_can_fail(table: pd.DataFrame, tmp_path: Path) -> None:
    planted = {"B3": ("excess_gap", 0.1), "B4": ("gap", 0.1), "B8": ("largest_fall", 0.1)}
    for claim in claims_of("linear_gaussian"):
        outcomes = {finding.outcome for finding in claim.judge(results(table, tmp_path))}
        assert outcomes == {HOLDS}, claim.id
        metric, size = planted[claim.id]
        changed = table.copy()
        rows = changed["metric"] == metric
        changed.loc[rows, "value"] = size * (1 + 0.01 * changed.loc[rows, "seed"])
        outcomes = {finding.outcome for finding in claim.judge(results(changed, tmp_path))}
        assert FAILS in outcomes, claim.id
