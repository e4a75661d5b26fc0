"""The network: what it says of counts is what is drawn, and its flow over constants has a density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from amortised_parts import TINY, random_network
from scipy import stats

from dfp.amortised.counts import MEMORY_SECONDS, saturated, traces_of
from dfp.amortised.features import CHANNELS, see
from dfp.amortised.network import DIMS, ConstantsFlow, Network, Parts
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.core.noise import generator
from dfp.flows.chain import log_normal

SECONDS = 1 / 30
CELL = Cell(amplitude=0.4, decay=0.4, rise=0.02, rate_hz=3.0, noise=0.1)
TRACE, COUNTS = simulate_cell(CELL, 40, SECONDS, 2)


def parts_of(network: Network, trace: np.ndarray = TRACE) -> Parts:
    seen = see(trace, SECONDS)
    return network(torch.from_numpy(seen.frames)[None], torch.from_numpy(seen.numbers)[None])


def past_of(counts: np.ndarray) -> torch.Tensor:
    """``(B, J, T)``, of counts ``(B, T)``."""
    each = [saturated(traces_of(counts, math.exp(-SECONDS / one))) for one in MEMORY_SECONDS]
    return torch.tensor(np.stack(each, 1), dtype=torch.float32)


@pytest.mark.parametrize("seed", [1, 2])
def test_counts_are_drawn_by_the_law_that_the_network_is_trained_on(seed: int) -> None:
    """Pearson's test of every bin's counts: the probability of each, given the past that was drawn."""
    network, draws = random_network(seed), 4000
    parts = parts_of(network)
    theta = torch.randn((1, DIMS), generator=generator(seed))
    law = network.law(parts, theta.expand(draws, DIMS), SECONDS)
    drawn = law.draw_seeded(seed).astype(np.int64)
    assert 0.05 < drawn.mean() < 20 and drawn.max() > 1
    observed, expected, variance = np.zeros((3, 6))
    for k in range(6):
        asked = torch.full((draws, 40), k)
        many = Parts(
            *(one.expand(draws, *one.shape[1:]) for one in (parts.frames, parts.context, parts.hidden))
        )
        told = network.log_counts(many, theta[None].expand(1, draws, DIMS), past_of(drawn), asked)
        p = told.exp().double().numpy()
        observed[k], expected[k], variance[k] = (drawn == k).sum(), p.sum(), (p * (1 - p)).sum()
    # given the past, each bin's indicator has mean p: their sum is a martingale with this variance
    assert (abs(observed - expected) < 4.5 * np.sqrt(variance) + 0.5).all(), (observed, expected, variance)
    assert expected.min() >= 0 and expected[:3].min() > 50


def test_the_law_holds_another_seed_to_the_same_numbers() -> None:
    network = random_network(3)
    theta = torch.randn((50, DIMS), generator=generator(0))
    law = network.law(parts_of(network), theta, SECONDS)
    assert law.shape == (50, 40)
    assert law.thresholds[0] == 0 and (np.diff(law.thresholds) > 0).all()
    # θ changes the law
    location, _ = law.locations()
    assert location.std(0).max() > 1e-3


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 8, 13, 40])
def test_any_number_of_bins_goes_through(bins: int) -> None:
    network = random_network(1)
    frames = torch.randn((2, CHANNELS, bins), generator=generator(1))
    numbers = torch.from_numpy(see(TRACE, SECONDS).numbers).expand(2, -1)
    parts = network(frames, numbers)
    assert parts.frames.shape == (2, 2 + len(MEMORY_SECONDS) + TINY.basis + TINY.scale_basis, bins)
    assert torch.isfinite(parts.frames).all()


def test_traces_side_by_side_do_not_see_each_other() -> None:
    network = random_network(1)
    other, _ = simulate_cell(CELL, 40, SECONDS, 9)
    seen = [see(one, SECONDS) for one in (TRACE, other)]
    frames, numbers = (
        torch.from_numpy(np.stack([getattr(s, n) for s in seen])) for n in ("frames", "numbers")
    )
    both = network(frames, numbers)
    for i, one in enumerate((TRACE, other)):
        alone = parts_of(network, one)
        assert torch.allclose(both.frames[i], alone.frames[0], atol=1e-5)
        assert torch.allclose(both.context[i], alone.context[0], atol=1e-5)


def flow(seed: int, features: int = 3) -> ConstantsFlow:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ConstantsFlow(features, 3).double()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape, dtype=torch.float64))
    return made.requires_grad_(False)


@pytest.mark.parametrize("seed", range(3))
def test_the_density_of_the_constants_is_that_of_the_draws(seed: int) -> None:
    """Change of variables: log q(f(ε)) = log N(ε) − log |det ∂f/∂ε|, by differentiating the draw."""
    made = flow(seed)
    context = torch.randn((1, 3), generator=generator(seed), dtype=torch.float64)
    noise = torch.randn((20, 1, DIMS), generator=generator(seed + 1), dtype=torch.float64)
    drawn = made.draw(context, noise)
    told = made.log_prob(context, drawn)
    for k in range(20):
        jacobian = torch.autograd.functional.jacobian(
            lambda e: made.draw(context, e[None, None])[0, 0], noise[k, 0]
        )
        expected = log_normal(noise[k, 0]) - torch.linalg.slogdet(jacobian).logabsdet
        assert told[k, 0].item() == pytest.approx(expected.item(), abs=1e-7)
    assert told.std() > 0.5


def test_the_density_of_the_constants_integrates_to_one() -> None:
    """By importance sampling, from a wider Student's t about the draws."""
    made, context = flow(4), torch.zeros((1, 3), dtype=torch.float64)
    drawn = made.draw(context, torch.randn((4000, 1, DIMS), generator=generator(0), dtype=torch.float64))[
        :, 0
    ]
    wide = stats.multivariate_t(drawn.mean(0).numpy(), 1.5 * np.cov(drawn.numpy().T), df=5, seed=1)
    points = wide.rvs(40000)
    told = made.log_prob(context, torch.tensor(points)[:, None])[:, 0].numpy()
    ratio = np.exp(told - wide.logpdf(points))
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.03
    assert abs(ratio.mean() - 1) < 4 * error


def test_each_trace_has_a_flow_of_its_own() -> None:
    made = flow(5)
    context = torch.randn((4, 3), generator=generator(2), dtype=torch.float64)
    noise = torch.randn((6, 4, DIMS), generator=generator(3), dtype=torch.float64)
    drawn = made.draw(context, noise)
    told = made.log_prob(context, drawn)
    for b in range(4):
        alone = made.draw(context[b : b + 1], noise[:, b : b + 1])
        assert torch.allclose(alone[:, 0], drawn[:, b])
        assert torch.allclose(made.log_prob(context[b : b + 1], alone)[:, 0], told[:, b])
