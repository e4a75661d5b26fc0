"""Verdicts follow from intervals, both ways, and nothing untested holds; the page tells them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from claim_tables import GAPS, SDS, all_claims, judged, noisy, uncertainty, write

from dfp.core.errors import UserError
from dfp.results import judging as base
from dfp.results.judging import FAILS, HOLDS, NOT_TESTED, Finding, above, below, verdict, within
from dfp.stages.claims import claims


def test_holds_needs_the_whole_interval() -> None:
    assert above(noisy(1.0), 0.5, "", "").verdict == HOLDS
    assert above(noisy(1.0), 1.5, "", "").verdict == FAILS
    assert above(noisy(1.0), 1.001, "", "").verdict == "undecided (interval includes 1.00)"
    assert below(noisy(1.0), 1.5, "", "").verdict == HOLDS
    assert below(noisy(1.0), 0.5, "", "").verdict == FAILS
    assert within(noisy(1.0), 0.9, 1.1, "", "").verdict == HOLDS
    assert within(noisy(1.0), 1.2, 1.4, "", "").verdict == FAILS
    assert within(noisy(1.0), 0.6, 0.8, "", "").verdict == FAILS
    assert within(noisy(1.0), 0.5, 1.01, "", "").outcome == "undecided"


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_seeds_decide_nothing(values: list[float]) -> None:
    finding = above(values, 0.0, "", "")
    assert finding.outcome == "undecided"
    assert np.isnan(finding.low) and finding.n == len(values)


def test_a_geometric_mean_lies_inside_its_interval() -> None:
    values = [8.0, 9.0, 12.5, 10.0]
    mean, low, high = base.interval(values, log=True)
    assert mean == pytest.approx(np.prod(values) ** 0.25)
    assert low < mean < high
    assert low * high == pytest.approx(mean**2)  # symmetric in the logarithm


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("", HOLDS), ("", HOLDS)], "holds"),
        ([("", HOLDS), ("", FAILS)], "fails"),
        ([("", HOLDS), ("", "undecided (interval includes 0)")], "undecided"),
        ([("a", HOLDS), ("b", FAILS)], "holds where a; fails where b"),
        (
            [("a", HOLDS), ("b", HOLDS), ("c", "undecided (x)")],
            "holds where a / b; undecided where c",
        ),
        ([("a", HOLDS), ("a", FAILS), ("b", FAILS)], "fails"),
        ([("a", FAILS), ("b", "undecided (x)")], "fails where a; undecided where b"),
        (
            [(str(size), HOLDS if size < 5 else FAILS) for size in range(8)] + [("8", "undecided (x)")],
            "holds in 5 of 9 conditions, fails in 3, undecided in 1",
        ),
        (
            [(str(size), FAILS if size else "undecided (x)") for size in range(8)],
            "fails in 7 of 8 conditions, undecided in 1",
        ),
        ([("", "not tested (no table)")], "not tested"),
        ([("", "not tested (no table)"), ("a", HOLDS)], "holds"),
    ],
)
def test_a_claim_sums_up_its_findings(found: list[tuple[str, str]], expected: str) -> None:
    findings = [Finding("", "", 0.0, 0.0, 0.0, 5, "", outcome, where) for where, outcome in found]
    assert verdict(findings) == expected


def test_without_tables_nothing_is_tested(tmp_path: Path) -> None:
    frame = judged(tmp_path)
    known = {"C1", "C2", "C3", "C3a", "C4", "C5", "C6", "G1", "G2", "G3"}
    assert known <= set(frame["claim"]) == {claim.id for claim in all_claims()}
    assert set(frame["claim_verdict"]) == {NOT_TESTED}
    assert frame["verdict"].str.startswith("not tested (no table of the experiment").all()


def test_one_seed_leaves_everything_undecided(tmp_path: Path) -> None:
    write(tmp_path, "uncertainty", uncertainty(GAPS, SDS, seeds=1))
    frame = judged(tmp_path)
    tested = frame[(frame["experiment"] == "uncertainty")]
    assert set(tested["verdict"]) == {"undecided (n = 1: no interval)"}


def test_a_metric_without_a_value_and_a_run_that_was_left_out_are_not_tested(tmp_path: Path) -> None:
    table = uncertainty({run: gap for run, gap in GAPS.items() if run != "sequential"}, SDS)
    table = [row | {"value": np.nan} if row["metric"] == "covariance_lag1" else row for row in table]
    write(tmp_path, "uncertainty", table)
    frame = judged(tmp_path)
    verdicts = frame[frame["experiment"] == "uncertainty"].set_index("claim")["verdict"]
    assert verdicts["C1"] == "not tested ('covariance_lag1' for run 'factorised' has no value)"
    assert verdicts["C2"] == "not tested (nothing of run 'sequential' is in the table)"


def test_the_page_tells_every_claim_and_its_rule(tmp_path: Path) -> None:
    write(tmp_path, "uncertainty", uncertainty(GAPS, SDS))
    judged(tmp_path)
    page = (tmp_path / "claims.md").read_text()
    for claim in all_claims():
        assert claim.statement in page
        assert claim.rule and claim.rule in page
    widths = {
        line.count("|") - line.count("\\|")
        for line in page.split("## Figures")[0].splitlines()
        if line[:1] == "|"
    }
    assert widths == {5}
    widths = {
        line.count("|") - 2 * line.count("\\|")
        for line in page.split("## Figures")[1].splitlines()
        if line[:1] == "|"
    }
    assert len(widths) <= 2


def test_thresholds_are_stated_in_the_docstrings() -> None:
    rules: dict[str, str] = {}
    for claim in all_claims():
        rules[claim.id] = rules.get(claim.id, "") + claim.rule
    assert "0.001 nats per bin" in rules["C2"] and "above 10" in rules["C3"]
    assert "0.70" in rules["G1"] and "0.90" in rules["G2"]
    assert base.number(0.000512) == "0.000512" and base.number(12.345) == "12.3"


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        claims(tmp_path / "none", tmp_path / "c.csv", tmp_path / "c.md")
