"""A number that a claim asks of a table that is there cannot be hidden: every metric and every label of every
claim is taken out of the reference tables in turn."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from claim_tables import EXPERIMENTS as FOLDER
from claim_tables import all_claims

from dfp.cli import main
from dfp.core.errors import UserError
from dfp.results.judging import NOT_TESTED, Claim, Finding
from dfp.results.tables import ResultTables
from dfp.stages.claims import findings, judge

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "default"
EXPERIMENTS = sorted({claim.experiment for claim in all_claims()})
Change = Callable[[pd.DataFrame], pd.DataFrame]


@cache
def reference(experiment: str) -> Asked:
    """The tables of an experiment, read once."""
    return Asked(REFERENCE / experiment)


class Asked(ResultTables):
    """Tables that write down the metrics that are asked of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: set[str] = set()

    def _select(self, metric: str, where: dict[str, Any]) -> pd.DataFrame:
        self.asked.add(metric)
        return super()._select(metric, where)


def changed(results: ResultTables, change: Change) -> ResultTables:
    """The tables as if their file had been changed, without reading it again."""
    found = copy(results)
    found.table, found._asked_of = change(results.table), change(results._asked_of)
    return found


def judged(claim: Claim, results: ResultTables) -> list[Finding]:
    return findings(claim, {claim.experiment: results}, "default")


def without(metric: str) -> Change:
    return lambda frame: frame[frame["metric"] != metric]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_metric_taken_out_is_an_error_that_names_it(experiment: str) -> None:
    results = reference(experiment)
    for claim in (claim for claim in all_claims() if claim.experiment == experiment):
        results.asked = set()
        assert not any(found.outcome == NOT_TESTED for found in judged(claim, results))
        assert results.asked
        for metric in sorted(results.asked):
            with pytest.raises(UserError) as error:
                judged(claim, changed(results, without(metric)))
            for told in (f"'{metric}'", f"the claim {claim.id} ", str(results.path), experiment):
                assert told in str(error.value)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_label_taken_out_is_no_traceback(experiment: str) -> None:
    """A family is told from other columns where there is no label of it, so that it need not be there."""
    results = reference(experiment)
    claim = next(claim for claim in all_claims() if claim.experiment == experiment)
    for label in set(results.labels) - {"family", "budget"}:

        def drop(frame: pd.DataFrame, label: str = label) -> pd.DataFrame:
            return frame.drop(columns=label)

        try:
            found = judged(claim, changed(results, drop))
        except UserError as error:
            assert f"claim {claim.id}" in str(error)
        else:
            assert [str(one) for one in found] == [str(one) for one in judged(claim, results)]


@pytest.mark.parametrize(
    ("claim", "experiment", "metric", "run"),
    [
        ("C2", "wall_clock", "sweeps_mean", "fixed_point"),
        ("C3", "wall_clock", "seconds_per_draw", "sequential"),
        ("C3b", "wall_clock", "seconds_to_level", "network_compiled"),
        ("C4", "bias", "rate_bias", "logistic_flow_025_learned"),
        ("C6", "connectivity", "weight_correlation", "oasis_glm"),
        ("C6", "connectivity", "weight_slope", "fixed_point_score"),
        ("F1", "flows", "kl", "radial"),
        ("F2", "flow_vae", "bound", "planar"),
        ("F5", "families", "gap_per_bin", "refined_sigma"),
        ("G3g", "wall_clock", "race_seconds", "gibbs_posterior"),
        ("G8", "hundred_cells", "reached", "gibbs_posterior"),
        ("L1", "ledger", "closing_error", "pair_twisted"),
        ("B1", "belief_network", "exact_bound", "importance"),
        ("S1", "convergence", "predicted_by_lyapunov", "growth"),
    ],
)
def test_a_metric_that_a_single_run_lacks_is_an_error(
    claim: str, experiment: str, metric: str, run: str
) -> None:
    (one,) = (found for found in all_claims() if (found.id, found.experiment) == (claim, experiment))
    results = reference(experiment)
    there = results.metrics_of(run=run)
    assert metric in there and len(there) > 1

    def lacking(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["metric"] != metric) | (frame["run"] != run)]

    with pytest.raises(UserError, match=f"no metric '{metric}'.* the claim {claim} "):
        judged(one, changed(results, lacking))


def test_a_run_taken_out_is_not_tested_and_leaves_the_other_claims() -> None:
    def taken(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["run"] != "sequential"]

    name = "connectivity"
    frame = judge({name: changed(reference(name), taken)}, "default", all_claims())
    verdicts = frame[frame["experiment"] == name].groupby("claim")["verdict"].unique()
    assert list(verdicts["C2"]) == ["not tested (nothing of run 'sequential' is in the table)"]
    assert not any(NOT_TESTED in verdict for verdict in verdicts["C6"])


def test_the_reference_is_judged_as_its_own_claims_say(tmp_path: Path) -> None:
    tables: dict[str, ResultTables] = {name: reference(name) for name in EXPERIMENTS}
    judge(tables, "default", all_claims()).to_csv(tmp_path / "claims.csv", index=False)
    assert (tmp_path / "claims.csv").read_text() == (REFERENCE / "claims.csv").read_text()


def test_the_command_fails_and_leaves_what_was_written_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(REFERENCE / "connectivity" / "table.csv", low_memory=False)
    table["metric"] = table["metric"].replace("weight_correlation", "correlation_of_weights")
    path = tmp_path / "connectivity" / "table.csv"
    path.parent.mkdir()
    table.to_csv(path, index=False)
    before = {tmp_path / name: f"{name} of before" for name in ("claims.csv", "claims.md")}
    for kept, text in before.items():
        kept.write_text(text)
    asked = ["--results", str(tmp_path), "--experiments", str(FOLDER), "--out", str(tmp_path / "claims.csv")]
    assert main(["claims", *asked]) == 2
    told = capsys.readouterr().err
    for part in (
        "'weight_correlation'",
        "the claim C2",
        str(path),
        "run the experiment 'connectivity' again",
    ):
        assert part in told
    assert {kept: kept.read_text() for kept in before} == before
    assert len(list(tmp_path.iterdir())) == 3


def test_no_claim_leaves_out_a_finding_for_want_of_a_metric() -> None:
    """`has` is for figures: a claim that asked it would take a renamed metric for one that does not apply."""
    for module in {inspect.getmodule(claim.judge) for claim in all_claims()}:
        assert module is not None
        assert ".has(" not in inspect.getsource(module)
