"""Gradient ascent with momentum and decay: its recursion, its graph, its refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.ascent import Ascent
from dfp.core.errors import UserError

TARGET = torch.tensor([1.0, -2.0], dtype=torch.float64)


def parabola(zeta: Tensor) -> Tensor:
    """Highest at TARGET; gradient TARGET − ζ."""
    return -0.5 * (zeta - TARGET).square().sum()


@given(rate=st.floats(0.01, 0.5), momentum=st.floats(0, 0.95), decay=st.floats(0.5, 1.0))
@settings(max_examples=30, deadline=None)
def test_steps_follow_the_recursion(rate: float, momentum: float, decay: float) -> None:
    start = torch.zeros(2, dtype=torch.float64)
    path = list(Ascent(6, rate, momentum, decay).path(parabola, start))
    zeta, velocity = start, torch.zeros_like(start)
    for step, found in enumerate(path):
        velocity = momentum * velocity + (TARGET - zeta)
        zeta = zeta + rate * decay**step * velocity
        assert torch.allclose(found, zeta, atol=1e-12)
    assert len(path) == 6


def test_it_ends_at_the_top() -> None:
    zeta = Ascent(300, 0.1).climb(parabola, torch.zeros(2, dtype=torch.float64))
    assert torch.allclose(zeta, TARGET, atol=1e-5)


def test_without_steps_the_start_comes_back() -> None:
    start = torch.randn(3, requires_grad=True)
    assert torch.equal(Ascent(0, 0.1).climb(parabola, start), start)
    assert not Ascent(0, 0.1).climb(parabola, start).requires_grad
    assert Ascent(0, 0.1).climb(parabola, start, through=True) is start


def test_gradients_pass_through_the_steps_only_when_asked() -> None:
    """Without momentum ζ_n − target = (1 − γ)ⁿ (ζ_0 − target)."""
    start = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    end = Ascent(4, 0.3, momentum=0.0).climb(parabola, start, through=True)
    (slope,) = torch.autograd.grad(end.sum(), start)
    assert torch.allclose(slope, torch.full((2,), 0.7**4, dtype=torch.float64))
    assert not Ascent(4, 0.3, momentum=0.0).climb(parabola, start).requires_grad


def test_a_start_without_a_gradient_can_be_refined_through() -> None:
    frozen = torch.zeros(2, dtype=torch.float64)
    plain, through = (Ascent(3, 0.2).climb(parabola, frozen, through=flag) for flag in (False, True))
    assert torch.equal(plain, through.detach()) and not frozen.requires_grad


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"steps": -1}, "steps: found -1, expected at least 0"),
        ({"rate": 0.0}, "rate, momentum: found 0.0, 0.9"),
        ({"momentum": 1.0}, "rate, momentum: found 0.1, 1.0"),
        ({"decay": 0.0}, "decay: found 0.0"),
        ({"decay": 1.1}, "decay: found 1.1"),
    ],
)
def test_settings_without_meaning_are_refused(own: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Ascent(**{"steps": 3, "rate": 0.1, **own})
