"""Mistakes in a configuration: one sentence each, and never a traceback."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import BASE, CONFIGS, changed, load, refusal, write

from dfp.config import load_experiment
from dfp.config.schema import SCALES, ModelSpec, RecordingsSpec, SimulationSpec
from dfp.core.errors import UserError
from dfp.models.calcium import CalciumParameters
from dfp.stages.study import make_study


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
        (("defaults", "training", "guard"), {"rho": 0.5}, None),
        (("defaults", "training", "guard"), 0.5, "guard: found the number 0.5, expected a mapping"),
        (("defaults", "training", "guard"), {"rho": 1.0}, "guard: rho: found 1, expected a number between 0"),
        (("defaults", "training", "guard"), {"rhos": 0.5}, "unknown key 'rhos' (did you mean 'rho'?)"),
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
            "objective relaxed_pmf: found the posterior logistic_flow",
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
        (("runs", "plain", "model"), {"told": {"decay": {"factor": 0.8, "spread": 0.1}, "noise": 2}}, None),
        (("runs", "plain", "model"), {"told": {"decy": 0.8}}, "told: found 'decy' (did you mean 'decay'?)"),
        (("runs", "plain", "model"), {"told": {"decay": 0}}, "told.decay: factor, spread: found 0, 0"),
        (("runs", "plain", "model"), {"told": {"decay": "low"}}, "told.decay: found text 'low', expected a"),
        (("runs", "plain", "model"), {"told": {"decay": {"sd": 1}}}, "told.decay: unknown key 'sd'"),
        (
            ("runs", "score", "model"),
            {"told": {"decay": 0.8}},
            "runs.score.model.told: found other constants than 'flow' is told",
        ),
        (
            ("runs", "score"),
            {**BASE["runs"]["score"], "warm_start_model": False, "model": {"told": {"decay": 1}}},
            None,
        ),
        (("defaults", "model"), {"told": {"decay": 0.8}}, None),
        (("defaults", "training", "constants_learning_rate"), 3, None),
        (
            ("defaults", "training", "constants_learning_rate"),
            0,
            "constants_learning_rate: found 0, expected",
        ),
        (("peers",), {"methods": ["oasis"], "told": {"low": {"decay": 0.8}}}, None),
        (
            ("peers",),
            {"methods": ["oasis"], "told": {"low": {"dcay": 1}}},
            "peers: told.low: found 'dcay' (did",
        ),
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
        (("datasets", "panel", "bin_rate"), 0, "bin_rate: found 0, expected a number above 0"),
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
        (("datasets", "other", "extends"), "panle", "unknown data set 'panle' (did you mean 'panel'?)"),
        (("datasets", "other", "extends"), "other", "found a circle (other → other)"),
        (("skip",), [{"family": "flow"}], "skip[0]: unknown family: 'flow'"),
        (("runs", "plain", "cost"), 0, "cost: found 0, expected a number above 0"),
        (("peers",), {"methods": ["oasys"]}, "unknown peer 'oasys' (did you mean 'oasis'?)"),
        (
            ("peers",),
            {"methods": ["gibbs_em"], "sweeps": 10, "burn_in": 10},
            "sweeps, burn_in, prior_sd: found 10, 10, 0.6",
        ),
        (
            ("peers",),
            {"methods": ["gibbs_em"], "particles": 1},
            "particles: found 1, expected 0 or at least 2",
        ),
        (
            ("peers",),
            {"methods": ["oasis"], "only": {"oasi": ["panel"]}},
            "only: found 'oasi' (did you mean 'oasis'?), expected one of the methods oasis",
        ),
        (
            ("peers",),
            {"methods": ["oasis"], "only": {"oasis": ["panle"]}},
            "peers.only.oasis: unknown data set 'panle' (did you mean 'panel'?)",
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
            exp = load(tmp_path, document, rng.choice(SCALES))
            if exp.kind == "study":
                make_study(exp)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1000
    assert refused > 15


@pytest.mark.parametrize(
    ("narrow", "key"), [({"only": {"lags": ["1"]}}, "only.lags"), ({"skip": [{"lags": "10"}]}, "skip")]
)
def test_a_start_that_the_user_left_out_is_no_unknown_run(
    tmp_path: Path, narrow: dict[str, Any], key: str
) -> None:
    """It used to suggest another run, as if the name had been mistyped."""
    axes = {
        "lags": {
            lags: {"posterior": {"kind": "autoregressive", "history": int(lags)}} for lags in ("1", "10")
        }
    }
    late = {"posterior": {"kind": "autoregressive", "history": 10}, "warm_start": "10"}
    document = {**BASE, "axes": axes, "runs": {"late": late}}
    load(tmp_path, document)
    told = refusal(tmp_path, {**document, **narrow})
    assert (
        f"runs.late.warm_start: found the run '10', which {key} leaves out, expected one that is kept" in told
    )
    assert "did you mean" not in told


def test_constants_that_may_be_told_are_those_that_a_kind_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a kind with a decay and a baseline, only the decay can be told by a factor."""
    monkeypatch.setattr(CalciumParameters, "constants", ("decay", "baseline"))
    with pytest.raises(
        UserError, match=r"told: found 'noise', which .* does not have, expected some of decay$"
    ):
        ModelSpec(told={"noise": 2.0})
