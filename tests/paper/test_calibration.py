"""The study of calibration: its controls, the errors that it has to catch, refusals, figures and claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from claim_tables import claims_of
from matplotlib.figure import Figure

from dfp.config import load_experiment
from dfp.config.networks import simulated
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.core.parse import merge
from dfp.metrics import statistics
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.calibration import claims
from experiments.calibration.joint import JointTest, compare, exact_sampler, joint_rows
from experiments.calibration.panel import Panel, judged, window_ranks
from experiments.calibration.study import Calibration
from experiments.calibration.weights import weight_rows

pytest.importorskip("numba")

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "experiments" / "calibration" / "config.yaml"
CPU = torch.device("cpu")


def study(scale: str = "smoke", **over: Any) -> Calibration:
    """The experiment's study, with settings laid over it."""
    exp = load_experiment(CONFIG, scale)
    document = replace(exp.document, study=merge(exp.document.study, over))
    made = make_study(replace(exp, document=document))
    assert isinstance(made, Calibration)
    return made


def tiny_panel() -> Panel:
    """Three posteriors, little training, more trials to be judged on than in the smoke scale."""
    panel = study(panel={"data": {"test_trials": 120}, "samples": 39}).panel
    kept = ("factorised", "fixed_point", "fixed_point_score")
    return replace(panel, runs={name: run for name, run in panel.runs.items() if name in kept})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ResultTables:
    """The study's table, small."""
    settings = study()
    settings = replace(settings, panel=tiny_panel())
    folder = tmp_path_factory.mktemp("smoke") / "calibration"
    folder.mkdir()
    empty = {"posterior": "", "objective": "", "sampler": "", "experiment": "calibration", "scale": "smoke"}
    rows = [empty | row for row in settings.rows(CPU)]
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_every_scale_is_understood(scale: str) -> None:
    made = study(scale)
    # the marginal prior of the weights is the generating one, and no plant goes untested
    assert made.weights.prior.weight_sd == made.weights.data.network["weight_sd"]
    assert made.weights.data.network["density"] == 1


def test_the_controls_come_out_right(table: ResultTables) -> None:
    """The exact posterior, the samplers as they are and the two-sample test: no alarm at 0.1%."""
    pooled = table.rows("rank_p_ecdf", run="exact", dataset="pooled")["value"]
    assert pooled.min() > 0.001 / len(pooled)
    for run in ("exact", "gibbs"):
        assert table.rows("joint_p", run=run)["value"].min() > 0.001 / 4
    null = table.rows("two_sample_null")["value"]
    assert abs(null.mean() - 0.5) < 0.1  # few windows
    for window in claims.windows(table):
        coverage = table.values("coverage_90", run="exact", dataset="panel", window=window)
        # 120 trials of two cells
        assert abs(coverage.mean() - 0.9) < 4 * np.sqrt(0.09 / 240)


def test_planted_errors_are_caught_in_the_table(table: ResultTables) -> None:
    for run in ("exact_kernel_late", "exact_history_late", "gibbs_coupling_late"):
        assert table.rows("joint_p", run=run)["value"].min() < 1e-3
    # untrained posteriors are caught too
    assert table.rows("rank_p_ecdf", run="factorised", dataset="pooled")["value"].min() < 0.01


def test_an_error_that_is_not_caught_stops_the_study() -> None:
    """Noise so weak that the trace decides alone: a late history filter is then too little to be seen."""
    few = {"trials": 20, "test_trials": 8, "noise": 0.02, "network": {"history": [-0.1]}}
    settings = study(joint={"cell": few, "steps": 8}).joint
    with pytest.raises(NumericalError, match="a history filter one bin late in the exact sampler was not"):
        list(joint_rows(settings, CPU))


def test_the_joint_test_finds_a_simulator_that_differs() -> None:
    """The other way round: the sampler is right, the simulated traces are not."""
    settings: JointTest = study(joint={"cell": {"seeds": [3]}, "steps": 12}).joint
    data = simulated(settings.cell, "cell")
    right = compare(data, settings.steps, exact_sampler(data, "", CPU))
    other = replace(data, x=np.roll(data.x, 1, axis=1))
    assert right.p.min() > 0.001
    assert compare(other, settings.steps, exact_sampler(data, "", CPU)).p.max() < 1e-3


def test_ranks_take_one_stretch_a_trial_and_all_of_them() -> None:
    rng = generator(0)
    truth = torch.zeros(200, 30, 1, dtype=torch.int8)
    truth[:, 10:20] = 1  # the middle stretch of three is full
    z = torch.zeros(9, 200, 30, 1, dtype=torch.int8)
    ranks = window_ranks(z, truth, 10, rng)
    assert ranks.shape == (200, 1)
    full = (ranks > 0.9).double().mean()  # above all samples, or a random rank of a tie
    assert 0.3 < full < 0.5
    assert (window_ranks(z, truth, 0, rng) > 0.9).all()


def test_a_narrow_posterior_is_told_by_every_measure() -> None:
    """Samples that repeat themselves in place of the whole posterior, P(spike) pushed to 0 and 1."""
    settings = tiny_panel()
    rng = generator(1)
    rate = torch.rand(120, settings.data.bins, 2, generator=rng, dtype=torch.float64)
    truth = (torch.rand(rate.shape, generator=rng, dtype=torch.float64) < rate).to(torch.int8)
    noise = torch.rand(39, *rate.shape, generator=rng, dtype=torch.float64)
    honest, sure = (noise < rate).to(torch.int8), (0.5 + 0.3 * (noise - 0.5) < rate).to(torch.int8)
    found = {}
    for name, z in (("honest", honest), ("sure", sure)):
        rows = pd.DataFrame(list(judged(name, {}, z, statistics.marginals(z), truth, settings)))
        found[name] = rows.groupby("metric")["value"].mean()
    assert abs(found["honest"]["coverage_90"] - 0.9) < 0.03 < 0.1 < 0.9 - found["sure"]["coverage_90"]
    assert found["sure"]["rank_spread"] > 1.15 > found["honest"]["rank_spread"]
    assert found["sure"]["rank_excess"] > 1
    assert found["sure"]["ece"] > 2 * found["honest"]["ece"]
    assert found["sure"]["brier"] > found["honest"]["brier"]


def test_the_table_is_whole_and_has_no_row_twice(table: ResultTables) -> None:
    frame = table.table
    assert np.isfinite(frame["value"]).all()
    assert set(frame.loc[frame["metric"] == "ece", "run"]) == {"exact", *tiny_panel().runs}
    shares = frame[frame["metric"].str.match(r"coverage|weight_coverage|weight_gibbs_mass|brier|ece")]
    assert shares["value"].between(0, 1).all()
    low, high = (table.rows(f"reliability_{end}")["value"].to_numpy() for end in ("low", "high"))
    assert (low <= high).all()


def test_weight_rows_leave_the_missing_information_out_or_in(table: ResultTables) -> None:
    whole = table.values("weight_sd_ratio", run="laplace")
    naive = table.values("weight_sd_ratio", run="laplace_naive")
    assert (naive < whole).all()
    settings = replace(study().weights, data=replace(study().weights.data, seeds=[0]), sweeps=4)
    first, second = (list(weight_rows(settings, CPU)) for _ in range(2))
    assert first == second  # seeds decide


def test_figures_are_drawn(table: ResultTables) -> None:
    with style.look():
        drawn = load_plots(CONFIG.parent).figures(table)
        assert list(drawn) == load_experiment(CONFIG).figures
        for name, figure in drawn.items():
            assert isinstance(figure, Figure)
            figure.draw_without_rendering()
            assert all(axes.has_data() for axes in figure.axes), name


def test_claims_are_judged_from_the_table(table: ResultTables) -> None:
    for claim in claims_of("calibration"):
        findings = list(claim.judge(table))
        assert findings and all(finding.n >= 1 for finding in findings)


def made(tmp_path: Path, metrics: dict[tuple[str, str], float]) -> ResultTables:
    """A table of five cells with the given (run, metric) values."""
    rows = [
        {"run": run, "dataset": "panel", "seed": seed, "metric": metric, "window": 0,
         "value": value + 0.001 * seed}
        for (run, metric), value in metrics.items() for seed in range(5)
    ]  # fmt: skip
    empty = {"posterior": "", "objective": "", "sampler": "", "experiment": "calibration", "scale": "smoke"}
    tmp_path.mkdir(exist_ok=True)
    pd.DataFrame([empty | row for row in rows]).to_csv(tmp_path / "table.csv", index=False)
    return ResultTables(tmp_path)


@pytest.mark.parametrize(
    ("fixed", "factorised", "excess", "expected"),
    [(0.91, 0.98, 3.0, (HOLDS, HOLDS)), (0.97, 0.90, 0.5, (FAILS, FAILS))],
)
def test_claims_go_both_ways(
    tmp_path: Path, fixed: float, factorised: float, excess: float, expected: tuple[str, str]
) -> None:
    values: dict[tuple[str, str], float] = {("factorised", "rank_excess"): excess}
    for run, coverage in (("exact", 0.9), ("fixed_point_score", fixed), ("factorised", factorised)):
        values |= {(run, "coverage_50"): coverage - 0.4, (run, "coverage_90"): coverage}
    results = made(tmp_path / "one", values)
    assert {finding.verdict for finding in claims.correlated(results)} == {expected[0]}
    assert {finding.verdict for finding in claims.factorised(results)} == {expected[1]}


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"panel": {"windows": [0, 50]}}, "windows: found 50 bins, expected 0"),
        ({"panel": {"samples": 3}}, "samples: found 3, expected at least 9"),
        ({"panel": {"data": {"kernel_bins": 0}}}, "data.kernel_bins: found 0, expected a cut kernel"),
        ({"panel": {"data": {"test_trials": 5}}}, "data.test_trials: found 5, expected at least 20"),
        ({"panel": {"runs": {"fixed_point_score": {"warm_start": "fixed"}}}}, "found warm_start 'fixed'"),
        ({"panel": {"training": {"objective": {"kind": "nothing"}}}}, "unknown objective 'nothing'"),
        ({"joint": {"steps": 2}}, "steps: found 2, expected at least 8"),
        ({"joint": {"cell": {"test_trials": 0}}}, "cell.test_trials: found 0, expected at least 8"),
        ({"joint": {"network": {"network": {"kind": "peer", "cells": 3}}}}, "expected 'sparse_random'"),
        ({"weights": {"data": {"network": {"density": 0.5}}}}, "expected density 1.0"),
        ({"weights": {"sweeps": 0}}, "sweeps: found 0, expected at least 4"),
        ({"weights": {"sweps": 5}}, "unknown key 'sweps'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(over: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as refused:
        study(**over)
    assert told in str(refused.value) and "\n" not in str(refused.value)
