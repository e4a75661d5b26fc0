"""Flows on the 2-D energies: divergences against quadrature, training, rows, figures, claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from scipy.stats import norm

from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.flows.chain import Chain, FlowDensity
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS, verdict
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.flows.claims import longer_is_closer
from experiments.flows.energies import ENERGIES, HALF, log_normaliser, walls
from experiments.flows.fits import Fit, densities, energies, fit, grid, score, temperature
from experiments.flows.study import Flows, FlowSpec

FOLDER = Path(__file__).parents[2] / "experiments" / "flows"
CPU = torch.device("cpu")
NAMES = list(ENERGIES)


def how(**over: Any) -> Fit:
    own: dict[str, Any] = {
        "kind": "planar",
        "constraint": "safe",
        "length": 4,
        "rate": 0.05,
        "steps": 12,
        "samples": 32,
        "anneal": 0.5,
    }
    return Fit(**(own | over))


def shaken(length: int, batch: tuple[int, int]) -> FlowDensity:
    """A density that is no Gaussian, some of it outside of the box."""
    density = FlowDensity(Chain("planar", 2, length, generator(0), batch=batch)).double()
    rng = generator(1)
    for parameter in density.parameters():
        parameter.data = 0.6 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    density.log_sd.data += 0.5
    return density


def test_divergences_are_those_of_quadrature() -> None:
    """Log q through the inverse on a fine grid against quasi-random samples of q."""
    density = shaken(2, (4, 1))
    found = score(NAMES, density, 16_384)
    side, points = 2 * HALF / 250, grid(250)[1]
    q = densities(density, 0, points) * side**2
    for index, name in enumerate(NAMES):
        own, energy = q[:, index], ENERGIES[name](points)
        held = own.sum()
        log_q = own.clamp(min=1e-300).log() - 2 * torch.log(torch.tensor(side))
        kl = (own * (log_q + energy)).sum() / held + log_normaliser(ENERGIES[name]) - held.log()
        assert float(found.outside[index, 0]) == pytest.approx(1 - float(held), abs=1e-3)
        assert 0.001 < 1 - float(held) < 0.8, "some is outside"
        assert float(found.kl[index, 0]) == pytest.approx(float(kl), abs=0.01, rel=0.005)
    assert (found.kl >= 0).all() and (found.kl_walls > 0).all()


def test_the_divergence_with_walls_is_that_of_a_gaussian_by_hand() -> None:
    """A Gaussian within the box against U₂, in closed form but for one quadrature."""
    density = FlowDensity(Chain("radial", 2, 0, generator(0), batch=(1, 1))).double()
    density.log_sd.data += torch.log(torch.tensor([0.5, 0.3]))
    found = score(["U2"], density, 16_384)
    x = torch.linspace(-3, 3, 2_001, dtype=torch.float64)
    weight = torch.as_tensor(norm.pdf(x, scale=0.5)) * (x[1] - x[0])
    energy = (weight * (0.3**2 + torch.sin(torch.pi * x / 2) ** 2)).sum() / (2 * 0.4**2)
    entropy = 1 + torch.log(torch.tensor(2 * torch.pi)) + torch.log(torch.tensor(0.5 * 0.3))
    log_z = log_normaliser(lambda z: ENERGIES["U2"](z) + walls(z), HALF + 1)
    assert float(found.kl_walls) == pytest.approx(float(energy - entropy) + log_z, abs=2e-3)
    assert log_z > log_normaliser(ENERGIES["U2"])
    assert float(found.kl) == pytest.approx(
        float(energy - entropy) + log_normaliser(ENERGIES["U2"]), abs=2e-3
    )


def test_a_fit_does_not_depend_on_what_is_fitted_beside_it() -> None:
    many, one = fit(NAMES, [3, 5], how(), CPU), fit(NAMES, [5], how(), CPU)
    assert torch.allclose(many.chain.own[:, :, 1], one.chain.own[:, :, 0], atol=1e-5)
    assert torch.allclose(many.mean[:, 1], one.mean[:, 0], atol=1e-5)
    assert not torch.allclose(many.mean[:, 0], many.mean[:, 1], atol=1e-3)


@pytest.mark.parametrize(("kind", "rate", "bound"), [("planar", 0.02, 0.25), ("radial", 0.05, 0.4)])
def test_training_brings_the_divergence_down(kind: str, rate: float, bound: float) -> None:
    """Two arcs take a flow: no Gaussian comes as close to U₁."""
    settings = how(kind=kind, rate=rate, length=8, steps=500, samples=128)
    trained = fit(["U1"], [0, 1], settings, CPU)
    gaussian = fit(["U1"], [0, 1], replace(settings, length=0), CPU)
    assert (score(["U1"], trained, 4_096).kl < bound).all()
    assert (score(["U1"], gaussian, 4_096).kl > 2 * bound).all()


def test_annealing_rises_to_one() -> None:
    assert temperature(0, 100, 0.5) == 0.01
    assert temperature(25, 100, 0.5) == pytest.approx(0.51)
    assert temperature(50, 100, 0.5) == 1.0 and temperature(0, 100, 0.0) == 1.0
    # the source's: β = min(1, 0.01 + t/10000) of 500,000 steps
    assert temperature(3_000, 500_000, 0.02) == pytest.approx(0.31)


def test_every_energy_gets_its_own_column() -> None:
    z = torch.randn(5, 4, 3, 2, generator=generator(0))
    found = energies(NAMES, z)
    for index, name in enumerate(NAMES):
        assert torch.equal(found[:, index], ENERGIES[name](z[:, index]))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A whole study in small."""
    flows = {"planar": FlowSpec("planar"), "radial": FlowSpec("radial", rate=0.05)}
    study = Flows(flows, lengths=[1, 3], seeds=[0, 1, 2], steps=10, samples=16, points=512, cells=6)
    return pd.DataFrame(study.rows(CPU)).assign(
        experiment="flows", scale="smoke", posterior="", objective="", sampler=""
    )


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def test_the_table_holds_every_flow_and_energy(table: pd.DataFrame) -> None:
    kl = table[table["metric"] == "kl"]
    assert len(kl) == 2 * 4 * 2 * 3 and kl["value"].notna().all()
    pictures = table[table["metric"] == "density"]
    assert len(pictures) == 36 * 4 * (1 + 2 * 2) and (pictures["value"] >= 0).all()
    side = (2 * HALF / 6) ** 2
    truth = pictures[pictures["run"] == "truth"].groupby("dataset")["value"].sum() * side
    assert truth.between(0.5, 1.5).all(), "a density, on six coarse cells a side"


def test_every_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        for figure in drawn.values():
            figure.draw_without_rendering()
            assert all(axes.has_data() for axes in figure.axes)
    assert len(drawn["densities"].axes) == 4 * 5


def test_length_is_judged_both_ways(table: pd.DataFrame, tmp_path: Path) -> None:
    def planted(sign: int) -> str:
        changed = table.copy()
        kl = changed["metric"] == "kl"
        changed.loc[kl, "value"] = 1 + sign * changed["length"] / 10 + 0.01 * changed["seed"] ** 2
        return verdict(list(longer_is_closer(results(changed, tmp_path))))

    assert planted(-1) == HOLDS and planted(1) == FAILS
    findings = list(longer_is_closer(results(table, tmp_path)))
    assert len(findings) == 4 * 2 and all(finding.n == 3 for finding in findings)


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    study = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(study, Flows)
    if scale != "smoke":
        assert study.lengths == [2, 8, 32] and len(study.seeds) >= 5


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"flows": {}}, "flows: found none"),
        ({"energies": ["U5"]}, "energies: found 'U5', expected U1, U2, U3, U4"),
        ({"lengths": [2, 2]}, r"lengths: found \[2, 2\]"),
        ({"lengths": [-1]}, "lengths: found -1"),
        ({"seeds": []}, r"seeds: found \[\]"),
        ({"steps": 0}, "steps: found 0, expected at least 1"),
        ({"anneal": 1.5}, "anneal: found 1.5"),
    ],
)
def test_settings_without_meaning_are_refused(over: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Flows(**({"flows": {"planar": FlowSpec("planar")}} | over))


def test_a_flow_without_meaning_is_refused() -> None:
    for settings, told in (
        ({"kind": "spline"}, "kind: found 'spline'"),
        ({"kind": "planar", "constraint": "free"}, "constraint: found 'free'"),
        ({"kind": "planar", "rate": 0.0}, "rate: found 0"),
    ):
        with pytest.raises(UserError, match=told):
            FlowSpec(**settings)  # type: ignore[arg-type]
