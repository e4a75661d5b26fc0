"""The gap ledger: it closes, an error planted anywhere stops it, and it says what it measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from claim_tables import claims_of
from hypothesis import given
from hypothesis import strategies as st

from dfp.cli import main
from dfp.config import load_experiment
from dfp.core.errors import NumericalError, UserError
from dfp.core.parse import build
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS, verdict
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.ledger import problems as ledger_problems
from experiments.ledger.problems import CLOSES, STEPS, close
from experiments.ledger.study import Ledger

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "ledger"
PANEL = {
    "network": {"kind": "independent", "rate_hz": 8},
    "seeds": [0, 1],
    "bins": 4,
    "trials": 12,
    "test_trials": 3,
    "noise": 0.7,
    "kernel_bins": 4,
}
PAIR = {
    **PANEL,
    "network": {"kind": "sparse_random", "cells": 2, "density": 1.0},
    "bins": 3,
    "kernel_bins": 3,
}
QUICK = {"steps": 3, "batch": 4}
RUNS: dict[str, dict[str, Any]] = {
    "factorised": {"posterior": {"kind": "factorised"}},
    "refined": {
        "posterior": {"kind": "refined", "of": "factorised", "steps": 3},
        "warm_start": "factorised",
        "training": {"relaxation": "mean_field"},
    },
    "two_sweeps": {
        "posterior": {"kind": "autoregressive", "history": 3},
        "training": {"sampler": {"kind": "fixed_point", "sweeps": 2}},
    },
    "nonlinear": {
        "posterior": {"kind": "autoregressive", "history": 3, "nonlinear_hidden": 2, "nonlinear_history": 2},
        "training": {"objective": {"kind": "score_function", "samples": 4}, "relaxation": "hard"},
    },
    "logistic_flow": {
        "posterior": {"kind": "logistic_flow", "history": 3},
        "training": {"objective": {"kind": "logistic_density"}},
    },
}
TWISTED = {"kind": "twisted", "history": 3, "hidden": 3, "rounds": 1, "channels": 2}
ASLEEP = {"objective": {"kind": "wake_sleep", "samples": 0, "dreams": 8}, "relaxation": "hard"}
RUNS["twisted"] = {"posterior": TWISTED, "training": ASLEEP}
COUPLED = {"kind": "autoregressive", "history": 2, "coupling_lags": 2, "recognition": {"per_cell": False}}


def settings(**changed: Any) -> dict[str, Any]:
    """A ledger small enough for a test."""
    small = {
        "datasets": {"cells": PANEL},
        "defaults": {"training": QUICK, "recognition": {"window": 2, "hidden": 4, "per_cell": True}},
        "runs": RUNS,
        "starts": 1,
        "search_steps": 8,
        "samples": 30,
        "sweeps": [1, 4],
    }
    return small | changed


def table(**changed: Any) -> pd.DataFrame:
    study = build(Ledger, settings(**changed), "study")
    return pd.DataFrame(list(study.rows(torch.device("cpu"))))


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    return table()


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.pivot_table(index=["run", "seed"], columns="metric", values="value")


def test_every_posterior_of_every_cell_has_a_ledger_that_closes(panel: pd.DataFrame) -> None:
    whole = wide(panel[panel["sweeps"].isna()])
    assert len(whole) == len(RUNS) * 2
    steps = whole[[f"gap_{step}" for step in STEPS]]
    assert np.allclose(steps.sum(axis=1), whole["gap"], atol=1e-9)
    assert np.allclose(whole["log_evidence"] - whole["elbo"], whole["gap"], atol=1e-9)
    assert (whole["closing_error"] < CLOSES).all()
    assert (whole[["gap_family", "gap_amortisation"]] > -1e-9).all().all() and (whole["gap"] > 0).all()
    assert (
        (whole["elbo_sampled"] - whole["elbo_trained"]).abs().lt(6 * whole["elbo_sampled_error"] + 0.3).all()
    )


def test_families_are_shared_and_nested(panel: pd.DataFrame) -> None:
    """The refined posterior's law is factorised; a family that holds another is never farther away."""
    gaps = panel[panel["metric"] == "gap_family"].pivot_table(index="seed", columns="run", values="value")
    assert (gaps["refined"] == gaps["factorised"]).all()
    assert (gaps["logistic_flow"] == gaps["two_sweeps"]).all()
    assert (gaps["two_sweeps"] <= gaps["factorised"] + 1e-9).all()
    shared = panel[panel["metric"] == "gap_sharing"].pivot_table(index="seed", columns="run", values="value")
    assert (shared > -1e-9).all().all()
    assert (gaps["nonlinear"] <= gaps["two_sweeps"] + 1e-9).all()


def test_sweeps_cost_only_where_they_are_counted(panel: pd.DataFrame) -> None:
    own = wide(panel[panel["sweeps"].isna()])["gap_sweeps"]
    assert (own.drop("two_sweeps") == 0).all() and (own["two_sweeps"] != 0).all()
    at = panel[panel["sweeps"].notna()]
    assert set(at["run"]) == {
        "two_sweeps",
        "nonlinear",
        "logistic_flow",
        "twisted",
    }  # the others have no past
    after_all = at[(at["sweeps"] == 4)]["value"]
    assert after_all.abs().max() < 1e-12
    assert (at[(at["sweeps"] == 1) & (at["metric"] == "overstated_at_sweeps")]["value"] > 0).all()


def test_coupled_cells_are_one_problem_each_seed() -> None:
    runs = {
        "one": {"posterior": COUPLED, "training": {"sampler": {"kind": "fixed_point", "sweeps": 2}}},
        "factorised": {"posterior": {"kind": "factorised", "recognition": {"per_cell": False}}},
    }
    runs["twisted"] = {"posterior": {**TWISTED, "recognition": {"per_cell": False}}, "training": ASLEEP}
    found = table(datasets={"pair": PAIR}, runs=runs)
    whole = wide(found[found["sweeps"].isna()])
    assert len(whole) == 6 and (whole["closing_error"] < CLOSES).all()
    assert set(found["cells"]) == {2}


def test_a_network_without_coupling_is_refused() -> None:
    alone = {**PAIR, "network": {"kind": "sparse_random", "cells": 2, "density": 0.0}}
    runs = {"one": {"posterior": {"kind": "factorised", "recognition": {"per_cell": False}}}}
    with pytest.raises(UserError, match=r"datasets\.pair: found no coupling with seed 0"):
        table(datasets={"pair": alone}, runs=runs)


def plant(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Any], Any]) -> None:
    original = getattr(ledger_problems, name)
    monkeypatch.setattr(ledger_problems, name, lambda *given, **named: change(original(*given, **named)))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("chained_elbo", lambda found: found + 2e-6, "the steps miss the gap by up to 2e-06 nats"),
        ("law_after_sweeps", lambda found: 0.999 * found + 0.001 / len(found), "two_sweeps.*miss the gap"),
        ("log_probability", lambda found: found - 1e-4, "miss the gap"),
        ("best_members", lambda found: (found[0], found[1] - 5.0), "above one that it cannot exceed"),
        ("log_joint", lambda found: found + 1e-5, "miss the gap"),
        (
            "sample_hard",
            lambda found: replace(found, log_weights=found.log_weights - 9.0),
            "standard errors off the enumerated one",
        ),
    ],
)
def test_a_planted_error_stops_the_study(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Any], Any], said: str
) -> None:
    plant(monkeypatch, name, change)
    with pytest.raises(NumericalError, match=said):
        table(runs={run: RUNS[run] for run in ("factorised", "two_sweeps")})


def test_the_command_fails_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the rule of the workflow sees of an error: a status that is not 0, a sentence, no table."""
    import yaml

    config = tmp_path / "ledger" / "config.yaml"
    config.parent.mkdir()
    few = settings(runs={"factorised": RUNS["factorised"]})
    config.write_text(yaml.safe_dump({"question": "?", "kind": "study", "study": few}))
    config.with_name("study.py").write_text("from experiments.ledger.study import Ledger\n")
    out = tmp_path / "table.csv"
    ask = ["study", "--experiment", str(config), "--scale", "default", "--out", str(out), "--device", "cpu"]
    assert main(ask) == 0 and out.is_file()
    out.unlink()
    plant(monkeypatch, "chained_elbo", lambda found: found + 2e-6)
    assert main(ask) == 3 and not out.exists()
    assert "factorised on seed 0: the steps miss the gap" in capsys.readouterr().err


@given(
    st.lists(st.floats(-5, 5), min_size=4, max_size=4),
    st.floats(-3, 3).filter(lambda error: not 0.9 * CLOSES < abs(error) < 1.1 * CLOSES),
)
def test_closing_is_to_a_millionth_of_a_nat(values: list[float], error: float) -> None:
    steps = torch.tensor(values, dtype=torch.float64)[:, None]
    steps[:2] = steps[:2].abs()
    if abs(error) < CLOSES:
        assert float(close(steps, steps.sum(0) + error, "here")) <= CLOSES
    else:
        with pytest.raises(NumericalError, match="here: the steps miss the gap"):
            close(steps, steps.sum(0) + error, "here")


def test_what_is_no_number_does_not_close() -> None:
    steps = torch.full((4, 1), torch.nan, dtype=torch.float64)
    with pytest.raises(NumericalError, match="miss the gap"):
        close(steps, steps.sum(0), "here")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"starts": -1}, "starts: found -1, expected at least 0"),
        ({"samples": 1}, "samples: found 1, expected at least 2"),
        ({"sweeps": [2, 0]}, r"sweeps: found \[2, 0\], expected numbers of at least 1"),
        ({"steps_scale": 0.0}, "steps_scale: found 0.0, expected a number above 0"),
        ({"datasets": {"cells": {**PANEL, "bins": 13}}}, r"datasets.cells.bins: found 13 bins × 1 cells"),
        ({"datasets": {"pair": {**PAIR, "bins": 7}}}, r"datasets.pair.bins: found 7 bins × 2 cells"),
        ({"datasets": {"cells": {**PANEL, "kernel_bins": 0}}}, "kernel_bins: found 0, expected 1 to 12"),
        ({"datasets": {"cells": {**PANEL, "test_trials": 0}}}, "test_trials: found 0, expected at least 1"),
        (
            {"runs": {"a": {"posterior": {"kind": "twisted", "recognition": {"per_cell": False}}}}},
            "runs.a.posterior: found weights shared by cells",
        ),
        (
            {"runs": {"a": {"posterior": {"kind": "autoregressive", "tied_coupling": True}}}},
            "runs.a.posterior.tied_coupling: found true",
        ),
        (
            {"runs": {"a": {"posterior": {"kind": "factorised"}, "model": {"learn": ["bias"]}}}},
            r"runs.a.model.learn: found \['bias'\], expected none",
        ),
        ({"runs": {"a": {"posterior": {"kind": "factorized"}}}}, "did you mean 'factorised'"),
        ({"runs": {"a": {**RUNS["factorised"], "datasets": ["cell"]}}}, "unknown data set 'cell'"),
        ({"runs": {}}, "datasets, runs: found none"),
        (
            {"runs": {"a": {"posterior": {"kind": "factorised", "recognition": {"per_cell": False}}}}},
            "runs.a.posterior: found weights shared by cells, expected recognition.per_cell",
        ),
        ({"search": 3}, "unknown key 'search'"),
    ],
)
def test_refusals(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        build(Ledger, settings(**changed), "study")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_experiment_s_settings_are_understood(scale: str) -> None:
    study = make_study(load_experiment(EXPERIMENT / "config.yaml", scale))
    assert isinstance(study, Ledger) and len(study.runs) > 10
    assert all(len(spec.seeds) >= (2 if scale == "smoke" else 5) for spec in study.datasets.values())


# ---------------------------------------------------------------- figure and claims


def made(folder: Path, family: float = 0.5, seeds: int = 5) -> ResultTables:
    """A table of the experiment's shape, with the factorised family's gap as given."""
    rows = []
    names = ("factorised", "fixed_point", "fixed_point_score", "logistic_flow", "twisted")
    for run, dataset in [
        *((name, "one_cell") for name in names),
        *((f"pair_{name}", "pair") for name in names),
    ]:
        for seed in range(seeds):
            first = family if run.endswith("factorised") else 0.1
            steps = {"family": first, "amortisation": 0.05, "objective": 0.1, "sweeps": 0.0}
            if run.endswith("logistic_flow"):
                steps |= {"objective": 0.4, "sweeps": -0.2}
            if run.endswith("score"):
                steps["objective"] = 0.02
            if run.endswith("twisted"):
                steps |= {"family": family / 10, "objective": 0.01}
            scaled = {name: value * (1 + 0.05 * seed) for name, value in steps.items()}
            values = {f"gap_{name}": value for name, value in scaled.items()}
            values |= {
                "gap": sum(scaled.values()),
                "gap_sharing": 0.8 * scaled["amortisation"],
                "closing_error": 1e-14 * (seed + 1),
            }
            common = {
                "run": run,
                "dataset": dataset,
                "seed": seed,
                "posterior": run,
                "objective": "",
                "sampler": "",
            }
            common |= {"experiment": "ledger", "scale": "default", "family": names[0], "bins": 8, "cells": 1}
            rows += [{**common, "metric": metric, "value": value} for metric, value in values.items()]
            if not run.endswith("factorised"):
                for sweeps in (1, 2, 8):
                    cost = {"gap_at_sweeps": 0.1 / sweeps - 0.0125, "overstated_at_sweeps": 0.3 / sweeps}
                    rows += [{**common, "sweeps": sweeps, "metric": m, "value": v} for m, v in cost.items()]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def test_claims_follow_the_table_both_ways(tmp_path: Path) -> None:
    for family, wanted in ((0.5, HOLDS), (0.01, FAILS)):
        results = made(tmp_path / str(family), family)
        found = {claim.id: verdict(list(_tested(claim, results))) for claim in claims_of("ledger")}
        assert found["L1"] == found["L4"] == found["L5"] == found["L6"] == HOLDS
        assert found["L2"] == found["L3"] == wanted
        # a twisted family with a tenth of that gap: 0.05 or 0.001 of 0.1
        assert found["L7"] == found["L8"] == HOLDS
    far = made(tmp_path / "far", 5.0)
    found = {claim.id: verdict(list(_tested(claim, far))) for claim in claims_of("ledger")}
    assert found["L7"] == found["L8"] == FAILS


def _tested(claim: Any, results: ResultTables) -> list[Any]:
    return list(claim.judge(results))


@pytest.mark.parametrize("seeds", [1, 5])
def test_figures_show_every_step(tmp_path: Path, seeds: int) -> None:
    with style.look():
        drawn = load_plots(EXPERIMENT).figures(made(tmp_path, seeds=seeds))
        assert set(drawn) == set(load_experiment(EXPERIMENT / "config.yaml", "default").figures)
        figure = drawn["ledger"]
        figure.draw_without_rendering()
    axes = figure.axes[0]
    # bars of a row: to the right of 0 what adds, to the left what is won back
    widths = np.array([patch.get_width() for patch in axes.patches if abs(patch.get_width()) > 0])
    starts = np.array([patch.get_x() for patch in axes.patches if abs(patch.get_width()) > 0])
    assert (widths < 0).sum() == 1 and widths.min() == pytest.approx(-0.2 * (1.1 if seeds == 5 else 1))
    assert (starts[widths < 0] == 0).all() and (starts[widths > 0] >= 0).all()
