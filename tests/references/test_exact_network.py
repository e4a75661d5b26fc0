"""The exact posterior of coupled cells: every number against the sum over paths, and its symmetries."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from cases import model
from network_sums import SIZES, Sizes, assert_exact, brute_force, network, traces

from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork
from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters
from dfp.references.exact.one_cell import CellParameters, ExactPosterior


@pytest.mark.usefixtures("step_table")
@pytest.mark.parametrize("budget", [500_000_000, 1], ids=["kept", "recomputed"])
@pytest.mark.parametrize(("sizes", "bins"), SIZES)
def test_every_number_agrees_with_the_sum_over_paths(sizes: Sizes, bins: int, budget: int) -> None:
    parameters = network(sizes, seed=bins)
    x = traces(2, bins, sizes[0], seed=sizes[-1], missing=0.2)
    assert_exact(ExactNetworkPosterior(parameters, x, budget), parameters, x)


def test_a_basis_shifted_by_one_bin_is_noticed() -> None:
    """The check can fail: the reference with every basis function one bin late, or one bin early."""
    parameters, x = network((2, 1, 1, 3, 2), seed=4), traces(1, 6, 2, seed=4)
    posterior = ExactNetworkPosterior(parameters, x)
    assert_exact(posterior, parameters, x)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    for basis in (torch.cat([zero, parameters.basis], 1), parameters.basis[:, 1:]):
        shifted = replace(parameters, basis=basis)
        with pytest.raises(AssertionError):
            assert_exact(posterior, shifted, x)
        assert abs(brute_force(x[0].numpy(), shifted)[0] - posterior.log_evidence.item()) > 1e-3


def test_a_coupling_the_wrong_way_round_is_noticed() -> None:
    parameters, x = network((2, 1, 1, 2, 2), seed=5), traces(1, 6, 2, seed=5)
    turned = replace(parameters, coupling=parameters.coupling.transpose(1, 2))
    with pytest.raises(AssertionError):
        assert_exact(ExactNetworkPosterior(parameters, x), turned, x)


def network_parameters(of: CalciumNetwork) -> NetworkParameters:
    """Those of a calcium network whose kernel is cut."""
    names = ("bias", "history", "coupling", "amplitude", "baseline", "noise")
    values = {name: of.value(name).detach() for name in names}
    return NetworkParameters(**values, basis=of.basis, kernel=of.kernel(of.kernel_bins).detach())


@pytest.mark.parametrize(("kernel_bins", "history"), [(4, 2), (2, 1), (3, 0)])
def test_it_is_the_posterior_of_the_calcium_network(kernel_bins: int, history: int) -> None:
    """The network's own ``log_joint``, summed over every path: reference and model are the same model."""
    calcium = model(2, seed=kernel_bins, learn=(), kernel_bins=kernel_bins, history=history, basis=2)
    x = traces(2, 6, 2, seed=history)
    x[1, 3, 0] = math.nan
    paths = all_paths(6, 2)
    joint = calcium.log_joint(x, paths.expand(-1, 2, -1, -1)).sum((2, 3))
    posterior = ExactNetworkPosterior(network_parameters(calcium), x)
    evidence = torch.logsumexp(joint, 0)
    torch.testing.assert_close(posterior.log_evidence, evidence, rtol=0, atol=1e-10)
    marginals = torch.einsum("pb,ptn->btn", (joint - evidence).exp(), paths[:, 0])
    torch.testing.assert_close(posterior.marginals, marginals, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sizes", [(3, 2, 1, 3, 4), (3, 3, 2, 3, 2), (2, 2, 0, 0, 5), (16, 0, 0, 0, 1)])
def test_without_coupling_the_cells_are_those_of_the_exact_posterior(sizes: Sizes) -> None:
    parameters, x = network(sizes, seed=2), traces(2, 30, sizes[0], seed=2, missing=0.1)
    parameters = replace(parameters, coupling=0 * parameters.coupling)
    together = ExactNetworkPosterior(parameters, x)
    names = [field.name for field in fields(CellParameters)]
    alone = ExactPosterior(CellParameters(**{name: getattr(parameters, name) for name in names}), x)
    torch.testing.assert_close(together.log_evidence, alone.log_evidence.sum(1), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(together.marginals, alone.marginals, rtol=0, atol=1e-11)
    for lag in range(alone.memory):
        own = together.pairwise(lag).diagonal(dim1=2, dim2=3)
        torch.testing.assert_close(own, alone.pairwise(lag), rtol=0, atol=1e-11)
    # spikes of different cells are independent
    first, second = together.marginals[..., 0], together.marginals[..., 1]
    torch.testing.assert_close(together.pairwise(0)[..., 0, 1], first * second, rtol=0, atol=1e-11)


def test_cells_may_be_named_in_any_order() -> None:
    parameters, x = network((3, 1, 2, 3, 4), seed=7), traces(2, 20, 3, seed=7, missing=0.1)
    order = torch.tensor([2, 0, 1])
    turned = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    turned = {
        name: value if name in ("basis", "coupling") else value[order] for name, value in turned.items()
    }
    turned["coupling"] = parameters.coupling[:, order][:, :, order]
    here = ExactNetworkPosterior(parameters, x)
    there = ExactNetworkPosterior(NetworkParameters(**turned), x[..., order])
    torch.testing.assert_close(there.log_evidence, here.log_evidence, rtol=1e-12, atol=0)
    torch.testing.assert_close(there.marginals, here.marginals[..., order], rtol=0, atol=1e-12)
    pairs = here.pairwise(3)[:, :, order][..., order]
    torch.testing.assert_close(there.pairwise(3), pairs, rtol=0, atol=1e-12)
