"""The exact posterior of coupled cells: its samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_sums import Sizes, brute_force, network, traces
from scipy import stats

from dfp.core.noise import generator
from dfp.references.exact.network import ExactNetworkPosterior


@pytest.mark.usefixtures("step_table")
@pytest.mark.parametrize("sizes", [(2, 2, 1, 4, 3), (3, 1, 1, 2, 3)])
def test_samples_have_the_exact_marginals_and_pairs(sizes: Sizes) -> None:
    samples = 4000
    parameters, x = network(sizes, seed=5, noise=1.2), traces(2, 40, sizes[0], seed=5, missing=0.1)
    posterior = ExactNetworkPosterior(parameters, x)
    z = posterior.sample(samples, generator(0))
    assert z.shape == (samples, *x.shape)
    assert z.dtype == torch.int8
    z = z.double()
    crossed = torch.einsum("sbti,sbtj->btij", z[:, :, 2:], z[:, :, :-2]) / samples
    for found, expected in ((z.mean(0), posterior.marginals), (crossed, posterior.pairwise(2))):
        normal = (expected > 0.005) & (expected < 0.995)  # where 4,000 samples have a normal mean
        deviation = (expected * (1 - expected) / samples).sqrt()
        scores = ((found - expected) / deviation)[normal]
        assert len(scores) > 60
        assert scores.abs().max() < 4.5
        assert 0.6 < scores.square().mean() < 1.4


@pytest.mark.usefixtures("step_table")
def test_whole_paths_are_drawn_with_their_exact_probabilities() -> None:
    parameters, x = network((2, 1, 1, 2, 2), seed=8), traces(1, 4, 2, seed=9)
    _, paths, weight = brute_force(x[0].numpy(), parameters)
    z = (
        ExactNetworkPosterior(parameters, x, budget=50_000)
        .sample(20_000, generator(1))[:, 0]
        .flatten(1)
        .numpy()
    )
    code = 2 ** np.arange(8)
    observed = np.bincount(z @ code, minlength=256)[(paths.reshape(-1, 8) @ code).astype(int)]
    common = weight * len(z) > 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(weight[common], weight[~common].sum()) * len(z)
    assert len(observed) > 30
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_samples_repeat_with_their_generator_and_leave_the_global_state_alone() -> None:
    posterior = ExactNetworkPosterior(network((2, 1, 1, 2, 3), seed=1), traces(2, 12, 2, seed=1))
    before = torch.get_rng_state()
    first, again, other = (posterior.sample(5, generator(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
