"""Student's t noise against torch's density, scipy's distribution, and the Gaussian kind that it ends in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import model, parameters, traces
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp
from scipy import stats
from torch.distributions import StudentT

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.models.calcium_heavy_tailed import (
    FREEDOM,
    HeavyTailedCalcium,
    HeavyTailedConfig,
    HeavyTailedParameters,
    _log_peak,
)
from dfp.models.kinds import observation


def heavy(freedom: float | np.ndarray, cells: int = 2, seed: int = 0) -> HeavyTailedCalcium:
    start = HeavyTailedCalcium.adopt(parameters(cells, seed))
    start = replace(start, freedom=np.broadcast_to(np.asarray(freedom, float), (cells,)).copy())
    return HeavyTailedCalcium(start, 10.0, HeavyTailedParameters.names).double()


@given(freedom=st.floats(0.3, 90.0), seed=st.integers(0, 1000))
def test_the_density_is_students(freedom: float, seed: int) -> None:
    network = heavy(np.array([freedom, 2.0 * freedom]), seed=seed)
    x, z = 3.0 * traces(seed), torch.rand(2, 2, 5, 2, generator=generator(seed), dtype=torch.float64)
    with torch.no_grad():
        law = StudentT(network.value("freedom"), network.fluorescence(z), network.value("noise"))
        assert torch.allclose(network.log_likelihood(x, z), law.log_prob(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("freedom", [1e7, 1e9, 1e12])
def test_without_end_of_freedom_it_is_the_gaussian_kind(freedom: float) -> None:
    """Densities, and traces of the same normal numbers."""
    network, limit = heavy(freedom, seed=3), model(2, 3)
    x, z = traces(4), (torch.rand(2, 2, 5, 2, generator=generator(5)) < 0.4).double()
    noise = torch.randn(z.shape, generator=generator(6), dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(network.log_likelihood(x, z), limit.log_likelihood(x, z), rtol=0, atol=1e-6)
        assert torch.allclose(network.observe(z, noise), limit.observe(z, noise), rtol=0, atol=1e-6)


def test_the_peak_keeps_its_digits_for_every_freedom() -> None:
    """Against 40 digits, on both sides of where the series takes over."""
    values = [0.1, 1.0, 4.0, 99.0, 99.999, 100.001, 130.0, 1e4, 1e8, 1e15]
    found = _log_peak(torch.tensor(values, dtype=torch.float64))
    with mp.workdps(40):
        for value, peak in zip(values, found.tolist(), strict=True):
            nu = mp.mpf(value)
            exact = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(mp.pi * nu) / 2
            assert peak == pytest.approx(float(exact), abs=3e-14), value


@pytest.mark.parametrize("freedom", [1.0, 2.5, 4.0, 30.0])
def test_the_noise_has_students_distribution(freedom: float) -> None:
    network = heavy(freedom, cells=1)
    with torch.no_grad():
        drawn = network.disturbance(torch.randn(20_000, 1, generator=generator(7), dtype=torch.float64))
    assert stats.kstest(drawn.numpy().ravel(), stats.t(freedom).cdf).pvalue > 0.01


def test_a_frame_that_is_far_off_says_little() -> None:
    """The slope of the log-density is largest at σ √ν and falls from there on."""
    network = heavy(4.0, cells=1)
    noise = float(network.value("noise").detach())
    residual = (noise * torch.tensor([[1.0], [2.0], [4.0], [40.0]], dtype=torch.float64)).requires_grad_()
    (slope,) = torch.autograd.grad(network.log_density(residual).sum(), residual)
    assert slope.abs().argmax() == 1
    assert slope.detach().ravel().tolist() == pytest.approx(
        [-5 * k / (4 + k * k) / noise for k in (1, 2, 4, 40)]
    )


def test_freedom_is_of_the_settings_or_the_data_or_four() -> None:
    told = replace(HeavyTailedCalcium.adopt(parameters(2)), freedom=np.array([3.0, 7.0]))
    by_settings = observation("calcium_heavy_tailed", {"freedom": 2.5}, "").parameters(told)
    assert by_settings.freedom.tolist() == [2.5, 2.5]  # type: ignore[attr-defined]
    assert HeavyTailedCalcium.adopt(told, HeavyTailedConfig()).freedom.tolist() == [3.0, 7.0]  # type: ignore[attr-defined]
    assert HeavyTailedCalcium.adopt(parameters(2)).freedom.tolist() == [FREEDOM] * 2  # type: ignore[attr-defined]
    assert not hasattr(type(model(2)).adopt(told), "freedom")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"freedom": 0}, r"settings: freedom: found 0, expected a number above 0"),
        ({"freedom": "four"}, r"settings\.freedom: found text 'four', expected a number"),
        ({"fredom": 4}, r"settings: unknown key 'fredom' \(did you mean 'freedom'\?\)"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        observation("calcium_heavy_tailed", settings, "")
    with pytest.raises(UserError, match="freedom: found -1, expected numbers above 0"):
        heavy(-1.0)


def test_learning_finds_the_scale_and_the_tails_that_made_the_noise() -> None:
    """Maximum likelihood on noise alone: within four standard errors, where the Gaussian kind is far off."""
    truth = heavy(3.0, cells=1)
    z = torch.zeros(1, 1, 8000, 1, dtype=torch.float64)
    with torch.no_grad():
        x = truth.observe(z, generator(8))[0]
    fitted = heavy(20.0, cells=1)
    with torch.no_grad():
        fitted.raw_noise += 0.5
    raws = [fitted.raw_noise, fitted.raw_freedom]
    optimiser = torch.optim.LBFGS(raws, max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = -fitted.log_likelihood(x, z).mean()
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    fitted.forward = fitted.log_likelihood  # type: ignore[method-assign]

    def likelihood(*values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(("raw_noise", "raw_freedom"), values, strict=True))
        return torch.func.functional_call(fitted, given, (x, z)).sum()

    hessian = torch.autograd.functional.hessian(likelihood, tuple(raw.detach() for raw in raws))
    information = -torch.tensor([[float(entry) for entry in row] for row in hessian])
    errors = torch.linalg.inv(information).diagonal().sqrt().tolist()
    for raw, true, error in zip(raws, (truth.raw_noise, truth.raw_freedom), errors, strict=True):
        assert abs(float(raw - true)) < 4 * error < 0.4
    assert float(x.std()) > 1.5 * float(truth.value("noise"))
