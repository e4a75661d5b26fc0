"""Configuration of experiments: what it says, and what its fingerprints stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from documents import BASE, CONFIGS, ROOT, changed, load, write

from dfp.config import Experiment, list_experiments, load_experiment
from dfp.config.build import make_objective, make_phases, make_posterior, make_sampler
from dfp.config.schema import SCALES, SimulationSpec
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.posteriors.base import TraceSummary
from dfp.results.study import Study
from dfp.stages.study import make_study


@pytest.mark.parametrize("path", CONFIGS, ids=[path.parent.name for path in CONFIGS])
@pytest.mark.parametrize("scale", SCALES)
def test_every_experiment_loads_at_every_scale(path: Path, scale: str) -> None:
    exp = load_experiment(path, scale)
    assert exp.name == path.parent.name and exp.minutes > 0 and exp.document.question.endswith("?")
    assert exp.figures and (path.parent / "plot.py").is_file()
    if exp.kind == "tables":
        assert exp.sources and not exp.jobs()
        return
    if exp.kind == "study":
        assert isinstance(make_study(exp), Study)
        return
    assert exp.jobs() and all(run in exp.runs and data in exp.datasets for run, data in exp.jobs())
    for run in exp.runs:
        start = exp.warm_start(run)
        assert start is None or set(exp.run_datasets[run]) <= set(exp.run_datasets[start])


def test_the_experiments_of_the_repository_are_listed_in_their_order() -> None:
    names = list_experiments(ROOT)
    assert set(names) == {path.parent.name for path in CONFIGS} and len(names) >= 4
    orders = [load_experiment(ROOT / "experiments" / name / "config.yaml").document.order for name in names]
    assert orders == sorted(orders)


def test_settings_are_laid_over_one_another(tmp_path: Path) -> None:
    exp = load(tmp_path, BASE)
    plain, flow = (exp.raw_runs[name] for name in ("plain", "flow"))
    assert plain["posterior"]["recognition"] == {"window": 3, "hidden": 4}
    assert flow["posterior"]["recognition"] == {"window": 7, "hidden": 4}
    phases = make_phases(exp.runs["score"], "here")
    assert [(p.objective.name, p.relaxation, p.steps, p.batch) for p in phases] == [
        ("relaxed_pmf", "concrete", 200, 4),
        ("score_function", "hard", 30, 4),
    ]
    assert exp.jobs() == [
        ("plain", "panel"),
        ("plain", "other"),
        ("flow", "panel"),
        ("flow", "other"),
        ("score", "panel"),
    ]
    spec = exp.datasets["panel"]
    assert isinstance(spec, SimulationSpec) and spec.seeds == [0, 1] and spec.bins == 50


def test_scales_lie_over_the_document_and_stretch_the_steps(tmp_path: Path) -> None:
    smoke = load(tmp_path, BASE, "smoke")
    spec = smoke.datasets["panel"]
    assert isinstance(spec, SimulationSpec) and spec.seeds == [0] and spec.bins == 50
    assert [p.steps for p in make_phases(smoke.runs["score"], "here")] == [2, 1]  # 0.3 of a step is one step
    assert [p.steps for p in make_phases(load(tmp_path, BASE, "paper").runs["score"], "here")] == [200, 30]
    longer = load(tmp_path, changed("steps_scale", to=2.5))
    assert [p.steps for p in make_phases(longer.runs["score"], "here")] == [500, 75]
    unsaid = changed("steps_scale", to=0.5)
    del unsaid["defaults"]["training"]["steps"]
    assert make_phases(load(tmp_path, unsaid).runs["plain"], "here")[0].steps == 500


def test_settings_of_another_kind_do_not_carry_over(tmp_path: Path) -> None:
    document = changed("defaults", "training", "objective", to={"kind": "relaxed_pmf", "entropy": "analytic"})
    exp = load(tmp_path, document)
    assert exp.raw_runs["score"]["phases"][1]["objective"] == {"kind": "score_function", "samples": 4}
    assert exp.raw_runs["score"]["phases"][0]["objective"] == {"kind": "relaxed_pmf", "entropy": "analytic"}


def test_axes_make_every_combination(tmp_path: Path) -> None:
    axes = {
        "temperature": {"0.25": {"training": {"temperature": {"start": 0.25}}}, "0.5": None},
        "family": {
            "a": {"posterior": {"kind": "factorised"}},
            "b c": {
                "posterior": {"kind": "logistic_flow"},
                "training": {"objective": {"kind": "logistic_density"}},
            },
        },
    }
    exp = load(tmp_path, {**BASE, "axes": axes, "runs": {}})
    assert list(exp.runs) == ["025_a", "025_b_c", "05_a", "05_b_c"]
    assert exp.runs["025_b_c"].labels == {"temperature": "0.25", "family": "b c"}
    assert make_phases(exp.runs["025_b_c"], "here")[0].temperature.start == 0.25
    assert make_phases(exp.runs["05_a"], "here")[0].temperature.start == 0.5
    fewer = load(tmp_path, {**BASE, "axes": axes, "runs": {}, "only": {"temperature": ["0.5"]}})
    assert list(fewer.runs) == ["05_a", "05_b_c"]


def test_recognition_reaches_what_a_refined_posterior_refines(tmp_path: Path) -> None:
    for of in ("factorised", "autoregressive"):
        document = changed(
            "runs", "plain", "posterior", to={"kind": "refined", "of": of, of: {"recognition": {"window": 9}}}
        )
        exp = load(tmp_path, document)
        assert exp.raw_runs["plain"]["posterior"][of]["recognition"] == {"window": 9, "hidden": 4}


def test_a_network_with_several_seeds_is_a_data_set_for_each(tmp_path: Path) -> None:
    settings = {"network": {"kind": "sparse_random", "cells": 3}, "seeds": [4, 7]}
    document = changed("datasets", "net", to=settings)
    document["runs"]["plain"]["datasets"] = ["net"]
    document["peers"] = {"methods": ["oasis_glm"], "tuning_seed": 9}
    exp = load(tmp_path, document)
    assert list(exp.datasets) == ["panel", "other", "net_4", "net_7", "net_tuning"]
    assert [data for run, data in exp.jobs() if run == "plain"] == ["net_4", "net_7"]
    assert [data for run, data in exp.jobs() if run == "flow"] == ["panel", "other", "net_4", "net_7"]
    assert exp.tuned_on("net_7") == "net_tuning" and exp.tuned_on("panel") is None
    assert exp.scored == ["panel", "other", "net_4", "net_7"]
    spec = exp.datasets["net_tuning"]
    assert isinstance(spec, SimulationSpec) and spec.seeds == [9]
    document["peers"]["tuning_seed"] = 7
    with pytest.raises(UserError, match="which is the peers' tuning_seed"):
        load(tmp_path, document)


def test_a_peer_is_kept_to_the_data_sets_that_it_is_told(tmp_path: Path) -> None:
    """By the name of a data set, or of a setting that stands for a data set a seed."""
    document = changed(
        "datasets", "net", to={"network": {"kind": "sparse_random", "cells": 3}, "seeds": [4, 7]}
    )
    document["runs"]["plain"]["datasets"] = ["panel", "net"]
    document["peers"] = {"methods": ["oasis_glm", "gibbs_em"], "only": {"gibbs_em": ["net"]}}
    exp = load(tmp_path, document)
    assert exp.peers == ["oasis_glm", "gibbs_em"] and exp.peers_on("panel") == ["oasis_glm"]
    assert exp.peers_on("net_4") == exp.peers_on("net_7") == exp.peers
    document["peers"]["only"] = {"gibbs_em": ["net_7"], "oasis_glm": ["net_7"]}
    exp = load(tmp_path, document)
    assert exp.peers_on("net_4") == [] and exp.peers_on("net_7") == exp.peers


def test_a_data_set_extends_another_or_a_shared_one(tmp_path: Path) -> None:
    document = changed("datasets", "other", to={"extends": "panel", "bins": 70})
    document["datasets"]["panel"]["extends"] = "shared"
    path = write(tmp_path, document)
    shared = "shared:\n  noise: 0.9\n  bins: 999\n  network: {kind: independent}\n  seeds: [0]\n"
    (tmp_path / "experiments" / "datasets.yaml").write_text(shared)
    exp = load_experiment(path)
    other, panel = exp.datasets["other"], exp.datasets["panel"]
    assert isinstance(other, SimulationSpec) and isinstance(panel, SimulationSpec)
    assert (other.bins, other.noise, other.kernel_bins, other.seeds) == (70, 0.9, 5, [0, 1])
    assert (panel.bins, panel.noise) == (50, 0.9)


def test_names_become_objects() -> None:
    summary = TraceSummary.of(__import__("torch").zeros(1, 5, 2))
    posterior = make_posterior({"kind": "autoregressive", "history": 4}, summary, generator(0), "here")
    assert posterior.name == "autoregressive" and posterior.config.history == 4  # type: ignore[attr-defined]
    assert make_objective({"kind": "multi_sample", "samples": 3}, "here").samples == 3
    assert make_sampler({"kind": "fixed_point", "max_sweeps": 7}, "here").max_sweeps == 7  # type: ignore[attr-defined]


# ---------------------------------------------------------------- fingerprints


def fingerprints(exp: Experiment) -> dict[str, str]:
    found = {f"data {name}": exp.data_fingerprint(name) for name in exp.datasets}
    return found | {f"{run} on {data}": exp.run_fingerprint(run, data) for run, data in exp.jobs()}


@pytest.mark.parametrize(
    ("keys", "to", "moved"),
    [
        (("question",), "Another?", set()),
        (("minutes",), {"default": 3.0}, set()),
        (("order",), 7, set()),
        (("figures",), ["gap"], set()),
        (("in_all",), False, set()),
        (("scales", "smoke", "steps_scale"), 0.5, set()),
        (("runs", "plain", "posterior", "recognition"), {"window": 5}, {"plain on panel", "plain on other"}),
        (("runs", "flow", "seed"), 1, {"flow on panel", "flow on other", "score on panel"}),
        (("runs", "score", "phases", 1, "steps"), 31, {"score on panel"}),
        (
            ("defaults", "evaluation"),
            {"samples": 50, "iwae_samples": 20},
            {"plain on panel", "plain on other", "flow on panel", "flow on other", "score on panel"},
        ),
        (("datasets", "other", "bins"), 60, {"data other", "plain on other", "flow on other"}),
        (
            ("datasets", "panel", "noise"),
            0.7,
            {"data panel", "plain on panel", "flow on panel", "score on panel"},
        ),
    ],
)
def test_fingerprints_move_with_what_they_stand_for_only(
    tmp_path: Path, keys: tuple[Any, ...], to: Any, moved: set[str]
) -> None:
    before, after = fingerprints(load(tmp_path, BASE)), fingerprints(load(tmp_path, changed(*keys, to=to)))
    assert {name for name in before if before[name] != after[name]} == moved


def test_fingerprints_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    def reversed_(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reversed_(inner) for key, inner in reversed(value.items())}
        return [reversed_(inner) for inner in value] if isinstance(value, list) else value

    assert fingerprints(load(tmp_path, BASE)) == fingerprints(load(tmp_path, reversed_(BASE)))
