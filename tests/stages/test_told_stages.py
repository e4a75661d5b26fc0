"""Constants told wrong, from the configuration to the table: models, peers, and what the data keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dfp.data.dataset import Dataset
from dfp.data.told import Told, factors
from dfp.fitting.fitted import load
from dfp.results.tables import ResultTables
from dfp.stages.run import run

VARIED: dict[str, Any] = {"factor": 0.8, "spread": 0.3}
DOCUMENT: dict[str, Any] = {
    "question": "What is told?",
    "minutes": {"default": 0.1},
    "datasets": {
        "net": {
            "network": {"kind": "sparse_random", "cells": 3, "density": 0.6, "weight_sd": 1.0, "rate_hz": 5},
            "seeds": [0, 1],
            "bins": 400,
            "trials": 1,
            "test_trials": 0,
            "rise": 0.05,
            "decay": 0.15,
            "noise": 0.2,
            "kernel_bins": 5,
        }
    },
    "defaults": {
        "posterior": {"kind": "factorised"},
        "recognition": {"window": 2, "hidden": 4},
        "model": {"learn": ["bias", "history"], "start": "data", "told": {"noise": 1}},
        # so low a rate that what is learned stays where it starts, to five digits
        "training": {"steps": 1, "batch": 2, "window": 100, "learning_rate": {"start": 1e-6}},
        "evaluation": {"samples": 2, "iwae_samples": 2, "examples": 0},
    },
    "axes": {
        "told": {
            "right": {},
            "decay 2": {"model": {"told": {"decay": 2.0}}},
            "varied": {"model": {"told": {"amplitude": VARIED}}},
        },
        "constants": {
            "fixed": {},
            "learned": {"model": {"learn": ["bias", "history", "amplitude", "decay"]}},
        },
    },
    "peers": {
        "methods": ["glm_true_spikes", "oasis_correlation"],
        "tuning_seed": 9,
        "told": {"decay 2": {"decay": 2.0}, "right": {"decay": 1.0}},
    },
    "figures": [],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment run from nothing; its results folder."""
    root = tmp_path_factory.mktemp("told")
    path = root / "experiments" / "told" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))
    run(root, "default", wandb="disabled", figures=False)
    return root / "results" / "default" / "told"


@pytest.mark.parametrize("constants", ["fixed", "learned"])
@pytest.mark.parametrize(
    ("told", "decay", "amplitude"), [("decay_2", Told(2.0), Told()), ("varied", Told(), Told(**VARIED))]
)
def test_a_model_has_what_it_is_told_whether_it_learns_it_or_not(
    made: Path, told: str, decay: Told, amplitude: Told, constants: str
) -> None:
    data = Dataset.load(made / "data" / "net_1.npz")
    path = made / "runs" / f"{told}_{constants}" / "net_1" / "checkpoint.pt"
    found = load(path, torch.device("cpu")).model.parameters_now()
    assert np.allclose(data.start.amplitude, 1.0) and np.allclose(data.start.decay, 0.15)  # as simulated
    assert np.allclose(found.decay, 0.15 * factors(decay, "decay", data.seed), rtol=1e-4)
    if told == "varied" or constants == "fixed":  # else learned and not told: from an estimate
        assert np.allclose(found.amplitude, factors(amplitude, "amplitude", data.seed), rtol=1e-4)
    assert np.allclose(found.rise, data.start.rise) and np.allclose(found.noise, data.start.noise)


def test_the_table_tells_how_far_off_a_told_constant_is(made: Path) -> None:
    tables = ResultTables(made)
    assert tables.values("decay_off", run="decay_2_fixed").to_numpy() == pytest.approx(np.log(2), rel=1e-4)
    seeds = {name: Dataset.load(made / "data" / f"{name}.npz").seed for name in ("net_0", "net_1")}
    expected = [np.abs(np.log(factors(Told(**VARIED), "amplitude", seed))).mean() for seed in seeds.values()]
    assert tables.values("amplitude_off", run="varied_learned").to_numpy() == pytest.approx(
        expected, rel=1e-3
    )
    assert tables.values("noise_off", run="right_fixed").abs().max() < 1e-5
    assert not tables.has("decay_off", run="right_fixed")  # not told: nothing to be off
    assert tables.values("decay_bias", run="decay_2_learned").to_numpy() == pytest.approx(1.0, rel=1e-3)
    assert not tables.has("decay_bias", run="decay_2_fixed")


def test_peers_are_told_the_same_and_scored_on_the_truth(made: Path) -> None:
    tables = ResultTables(made)
    correlation = {
        run: tables.values("weight_correlation", run=f"oasis_correlation{run}").to_numpy()
        for run in ("", "_right", "_decay_2")
    }
    assert np.array_equal(correlation[""], correlation["_right"])
    assert (correlation[""] != correlation["_decay_2"]).any()
    assert set(tables.rows("weight_correlation", run="oasis_correlation_decay_2")["told"]) == {"decay 2"}
    # nothing reaches the regression on the true spikes
    assert [name for name in tables.runs if name.startswith("glm")] == ["glm_true_spikes"]


def test_errors_of_cells_do_not_cancel_in_what_is_off(made: Path) -> None:
    """The history is learned from 0 for a step of 1e-6: what is off is the true history's size."""
    path = made / "data" / "net_0.npz"
    truth = Dataset.load(path).start.history
    fitted = load(made / "runs" / "right_fixed" / "net_0" / "checkpoint.pt", torch.device("cpu"))
    found = ResultTables(made).rows("history_off_1", run="right_fixed", dataset="net_0")["value"]
    assert found.tolist() == [pytest.approx(float(np.abs(truth[:, 0]).mean()), abs=1e-4)]
    assert np.abs(fitted.model.parameters_now().history).max() < 1e-4
