"""Coupled cells from simulation to one tidy table: a row a network, its peers tuned on another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.fitting.fitted import load
from dfp.results.tables import ResultTables
from dfp.stages.peers import peers
from dfp.stages.run import run

PEERS = ("glm_true_spikes", "oasis_glm", "oasis_correlation", "gibbs_em", "gibbs_posterior")

DOCUMENT = {
    "question": "Who acts on whom?",
    "minutes": {"default": 0.1},
    "datasets": {
        "net": {
            "network": {"kind": "sparse_random", "cells": 4, "density": 0.5, "weight_sd": 1.0, "rate_hz": 5},
            "seeds": [0, 1],
            "bins": 1500,
            "trials": 1,
            "test_trials": 0,
            "decay": 0.15,
            "noise": 0.2,
            "kernel_bins": 5,
        }
    },
    "defaults": {
        "model": {"learn": ["bias", "history", "coupling"], "start": "data"},
        "recognition": {"window": 3, "hidden": 8},
        "labels": {"parameters": "learned"},
        "training": {"steps": 40, "batch": 2, "window": 150, "burn_in": 10, "learning_rate": {"start": 0.02}},
        "evaluation": {"samples": 4, "iwae_samples": 2, "regression_samples": 2, "examples": 0},
    },
    "runs": {
        "factorised": {"posterior": {"kind": "factorised"}},
        "tied": {"posterior": {"kind": "autoregressive", "history": 3, "tied_coupling": True}},
        "truth": {
            "posterior": {"kind": "factorised"},
            "model": {"learn": [], "start": "truth"},
            "warm_start": "factorised",
            "warm_start_model": False,
            "labels": {"parameters": "truth"},
            "training": {"steps": 2},
            "evaluation": {"gibbs_sweeps": 2},
        },
        "twisted": {
            "posterior": {"kind": "twisted", "history": 5, "hidden": 8},
            "training": {
                "steps": 10,  # bin by bin they are slow ones
                "objective": {"kind": "wake_sleep", "dreams": 4, "lead": 10},
                "sampler": {"kind": "sequential"},
                "relaxation": "hard",
            },
        },
    },
    "peers": {
        "methods": list(PEERS),
        "tuning_seed": 9,
        "sweeps": 40,
        "burn_in": 15,
        "prior_sd": 0.7,
        "only": {"oasis_correlation": ["net_0"]},
    },
    "figures": [],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment run from nothing; its results folder."""
    root = tmp_path_factory.mktemp("network")
    path = root / "experiments" / "who" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(DOCUMENT))
    run(root, "default", wandb="disabled", figures=False)
    return root / "results" / "default" / "who"


def test_a_network_is_one_row_a_metric(made: Path) -> None:
    tables = ResultTables(made)  # refuses rows that are there twice
    runs = {"factorised", "tied", "truth", "twisted", *PEERS}
    assert set(tables.runs) == runs
    assert set(tables.table["setting"]) == {"net"} and set(tables.table["dataset"]) == {"net_0", "net_1"}
    learned = tables.rows("weight_correlation")
    assert set(learned["run"]) == runs - {"truth"} and len(learned) == 15
    assert set(tables.rows("weight_correlation", run="oasis_correlation")["dataset"]) == {"net_0"}  # `only`
    assert set(tables.rows("weight_slope")["run"]) == runs - {"truth", "oasis_correlation"}
    assert set(tables.rows("m_step_slope")["run"]) == {"factorised", "tied", "truth", "twisted"}
    assert set(tables.rows("m_step_history_1")["run"]) == {"factorised", "tied", "truth", "twisted"}
    assert len(tables.rows("elbo_per_bin")) == 8


def test_true_spikes_tell_the_weights_best(made: Path) -> None:
    """Four cells, 1,500 bins at 5 Hz: a regression on the truth correlates at least 0.8 with it."""
    tables = ResultTables(made)
    true = tables.values("weight_correlation", run="glm_true_spikes")
    assert true.min() > 0.8
    assert (tables.values("history_bias_1", run="glm_true_spikes").abs() < 1.0).all()


def test_the_exact_likelihood_comes_near_the_true_spikes(made: Path) -> None:
    """At noise 0.2 the traces tell nearly all of the spikes: blocked Gibbs correlates within 0.15 of the
    regression on them, unshrunk, and its posterior mean under a narrow prior has the smaller slope."""
    tables = ResultTables(made)
    true = tables.values("weight_correlation", run="glm_true_spikes")
    for method in ("gibbs_em", "gibbs_posterior"):
        assert (tables.values("weight_correlation", run=method) > true - 0.15).all()
    slopes = {method: tables.values("weight_slope", run=method).mean() for method in PEERS[-2:]}
    assert 0.75 < slopes["gibbs_em"] < 1.4 and slopes["gibbs_posterior"] < slopes["gibbs_em"]


def test_a_posterior_mean_tells_how_its_chain_mixed(made: Path) -> None:
    """25 draws of a chain that hardly remembers: what more sweeps would add to its correlation is little."""
    tables = ResultTables(made)
    side = {"run": "gibbs_posterior"}
    assert tables.values("gibbs_acceptance", **side).between(0.4, 1.0).all()
    assert tables.values("gibbs_effective_draws", **side).between(4, 40).all()
    assert tables.values("gibbs_rhat", **side).between(0.9, 1.3).all()
    gained = tables.values("weight_limit_correlation", **side) - tables.values("weight_correlation", **side)
    assert gained.between(-0.01, 0.1).all()
    assert set(tables.rows("weight_limit_correlation")["run"]) == {"gibbs_posterior"}


def test_gibbs_sweeps_give_back_what_the_posterior_lost(made: Path) -> None:
    """At the true parameters, two sweeps on the samples of a posterior that was hardly trained."""
    tables = ResultTables(made)
    before = tables.values("m_step_slope", run="truth")
    after = tables.values("gibbs_m_step_slope", run="truth")
    assert (abs(after - 1) < 0.3).all() and (abs(before - 1) > abs(after - 1)).all()
    assert set(tables.rows("gibbs_m_step_slope")["run"]) == {"truth"}


def test_the_mean_over_cells_is_what_a_row_holds(made: Path) -> None:
    data = Dataset.load(made / "data" / "net_0.npz")
    fitted = load(made / "runs" / "factorised" / "net_0" / "checkpoint.pt", torch.device("cpu"))
    expected = float((fitted.model.parameters_now().bias - data.start.bias).mean())
    found = ResultTables(made).rows("rate_bias", run="factorised", dataset="net_0")["value"]
    assert found.tolist() == [pytest.approx(expected, rel=1e-6)]


def test_learned_weights_are_kept_beside_the_true_ones(made: Path) -> None:
    weights = pd.read_csv(made / "weights.csv")
    assert set(weights["dataset"]) == {"net_0"}  # the first network of each setting
    assert set(weights["run"]) == {"factorised", "tied", "twisted", *PEERS}
    part = weights[weights["run"] == "tied"]
    assert len(part) == 12 and (part["to"] != part["from"]).all()
    coupling = Dataset.load(made / "data" / "net_0.npz").start.coupling
    assert np.allclose(part["true"], coupling[part["function"], part["to"], part["from"]])


def test_at_the_truth_the_model_is_the_truth(made: Path) -> None:
    """A warm start without the model: q from another run, parameters from the simulator."""
    truth, start = (
        load(made / "runs" / name / "net_0" / "checkpoint.pt", torch.device("cpu"))
        for name in ("truth", "factorised")
    )
    data = Dataset.load(made / "data" / "net_0.npz")
    assert np.allclose(truth.model.parameters_now().coupling, data.start.coupling, atol=1e-6)
    assert not np.allclose(start.model.parameters_now().coupling, data.start.coupling, atol=1e-2)


def test_tuning_data_are_no_data_to_score(made: Path) -> None:
    assert (made / "data" / "net_tuning.npz").is_file()
    assert not list(made.glob("runs/*/net_tuning"))
    assert not (made / "peers" / "net_tuning" / "metrics.csv").exists()
    chosen = made / "peers" / "net_tuning" / "settings.json"
    found = json.loads(chosen.read_text())
    assert set(found) == {"glm_true_spikes", "oasis_glm", "oasis_correlation"}
    assert all(0 < settings["score"] <= 1 for settings in found.values())
    path = made.parents[2] / "experiments" / "who" / "config.yaml"
    arguments = (path, "default", "net_0", made / "data" / "net_0.npz", made / "x.csv")
    with pytest.raises(UserError, match="found no --settings"):
        peers(*arguments)
    other = made.parent / "other.json"
    for text in ('{"oasis_glm": {}}', '{"oasis_glm": {"lagg": 2}}', "[1]", "{"):
        other.write_text(text)
        with pytest.raises(UserError, match=r"other\.json"):
            peers(*arguments, other)
    assert not (made / "x.csv").exists()


def test_refinement_is_evaluated_at_several_numbers_of_steps(tmp_path: Path) -> None:
    document = {
        "question": "How many steps?",
        "minutes": {"default": 0.1},
        "datasets": {
            "panel": {
                "network": {"kind": "independent", "rate_hz": 5},
                "seeds": [0, 1],
                "bins": 40,
                "trials": 4,
                "test_trials": 2,
                "kernel_bins": 4,
            }
        },
        "defaults": {"recognition": {"window": 2, "hidden": 4, "per_cell": True}, "training": {"steps": 2}},
        "runs": {
            "refined": {
                "posterior": {"kind": "refined", "steps": 1, "rate": 0.1, "estimator": "concrete"},
                "evaluation": {"samples": 20, "iwae_samples": 2, "refinement_steps": [0, 3]},
            }
        },
    }
    path = tmp_path / "experiments" / "few" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(document))
    run(tmp_path, "default", wandb="disabled", figures=False)
    table = ResultTables(tmp_path / "results" / "default" / "few").rows("gap_per_bin")
    assert sorted(table["steps_at_inference"]) == [0, 0, 3, 3]
    unrefined, refined = (table[table["steps_at_inference"] == n]["value"].to_numpy() for n in (0, 3))
    assert (unrefined != refined).all()
