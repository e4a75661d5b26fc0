"""The exact posterior of coupled cells: its gradient."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_sums import SIZES, Sizes, assert_exact, brute_force, network, traces
from torch import Tensor

from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters, log_evidence


def autograd(parameters: NetworkParameters, x: Tensor) -> dict[str, Tensor]:
    """The gradient of the summed log-evidence, by differentiating the recursion."""
    leaves = {f.name: getattr(parameters, f.name).clone().requires_grad_() for f in fields(parameters)}
    log_evidence(NetworkParameters(**leaves), x).sum().backward()
    grads = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()
    }
    del grads["basis"]
    return grads


def numbers(low: float, high: float, *shape: int) -> st.SearchStrategy[Tensor]:
    size = math.prod(shape)
    values = st.lists(st.floats(low, high), min_size=size, max_size=size)
    return values.map(lambda found: torch.tensor(found, dtype=torch.float64).reshape(shape))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), history=st.integers(0, 2), lags=st.integers(1, 3), kernel=st.integers(1, 3))
def test_random_networks_agree_with_the_sum_over_paths(
    data: st.DataObject, history: int, lags: int, kernel: int
) -> None:
    parameters = NetworkParameters(
        bias=data.draw(numbers(-6, 4, 2)),
        history=data.draw(numbers(-6, 3, 2, history)),
        coupling=data.draw(numbers(-8, 8, 1, 2, 2)),
        basis=data.draw(numbers(-1, 2, 1, lags)),
        kernel=data.draw(numbers(-1, 2, 2, kernel)),
        amplitude=data.draw(numbers(0.01, 10, 2)),
        baseline=data.draw(numbers(-3, 3, 2)),
        noise=data.draw(numbers(0.05, 5, 2)),
    )
    x = data.draw(numbers(-5, 15, 1, 4, 2))
    x[:, data.draw(st.integers(0, 3)), data.draw(st.integers(0, 1))] = math.nan
    posterior = ExactNetworkPosterior(parameters, x)
    assert_exact(posterior, parameters, x)
    found = posterior.gradient()
    for name, expected in autograd(parameters, x).items():
        scale = 1 + float(expected.abs().max()) if expected.numel() else 1.0
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-8 * scale)


@pytest.mark.usefixtures("step_table")
@pytest.mark.parametrize(("sizes", "bins"), SIZES)
def test_the_gradient_is_that_of_the_recursion(sizes: Sizes, bins: int) -> None:
    parameters = network(sizes, seed=bins)
    for length, budget in ((2, 500_000_000), (25, 500_000_000), (25, 1)):
        x = traces(3, length, sizes[0], seed=sizes[-1], missing=0.15)
        found = ExactNetworkPosterior(parameters, x, budget).gradient()
        expected = autograd(parameters, x)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=0, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
            )
        assert not found["coupling"].diagonal(dim1=1, dim2=2).any()


def test_the_gradient_is_that_of_the_sum_over_paths() -> None:
    """By differences of brute force, which shares nothing with the recursion."""
    parameters, x = network((2, 2, 1, 2, 2), seed=9), traces(1, 5, 2, seed=9, missing=0.1)
    step = 1e-5
    for name, found in ExactNetworkPosterior(parameters, x).gradient().items():
        for index in np.ndindex(*found.shape):
            sides = []
            for sign in (1, -1):
                moved = getattr(parameters, name).clone()
                moved[index] += sign * step
                sides.append(brute_force(x[0].numpy(), replace(parameters, **{name: moved}))[0])
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(found[index].item(), abs=1e-7)
