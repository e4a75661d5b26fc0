"""Chains: compositions of single flows, conditional ones, densities that integrate to one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.flows.chain import Chain, FlowDensity, log_normal
from dfp.flows.planar import planar
from dfp.flows.radial import radial

KINDS = [("planar", "safe"), ("planar", "source"), ("radial", "safe")]


def wild(kind: str, constraint: str, dims: int, length: int, scale: float = 1.0, **more: object) -> Chain:
    """A chain whose parameters are of the order of ``scale``, in float64."""
    chain = Chain(kind, dims, length, generator(0), constraint, **more).double()  # type: ignore[arg-type]
    rng = generator(1)
    for parameter in chain.parameters():
        parameter.data = scale * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return chain


def one_by_one(chain: Chain, z: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros_like(z[..., 0])
    dims = chain.dims
    for own in given:
        if chain.kind == "planar":
            z, log_det = planar(z, own[..., :dims], own[..., dims:-1], own[..., -1], chain.constraint)
        else:
            z, log_det = radial(z, own[..., :dims], own[..., -2], own[..., -1])
        total = total + log_det
    return z, total


@pytest.mark.parametrize(("kind", "constraint"), KINDS)
@pytest.mark.parametrize("length", [0, 1, 9])
def test_a_chain_is_its_flows_one_after_the_other(kind: str, constraint: str, length: int) -> None:
    chain = wild(kind, constraint, 3, length, batch=(2, 4))
    z = torch.randn(50, 2, 4, 3, generator=generator(2), dtype=torch.float64)
    f, log_det = chain(z)
    apart, total = one_by_one(chain, z, chain.own)
    assert torch.allclose(f, apart, atol=1e-12) and torch.allclose(log_det, total, atol=1e-12)
    back, backward = chain.inverse(f)
    assert torch.allclose(chain(back)[0], f, atol=1e-9)
    assert torch.allclose(backward, -chain(back)[1], atol=1e-9)


@pytest.mark.parametrize(("kind", "constraint"), KINDS)
def test_the_log_determinant_of_a_chain_is_that_of_autodiff(kind: str, constraint: str) -> None:
    chain = wild(kind, constraint, 3, 6)
    z = torch.randn(100, 3, generator=generator(2), dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda point: chain(point)[0]))(z)
    assert (torch.linalg.slogdet(jacobian)[1] - chain(z)[1]).abs().max() < 1e-9


@pytest.mark.parametrize(("kind", "constraint"), KINDS)
def test_parameters_computed_from_features_differ_from_trial_to_trial(kind: str, constraint: str) -> None:
    chain = wild(kind, constraint, 3, 4, features=5, batch=(2,))
    rng = generator(3)
    features = torch.randn(2, 7, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    z = torch.randn(6, 2, 7, 3, generator=rng, dtype=torch.float64)
    f, log_det = chain(z, features)
    for problem, trial in ((0, 0), (1, 6)):
        given = chain.own[:, problem] + features[problem, trial] @ chain.head[:, problem] / 5**0.5
        apart, total = one_by_one(chain, z[:, problem, trial], given)
        assert torch.allclose(f[:, problem, trial], apart, atol=1e-10)
        assert torch.allclose(log_det[:, problem, trial], total, atol=1e-10)
    back, _ = chain.inverse(f, features)
    assert torch.allclose(chain(back, features)[0], f, atol=1e-9)
    (slope,) = torch.autograd.grad(f.sum() + log_det.sum(), features)
    assert (slope.abs().sum(-1) > 0).all()
    with pytest.raises(UserError, match="features: found none"):
        chain(z)


@pytest.mark.parametrize(("kind", "constraint"), KINDS)
def test_densities_integrate_to_one(kind: str, constraint: str) -> None:
    """On a grid, through the inverse: every error of a map, its inverse or its log-determinant would show."""
    density = FlowDensity(wild(kind, constraint, 2, 5, 0.8)).double()
    density.mean.data = torch.tensor([0.3, -0.4], dtype=torch.float64)
    density.log_sd.data = torch.tensor([0.4, -0.5], dtype=torch.float64)
    noise = torch.randn(20_000, 2, generator=generator(4), dtype=torch.float64)
    with torch.no_grad():
        z, log_q = density.draw(noise)
        low, high = z.amin(0) - 1.5, z.amax(0) + 1.5
        cells = 400
        axes = [
            low[i] + (high - low)[i] / cells * (torch.arange(cells, dtype=torch.float64) + 0.5)
            for i in (0, 1)
        ]
        values = density.log_prob(torch.cartesian_prod(*axes)).exp()
        mass = float(values.sum() * (high - low).prod() / cells**2)
        assert abs(mass - 1) < 1e-4
        assert torch.allclose(density.log_prob(z[:500]), log_q[:500], atol=1e-7)
        assert float((log_q - log_normal(z)).abs().max()) > 1, "a density that is not the normal one"


def test_a_chain_of_nothing_and_bad_settings() -> None:
    z = torch.randn(4, 3, generator=generator(0))
    f, log_det = Chain("radial", 3, 0, generator(0))(z)
    assert torch.equal(f, z) and not log_det.any()
    with pytest.raises(UserError, match="kind: found 'circular', expected planar or radial"):
        Chain("circular", 2, 1, generator(0))
    with pytest.raises(UserError, match="length, dims: found -1, 2"):
        Chain("planar", 2, -1, generator(0))
    with pytest.raises(UserError, match="constraint: found 'none'"):
        Chain("planar", 2, 1, generator(0), "none")
