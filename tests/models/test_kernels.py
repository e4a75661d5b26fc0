"""The calcium response: its limits, its recursion, its precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from torch import Tensor

from dfp.models.kernels import calcium_kernel

times = st.floats(0.02, 3.0)


def seconds(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([value], dtype=dtype)


def factor(value: float, rate: float) -> float:
    return float(np.exp(-1.0 / (rate * value))) if value > 0 else 0.0


@given(rise=st.one_of(st.just(0.0), times), decay=times, rate=st.floats(3.0, 100.0), bins=st.integers(1, 200))
def test_response_is_the_recursion_scaled_to_peak_one(
    rise: float, decay: float, rate: float, bins: int
) -> None:
    """AR(2): c[t] = (d + r) c[t−1] − d r c[t−2] + z[t], by scipy's recursive filter on one spike."""
    k = calcium_kernel(seconds(rise), seconds(decay), rate, bins)[0].numpy()
    d, r = factor(decay, rate), factor(rise, rate)
    impulse = np.zeros(bins)
    impulse[0] = 1.0
    response = lfilter([1.0], [1.0, -(d + r), d * r], impulse)
    assert k.max() == pytest.approx(1.0) and (k >= 0).all()
    assert np.allclose(k, response / response.max(), atol=2e-6)


def test_an_instant_rise_is_a_plain_decay() -> None:
    decay, rate = 0.3, 20.0
    plain = factor(decay, rate) ** np.arange(50)
    for rise in (0.0, 1e-9, 1e-4):
        assert np.allclose(
            calcium_kernel(seconds(rise), seconds(decay), rate, 50)[0].numpy(), plain, atol=1e-12
        )


def test_a_rise_as_long_as_the_decay_is_the_limit_from_both_sides() -> None:
    """k[j] ∝ (j + 1) d^j, approached continuously."""
    decay, rate = 0.3, 20.0
    j = np.arange(60)
    limit = (j + 1) * factor(decay, rate) ** j
    limit /= limit.max()
    for change in (0.0, 1e-12, -1e-9, 1e-7, -1e-5, 1e-4):
        k = calcium_kernel(seconds(decay * (1 + change)), seconds(decay), rate, 60)[0].numpy()
        assert np.allclose(k, limit, atol=20 * abs(change) + 1e-10)


def test_the_two_times_may_be_exchanged() -> None:
    pair = [calcium_kernel(seconds(a), seconds(b), 30.0, 80) for a, b in ((0.1, 0.5), (0.5, 0.1))]
    assert torch.allclose(*pair, atol=1e-12)


@pytest.mark.parametrize("apart", [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.3, -1e-4, -0.3])
def test_single_precision_is_good_enough_to_learn_the_times(apart: float) -> None:
    """Values to 1e-5 and gradients to 1%, against double precision, however near the two times are."""
    found = []
    for dtype in (torch.float32, torch.float64):
        rise = seconds(float(np.float32(0.3 * (1 + apart))), dtype).requires_grad_()
        decay = seconds(float(np.float32(0.3)), dtype).requires_grad_()
        k = calcium_kernel(rise, decay, 20.0, 100)
        weights = torch.cos(torch.arange(100) / 9.0).to(dtype)
        found.append((k[0], *torch.autograd.grad((k[0] * weights).sum(), (rise, decay))))
    (k32, *gradients32), (k64, *gradients64) = found
    assert torch.allclose(k32.double(), k64, atol=1e-5)
    for ours, exact in zip(gradients32, gradients64, strict=True):
        assert ours.double().item() == pytest.approx(exact.item(), rel=0.01, abs=0.05)


@pytest.mark.parametrize("rise", [0.0, 0.05, 0.2999, 0.3, 0.7])
def test_gradients_in_both_times(rise: float) -> None:
    decay = seconds(0.3).requires_grad_()
    if rise == 0:
        assert torch.autograd.gradcheck(lambda b: calcium_kernel(seconds(0.0), b, 10.0, 12), (decay,))
        return
    inputs = (seconds(rise).requires_grad_(), decay)
    assert torch.autograd.gradcheck(lambda a, b: calcium_kernel(a, b, 10.0, 12), inputs, atol=1e-4)


def test_each_cell_has_its_own_times() -> None:
    rise, decay = torch.tensor([0.0, 0.1, 0.3]), torch.tensor([0.2, 0.3, 0.3])
    both = calcium_kernel(rise, decay, 10.0, 30)
    for n in range(3):
        assert torch.equal(both[n : n + 1], calcium_kernel(rise[n : n + 1], decay[n : n + 1], 10.0, 30))


@pytest.mark.parametrize("apart", [0.0, 1e-6, 1e-3, 2.4e-3, 2.6e-3])
def test_nearly_equal_times_lose_no_digits(apart: float) -> None:
    """Rates ``apart`` from each other, 40 bins: Σ_i d^(j−i) r^i, on both sides of the switch to a series."""
    slow = 1 / 6
    decay, rise = (torch.tensor([1 / (30 * rate)], dtype=torch.float64) for rate in (slow, slow + apart))
    found = calcium_kernel(rise, decay, 30.0, 40)[0]
    d, r = (float(torch.exp(-1 / (30 * value))) for value in (decay, rise))
    sums = [math.fsum(d ** (j - i) * r**i for i in range(j + 1)) for j in range(40)]
    expected = torch.tensor(sums, dtype=torch.float64)
    assert torch.allclose(found, expected / expected.max(), rtol=2e-11, atol=0)
