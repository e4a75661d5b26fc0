"""Configuration of experiments: what it says, what it refuses, and that it never answers with a traceback."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from dfp.config import Experiment, list_experiments, load_experiment
from dfp.config.build import make_objective, make_phases, make_posterior, make_sampler
from dfp.config.schema import SCALES, RecordingsSpec, SimulationSpec
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.posteriors.base import TraceSummary

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "experiments").glob("*/config.yaml"))

BASE: dict[str, Any] = {
    "question": "Does it load?",
    "datasets": {
        "panel": {
            "network": {"kind": "independent", "rate_hz": 4, "history": [-2.0]},
            "seeds": [0, 1],
            "bins": 50,
            "kernel_bins": 5,
        },
        "other": {"network": {"kind": "independent", "rate_hz": 3}, "seeds": [3]},
    },
    "defaults": {
        "recognition": {"window": 3, "hidden": 4},
        "training": {"steps": 200, "batch": 4, "objective": {"kind": "relaxed_pmf"}},
    },
    "runs": {
        "plain": {"posterior": {"kind": "factorised"}},
        "flow": {"posterior": {"kind": "autoregressive", "history": 5, "recognition": {"window": 7}}},
        "score": {
            "posterior": {"kind": "autoregressive", "history": 5},
            "warm_start": "flow",
            "datasets": ["panel"],
            "phases": [
                {},
                {"objective": {"kind": "score_function", "samples": 4}, "relaxation": "hard", "steps": 30},
            ],
        },
    },
    "scales": {"smoke": {"steps_scale": 0.01, "datasets": {"panel": {"seeds": [0]}}}},
}


def write(tmp_path: Path, document: Any, name: str = "question") -> Path:
    path = tmp_path / "experiments" / name / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return path


def changed(*keys: Any, to: Any) -> dict[str, Any]:
    """The document above with one entry changed; the whole file's where no key is given."""
    document = copy.deepcopy(BASE)
    inner: Any = document
    for key in keys[:-1]:
        inner = inner[key] if isinstance(inner, list) else inner.setdefault(key, {})
    inner[keys[-1]] = to
    return document


def load(tmp_path: Path, document: Any, scale: str = "default") -> Experiment:
    return load_experiment(write(tmp_path, document), scale)


def refusal(tmp_path: Path, document: Any, scale: str = "default") -> str:
    with pytest.raises(UserError) as told:
        load(tmp_path, document, scale)
    return str(told.value)


# ---------------------------------------------------------------- what it says


@pytest.mark.parametrize("path", CONFIGS, ids=[path.parent.name for path in CONFIGS])
@pytest.mark.parametrize("scale", SCALES)
def test_every_experiment_loads_at_every_scale(path: Path, scale: str) -> None:
    exp = load_experiment(path, scale)
    assert exp.name == path.parent.name and exp.minutes > 0 and exp.document.question.endswith("?")
    assert exp.figures and (path.parent / "plot.py").is_file()
    if exp.kind == "timing":
        assert exp.timing is not None
        return
    assert exp.jobs() and all(run in exp.runs and data in exp.datasets for run, data in exp.jobs())
    for run in exp.runs:
        start = exp.warm_start(run)
        assert start is None or set(exp.runs[run].datasets or exp.datasets) <= set(
            exp.runs[start].datasets or exp.datasets
        )


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


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("keys", "to", "words"),
    [
        (("datsets",), {}, r"unknown key 'datsets' (did you mean 'datasets'?)"),
        (("runs", "plain", "posteror"), {}, "runs.plain: unknown key 'posteror' (did you mean 'posterior'?)"),
        (
            ("defaults", "training", "temprature"),
            {},
            "unknown key 'temprature' (did you mean 'temperature'?)",
        ),
        (("defaults", "training", "batch"), 0, "batch: found 0, expected at least 1"),
        (("defaults", "training", "batch"), "four", "batch: found text 'four', expected a whole number"),
        (("defaults", "training", "batch"), 2.5, "batch: found the number 2.5, expected a whole number"),
        (("defaults", "training", "batch"), True, "batch: found true/false True, expected a whole number"),
        (("defaults", "training", "clip"), "1.0", "clip: found text '1.0', expected a number"),
        (
            ("defaults", "training", "learn_model"),
            1,
            "learn_model: found the number 1, expected true or false",
        ),
        (("defaults", "training", "steps"), -5, "steps: found -5, expected at least 1"),
        (
            ("defaults", "training", "temperature"),
            0.5,
            "temperature: found the number 0.5, expected a mapping",
        ),
        (("defaults", "training", "temperature"), {}, "temperature: the key 'start' is missing"),
        (
            ("defaults", "training", "temperature"),
            {"start": -1.0},
            "temperature: found -1, expected numbers above 0",
        ),
        (
            ("defaults", "training", "temperature"),
            {"start": float("nan")},
            "start: found nan, expected a finite number",
        ),
        (("defaults", "training", "learning_rate"), {"start": -0.1}, "learning_rate: found -0.1"),
        (("defaults", "training", "window"), 5, None),
        (("defaults", "training", "burn_in"), -1, "window, burn_in: found 0, -1"),
        (("defaults", "training", "objective"), {"samples": 3}, "objective: the key 'kind' is missing"),
        (
            ("defaults", "training", "objective"),
            {"kind": "relaxed_pdf"},
            "unknown objective 'relaxed_pdf' (did you mean 'relaxed_pmf'?)",
        ),
        (
            ("defaults", "training", "objective"),
            {"kind": "multi_sample", "samples": 1},
            "samples: found 1, expected at least 2",
        ),
        (
            ("defaults", "training", "sampler"),
            {"kind": "fixedpoint"},
            "unknown sampler 'fixedpoint' (did you mean 'fixed_point'?)",
        ),
        (
            ("defaults", "training", "sampler"),
            {"kind": "sequential", "sweeps": 3},
            "sampler: unknown key 'sweeps'",
        ),
        (("defaults", "training", "relaxation"), "hart", "relaxation: unknown 'hart' (did you mean 'hard'?)"),
        (("defaults", "training", "relaxation"), "hard", "objective relaxed_pmf: found the hard relaxation"),
        (("defaults", "recognition", "hidden"), 0, "recognition.hidden: found 0, expected at least 1"),
        (("defaults", "recognition", "widow"), 3, "unknown key 'widow' (did you mean 'window'?)"),
        (
            ("runs", "plain", "posterior"),
            {"kind": "factorized"},
            "unknown posterior 'factorized' (did you mean 'factorised'?)",
        ),
        (("runs", "plain", "posterior"), {}, "posterior: the key 'kind' is missing"),
        (("runs", "plain"), {}, "posterior"),
        (
            ("runs", "plain", "posterior", "kind"),
            "logistic_flow",
            "objective relaxed_pmf: found with posterior logistic_flow",
        ),
        (
            ("runs", "flow", "posterior", "recognition"),
            3,
            "recognition: found the number 3, expected a mapping",
        ),
        (
            ("runs", "plain", "posterior"),
            {"kind": "refined", "factorised": 3},
            "factorised: found the number 3, expected a mapping",
        ),
        (("runs", "plain", "datasets"), ["panl"], "unknown data set 'panl' (did you mean 'panel'?)"),
        (("runs", "plain", "datasets"), "panel", "datasets: found text 'panel', expected a list"),
        (("runs", "plain", "warm_start"), "flwo", "warm_start: unknown run 'flwo' (did you mean 'flow'?)"),
        (("runs", "flow", "warm_start"), "score", "found a circle (flow → score → flow), expected a start"),
        (("runs", "plain", "warm_start"), "plain", "found a circle (plain → plain)"),
        (("runs", "plain", "warm_start"), "score", "'score' is not trained on 'other'"),
        (("runs", "score", "phases"), {}, None),
        (("runs", "score", "phases"), {"steps": 3}, "phases: found dict {'steps': 3}, expected a list"),
        (
            ("runs", "plain", "model"),
            {"learn": ["biass"]},
            "unknown parameter 'biass' (did you mean 'bias'?)",
        ),
        (("runs", "plain", "model"), {"start": "guess"}, "start: found 'guess', expected 'truth' or 'data'"),
        (("runs", "plain", "evaluation"), {"samples": 1}, "samples, iwae_samples: found 1, 100"),
        (("datasets", "panel", "noise"), -0.5, "noise: found -0.5, expected a number above 0"),
        (("datasets", "panel", "noise"), "loud", "noise: found text 'loud', expected a number"),
        (("datasets", "panel", "noise"), None, "noise: found nothing, expected a number"),
        (("datasets", "panel", "frame_rate"), 0, "frame_rate: found 0, expected a number above 0"),
        (("datasets", "panel", "rise"), -0.1, "rise, target_rate_hz: found -0.1"),
        (("datasets", "panel", "bins"), 0, "bins: found 0, expected at least 1"),
        (("datasets", "panel", "seeds"), [], "seeds: found []"),
        (("datasets", "panel", "seeds"), [1, 1], "seeds: found [1, 1]"),
        (("datasets", "panel", "seeds"), [0, "1"], "seeds[1]: found text '1', expected a whole number"),
        (
            ("datasets", "panel", "network"),
            {"kind": "indepndent"},
            "unknown network 'indepndent' (did you mean 'independent'?)",
        ),
        (("datasets", "panel", "network"), {}, "network"),
        (("datasets", "panel", "network", "kind"), [1], "unknown network [1]"),
        (("datasets", "panel", "network", "rate_hz"), "fast", "network"),
        (("datasets", "panel", "network", "history"), -2.0, "network.history: found -2.0, expected a list"),
        (("defaults", "training", "objective", "kind"), [1], "unknown objective [1]"),
        (("datasets", "panel", "network", "rate"), 3, "unknown key 'rate' (did you mean 'rate_hz'?)"),
        (
            ("datasets", "panel", "network"),
            {"kind": "sparse_random"},
            "seeds: found 2, expected exactly one for a network",
        ),
        (("datasets",), [], "datasets: found list [], expected a mapping"),
        (("kind",), "simulation", "kind: found 'simulation'"),
        (("steps_scale",), 0, "steps_scale: found 0.0, expected a number above 0"),
        (("question",), 3, "question: found the number 3, expected text"),
        (("scales", "smok"), {}, "unknown scale 'smok' (did you mean 'smoke'?)"),
        (("scales",), [1], "scales: found list [1], expected a mapping"),
        (("scales", "smoke"), 3, "scales.smoke: found the number 3, expected a mapping"),
        (("axes",), {"t": {"0.5": {}, "05": {}}}, "two runs named '05'"),
        (
            ("axes",),
            {"t": {"plain": {"posterior": {"kind": "factorised"}}}},
            "runs.plain: found a run of that name made by the axes",
        ),
        (("only",), {"t": ["a"]}, "only: unknown axis 't'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    tmp_path: Path, keys: tuple[Any, ...], to: Any, words: str | None
) -> None:
    document = changed(*keys, to=to)
    if words is None:
        load(tmp_path, document)
        return
    told = refusal(tmp_path, document)
    assert words in told
    assert "config.yaml" in told and "\n" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("question: [unclosed", "not valid YAML"),
        ("- a\n- b\n", "found no mapping"),
        ("", "found no mapping"),
        ("kind: simulated\n", "the key 'question' is missing"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(tmp_path, text)


def test_a_missing_file_and_an_unknown_scale(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        load_experiment(tmp_path / "absent.yaml")
    assert "scale: found 'smoky' (did you mean 'smoke'?)" in refusal(tmp_path, BASE, "smoky")


def test_recordings_are_refused_like_simulations(tmp_path: Path) -> None:
    document = {
        "question": "Real?",
        "kind": "recordings",
        "datasets": {"cells": {"cells": ["DS09_c00"], "rate_hz": 30}},
        "runs": {"plain": {"posterior": {"kind": "factorised"}}},
    }
    assert isinstance(load(tmp_path, document).datasets["cells"], RecordingsSpec)
    for change, words in (
        ({"cells": []}, "cells: found none"),
        ({"bins_per_frame": 0}, "expected at least 1, 0 and 0"),
        ({"seconds": -1}, "expected numbers above 0"),
        ({"seeds": [0]}, "unknown key 'seeds'"),
        ({"rise": {"GCaMP6f": "fast"}}, "rise.GCaMP6f: found text 'fast', expected a number"),
    ):
        wrong = copy.deepcopy(document)
        wrong["datasets"]["cells"].update(change)  # type: ignore[index]
        assert words in refusal(tmp_path, wrong)


def test_overrides_lie_over_the_scale(tmp_path: Path) -> None:
    path, over = write(tmp_path, BASE), tmp_path / "mine.yaml"
    over.write_text(yaml.safe_dump({"question": {"datasets": {"panel": {"bins": 77}}}}))
    exp = load_experiment(path, "smoke", over)
    spec = exp.datasets["panel"]
    assert isinstance(spec, SimulationSpec) and spec.bins == 77 and spec.seeds == [0]
    for text, words in (
        ("qestion: {}", r"unknown experiment 'qestion' \(did you mean 'question'\?\)"),
        ("question: 3", "found the number 3, expected a mapping"),
        ("question: {dataset: {}}", "unknown key 'dataset'"),
    ):
        over.write_text(text)
        with pytest.raises(UserError, match=words):
            load_experiment(path, "smoke", over)


# ---------------------------------------------------------------- never a traceback

JUNK: tuple[Any, ...] = (
    None,
    0,
    -1,
    3,
    0.5,
    float("nan"),
    float("inf"),
    True,
    "",
    "text",
    [],
    [1],
    [{}],
    {},
    {"a": 1},
    {"kind": "x"},
    {1: 2},
)


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [at] if at else []
    for key, value in inner:
        found += places(value, (*at, key))
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=[path.parent.name for path in CONFIGS])
def test_whatever_is_written_is_understood_or_refused_in_a_sentence(tmp_path: Path, path: Path) -> None:
    """Any one entry replaced by junk, or its key mistyped: 60 random cases of every experiment."""
    original = yaml.safe_load(path.read_text())
    rng = random.Random(path.parent.name)
    where = places(original)
    refused = 0
    for _ in range(60):
        document = copy.deepcopy(original)
        place = rng.choice(where)
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        if isinstance(place[-1], str) and rng.random() < 0.3:
            inner[place[-1] + "x"] = inner.pop(place[-1])
        else:
            inner[place[-1]] = rng.choice(JUNK)
        try:
            load(tmp_path, document, rng.choice(SCALES))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1000
    assert refused > 15
