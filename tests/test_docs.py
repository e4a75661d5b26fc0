"""The code on the README and in CONTRIBUTING runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cases
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import dfp.objectives
import dfp.posteriors
from dfp.cli import main
from dfp.config import build, fitting
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.core.parse import merge
from dfp.core.read import read_yaml
from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Loss, Objective, Problem
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer
from dfp.training.phase import Phase

ROOT = Path(__file__).parent.parent


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def block(page: str, mark: str, language: str = "python") -> str:
    """The one block of code of a page that holds ``mark``."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if mark in one]
    assert len(found) == 1, f"{page}: {len(found)} blocks of {language} hold '{mark}'"
    return str(found[0])


def test_the_library_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = block("README.md", "dfp.FixedPoint()")
    assert [line for line in example.splitlines() if "import" in line] == ["import torch", "import dfp"]
    printed = []
    for seed in (1, 2):  # every number of it is seeded by itself
        torch.manual_seed(seed)
        exec(compile(example, "README.md", "exec"), {})
        printed.append(capsys.readouterr().out)
    assert "sweeps instead of 1000 steps" in printed[0]
    assert printed[0] == printed[1]


@pytest.mark.parametrize(("page", "prints"), [("README.md", "2 cells"), ("docs/recordings.md", "2 cells")])
def test_a_recording_is_fitted_in_python_as_the_page_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: str,
    prints: str,
) -> None:
    """With a few steps in place of the thousand that the package's own settings ask for."""
    brief = {
        "cells": {"phases": [{"steps": 2}], "evaluation": {"samples": 4, "iwae_samples": 4}},
        "connections": {"training": {"steps": 2}, "evaluation": {"samples": 4, "iwae_samples": 4}},
    }
    settings = tmp_path / "fit.yaml"
    settings.write_text(yaml.safe_dump(merge(read_yaml(fitting.SETTINGS), brief)))
    monkeypatch.setattr(fitting, "SETTINGS", settings)
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("mine.csv", "later.csv")):
        x = 0.1 * np.random.default_rng(seed).normal(size=(200, 2))
        pd.DataFrame(x, columns=["a", "b"]).to_csv(name, index=False)
    names: dict[str, object] = {}
    for example in [one for one in python_blocks(page) if "result" in one]:
        exec(compile(example, page, "exec"), names)
    assert f"Result of fitting {prints}" in capsys.readouterr().out
    if "again" in names:
        assert isinstance(names["later"], pd.DataFrame) and names["later"].equals(names["again"])
        assert {path.name for path in Path("mine").iterdir()} >= {"checkpoint.pt", "connections.csv"}


@pytest.fixture
def markov(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Posterior]]:
    """The posterior of CONTRIBUTING.md, found in the package without being listed anywhere."""
    text = block("CONTRIBUTING.md", "class Markov(")
    (tmp_path / "markov.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(dfp.posteriors, "__path__", [*dfp.posteriors.__path__, str(tmp_path)])
    build.posteriors.cache_clear()
    yield build.posteriors()["markov"]
    build.posteriors.cache_clear()
    sys.modules.pop("dfp.posteriors.markov", None)


def make(raw: dict[str, object], x: torch.Tensor) -> Posterior:
    posterior = build.make_posterior(raw, TraceSummary.of(x), generator(0), "here")
    with torch.no_grad():  # away from zero, so that there is a dependence to be wrong about
        for parameter in posterior.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(1)))
    return posterior


def test_a_posterior_is_added_in_one_file(markov: type[Posterior]) -> None:
    x = torch.randn(2, 6, 2, generator=generator(2))
    posterior = make({"kind": "markov", "recognition": {"window": 2, "hidden": 4}}, x).double()
    q = posterior.condition(x.double()).q
    paths = all_paths(6, 2).expand(-1, 2, -1, -1)
    assert torch.allclose(
        q.log_prob(paths).sum((2, 3)).logsumexp(0), torch.zeros(2, dtype=torch.float64), atol=1e-10
    )
    noise = q.noise(50, generator(3))
    fast, slow = q.draw(noise, FixedPoint(), Hard()), q.draw(noise, Sequential(), Hard())
    assert torch.equal(fast.z, slow.z)
    assert fast.sweeps > 2, "the draw would be the same without any dependence"


def test_the_added_posterior_trains(markov: type[Posterior]) -> None:
    one_cell = CalciumNetwork(cases.parameters(cells=1), 30.0)
    x = torch.randn(4, 30, 1, generator=generator(4))
    posterior = build.make_posterior({"kind": "markov"}, TraceSummary.of(x), generator(0), "here")
    losses = [
        m["loss"]
        for m in Trainer(
            one_cell, posterior, x, [Phase(RelaxedPmf(), FixedPoint(), steps=30, batch=4)], 0
        ).run()
    ]
    assert losses[-1] < losses[0]


def test_an_objective_is_added_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tempered.py").write_text(block("CONTRIBUTING.md", "class Tempered("), encoding="utf-8")
    monkeypatch.setattr(dfp.objectives, "__path__", [*dfp.objectives.__path__, str(tmp_path)])
    build.objectives.cache_clear()
    try:
        one, half = (build.make_objective({"kind": "tempered", "beta": beta}, "here") for beta in (1.0, 0.5))
        with pytest.raises(UserError, match="tempered samples, beta: found 1, -1"):
            build.make_objective({"kind": "tempered", "beta": -1.0}, "here")
    finally:
        build.objectives.cache_clear()
        sys.modules.pop("dfp.objectives.tempered", None)
    x = torch.randn(3, 20, 1, generator=generator(0))
    problem = Problem(CalciumNetwork(cases.parameters(cells=1), 30.0), x, torch.ones_like(x), True)
    prior = problem.model.prior(3, 20)
    q = prior.with_drive(prior.drive + 0.5)  # else prior and entropy would cancel

    def loss(objective: Objective) -> Loss:
        return objective.loss(problem, q, FixedPoint(), Concrete(0.4), generator(1))

    plain, same, less = loss(RelaxedPmf()), loss(one), loss(half)
    assert same.total == plain.total
    parts = plain.terms
    expected = -(parts["log_likelihood"] + 0.5 * (parts["log_prior"] + parts["entropy"]))
    assert float(less.total) == pytest.approx(expected, rel=1e-5) and float(less.total) != float(plain.total)


def test_an_observation_model_is_added_in_one_file(tmp_path: Path) -> None:
    """The page's own text, and on it the conformance suite as it stands."""
    suite = str(ROOT / "tests" / "models" / "test_model_conformance.py")
    assert not (ROOT / "src" / "dfp" / "models" / "calcium_laplace.py").exists(), (
        "the page's example has moved in"
    )
    (tmp_path / "calcium_laplace.py").write_text(block("CONTRIBUTING.md", "class LaplaceCalcium("))
    (tmp_path / "with_laplace.py").write_text(
        f"import dfp.models\ndfp.models.__path__.append({str(tmp_path)!r})\n"
    )
    paths = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    asked = [sys.executable, "-m", "pytest", "-p", "with_laplace", "-k", "calcium_laplace", suite]
    done = subprocess.run(
        [*asked, "-p", "no:cacheprovider"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 12


def test_the_experiment_of_contributing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "experiments" / "closer"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(block("CONTRIBUTING.md", "question:", "yaml"), encoding="utf-8")
    (folder / "plot.py").write_text(block("CONTRIBUTING.md", "def figures("), encoding="utf-8")
    (folder.parent / "datasets.yaml").write_text((ROOT / "experiments" / "datasets.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    asked = ("run", "--only", "closer", "--scale", "smoke", "--wandb", "disabled", "--device", "cpu")
    assert main(asked) == 0
    table = pd.read_csv("results/smoke/closer/table.csv")
    assert set(table[table["metric"] == "gap_per_bin"]["run"]) == {"factorised", "fixed_point"}
    assert Path("figures/smoke/closer/gap.png").read_bytes().startswith(b"\x89PNG")


def test_an_experiment_with_a_study_and_a_claim_is_one_folder_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments = tmp_path / "experiments"
    folder = experiments / "sweeping"
    folder.mkdir(parents=True)
    (folder / "study.py").write_text(block("CONTRIBUTING.md", "class Sweeping("), encoding="utf-8")
    (folder / "claims.py").write_text(block("CONTRIBUTING.md", "def few("), encoding="utf-8")
    (folder / "plot.py").write_text(
        block("CONTRIBUTING.md", "def figures(").replace("gap_per_bin", "sweeps_per_bin"), encoding="utf-8"
    )
    document = {
        "question": "How many sweeps?",
        "kind": "study",
        "study": {"bins": [50, 400], "seeds": [0, 1, 2]},
        "figures": [],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    line = block("CONTRIBUTING.md", "id: X1", "yaml")
    catalogue = "sources: {goal: this project's own goal}\nclaims:\n" + line
    (experiments / "claims.yaml").write_text(catalogue)
    monkeypatch.chdir(tmp_path)
    asked = ("run", "--only", "sweeping", "--wandb", "disabled", "--device", "cpu", "--no-figures")
    assert main(asked) == 0
    verdicts = pd.read_csv("results/default/claims.csv")
    assert list(verdicts["claim"]) == ["X1", "X1"] and set(verdicts["where"]) == {"50 bins", "400 bins"}
    assert set(verdicts["n"]) == {3}
    assert (tmp_path / "results/default/claims.md").read_text().count("far fewer sweeps than bins") == 1

    (experiments / "claims.yaml").write_text(catalogue.replace("X1", "X2"))
    assert main(asked) == 2  # judged, and not in the catalogue
