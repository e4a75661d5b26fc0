"""Random instances: values stay in their ranges, by the cell's own seed only; fixed data sets stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dfp.config.networks import make_network, measurement, simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.instances import check_ranges, draw_instance
from dfp.data.networks import independent
from dfp.fitting.scores import instance_metrics

RANGES = {
    "rate_hz": [1, 10],
    "noise": [0.3, 1.2],
    "decay": [0.06, 0.3],
    "history_1": [-4, 0],
    "history_2": [-2, 1],
}
PANEL: dict[str, Any] = {"kind": "independent", "bias_sd": 0.0}


def spec(
    ranges: dict[str, Any] | None = None, seeds: tuple[int, ...] = (3, 5), **settings: Any
) -> SimulationSpec:
    network = PANEL | ({} if ranges is None else {"ranges": ranges})
    small: dict[str, Any] = {"bins": 25, "trials": 2, "test_trials": 1, "kernel_bins": 4}
    return SimulationSpec(network=network, seeds=list(seeds), **(small | settings))


def made(one: SimulationSpec) -> Dataset:
    """As the stage `simulate` makes it."""
    return simulated(one, "test")


@given(
    seed=st.integers(0, 2**31),
    pair=st.tuples(st.floats(0.01, 20), st.floats(0.01, 20)).map(sorted),
    name=st.sampled_from(sorted(RANGES)),
)
@settings(max_examples=60, deadline=None)
def test_a_value_lies_in_its_range_and_hangs_on_nothing_else(seed: int, pair: list[float], name: str) -> None:
    own = check_ranges({name: pair}, 2, 30.0)
    alone = draw_instance(own, seed)[name]
    assert pair[0] <= alone <= pair[1]
    beside = draw_instance({**{key: (0.5, 1.0) for key in reversed(RANGES)}, **own}, seed)
    assert beside[name] == alone
    assert draw_instance({name: (pair[0], pair[0])}, seed)[name] == pair[0]


def test_values_are_uniform_and_independent_of_one_another() -> None:
    ranges = check_ranges(RANGES, 2, 30.0)
    drawn = [draw_instance(ranges, seed) for seed in range(400)]
    shares = []
    for name, (low, high) in ranges.items():
        values = np.array([one[name] for one in drawn])
        share = (values - low) / (high - low)
        if name == "noise":  # evenly in the logarithm: a linear draw is caught below
            assert stats.kstest(share, "uniform").pvalue < 1e-6
            share = np.log(values / low) / np.log(high / low)
        assert stats.kstest(share, "uniform").pvalue > 1e-3, name
        shares.append(share)
    correlation = np.corrcoef(shares) - np.eye(len(shares))
    assert np.abs(correlation).max() < 4 / np.sqrt(len(drawn))


def test_drawn_parameters_reach_the_simulation() -> None:
    data = made(spec(RANGES, seeds=(3, 5, 8)))
    for n, seed in enumerate(data.seed):
        drawn = draw_instance(check_ranges(RANGES, 2, 30.0), int(seed))
        truth = data.start
        assert truth.noise[n] == drawn["noise"] and truth.decay[n] == drawn["decay"]
        assert truth.history[n].tolist() == [drawn["history_1"], drawn["history_2"]]
        assert 30.0 / (1 + np.exp(-truth.bias[n])) == pytest.approx(drawn["rate_hz"], rel=1e-12)
    assert len(np.unique(data.start.noise)) == 3


def test_the_noise_of_a_trace_is_that_of_its_cell() -> None:
    # no spikes to speak of: what is left of a trace is noise; sd of 4,000 frames known to about 1%
    quiet = {"rate_hz": [1e-4, 1e-4], "noise": [0.1, 2.0]}
    data = made(spec(quiet, seeds=(1, 2, 3), bins=2000))
    assert np.allclose(data.x.std((0, 1)), data.start.noise, rtol=0.06)


def test_a_range_of_one_cell_leaves_the_other_cells_alone() -> None:
    both, alone = made(spec(RANGES, seeds=(3, 5))), made(spec(RANGES, seeds=(5,)))
    assert np.array_equal(both.x[..., 1:], alone.x) and np.array_equal(both.z[..., 1:], alone.z)


def test_data_sets_without_ranges_are_the_same_to_the_bit() -> None:
    one = spec(None, seeds=(3, 5))
    plain = [independent(1, np.random.default_rng(seed), bias_sd=0.0) for seed in one.seeds]
    network = make_network(one, "test")
    assert np.array_equal(network.bias, np.concatenate([cell.bias for cell in plain]))
    assert np.array_equal(network.history, np.tile([-2.0, -1.0], (2, 1)))
    assert measurement(one) == {"decay": one.decay, "noise": one.noise}
    # ranges without width are the fixed values: nothing else may have been drawn on the way
    fixed = {"rate_hz": [2, 2], "noise": [0.5, 0.5], "decay": [0.15, 0.15], "history_1": [-2, -2]}
    first, second = made(one), made(spec(fixed, seeds=(3, 5)))
    assert np.array_equal(first.x, second.x) and np.array_equal(first.z, second.z)
    other = made(spec(fixed | {"noise": [0.6, 0.6]}, seeds=(3, 5)))
    assert np.array_equal(first.z, other.z) and not np.array_equal(first.x, other.x)


def test_true_parameters_are_told_where_they_vary_only() -> None:
    data = made(spec(RANGES))
    rows = instance_metrics(data)
    names = {"true_rate_hz", "true_noise", "true_decay", "true_history_1", "true_history_2"}
    assert {name for _, name, _ in rows} == names and len(rows) == 10
    told = {(n, name): value for n, name, value in rows}
    assert told[1, "true_noise"] == data.start.noise[1] and told[0, "true_decay"] == data.start.decay[0]
    assert told[1, "true_history_2"] == data.start.history[1, 1]
    assert instance_metrics(made(spec(None))) == []
    assert instance_metrics(made(replace(spec(None), network={**PANEL, "bias_sd": 0.3}))) == []


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ({"nois": [0.3, 1.2]}, "ranges: unknown parameter 'nois' (did you mean 'noise'?); known: rate_hz"),
        ({"history_3": [-1, 0]}, "unknown parameter 'history_3'"),
        ({"noise": [1.2, 0.3]}, "ranges.noise: found low 1.2 above high 0.3, expected low ≤ high"),
        ({"noise": [0, 1]}, "ranges.noise: found 0, expected numbers above 0"),
        ({"decay": 0.1}, "ranges.decay: found 0.1, expected two numbers [low, high]"),
        ({"decay": [0.1, "long"]}, "expected two numbers [low, high]"),
        ({"decay": [0.1, True]}, "expected two numbers [low, high]"),
        ({"decay": [0.1, float("nan")]}, "expected two numbers [low, high]"),
        ({"rate_hz": [1, 30]}, "ranges.rate_hz: found 30 Hz at 30 bins a second"),
        ([1, 2], "ranges: found [1, 2], expected a mapping of parameters to [low, high]"),
    ],
)
def test_ranges_without_meaning_are_one_sentence(ranges: Any, told: str) -> None:
    with pytest.raises(UserError) as refused:
        make_network(spec(ranges), "here")
    message = str(refused.value)
    assert told in message and message.startswith("here.network") and "\n" not in message


def test_other_networks_take_no_ranges() -> None:
    one = replace(spec(), network={"kind": "sparse_random", "cells": 3, "ranges": {}}, seeds=[0])
    with pytest.raises(UserError, match="unknown key 'ranges'"):
        make_network(one, "here")


def test_of_many_seeds_the_wrong_ones_are_told() -> None:
    with pytest.raises(UserError, match=r"seeds: found 41 with \[7\] among them, expected a list"):
        spec(RANGES, seeds=(*range(40), 7))
