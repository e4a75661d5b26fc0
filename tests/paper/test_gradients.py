"""Exact gradients by enumeration, moments of draws, and the bias and z-test made from them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from cases import model, normal, problem, process, traces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import OwnHistory
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Problem
from dfp.references.exact.enumerated import enumerated_elbo
from dfp.results.intervals import z_threshold
from experiments.estimators.gradients import Estimate, Moments, independent_copies


def small(seed: int, bins: int = 3, cells: int = 2) -> tuple[CalciumNetwork, Problem, Tensor, Tensor]:
    """A panel of two cells, and drive and taps of a posterior with own history."""
    network = model(cells, seed, history=2, kernel_bins=2)
    rng = generator(seed)
    x = traces(seed, 1, bins, cells)
    return network, problem(network, x, independent=True), normal(rng, 1, bins, cells), normal(rng, cells, 2)


def by_hand(network: CalciumNetwork, x: np.ndarray, drive: np.ndarray, taps: np.ndarray, cell: int) -> float:
    """One cell's ELBO, path by path and bin by bin, in plain Python."""
    value = {name: network.value(name).detach().numpy()[cell] for name in ("bias", "history", "noise")}
    mean = [float(network.value(name).detach()[cell]) for name in ("baseline", "amplitude")]
    kernel = network.kernel(len(x)).detach().numpy()[cell]
    total = 0.0
    for path in itertools.product((0, 1), repeat=len(x)):
        log_q = log_p = 0.0
        for t, z in enumerate(path):
            past = [path[t - lag] if t >= lag else 0 for lag in (1, 2)]
            logit, prior = drive[t] + taps @ past, value["bias"] + value["history"] @ past
            log_q += z * logit - math.log1p(math.exp(logit))
            log_p += z * prior - math.log1p(math.exp(prior))
            calcium = sum(kernel[lag] * path[t - lag] for lag in range(len(kernel)) if t >= lag)
            residual = (x[t] - mean[0] - mean[1] * calcium) / value["noise"]
            log_p += -0.5 * residual**2 - math.log(value["noise"]) - 0.5 * math.log(2 * math.pi)
        total += math.exp(log_q) * (log_p - log_q)
    return total


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_elbo_is_that_of_every_path_by_hand(seed: int) -> None:
    network, setting, drive, taps = small(seed)
    found = enumerated_elbo(setting, CausalBernoulli(drive, (OwnHistory(taps),))).detach()
    for cell in range(2):
        x, own = setting.x[0, :, cell].numpy(), drive[0, :, cell].numpy()
        assert float(found[0, cell]) == pytest.approx(
            by_hand(network, x, own, taps[cell].numpy(), cell), abs=1e-10
        )


def test_trials_and_coupled_cells_are_enumerated_too() -> None:
    """Trials as they are alone; cells of a network as one group, their sum where none is coupled."""
    network, _, _, _ = small(0)
    own, x = process("own_history", 0, 2, 3, 2), traces(0, 2, 3, 2)
    both = enumerated_elbo(problem(network, x, independent=True), own)
    for trial in range(2):
        alone = problem(network, x[trial : trial + 1], independent=True)
        found = enumerated_elbo(alone, own.with_drive(own.drive[trial : trial + 1]))
        assert torch.allclose(both[trial], found[0], atol=1e-12)
    together = enumerated_elbo(problem(network, x, independent=False), own)
    assert torch.allclose(together, both.sum(1, keepdim=True), atol=1e-12)


def test_what_cannot_be_enumerated_is_refused() -> None:
    network, setting, _, _ = small(0)
    with pytest.raises(UserError, match="found coupled cells, expected"):
        enumerated_elbo(setting, process("coupled", 0, 1, 3, 2))
    with pytest.raises(UserError, match="expected at most 20"):
        enumerated_elbo(
            problem(network, traces(0, 1, 21, 2), independent=True), process("own_history", 0, 1, 21, 2)
        )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 1),
    shift=st.sampled_from([0.0, 1e6]),
)
def test_moments_of_batches_are_those_of_all_draws(seed: int, sizes: list[int], shift: float) -> None:
    draws = normal(generator(seed), sum(sizes), 2, 3) + shift
    moments = Moments()
    for batch in draws.split(sizes):
        moments.add(batch)
    found = moments.against(torch.zeros(2, 3, dtype=torch.float64))
    assert found.draws == len(draws)
    assert torch.allclose(found.mean, draws.mean(0), rtol=1e-12)
    assert torch.allclose(found.variance, draws.var(0), rtol=1e-6, atol=1e-9)


def test_moments_need_two_draws() -> None:
    moments = Moments()
    moments.add(torch.zeros(1, 2))
    with pytest.raises(UserError, match="found 1 draws, expected at least 2"):
        moments.against(torch.zeros(2))


def draws_about(exact: Tensor, bias: float, replicas: int = 4000, draws: int = 20) -> Estimate:
    """Many independent estimates from normal draws whose mean is off by ``bias`` along one coordinate."""
    off = torch.zeros_like(exact)
    off[0] = bias
    found = normal(generator(3), draws, replicas, len(exact)) * 2.0 + exact + off
    moments = Moments()
    moments.add(found)
    return moments.against(exact.expand(replicas, -1))


@pytest.mark.parametrize("bias", [0.0, 0.3, 2.0])
def test_squared_bias_is_unbiased(bias: float) -> None:
    """Its mean over replicas within four standard errors of ‖bias‖² / ‖g*‖²; without the correction for
    chance it is far off.
    """
    exact = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    estimate = draws_about(exact, bias)
    expected = bias**2 / float(exact.square().sum())
    found = estimate.squared_bias
    error = float(found.std()) / len(found) ** 0.5
    assert abs(float(found.mean()) - expected) < 4 * error
    plain = (estimate.mean - exact).square().sum(-1) / exact.square().sum()
    assert float(plain.mean()) > expected + 20 * error


def test_z_is_standard_normal_without_a_bias_and_not_with_one() -> None:
    exact = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    sound, biased = draws_about(exact, 0.0).z, draws_about(exact, 1.0).z
    assert float(sound.mean().abs()) < 4 / sound.numel() ** 0.5
    assert float(sound.std()) == pytest.approx((19 / 17) ** 0.5, rel=0.05)  # Student's t of 20 draws
    assert float(biased[:, 0].mean()) == pytest.approx(20**0.5 / 2, rel=0.1)


def test_coordinates_that_never_move_are_right_or_infinitely_wrong() -> None:
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64)
    still = torch.zeros(2, dtype=torch.float64)
    assert Estimate(exact, exact.clone(), still, 10).z.tolist() == [0.0, 0.0]
    assert Estimate(exact, exact + torch.tensor([0.0, 1e-6]), still, 10).z.tolist() == [0.0, math.inf]


def test_relative_numbers() -> None:
    exact = torch.tensor([3.0, 4.0], dtype=torch.float64)
    estimate = Estimate(exact, 2 * exact, torch.tensor([36.0, 64.0], dtype=torch.float64), 4)
    assert float(estimate.relative_sd) == pytest.approx(2.0)
    assert float(estimate.resolution) == pytest.approx(1.0)
    assert float(estimate.squared_bias) == pytest.approx(0.0) and float(estimate.relative_bias) == 0.0
    assert float(estimate.cosine) == pytest.approx(1.0)
    assert estimate.of(slice(0, 1)).exact.tolist() == [3.0]


def test_the_threshold_is_bonferronis() -> None:
    assert z_threshold(1, 0.05) == pytest.approx(1.959964, abs=1e-6)
    assert z_threshold(100, 0.05) == pytest.approx(z_threshold(1, 0.0005))
    for tests, alarm in ((0, 0.1), (5, 0.0), (5, 1.0)):
        with pytest.raises(UserError, match=r"found .* expected"):
            z_threshold(tests, alarm)


def test_copies_are_leaves_in_the_order_told() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    copies = independent_copies(values, 2)
    assert copies.is_leaf and copies.requires_grad
    assert copies.tolist() == [[1, 2, 1, 2], [3, 4, 3, 4]]
