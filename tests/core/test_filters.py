"""Causal filters: against direct sums, against each other, and their first and second derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfp.core import filters
from dfp.core.filters import causal_filter
from dfp.core.noise import generator


def direct(z: Tensor, taps: Tensor, offset: int) -> np.ndarray:
    """The definition, entry by entry."""
    values, weights = z.numpy(), taps.expand(z.shape[-1], -1).numpy()
    out = np.zeros_like(values)
    for t in range(z.shape[-2]):
        for j in range(weights.shape[1]):
            if t - offset - j >= 0:
                out[..., t, :] += weights[:, j] * values[..., t - offset - j, :]
    return out


sizes = {
    "bins": st.integers(1, 12),
    "cells": st.integers(1, 3),
    "lags": st.integers(0, 15),
    "offset": st.integers(0, 3),
}


@given(**sizes, shared=st.booleans(), seed=st.integers(0, 1000))
def test_filter_is_its_definition(
    bins: int, cells: int, lags: int, offset: int, shared: bool, seed: int
) -> None:
    rng = generator(seed)
    z, taps = normal(rng, 2, 3, bins, cells), normal(rng, 1 if shared else cells, lags)
    assert np.allclose(causal_filter(z, taps, offset).numpy(), direct(z, taps, offset), atol=1e-12)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_fourier_transform_and_shifted_adds_agree(
    monkeypatch: pytest.MonkeyPatch, groups: int, offset: int
) -> None:
    rng = generator(3)
    z, taps, weights = normal(rng, 2, 1, 150, 2), normal(rng, groups, 140), normal(rng, 2, 1, 150, 2)
    found = []
    for limit in (10, 1000):
        monkeypatch.setattr(filters, "FOURIER_ABOVE", limit)
        inputs = (z.clone().requires_grad_(), taps.clone().requires_grad_())
        out = causal_filter(*inputs, offset)
        found.append((out, *torch.autograd.grad((out * weights).sum(), inputs)))
    for fourier, shifted in zip(*found, strict=True):
        assert torch.allclose(fourier, shifted, atol=1e-10)


def test_long_filters_take_the_fourier_transform_and_short_ones_do_not() -> None:
    z = torch.zeros(1, 1, 200, 1, requires_grad=True)
    long, short = (
        causal_filter(z, torch.ones(1, lags)) for lags in (filters.FOURIER_ABOVE + 1, filters.FOURIER_ABOVE)
    )
    assert "ShiftedAdd" not in type(long.grad_fn).__name__ and "ShiftedAdd" in type(short.grad_fn).__name__


@pytest.mark.parametrize(("bins", "lags"), [(6, 3), (3, 6), (1, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_first_and_second_derivatives(bins: int, lags: int, groups: int) -> None:
    rng = generator(4)
    inputs = (normal(rng, 2, bins, 2).requires_grad_(), normal(rng, groups, lags).requires_grad_())
    for offset in (0, 1):
        assert torch.autograd.gradcheck(lambda z, taps, offset=offset: causal_filter(z, taps, offset), inputs)
        assert torch.autograd.gradgradcheck(
            lambda z, taps, offset=offset: causal_filter(z, taps, offset), inputs
        )


def test_a_bin_is_summed_in_one_order_whatever_the_shape_around_it() -> None:
    """Single precision: batches, samples and later bins must not change a
    logit in its last place, or sweeps would not end.
    """
    rng = generator(5)
    z, taps = normal(rng, 4, 3, 60, 5, dtype=torch.float32), normal(rng, 5, 20, dtype=torch.float32)
    whole = causal_filter(z, taps)
    for s, b, bins in ((0, 0, 60), (3, 2, 31), (1, 1, 7)):
        assert torch.equal(
            causal_filter(z[s : s + 1, b : b + 1, :bins], taps), whole[s : s + 1, b : b + 1, :bins]
        )
