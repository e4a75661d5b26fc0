"""Heavy-tailed noise through the commands: simulated, trained, scored, drawn; and what does not serve it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import PLOT, dfp

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.fitting.fitted import load

CONFIG = """
question: Does heavy-tailed noise put spoiled frames aside?
datasets:
  spoiled:
    network: {kind: independent}
    seeds: [0, 1]
    bins: 200
    trials: 8
    test_trials: 2
    kernel_bins: 6
    noise: 0.2
    observation: {kind: calcium_heavy_tailed, settings: {freedom: 1.5}}
defaults:
  recognition: {window: 4, hidden: 4, per_cell: true}
  posterior: {kind: factorised}
  training:
    steps: 250
    batch: 8
    model_learning_rate: 10
    temperature: {start: 0.5, end: 0.2, shape: linear}
  evaluation: {samples: 8, iwae_samples: 4, exact: false}
runs:
  gaussian: {model: {learn: [noise, baseline]}}
  heavy: {model: {kind: calcium_heavy_tailed, settings: {freedom: 6}, learn: [noise, baseline, freedom]}}
  after: {model: {kind: calcium_heavy_tailed, learn: [freedom]}, warm_start: heavy, phases: [{steps: 2}]}
figures: [gap]
"""


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment with both kinds, run."""
    root = tmp_path_factory.mktemp("kinds")
    folder = root / "experiments" / "kinds"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "plot.py").write_text(PLOT.replace("gap_per_bin", "elbo_per_bin"))
    (folder.parent / "claims.yaml").write_text("sources: {}\nclaims: []\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert dfp("run", "--only", "kinds", "--wandb", "disabled", "--device", "cpu") == 0
    return root


def test_a_run_with_outliers_goes_through(kinds: Path) -> None:
    """The kind that made the data has the better bound by far, and finds the tails and the scale."""
    table = pd.read_csv(kinds / "results" / "default" / "kinds" / "table.csv")
    values = table.pivot_table(index="run", columns="metric", values="value")
    assert values.loc["heavy", "elbo_per_bin"] > values.loc["gaussian", "elbo_per_bin"] + 0.3
    assert abs(values.loc["heavy", "noise_bias"]) < values.loc["gaussian", "noise_bias"] / 3
    # it started at 6 for 1.5
    assert abs(values.loc["heavy", "freedom_bias"]) < 1.0 and np.isnan(values.loc["gaussian", "freedom_bias"])
    assert (kinds / "figures" / "default" / "kinds" / "gap.png").is_file()


def test_data_and_checkpoints_name_their_kind(kinds: Path) -> None:
    results = kinds / "results" / "default" / "kinds"
    data = Dataset.load(results / "data" / "spoiled.npz")
    assert data.start.kind == "calcium_heavy_tailed"
    assert data.start.freedom.tolist() == [1.5, 1.5]  # type: ignore[attr-defined]
    found = {
        run: load(results / "runs" / run / "spoiled" / "checkpoint.pt", torch.device("cpu")).model
        for run in ("gaussian", "heavy", "after")
    }
    assert {run: model.name for run, model in found.items()} == {
        "gaussian": "calcium", "heavy": "calcium_heavy_tailed", "after": "calcium_heavy_tailed",
    }  # fmt: skip
    learned, went_on = (found[run].parameters_now().freedom for run in ("heavy", "after"))
    assert (learned < 6).all() and np.allclose(learned, went_on, rtol=0.2)


def test_a_checkpoint_of_one_kind_is_not_loaded_as_another(kinds: Path, tmp_path: Path) -> None:
    trained = kinds / "results" / "default" / "kinds" / "runs" / "heavy" / "spoiled" / "checkpoint.pt"
    payload = torch.load(trained, weights_only=True)
    payload["facts"]["settings"]["model"] = {"learn": ["noise", "baseline"]}
    torch.save(payload, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="found a checkpoint of the observation model 'calcium_heavy_tailed'"):
        load(tmp_path / "checkpoint.pt", torch.device("cpu"))


REFUSED = [
    ("exact: false}", "exact: true}",
     "runs.heavy.evaluation.exact: found the observation model 'calcium_heavy_tailed', expected 'calcium', "
     "which is all that it serves (exact: false does without)"),
    ("exact: false}", "exact: false, gibbs_sweeps: 2}",
     "runs.heavy.evaluation.gibbs_sweeps: found the observation model 'calcium_heavy_tailed'"),
    ("{kind: calcium_heavy_tailed, learn: [freedom]}", "{kind: calcium, learn: [noise]}",
     "runs.after.model.kind: found 'calcium', but it starts from the model of 'heavy', expected that model's "
     "'calcium_heavy_tailed' or warm_start_model: false"),
    ("{kind: calcium_heavy_tailed, learn: [freedom]}", "{kind: calcium_heavy_tail, learn: [freedom]}",
     "runs.after.model: kind: unknown observation model 'calcium_heavy_tail' (did you mean "
     "'calcium_heavy_tailed'?); known: calcium, calcium_heavy_tailed"),
    ("learn: [noise, baseline]}", "learn: [freedom]}",
     "runs.gaussian.model: learn: unknown parameter 'freedom'"),
    ("settings: {freedom: 6}", "settings: {dof: 6}", "runs.heavy.model: settings: unknown key 'dof'"),
    ("observation: {kind: calcium_heavy_tailed, settings: {freedom: 1.5}}",
     "observation: {kind: calcium, settings: {freedom: 1.5}}",
     "datasets.spoiled: observation.settings: unknown key 'freedom'"),
    ("observation: {kind: calcium_heavy_tailed, settings: {freedom: 1.5}}",
     "observation: {settings: {freedom: 1.5}}",
     "datasets.spoiled: observation: the key 'kind' is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "sentence"), REFUSED)
def test_what_does_not_serve_a_kind_says_so_before_anything_runs(
    tmp_path: Path, refused: Callable[..., str], before: str, after: str, sentence: str
) -> None:
    config = tmp_path / "experiments" / "kinds" / "config.yaml"
    config.parent.mkdir(parents=True)
    assert before in CONFIG
    config.write_text(CONFIG.replace(before, after, 1))
    (config.parent / "plot.py").write_text(PLOT)
    assert sentence in refused("check", config)


def test_exact_is_refused_on_data_of_a_kind_that_it_does_not_serve(
    kinds: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """The run's own model is Gaussian, the truth that an ideal observer would need is not."""
    config = tmp_path / "experiments" / "kinds" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG.replace("{model: {learn: [noise, baseline]}}", "{evaluation: {exact: true}}"))
    (config.parent / "plot.py").write_text(PLOT)
    data = kinds / "results" / "default" / "kinds" / "data" / "spoiled.npz"
    told = refused(
        "train", "--experiment", config, "--run", "gaussian", "--dataset", "spoiled", "--data", data, "--out",
        tmp_path / "checkpoint.pt", "--wandb", "disabled", "--device", "cpu",
    )  # fmt: skip
    assert "evaluation.exact, of this data set: found the observation model 'calcium_heavy_tailed'" in told
