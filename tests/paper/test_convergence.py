"""The study of convergence: growth with T, boundary, blow-up and guard, figures, claims, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from claim_tables import claims_of

from dfp.config import load_experiment
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.convergence.claims import limit
from experiments.convergence.networks import Law, changing, exponents, growth, relaxed
from experiments.convergence.study import Convergence, Diagram, Growth, Temperatures
from experiments.convergence.training import Training

FOLDER = Path(__file__).parents[2] / "experiments" / "convergence"
CPU = torch.device("cpu")
REFRACTORY = Law(cells=1, rate_hz=5, history=(-3.0, -1.5))


def panel(run: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Two cells at noise 0.7, two sweeps, temperature to 0.15: the pilot's blow-up, sooner. Metric → a list
    a look of a value a cell."""
    training = Training(
        data=SimulationSpec(
            {"kind": "independent", "rate_hz": 4, "bias_sd": 0.2, "history": [-2.0, -1.0]},
            seeds=[0, 1],
            bins=100,
            trials=64,
            test_trials=6,
            decay=0.14938,
            noise=0.7,
            kernel_bins=10,
        ),
        posterior={
            "kind": "autoregressive",
            "history": 10,
            "recognition": {"window": 15, "hidden": 16, "per_cell": True},
        },
        training={
            "sampler": {"kind": "fixed_point", "sweeps": 2},
            "temperature": {"start": 0.5, "end": 0.15, "shape": "geometric"},
            "learning_rate": {"start": 0.01, "end": 0.001, "shape": "cosine"},
            "batch": 8,
            "steps": 400,
        },
        runs={"run": run},
        looks=8,
    )
    found: dict[str, list[list[float]]] = {}
    for _, _, metric, values in training.rows(torch.device("cpu")):
        found.setdefault(metric, []).append(values)
    return found


def test_sweeps_grow_as_one_run_predicts() -> None:
    """Sixteen times the bins: within two sweeps of ln 16 ÷ ln(1/ρ), means over networks."""
    for law in (Law(weight_sd=1.0), REFRACTORY):
        found: dict[str, list[float]] = {}
        for seed in range(4):
            for bins, metric, value in growth(law, seed, [500, 8000], 16, CPU):
                found.setdefault(metric, []).append(value)
                assert metric != "predicted_growth" or bins == 8000
        assert all(0.15 < rho < 0.6 for rho in found["rho"])
        assert found["predicted_growth"][0] == pytest.approx(math.log(16) / -math.log(found["rho"][0]))
        assert abs(np.mean(found["growth"]) - np.mean(found["predicted_growth"])) < 2
        assert np.mean(found["growth"]) > 1


def test_near_the_boundary_the_tail_of_one_run_predicts_what_the_ratio_does_not() -> None:
    """Networks of ρ from 0.78 to 1 and more: means over four, within two sweeps; by ρ, of those below 1, off
    by more. By pairs of runs as by the tail, to 1.5 sweeps."""
    found: dict[str, list[float]] = {}
    for seed in (100, 101, 102, 104):
        for bins, metric, value in growth(Law(weight_sd=3.0), seed, [500, 10_000], 40, CPU, 20):
            if bins == 10_000:
                found.setdefault(metric, []).append(value)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    assert max(found["rho"]) > 0.95
    assert means["growth"] > 8
    assert abs(means["growth"] - means["predicted_by_tail"]) < 2
    assert abs(means["predicted_by_pairs"] - means["predicted_by_tail"]) < 1.5
    assert means["growth"] < means["predicted_growth"] - 3


@pytest.mark.parametrize(("weight_sd", "chaotic"), [(0.5, False), (4.0, True)])
def test_both_predictors_tell_the_phases_apart(weight_sd: float, chaotic: bool) -> None:
    law = Law(cells=60, density=0.2, weight_sd=weight_sd)
    found = dict(exponents(law, 0, [100, 400], CPU))
    assert (found["rho"] > 1) == (found["lyapunov"] > 0) == (found["exponent"] > 0.5) == chaotic
    assert (found["predicted_exponent"] > 0.5) == chaotic == (found["tail_rate"] < 0.02)
    if chaotic:
        assert found["sweeps_long"] > 300
    else:
        assert found["sweeps_long"] < 40


def test_relaxed_draws_take_more_sweeps_than_hard_ones() -> None:
    sweeps = {at: value for at, metric, value in relaxed(Law(), 0, 500, [0.5], CPU) if metric == "sweeps"}
    assert sweeps[0.5] > sweeps[0.0] + 2


def test_the_tail_s_line_goes_through_the_changes_that_it_is_of() -> None:
    """Shares of one run, from its own start on, within a third of the line where 50 bins and more change."""
    rows = list(changing(Law(weight_sd=2.0), 100, [1000, 10_000, 100_000], CPU))
    assert {bins for bins, *_ in rows} == {10_000}
    made, line = (
        {sweep: value for _, sweep, metric, value in rows if metric == wanted}
        for wanted in ("changing", "changing_fit")
    )
    assert min(line) > 1 and max(line) == max(made)
    assert made[min(line)] == line[min(line)] <= 0.2 < made[min(line) - 1]
    assert all(abs(made[k] / line[k] - 1) < 1 / 3 for k in line if made[k] >= 5e-3)


def test_few_sweeps_blow_up_and_the_guard_stops_it() -> None:
    """Hard bound, nats per bin: without a guard far below where it was; with one, where it was."""
    plain, guarded = panel({}), panel({"guard": {"rho": 0.3}})
    bounds, kept = np.array(plain["elbo_per_bin"]), np.array(guarded["elbo_per_bin"])
    assert (bounds[-1] < bounds.max(0) - 0.3).all() and (bounds[-1] < bounds.max(0) - 1).any()
    assert (kept[-1] > kept.max(0) - 0.05).all()
    residual, small = np.array(plain["residual"]), np.array(guarded["residual"])
    assert (residual[-1] > 5 * residual[1]).all() and (residual[-1] > 5 * small[-1]).all()
    assert np.max(plain["rho"][-1]) > 1 and np.max(guarded["rho"]) < 0.35
    # what is maximised goes up meanwhile
    objective = np.array(plain["relaxed_per_bin"])
    assert (objective[-1] > objective[1]).any()


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The smoke scale's table."""
    study = make_study(load_experiment(FOLDER / "config.yaml", "smoke"))
    frame = pd.DataFrame(study.rows(CPU)).fillna({"posterior": "", "objective": ""})
    return frame.assign(experiment="convergence", scale="smoke")


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def test_every_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        for figure in drawn.values():
            figure.draw_without_rendering()
            assert all(axes.has_data() for axes in figure.axes)


def planted(table: pd.DataFrame, good: bool) -> pd.DataFrame:
    """The smoke table with what the claims ask about put in its place."""
    frame = table.copy()
    spread = 1 + 0.01 * frame["seed"]

    def put(value: float | pd.Series, **where: Any) -> None:
        keep = pd.Series(True, index=frame.index)
        for column, wanted in where.items():
            keep &= frame[column] == wanted
        assert keep.any(), where
        frame.loc[keep, "value"] = (value * spread)[keep]

    put(5.0, metric="predicted_growth")
    put(5.0, metric="predicted_by_lyapunov")
    put(5.0, metric="predicted_by_tail")
    put(5.5 if good else 9.0, metric="growth")
    put(1.5, metric="rho", run="diagram")
    put(0.4, metric="lyapunov")
    put(1.0 if good else 0.1, metric="exponent")
    put(0.9, metric="predicted_exponent")
    put(10.0 + 5.0 * (frame["temperature"] > 0) * (1 if good else -1), metric="sweeps", run="relaxed")
    put(-1.2, metric="elbo_per_bin", run="converged")
    put(-9.0 if good else -1.2, metric="elbo_per_bin", run="few_sweeps")
    for run in ("guard_05", "guard_095"):
        put(-1.2 if good else -5.0, metric="elbo_per_bin", run=run)
        put(0.5 if good else 2.0, metric="rho", run=run)
    return frame


def test_every_claim_holds_and_can_fail(table: pd.DataFrame, tmp_path: Path) -> None:
    many = pd.concat([table.assign(seed=table["seed"] + 2 * copy) for copy in range(3)])
    for claim in claims_of("convergence"):
        found = list(claim.judge(results(planted(many.reset_index(drop=True), True), tmp_path)))
        # a share of few conditions has no narrow interval
        assert {one.outcome for one in found if "conditions" not in one.measured} == {HOLDS}, claim.id
        outcomes = [one.outcome for one in claim.judge(results(planted(many, False), tmp_path))]
        assert outcomes.count(FAILS) >= len(outcomes) / 2, claim.id


def test_a_limit_is_read_from_a_run_s_name() -> None:
    assert (limit("guard_05"), limit("guard_095")) == (0.5, 0.95)


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    study = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(study, Convergence)
    assert scale == "smoke" or len(study.seeds) >= 5


def test_a_point_of_both_diagrams_is_made_once() -> None:
    diagram = Diagram(Law(density=0.1, rate_hz=3.0), [1.0], [0.1, 0.2], [1.0, 3.0])
    made = [(which, law.density, law.rate_hz) for which, law in diagram.places()]
    assert made == [("both", 0.1, 3.0), ("density", 0.2, 3.0), ("rate", 0.1, 1.0)]


@pytest.mark.parametrize(
    ("told", "make"),
    [
        ("cells", lambda: Law(cells=0)),
        ("rate_hz", lambda: Law(rate_hz=30.0)),
        ("laws", lambda: Growth({})),
        ("fewest", lambda: Growth({"a": Law()}, fewest=1)),
        ("draws", lambda: Growth({"a": Law()}, draws=1001)),
        ("bins", lambda: Growth({"a": Law()}, bins=[1000, 1000])),
        ("laws.a.bins", lambda: Growth({"a": Law(bins=[3])})),
        ("weight_sds", lambda: Diagram(Law(), [], [0.1], [3.0])),
        ("bins", lambda: Diagram(Law(), [1.0], [0.1], [3.0], bins=[100, 200, 300])),
        ("networks", lambda: Diagram(Law(), [1.0], [0.1], [3.0], networks=0)),
        ("temperatures", lambda: Temperatures(Law(), [1.0], [0.0])),
        ("seeds", lambda: Convergence(seeds=[1, 1])),
        ("growth", lambda: Convergence()),
    ],
)
def test_settings_without_meaning_are_refused_with_a_sentence(told: str, make: Any) -> None:
    with pytest.raises(UserError) as refusal:
        make()
    text = str(refusal.value)
    assert told in text and "found" in text and "expected" in text and "\n" not in text


def test_a_guard_without_meaning_is_refused_before_anything_runs(tmp_path: Path) -> None:
    text = (FOLDER / "config.yaml").read_text().replace("guard: {rho: 0.95}", "guard: {rho: 1.95}")
    (tmp_path / "convergence").mkdir()
    (tmp_path / "convergence" / "config.yaml").write_text(text)
    (tmp_path / "convergence" / "study.py").write_text(
        "from experiments.convergence.study import Convergence\n"
    )
    with pytest.raises(UserError, match=r"runs.guard_095.guard: rho: found 1.95, expected a number between"):
        make_study(load_experiment(tmp_path / "convergence" / "config.yaml", "smoke"))
