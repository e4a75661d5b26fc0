"""Logistic noise, and generators that touch no global state."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from dfp.core.noise import generator, logistic_noise


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_logistic(dtype: torch.dtype) -> None:
    noise = logistic_noise((100_000,), generator(0), dtype)
    assert noise.dtype == dtype
    assert stats.kstest(noise.numpy(), "logistic").pvalue > 1e-3
    assert float(noise.double().var()) == pytest.approx(math.pi**2 / 3, rel=0.02)


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 24), (torch.float64, 53)])
def test_the_largest_noise_is_finite(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, digits: int
) -> None:
    def extremes(shape: tuple[int, ...], **settings: object) -> torch.Tensor:
        return torch.tensor([0.0, 1.0], dtype=dtype)

    monkeypatch.setattr(torch, "rand", extremes)
    noise = logistic_noise((2,), generator(0), dtype)
    assert torch.isfinite(noise).all()
    assert noise[1] > 0 > noise[0] and float(noise.abs().max()) == pytest.approx(
        digits * math.log(2), rel=1e-3
    )


def test_generators_repeat_and_leave_the_global_one_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (logistic_noise((20,), generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
