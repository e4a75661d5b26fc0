"""The figures behind the verdicts: what a claim measures, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfp.results.judging import FAILS, HOLDS, Finding
from dfp.results.tables import ResultTables
from experiments.belief_network import claims as belief_network
from experiments.calibration import claims as calibration
from experiments.convergence import claims as convergence
from experiments.estimators import claims as estimators
from experiments.ledger import claims as ledger
from experiments.unrolled import claims as unrolled

COMMON = {
    "dataset": "d",
    "posterior": "p",
    "objective": "o",
    "sampler": "s",
    "experiment": "e",
    "scale": "default",
}
Row = dict[str, Any]


def row(run: str, metric: str, value: float, seed: int = 0, **labels: Any) -> Row:
    return {**COMMON, "run": run, "metric": metric, "value": value, "seed": seed, **labels}


def table(folder: Path, rows: Iterable[Row]) -> ResultTables:
    pd.DataFrame(list(rows)).to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def values(findings: Iterable[Finding]) -> dict[tuple[str, str], float]:
    return {(finding.measured, finding.where): finding.value for finding in findings}


def gradients(run: str, metric: str, by_seed: list[float], **labels: Any) -> list[Row]:
    about = {
        "family": "factorised",
        "bins": 4,
        "noise": 0.7,
        "sweeps": 0,
        "point": "near",
        "part": "phi",
        **labels,
    }
    return [row(run, metric, value, seed, **about) for seed, value in enumerate(by_seed)]


def test_an_antithetic_pair_is_judged_by_variances(tmp_path: Path) -> None:
    """Standard deviations of 1 and 2, and of 3 and 4: variance ratios ¼ and 9/16, geometric mean ⅜."""
    rows: list[Row] = []
    for part in ("phi", "theta"):
        rows += gradients("disarm", "relative_sd", [1.0, 3.0], part=part)
        rows += gradients("score_function", "relative_sd", [2.0, 4.0], part=part)
    found = list(estimators.antithetic_is_quieter(table(tmp_path, rows)))
    assert [finding.value for finding in found] == pytest.approx([3 / 8, 3 / 8])


def test_bias_is_pooled_as_a_root_mean_square_with_its_sign(tmp_path: Path) -> None:
    """Squares of 0.5 and −0.34 average to 0.08, of 0.1 and −0.82 to −0.36, whose root is told as −0.6."""
    rows: list[Row] = []
    for bins, squares in ((4, [0.5, 0.1]), (8, [-0.34, -0.82])):
        rows += gradients("relaxed_pmf", "squared_bias", squares, bins=bins, temperature=0.5)
    found = estimators.pooled(table(tmp_path, rows), "relaxed_pmf", "phi")
    assert found.droplevel(["family", "temperature"]).to_dict() == pytest.approx({0: 0.08**0.5, 1: -0.6})


def test_unrolled_sweeps_are_judged_in_every_condition(tmp_path: Path) -> None:
    rows: list[Row] = []
    for cells in (1, 20):
        for temperature in (0.25, 1.0):
            labels = {"cells": cells, "temperature": temperature}
            for seed in (0, 1):
                own = {"seed": seed, **labels}
                rows.append(row("u", "sweeps_until_still", 12.0 + 12 * seed, sweeps=0, **own))
                for part, needed in (("phi", 4.0), ("theta", 6.0)):
                    rows.append(row("u", "sweeps_needed", needed, part=part, sweeps=0, **own))
                    for sweeps in (4, 8):
                        bias = (0.02 if sweeps == 4 else 0.002) * cells * (1 + 0.002 * seed)
                        rows.append(row(f"u{sweeps}", "relative_bias", bias, part=part, sweeps=sweeps, **own))
    results = table(tmp_path, rows)
    eight = list(unrolled.eight_suffice(results))
    assert len(eight) == 8  # two parts, two sizes, two temperatures
    assert {finding.where for finding in eight if finding.outcome == HOLDS} == {
        "1 cell, temperature 0.25", "1 cell, temperature 1",
    }  # fmt: skip
    assert [finding.value for finding in eight[:2]] == pytest.approx([0.002002, 0.002002])
    assert {finding.outcome for finding in unrolled.four_suffice(results)} == {FAILS}
    # the larger of the two parts counts: 6 of 12 and of 24 sweeps, geometric mean √(1/2 · 1/4)
    few = list(unrolled.fewer_than_still(results))
    assert [finding.value for finding in few] == pytest.approx([8**-0.5] * 4)


def images(
    run: str, metric: str, value: float, train: int, test: int, budget: str, step: float = 0.0
) -> list[Row]:
    about = {"train_steps": train, "test_steps": test, "budget": budget}
    return [row(run, metric, value + step * seed, seed, **about) for seed in range(3)]


def test_refinement_is_trained_less_untrained(tmp_path: Path) -> None:
    """Bounds by steps in training and in test: each claim takes its own difference, with its own sign."""
    rows: list[Row] = []
    bounds = {(0, 0): -30.0, (0, 20): -29.0, (20, 0): -28.5, (20, 20): -27.0}
    for (train, test), value in bounds.items():
        rows += images("gaussian", "bound", value, train, test, "iterations", 0.1)
        rows += images("gaussian", "bound", value - train / 20, train, test, "seconds", 0.1)
    for train, left, whole in ((0, 0.5, 2.0), (20, 0.9, 1.0)):
        rows += images("gaussian", "gap_left", left, train, 20, "iterations")
        rows += images("gaussian", "gap_amortisation", whole, train, 20, "iterations")
    rows += images("gaussian", "iterations", 200.0, 20, 20, "seconds")
    results = table(tmp_path, rows)
    in_training, at_seconds, in_test = (
        [finding.value for finding in claim(results)]
        for claim in (
            belief_network.rises_in_training,
            belief_network.rises_at_equal_time,
            belief_network.rises_in_test,
        )
    )
    assert in_training == pytest.approx([3.0])  # −27 less −30
    assert at_seconds == pytest.approx([1.0])  # −27 − 1 less −29, both refined in test
    assert in_test == pytest.approx([1.0, 1.5])
    shares = [finding.value for finding in belief_network.removes_amortisation(results)]
    assert shares == pytest.approx([0.75, 0.1])


def test_miscoverage_is_the_factorised_ones_less_the_correlated_ones(tmp_path: Path) -> None:
    rows: list[Row] = []
    for seed in range(3):
        for run, covered in (("exact", 0.9), ("factorised", 0.7), ("fixed_point_score", 0.95)):
            for metric in ("coverage_50", "coverage_90"):
                rows.append(row(run, metric, covered, seed, window=30.0))
        rows.append(row("factorised", "rank_excess", 1.5, seed, window=30.0) | {"dataset": "panel"})
    found = values(calibration.factorised(table(tmp_path, rows)))
    assert list(found.values()) == pytest.approx([1.5, 0.2 - 0.05])


def test_sweeps_of_relaxed_draws_are_less_the_hard_ones(tmp_path: Path) -> None:
    rows = [
        row(
            "relaxed",
            "sweeps",
            10.0 + 4 * (temperature > 0) + seed,
            seed,
            temperature=temperature,
            weight_sd=1.0,
        )
        for seed in range(3)
        for temperature in (0.0, 0.5)
    ]
    found = list(convergence.relaxed_is_slower(table(tmp_path, rows)))
    assert [finding.value for finding in found] == pytest.approx([4.0])


def test_shares_of_the_ledger_are_of_the_right_whole(tmp_path: Path) -> None:
    rows: list[Row] = []
    steps = {"gap": 0.8, "gap_family": 0.6, "gap_amortisation": 0.4, "gap_sharing": 0.1, "gap_objective": 0.3}
    for pair in ledger.PAIRS.values():
        for run in pair:
            rows += [row(run, name, value, seed) for name, value in steps.items() for seed in range(3)]
    results = table(tmp_path, rows)
    assert [finding.value for finding in ledger.mostly_the_family(results)] == pytest.approx([0.75, 0.75])
    assert [finding.value for finding in ledger.shared_weights(results)] == pytest.approx([0.25, 0.25])
    assert np.allclose([finding.value for finding in ledger.families(results)], 0)
