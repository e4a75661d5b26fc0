"""The VAE study: paired seeds, bounds that training raises, figures, claims, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS, verdict
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.belief_network.digits import digits
from experiments.flow_vae.study import FlowVaeStudy
from experiments.flows.claims import flow_posterior_gains
from experiments.flows.study import FlowSpec

FOLDER = Path(__file__).parents[2] / "experiments" / "flow_vae"
CPU = torch.device("cpu")


def study(**over: Any) -> FlowVaeStudy:
    own: dict[str, Any] = {
        "flows": {"planar": FlowSpec("planar", rate=0.01), "radial": FlowSpec("radial", rate=0.01)},
        "lengths": [1, 4],
        "seeds": [0, 1, 2],
        "hidden": 20,
        "latents": 4,
        "steps": 30,
        "batch": 50,
        "samples": 20,
        "evaluated": 40,
    }
    return FlowVaeStudy(**(own | over))


def rows(made: FlowVaeStudy) -> pd.DataFrame:
    return pd.DataFrame(made.rows(CPU)).assign(
        experiment="flow_vae", scale="smoke", posterior="", objective="", sampler=""
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A whole study in small."""
    return rows(study())


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def test_every_posterior_has_every_metric(table: pd.DataFrame) -> None:
    assert set(table["metric"]) == {"bound", "evidence", "gap", "train_bound"}
    assert len(table) == 4 * 3 * (1 + 2 * 2) and table["value"].notna().all()
    wide = table.pivot_table(index=["run", "length", "seed"], columns="metric", values="value")
    assert (wide["gap"] > 0).all(), "Jensen, on the same samples"
    assert np.allclose(wide["gap"], wide["evidence"] - wide["bound"])


def test_a_seed_does_not_depend_on_the_others(table: pd.DataFrame) -> None:
    alone = rows(study(seeds=[1], lengths=[4]))
    keys = ["run", "length", "metric"]
    both = alone.set_index(keys)["value"].to_frame("alone")
    both["beside"] = table[table["seed"] == 1].set_index(keys)["value"]
    assert np.allclose(both["alone"], both["beside"], atol=2e-3)
    others = table[table["seed"] != 1].groupby(keys)["value"].mean()
    assert not np.allclose(both["alone"], others.reindex(both.index), atol=0.02)


def test_training_beats_independent_pixels() -> None:
    """The best model without latents: every pixel at its rate in training."""
    images = digits()
    rate = images.train.mean(0).clip(1e-3, 1 - 1e-3)
    test = images.test
    independent = (test * np.log(rate) + (1 - test) * np.log1p(-rate)).sum(1).mean()
    made = study(
        steps=300, lengths=[4], seeds=[0], hidden=60, flows={"planar": FlowSpec("planar", rate=0.01)}
    )
    found = rows(made)
    bounds = found[found["metric"] == "bound"].set_index("run")["value"]
    assert (bounds > independent + 2).all() and set(bounds.index) == {"none", "planar"}


def test_the_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        drawn["bound"].draw_without_rendering()
        assert all(axes.has_data() for axes in drawn["bound"].axes)


def test_gains_are_judged_both_ways(table: pd.DataFrame, tmp_path: Path) -> None:
    def planted(gain: float) -> str:
        changed = table.copy()
        flows = (changed["metric"] == "bound") & (changed["run"] != "none")
        plain = changed[(changed["metric"] == "bound") & (changed["run"] == "none")].set_index("seed")[
            "value"
        ]
        seeds = changed.loc[flows, "seed"]
        changed.loc[flows, "value"] = seeds.map(plain) + gain * (1 + 0.1 * seeds)
        return verdict(list(flow_posterior_gains(results(changed, tmp_path))))

    assert planted(0.2) == HOLDS and planted(-0.2) == FAILS
    findings = list(flow_posterior_gains(results(table, tmp_path)))
    assert [finding.where for finding in findings] == [
        "planar, K = 1",
        "planar, K = 4",
        "radial, K = 1",
        "radial, K = 4",
    ]


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    made = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(made, FlowVaeStudy) and set(made.flows) == {"planar", "radial"}
    assert {spec.rate for spec in made.flows.values()} == {made.rate}


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"flows": {}}, "flows: found none"),
        ({"flows": {"none": FlowSpec("planar")}}, "flows: found the name 'none'"),
        ({"lengths": [0, 2]}, "lengths: found 0, expected numbers of at least 1"),
        ({"seeds": [1, 1]}, r"seeds: found \[1, 1\]"),
        ({"samples": 15}, "samples: found 15, expected a multiple of 10"),
        ({"batch": 0}, "batch: found 0"),
        ({"rate": 0.0}, "rate, anneal: found 0, 0"),
    ],
)
def test_settings_without_meaning_are_refused(over: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        study(**over)


def test_mnist_that_is_not_there_is_told_before_anything_is_trained() -> None:
    raw = load_experiment(FOLDER / "config.yaml", "smoke")
    raw.document.study["images"] = {"kind": "mnist", "path": "/nowhere/mnist.npz"}
    with pytest.raises(UserError, match=r"/nowhere/mnist\.npz: found no such file or folder"):
        next(make_study(raw).rows(CPU))
