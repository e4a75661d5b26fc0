"""Claims about time: C3, C2's sweeps, G3."""

from __future__ import annotations

from pathlib import Path

import pytest
from claim_tables import SEEDS, judged, noisy, overall, rows, write

from dfp.results.judging import FAILS


def wall_clock(ratios: dict[int, float], sweeps: float = 8.0) -> list[dict[str, object]]:
    """Draws and training steps at some lengths: the sequential one takes `ratios` times as long."""
    table = []
    for bins, ratio in ratios.items():
        labels = {"bins": bins, "cells": 1, "chains": 16, "device": "cpu", "threads": 1}
        for measured, metric in (("sampling", "seconds_per_draw"), ("training", "seconds_per_step")):
            about = {**labels, "measured": measured, "dataset": f"{measured}_0"}
            # a posterior without history samples by the fixed point too: it must not enter the ratio
            for family, seconds in (("fixed_point", 0.05), ("factorised", 1e-3)):
                table += rows(family, metric, noisy(seconds)[::-1], family=family, **about)
                table += rows(family, "sweeps_mean", noisy(sweeps), family=family, **about)
            sampler = {"sampler": "sequential", "family": "sequential"}
            table += rows("sequential", metric, noisy(0.05 * ratio), **about, **sampler)
    return table


def race(name: str, ratio: float, extrapolated: bool) -> list[dict[str, object]]:
    """A race to one level."""
    about = {"measured": "race", "race": name, "level": "fixed_point", "extrapolated": extrapolated}
    slow = rows("sequential", "seconds_to_level", noisy(5.0 * ratio), family="sequential", **about)
    about["extrapolated"] = False
    for run in ("sequential", "fixed_point"):
        slow += rows(run, "reached", noisy(1.0, 0.0), family=run, **about)
    return slow + rows("fixed_point", "seconds_to_level", noisy(5.0), family="fixed_point", **about)


def test_an_order_of_magnitude_is_ten(tmp_path: Path) -> None:
    write(tmp_path, "wall_clock", wall_clock({300: 7.0, 500: 14.0}))
    frame = judged(tmp_path)
    size = "T = {}, 1 cell, 16 chains"
    sizes = {bins: f"draw: {size.format(bins)} / training step: {size.format(bins)}" for bins in (300, 500)}
    assert overall(frame, "C3") == f"holds where {sizes[500]}; fails where {sizes[300]}"
    assert overall(frame, "C3a") == "holds" and overall(frame, "G3") == "holds"
    row = frame[(frame["claim"] == "C3") & frame["where"].str.contains("T = 500")].iloc[0]
    assert float(row["value"]) == pytest.approx(14.0, rel=1e-3) and row["n"] == SEEDS


def test_races_are_judged_and_extrapolation_is_told(tmp_path: Path) -> None:
    table = wall_clock({300: 12.0}) + race("one_cell", 12.0, False) + race("network", 3.0, True)
    write(tmp_path, "wall_clock", table)
    found = overall(judged(tmp_path), "C3")
    fails = "network, correlation of the weights: to the fixed point's final level (sequential extrapolated)"
    assert found.endswith(f"; fails where {fails}")
    assert "one cell, ELBO: to the fixed point's final level" in found


def gibbs_race(ratio: float, reached: float) -> list[dict[str, object]]:
    """Networks on which Gibbs takes `ratio` times as long to the fixed point's level, or never gets there."""
    table = []
    for family, seconds in (("fixed_point", 5.0), ("gibbs_posterior", 5.0 * ratio)):
        about = {"measured": "race", "race": "network", "family": family}
        there = 1.0 if family == "fixed_point" else reached
        level = {**about, "level": "network_fixed_point"}
        table += rows(family, "reached", noisy(there, 0.0), **level)
        table += rows(family, "race_seconds", noisy(4 * seconds), **about)
        if there:
            table += rows(family, "seconds_to_level", noisy(seconds), extrapolated=False, **level)
    return table


@pytest.mark.parametrize(
    ("ratio", "reached", "wanted"), [(3.0, 1.0, "holds"), (0.2, 1.0, FAILS), (0.5, 0.0, "holds")]
)
def test_training_is_held_against_gibbs(tmp_path: Path, ratio: float, reached: float, wanted: str) -> None:
    write(tmp_path, "wall_clock", wall_clock({300: 12.0}) + gibbs_race(ratio, reached))
    frame = judged(tmp_path)
    assert overall(frame, "G3g") == wanted
    (row,) = frame[frame["claim"] == "G3g"].to_dict("records")
    # never there: all of its time, four times as long
    assert float(row["value"]) == pytest.approx(ratio if reached else 4 * ratio, rel=1e-2)
    assert row["where"] == f"{SEEDS if reached else 0} of {SEEDS} networks reached"


def test_few_chains_alone_count_for_the_goal(tmp_path: Path) -> None:
    table = wall_clock({300: 7.0})
    for row in wall_clock({1000: 2.0}):
        table.append({**row, "cells": 100})
    write(tmp_path, "wall_clock", table)
    assert overall(judged(tmp_path), "G3") == "holds"
    write(tmp_path, "wall_clock", wall_clock({300: 4.0}))
    assert overall(judged(tmp_path), "G3") == FAILS


def test_sweeps_are_few_against_the_bins(tmp_path: Path) -> None:
    write(tmp_path, "wall_clock", wall_clock({300: 7.0}, sweeps=30.0))
    assert overall(judged(tmp_path), "C2") == "holds"
    write(tmp_path, "wall_clock", wall_clock({100: 7.0}, sweeps=60.0))
    assert overall(judged(tmp_path), "C2") == FAILS
