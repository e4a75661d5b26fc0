"""Laplace's approximation with the spikes summed over: held against derivatives of the exact evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from dfp.core.errors import NumericalError, UserError
from dfp.data.dataset import Dataset
from dfp.data.networks import sparse_random
from dfp.data.simulate import simulate
from dfp.models.calcium import CalciumParameters
from dfp.models.kernels import calcium_kernel
from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters, log_evidence
from dfp.references.gibbs.blocks import BlockedGibbs
from experiments.calibration.weight_uncertainty import (
    Prior,
    curvature,
    design,
    laplace,
    laplace_of_samples,
    pack,
    unpack,
)

pytest.importorskip("numba")

Array = NDArray[np.float64]
KERNEL, PRIOR = 3, Prior(1.0, 2.0)


def recorded(bins: int = 60, trials: int = 2, noise: float = 0.5, seed: int = 1) -> Dataset:
    """Two cells, three bins of calcium: 64 states, so that the evidence can be had exactly."""
    rng = np.random.default_rng(seed)
    network = sparse_random(2, rng, density=1.0, weight_sd=1.0, rate_hz=8, history=(-1.0,))
    return simulate(
        network, [seed], bin_rate=30.0, bins=bins, trials=trials, test_trials=0, rise=0.0, decay=0.1,
        amplitude=1.0, baseline=0.0, noise=noise, kernel_bins=KERNEL, allow_supercritical=True,
    )  # fmt: skip


def exact_parameters(p: CalciumParameters, law: Tensor | None = None) -> NetworkParameters:
    """As the exact reference takes them; ``law (N, P)`` in place of p's own, with its gradient."""
    values = torch.as_tensor(pack(p)) if law is None else law
    zero = torch.zeros((), dtype=torch.float64)
    coupling = torch.stack([torch.stack([zero, values[0, 2]]), torch.stack([values[1, 2], zero])])[None]
    kernel = calcium_kernel(torch.as_tensor(p.rise), torch.as_tensor(p.decay), 30.0, KERNEL)
    rest = {name: torch.as_tensor(getattr(p, name)) for name in ("basis", "amplitude", "baseline", "noise")}
    return NetworkParameters(
        bias=values[:, 0], history=values[:, 1:2], coupling=coupling, kernel=kernel, **rest
    )


def log_posterior(data: Dataset, flat: Tensor) -> Tensor:
    """log p(x | law) + log prior, up to a constant, differentiable."""
    law = flat.reshape(2, 3)
    found = log_evidence(exact_parameters(data.start, law), torch.as_tensor(data.x).double()).sum()
    centre = torch.tensor([-3.0, 0.0, 0.0], dtype=torch.float64)
    sd = torch.tensor([PRIOR.other_sd, PRIOR.other_sd, PRIOR.weight_sd], dtype=torch.float64)
    return found - 0.5 * ((law - centre) / sd).square().sum()


def test_derivatives_are_those_of_the_exact_evidence() -> None:
    """Fisher's and Louis' identities, from exact samples, against autograd through the evidence."""
    data = recorded()
    flat = torch.as_tensor(pack(data.start)).flatten().requires_grad_()
    (gradient,) = torch.autograd.grad(log_posterior(data, flat), flat)
    hessian = torch.autograd.functional.hessian(lambda law: log_posterior(data, law), flat.detach()).numpy()
    exact = ExactNetworkPosterior(exact_parameters(data.start), torch.as_tensor(data.x).double())
    samples = 4000
    z = exact.sample(samples, torch.Generator().manual_seed(0)).numpy()
    found = curvature(z, data.start, PRIOR, block=20)
    error = np.sqrt(np.diag(found.missing) / samples)
    assert (np.abs(found.gradient - gradient.numpy()) < 4.5 * error).all()
    # a covariance of 4,000 draws: entries to about 2% of the scale of their rows
    scale = np.sqrt(np.outer(np.diag(found.missing), np.diag(found.missing)))
    assert (np.abs(found.complete - found.missing + hessian) < 0.12 * scale).all()
    # without the missing information it would not be the Hessian, by far
    assert (np.abs(np.diag(found.complete + hessian)) > 0.4 * np.diag(scale)).all()


def test_short_blocks_with_their_neighbours_hold_the_whole_variance() -> None:
    """Blocks of four bins: what they share with the next ones is a good part of the score's variance."""
    data = recorded()
    exact = ExactNetworkPosterior(exact_parameters(data.start), torch.as_tensor(data.x).double())
    z = exact.sample(3000, torch.Generator().manual_seed(1)).numpy()
    law = pack(data.start)
    scores = []
    for raster in z:
        x = design(raster, data.start)
        residual = raster.transpose(2, 0, 1) - expit(np.einsum("nbtp,np->nbt", x, law))
        scores.append(np.einsum("nbt,nbtp->np", residual, x).ravel())
    whole = np.cov(np.array(scores).T)
    scale = np.sqrt(np.outer(np.diag(whole), np.diag(whole)))
    missing = curvature(z, data.start, PRIOR, block=4).missing
    assert (np.abs(missing - whole) < 0.1 * scale).all()


def test_known_spikes_leave_nothing_missing() -> None:
    data = recorded()
    assert data.z is not None
    z = np.repeat(data.z[None], 3, 0)
    found = curvature(z, data.start, PRIOR)
    assert np.abs(found.missing).max() < 1e-25
    x, law = design(data.z, data.start)[1], pack(data.start)[1]
    p = expit(x @ law)
    expected = np.einsum("btp,btq,bt->pq", x, x, p * (1 - p)) + np.diag([0.25, 0.25, 1.0])
    np.testing.assert_allclose(found.complete[3:, 3:], expected, rtol=1e-12)
    assert np.abs(found.complete[:3, 3:]).max() == 0
    # the M-step of known spikes is the regression itself: no gradient is left
    mode = laplace_of_samples(z, data.start, PRIOR)
    assert np.abs(curvature(z, mode.parameters, PRIOR).gradient).max() < 1e-6
    np.testing.assert_allclose(mode.sd, mode.naive_sd)


def test_the_mode_and_the_widths_are_the_exact_ones() -> None:
    data = recorded(bins=160, trials=1, noise=0.4)
    start = unpack(np.array([[-2.0, 0, 0]] * 2), data.start)
    chain = BlockedGibbs(start, data.bin_rate, KERNEL, data.x, seed=0)
    found = laplace(chain, start, PRIOR, steps=12, samples=60)
    law = torch.as_tensor(pack(found.parameters)).flatten()
    exact = law.clone()
    for _ in range(2):  # nearly there already
        exact.requires_grad_()
        (gradient,) = torch.autograd.grad(log_posterior(data, exact), exact)
        hessian = torch.autograd.functional.hessian(lambda law: log_posterior(data, law), exact.detach())
        exact = (exact - torch.linalg.solve(hessian, gradient)).detach()
    sd = torch.linalg.inv(-hessian).diagonal().sqrt().numpy()
    assert (np.abs((law - exact).numpy()) < 0.25 * sd).all()
    np.testing.assert_allclose([found.sd[0, 0, 1], found.sd[0, 1, 0]], sd[[2, 5]], rtol=0.15)
    assert (found.naive_sd[0] <= found.sd[0]).all()
    assert found.naive_sd[0, 0, 1] < 0.95 * sd[2]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 3), st.integers(1, 3), st.integers(0, 1000))
def test_packing_comes_back_and_matches_the_design(cells: int, lags: int, functions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coupling = rng.normal(size=(functions, cells, cells)) * ~np.eye(cells, dtype=bool)
    one = np.ones(cells)
    p = CalciumParameters(
        bias=rng.normal(size=cells), history=rng.normal(size=(cells, lags)), coupling=coupling,
        basis=rng.random((functions, 4)), rise=0 * one, decay=one, amplitude=one, baseline=one, noise=one,
    )  # fmt: skip
    law = pack(p)
    assert law.shape == (cells, 1 + lags + functions * (cells - 1))
    for name in ("bias", "history", "coupling"):
        np.testing.assert_array_equal(getattr(unpack(law, p), name), getattr(p, name))
    z = (rng.random((2, 9, cells)) < 0.4).astype(np.int8)
    logits = np.einsum("nbtp,np->btn", design(z, p), law)
    chain = BlockedGibbs(p, 1.0, 2, rng.normal(size=z.shape), 0, start=z)
    np.testing.assert_allclose(logits, chain._logits_now().transpose(0, 2, 1), atol=1e-12)


def test_bad_input_is_refused() -> None:
    data = recorded()
    z = np.zeros((2, 1, 60, 2), dtype=np.int8)
    with pytest.raises(UserError, match="samples of shape"):
        curvature(z[:1], data.start, PRIOR)
    with pytest.raises(UserError, match="sd 0"):
        Prior(0.0)
    with pytest.raises(UserError, match="1 steps"):
        laplace(BlockedGibbs(data.start, 30.0, KERNEL, data.x, 0), data.start, PRIOR, 1, 5)
    found = curvature(z, data.start, PRIOR)
    with pytest.raises(NumericalError, match="not positive definite"):
        replace(found, missing=2 * found.complete).covariance()
