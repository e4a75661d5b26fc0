"""The generative model against plain loops, enumeration and the forward-backward reference."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import ALL_PARAMETERS, model, parameters, traces
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.references.exact.one_cell import CellParameters, ExactPosterior


def by_loops(network: CalciumNetwork, x: np.ndarray, z: np.ndarray) -> float:
    """log p(x, z) of one trial, every sum written out."""
    p, rate = network.parameters_now(), network.bin_rate
    total = 0.0
    bins, cells = z.shape
    for n in range(cells):
        d = math.exp(-1.0 / (rate * p.decay[n]))
        r = math.exp(-1.0 / (rate * p.rise[n])) if p.rise[n] > 0 else 0.0
        length = network.kernel_bins or bins
        kernel = [sum(d**i * r ** (j - i) for i in range(j + 1)) for j in range(length)]
        kernel = [value / max(kernel) for value in kernel]
        for t in range(bins):
            u = p.bias[n]
            for lag in range(1, t + 1):
                if lag <= p.history.shape[1]:
                    u += p.history[n, lag - 1] * z[t - lag, n]
                if lag <= p.basis.shape[1]:
                    for b in range(p.basis.shape[0]):
                        for other in range(cells):
                            if other != n:
                                u += p.coupling[b, n, other] * p.basis[b, lag - 1] * z[t - lag, other]
            total += z[t, n] * u - math.log1p(math.exp(u))
            if not math.isnan(x[t, n]):
                calcium = sum(kernel[j] * z[t - j, n] for j in range(min(t + 1, length)))
                deviation = (x[t, n] - p.baseline[n] - p.amplitude[n] * calcium) / p.noise[n]
                total += -0.5 * deviation**2 - math.log(p.noise[n]) - 0.5 * math.log(2 * math.pi)
    return total


@given(
    seed=st.integers(0, 10_000), bins=st.integers(1, 7), cells=st.integers(1, 3), basis=st.integers(0, 2),
    history=st.integers(0, 3), cut=st.sampled_from([0, 1, 3]), rise=st.sampled_from([0.0, 0.1]),
)  # fmt: skip
def test_log_joint_is_the_models_own(
    seed: int, bins: int, cells: int, basis: int, history: int, cut: int, rise: float
) -> None:
    network = model(cells, seed, kernel_bins=cut, basis=basis, history=history, rise=rise, learn=())
    x = traces(seed, trials=2, bins=bins, cells=cells)
    x[0, bins // 2, 0] = math.nan
    z = (torch.rand(3, 2, bins, cells, generator=generator(seed)) < 0.4).double()
    found = network.log_joint(x, z)
    assert found.shape == (3, 2, bins, cells)
    for s in range(3):
        for b in range(2):
            assert float(found[s, b].sum()) == pytest.approx(
                by_loops(network, x[b].numpy(), z[s, b].numpy()), abs=1e-8
            )


def evidence(network: CalciumNetwork, x: Tensor) -> Tensor:
    """log p(x) by enumeration, ``(B,)``."""
    paths = all_paths(x.shape[1], x.shape[2]).expand(-1, x.shape[0], -1, -1)
    return torch.logsumexp(network.log_joint(x, paths).sum((2, 3)), 0)


def test_prior_and_likelihood_are_normalised() -> None:
    """Σ_z p(z) = 1, and ∫ p(x) dx = 1 for two bins of one cell by the rectangle rule on a grid of traces."""
    with torch.no_grad():
        network = model(2, 3, basis=1)
        assert float(network.prior(1, 4).log_prob(all_paths(4, 2)).sum((2, 3)).exp().sum()) == pytest.approx(
            1, abs=1e-12
        )
        single = model(1, 4)
        grid = torch.linspace(-5, 7, 240, dtype=torch.float64)
        x = torch.cartesian_prod(grid, grid)[:, :, None]
        total = evidence(single, x).exp().sum() * (grid[1] - grid[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-6)


def test_evidence_is_that_of_forward_backward_for_each_cell() -> None:
    with torch.no_grad():
        network = model(2, 5, kernel_bins=4)
        x = traces(5, trials=3, bins=7, cells=2)
        x[1, 2] = math.nan
        values = {name: network.value(name) for name in ("bias", "history", "amplitude", "baseline", "noise")}
        exact = ExactPosterior(CellParameters(kernel=network.kernel(4), **values), x)
        assert torch.allclose(evidence(network, x), exact.log_evidence.sum(1), atol=1e-10)


def test_an_unobserved_frame_is_integrated_out() -> None:
    """log p with a NaN frame = log ∫ p dx over that frame."""
    with torch.no_grad():
        network = model(1, 6)
        x = traces(6, trials=1, bins=4, cells=1)
        grid = torch.linspace(-8, 10, 2000, dtype=torch.float64)
        filled = x.expand(2000, -1, -1).clone()
        filled[:, 2, 0] = grid
        integrated = (evidence(network, filled).exp().sum() * (grid[1] - grid[0])).log()
        x[0, 2, 0] = math.nan
        assert float(evidence(network, x)) == pytest.approx(float(integrated), abs=1e-8)


def test_an_unobserved_frame_gives_no_gradient_and_no_nan() -> None:
    network = model(2, 7, basis=1)
    x = traces(7)
    x[:, 1] = math.nan
    z = torch.rand(2, 2, 5, 2, generator=generator(0), dtype=torch.float64, requires_grad=True)
    likelihood = network.log_likelihood(x, z)
    assert (likelihood[:, :, 1] == 0).all() and (likelihood[:, :, 2] != 0).all()
    gradients = torch.autograd.grad(network.log_joint(x, z).sum(), [z, *network.parameters()])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", ALL_PARAMETERS)
@pytest.mark.parametrize("kernel_bins", [0, 3])
def test_log_joint_is_differentiable_in_every_parameter(name: str, kernel_bins: int) -> None:
    network = model(2, 8, kernel_bins=kernel_bins, basis=2)
    x, z = traces(8), torch.rand(2, 2, 5, 2, generator=generator(1), dtype=torch.float64)
    raw = getattr(network, f"raw_{name}")

    def value(parameter: Tensor) -> Tensor:
        return torch.func.functional_call(network, {f"raw_{name}": parameter}, (x, z))

    network.forward = network.log_joint  # type: ignore[method-assign]
    assert torch.autograd.gradcheck(value, (raw.detach().clone().requires_grad_(),))
    (gradient,) = torch.autograd.grad(network.log_joint(x, z).sum(), raw)
    assert float(gradient.abs().max()) > 0


def test_an_uncut_response_is_the_recursion() -> None:
    """Fluorescence of 300 bins against scipy's AR(2) filter (a Fourier transform here)."""
    network = model(2, 9, rise=0.08)
    z = (torch.rand(1, 1, 300, 2, generator=generator(2)) < 0.2).double()
    found = network.fluorescence(z).detach().numpy()[0, 0]
    p = network.parameters_now()
    for n in range(2):
        d, r = (math.exp(-1.0 / (10.0 * value[n])) for value in (p.decay, p.rise))
        poles = [1.0, -(d + r), d * r]
        peak = lfilter([1.0], poles, np.eye(1, 300)[0]).max()
        expected = p.baseline[n] + p.amplitude[n] * lfilter([1.0], poles, z[0, 0, :, n].numpy()) / peak
        assert np.allclose(found[:, n], expected, atol=1e-9)


def test_parameters_come_back_as_they_went_in() -> None:
    start = parameters(3, 10, basis=2, rise=0.0)
    back = CalciumNetwork(start, 30.0).double().parameters_now()
    for name in (*ALL_PARAMETERS, "basis"):
        expected = getattr(start, name).copy()
        if name == "coupling":
            expected[:, range(3), range(3)] = 0.0
        assert np.allclose(getattr(back, name), expected, rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize("learn", [(), ("bias",), ("amplitude", "noise"), ALL_PARAMETERS])
def test_only_what_is_learned_takes_gradients(learn: tuple[str, ...]) -> None:
    network = CalciumNetwork(parameters(2, basis=1), 10.0, learn)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        f"raw_{name}" for name in learn
    }
    assert network.learned == tuple(sorted(learn))


def test_the_diagonal_of_the_coupling_is_ignored() -> None:
    network = model(2, 11, basis=1)
    z = (torch.rand(2, 1, 6, 2, generator=generator(3)) < 0.5).double()
    before = network.prior(1, 6).logits(z).detach()
    with torch.no_grad():
        network.raw_coupling[:, range(2), range(2)] += 5.0
    assert torch.equal(network.prior(1, 6).logits(z), before)
    assert network.couples_cells and not model(2).couples_cells


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise": np.array([0.5, -0.1])}, "noise: found -0.1, expected numbers above 0"),
        ({"noise": np.array([0.5, 0.0])}, "noise: found 0, expected numbers above 0"),
        ({"noise": np.array([0.5, np.nan])}, "noise: found nan, expected numbers above 0"),
        ({"amplitude": np.array([-1.0, 1.0])}, "amplitude: found -1, expected numbers above 0"),
        ({"decay": np.array([0.0, 1.0])}, "decay: found 0, expected numbers above 0"),
        ({"rise": np.array([-0.01, 1.0])}, "rise: found -0.01, expected numbers at least 0"),
        ({"baseline": np.array([np.inf, 1.0])}, "baseline: found a value that is not finite"),
        ({"bias": np.array([np.nan, 1.0])}, "bias: found a value that is not finite"),
        ({"bias": np.zeros((2, 1))}, r"bias: found shape \(2, 1\), expected \(2,\)"),
        ({"baseline": np.zeros(3)}, r"baseline: found shape \(3,\), expected \(2,\)"),
        ({"history": np.zeros((3, 2))}, r"history: found shape \(3, 2\), expected \(2, 2\)"),
        ({"history": np.zeros(2)}, r"history: found shape \(2,\), expected \(2, 2\)"),
        ({"coupling": np.zeros((2, 2, 2))}, r"coupling: found shape \(2, 2, 2\), expected \(1, 2, 2\)"),
        ({"basis": np.zeros(3)}, r"basis: found shape \(3,\), expected"),
    ],
)
def test_parameters_without_meaning_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(parameters(2, basis=1), **change)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bin_rate": 0.0}, "bin_rate: found 0.0"),
        ({"bin_rate": float("nan")}, "bin_rate: found nan"),
        ({"kernel_bins": -1}, "kernel_bins: found -1"),
        ({"learn": ("ampitude",)}, r"learn: unknown parameter 'ampitude' \(did you mean 'amplitude'\?\)"),
        ({"learn": ("rise",)}, "learn: found 'rise' with an instant rise"),
    ],
)
def test_models_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    start: CalciumParameters = parameters(2, rise=0.0)
    with pytest.raises(UserError, match=words):
        CalciumNetwork(start, **{"bin_rate": 10.0, **settings})


def test_many_independent_cells_need_no_square_of_their_number() -> None:
    """A panel without coupling keeps no mask of N × N weights, which for 64,000 cells would be 16 GB."""
    network = model(3)
    assert not network.couples_cells
    assert all(buffer.numel() < 9 for buffer in network.buffers())
    assert network.value("coupling").numel() == 0
