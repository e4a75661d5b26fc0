"""The wall-clock stage: what it measures, and that competitors race over the same course."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.metrics.connectivity import weight_metrics
from dfp.references.gibbs.learning import weight_posterior
from dfp.results.tables import ResultTables
from dfp.stages.study import study
from experiments.wall_clock.races import time_to
from experiments.wall_clock.steps import WAYS, Case, measure

NETWORK = {"kind": "sparse_random", "cells": 3, "density": 0.5, "weight_sd": 1.0, "rate_hz": 4}
DOCUMENT: dict[str, Any] = {
    "question": "How long does it take?",
    "kind": "study",
    "alone": True,
    "minutes": {"default": 0.1},
    "datasets": {
        "panel": {
            "network": {"kind": "independent", "rate_hz": 4},
            "seeds": [0, 1],
            "bins": 40,
            "trials": 8,
            "test_trials": 2,
            "decay": 0.15,
            "noise": 0.5,
            "kernel_bins": 5,
        },
        "net": {"network": NETWORK, "seeds": [3], "bins": 400, "decay": 0.15, "noise": 0.5, "kernel_bins": 5},
    },
    "defaults": {
        "recognition": {"window": 2, "hidden": 4},
        "posterior": {"kind": "autoregressive", "history": 3},
        "training": {"steps": 12, "batch": 2},
    },
    "runs": {
        "fixed_point": {
            "datasets": ["panel"],
            "recognition": {"per_cell": True},
            "labels": {"family": "fixed_point"},
        },
        "sequential": {
            "datasets": ["panel"],
            "recognition": {"per_cell": True},
            "labels": {"family": "sequential"},
            "training": {"sampler": {"kind": "sequential"}},
        },
        "wide": {
            "datasets": ["net"],
            "labels": {"family": "fixed_point"},
            "model": {"learn": ["bias", "coupling"], "start": "data"},
            "training": {"window": 50, "burn_in": 5},
        },
        "wide_sequential": {
            "datasets": ["net"],
            "labels": {"family": "sequential"},
            "model": {"learn": ["bias", "coupling"], "start": "data"},
            "training": {"window": 50, "burn_in": 5, "sampler": {"kind": "sequential"}},
        },
    },
    "study": {
        "rounds": 2,
        "sampling": [{"bins": [20, 40], "batch": 2}],
        "training": [{"bins": [20], "cells": [1, 3], "batch": 2}],
        "steps": ["fixed_point", "sequential"],
        "races": {
            "one": {
                "datasets": ["panel"],
                "runs": ["fixed_point", "sequential"],
                "levels": ["fixed_point"],
                "checkpoints": 4,
                "samples": 20,
            },
            "many": {
                "datasets": ["net"],
                "runs": ["wide", "wide_sequential"],
                "metric": "weight_correlation",
                "levels": ["wide"],
                "checkpoints": 4,
                "extrapolated": {"wide_sequential": "wide"},
                "gibbs": 6,
            },
        },
        "gibbs": {
            "cells": [1, 3],
            "bins": 200,
            "runs": ["wide"],
            "rounds": 2,
            "mixing_cells": 2,
            "mixing_bins": 100,
            "mixing_sweeps": 12,
        },
    },
    "figures": [],
}


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "experiments" / "clock" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    path.with_name("study.py").write_text("from experiments.wall_clock.study import Timing\n")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clock")
    threads = torch.get_num_threads()
    study(write(root, DOCUMENT), "default", root / "out" / "table.csv", "cpu")
    assert torch.get_num_threads() == threads
    return root / "out"


def test_every_size_is_a_row_a_round(made: Path) -> None:
    tables = ResultTables(made)  # refuses rows that are there twice
    draws = tables.rows("seconds_per_draw", measured="sampling")
    assert len(draws) == len(WAYS) * 2 * 2 and (draws["value"] > 0).all()
    assert set(draws["bins"]) == {20, 40} and set(draws["chains"]) == {2}
    steps = tables.rows("seconds_per_step", measured="training")
    assert set(steps["cells"]) == {1, 3} and len(steps) == len(WAYS) * 2 * 2
    assert set(tables.rows("seconds_per_step", measured="families")["run"]) == {"fixed_point", "sequential"}
    sweeps = tables.rows("sweeps_mean", measured="sampling", family="fixed_point")
    assert ((sweeps["value"] >= 1) & (sweeps["value"] <= sweeps["bins"] + 1)).all()
    assert (tables.rows("sweeps_mean", family="factorised")["value"] == 1).all()
    assert set(tables.table["device"]) == {"cpu"} and set(tables.table["threads"]) == {1}
    assert (made / "environment.json").is_file()


def test_both_samplers_run_the_same_course(made: Path) -> None:
    """Trained on the same noise, sequential and fixed point are as good at every checkpoint."""
    curves = pd.read_csv(made / "curves.csv")
    one = curves[curves["race"] == "one"].pivot_table(index=["seed", "step"], columns="run", values="value")
    np.testing.assert_allclose(one["fixed_point"], one["sequential"], atol=0.02)
    assert (curves[curves["race"] == "one"]["value"] < curves[curves["race"] == "one"]["reference"]).all()
    assert sorted(curves.loc[curves["race"] == "one", "step"].unique()) == [1, 2, 5, 12]


def test_extrapolation_takes_measured_steps_along_the_other_curve(made: Path) -> None:
    curves = pd.read_csv(made / "curves.csv")
    many = curves[curves["race"] == "many"]
    slow, fast = (many[many["run"] == run].sort_values("step") for run in ("wide_sequential", "wide"))
    assert slow["extrapolated"].all() and not fast["extrapolated"].any()
    np.testing.assert_array_equal(slow["value"], fast["value"])
    each = slow["seconds"].to_numpy() / slow["step"].to_numpy()
    np.testing.assert_allclose(each, each[0])
    tables = ResultTables(made)
    reached = tables.rows("reached", run="wide_sequential", level="wide")
    assert reached["value"].tolist() == [1.0] and reached["extrapolated"].astype(bool).all()


def test_gibbs_stands_beside_the_training_steps(made: Path) -> None:
    tables = ResultTables(made)
    sweeps = tables.rows("seconds_per_sweep", measured="gibbs")
    assert set(sweeps["run"]) == {"gibbs_blocked", "gibbs_particles"} and set(sweeps["cells"]) == {1, 3}
    assert len(sweeps) == 2 * 2 * 2 and (sweeps["value"] > 0).all()
    steps = tables.rows("seconds_per_step", measured="gibbs")
    assert set(steps["run"]) == {"wide"} and set(steps["cells"]) == {1, 3}
    each = tables.rows("effective_per_sweep", measured="mixing")
    assert set(each["run"]) == {"gibbs_blocked", "gibbs_particles_cut", "gibbs_particles"}
    assert each["value"].between(0.02, 2).all()
    whole = tables.rows("effective_per_second", measured="mixing")
    seconds = tables.rows("seconds_per_sweep", measured="mixing")
    np.testing.assert_allclose(
        whole["value"].to_numpy() * seconds["value"].to_numpy(), each["value"].to_numpy(), rtol=1e-4
    )


def test_gibbs_races_along(made: Path) -> None:
    """Its draws are those of the weights' posterior, the mean that of their later half."""
    curves = pd.read_csv(made / "curves.csv")
    mine = curves[curves["family"] == "gibbs_posterior"].sort_values("step")
    assert mine["race"].unique().tolist() == ["many"] and mine["step"].tolist() == [1, 2, 3, 6]
    assert (np.diff(mine["seconds"]) > 0).all() and not mine["extrapolated"].any()
    data = Dataset.load(made / "data" / "net.npz")
    drawn = weight_posterior(data, 3, 3, int(data.seed[0]), 0.6).coupling.mean(0)
    wanted = weight_metrics(drawn, data.start.coupling)["weight_correlation"]
    assert mine["value"].iloc[-1] == pytest.approx(wanted, abs=1e-6)
    tables = ResultTables(made)
    assert len(tables.rows("final_weight_correlation", run="gibbs_posterior")) == 1
    assert len(tables.rows("reached", run="gibbs_posterior", level="wide")) == 1


def test_the_time_to_a_level() -> None:
    seconds = np.array([1.0, 10.0, 100.0])
    assert time_to(np.array([0.0, 1.0, 2.0]), seconds, 0.5) == pytest.approx(10**0.5)
    assert time_to(np.array([0.0, 1.0, 2.0]), seconds, 2.0) == pytest.approx(100.0)
    assert time_to(np.array([0.5, 1.0, 2.0]), seconds, 0.5) == 1.0
    assert time_to(np.array([0.0, 1.0, 0.0]), seconds, 1.5) == float("inf")


def test_cases_take_turns() -> None:
    """Each round starts with another case, so that none always follows the same one."""
    calls: list[str] = []

    def case(name: str) -> Case:
        return Case({"run": name}, "seconds", lambda: calls.append(name) or 1)  # type: ignore[func-returns-value]

    rows = list(measure([case("a"), case("b")], 2, torch.device("cpu")))
    order = [row["run"] for row in rows if row["metric"] == "seconds"]
    assert order == ["a", "b", "b", "a"]
    assert [row["seed"] for row in rows] == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rounds": 0}, "study: rounds"),
        ({"sampling": [{"bins": []}]}, "bins, cells"),
        ({"steps": ["fixd_point"]}, "study.steps: unknown run 'fixd_point' (did you mean 'fixed_point'?)"),
        ({"races": {"one": {"datasets": ["panl"], "runs": ["fixed_point"]}}}, "unknown data set 'panl'"),
        ({"races": {"one": {"datasets": ["panel"], "runs": ["sequental"]}}}, "unknown run 'sequental'"),
        (
            {"races": {"one": {"datasets": ["panel"], "runs": ["fixed_point"], "levels": ["wide"]}}},
            "levels: unknown run 'wide'",
        ),
        (
            {"races": {"one": {"datasets": ["panel"], "runs": ["fixed_point"], "metric": "elbo"}}},
            "metric: found 'elbo'",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    document = {**DOCUMENT, "study": {**DOCUMENT["study"], **change}}
    with pytest.raises(UserError) as error:
        study(write(tmp_path, document), "default", tmp_path / "out" / "table.csv", "cpu")
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_warm_start_has_no_place_in_a_race(tmp_path: Path) -> None:
    runs = {**DOCUMENT["runs"], "sequential": {**DOCUMENT["runs"]["sequential"], "warm_start": "fixed_point"}}
    document = {**DOCUMENT, "runs": runs, "study": {"races": DOCUMENT["study"]["races"]}}
    with pytest.raises(UserError, match="whose clock starts with the training"):
        study(write(tmp_path, document), "default", tmp_path / "out" / "table.csv", "cpu")
    assert not (tmp_path / "out" / "table.csv").exists()
