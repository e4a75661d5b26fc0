"""The network: what it says of counts is what is drawn, and its law of the constants has a density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from amortised_parts import TINY, random_network
from scipy import stats

from dfp.amortised.counts import MEMORY_SECONDS, saturated, traces_of
from dfp.amortised.features import CHANNELS, see
from dfp.amortised.network import DIMS, ConstantsLaw, Network, Parts
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.core.noise import generator

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


def law_of_constants(seed: int, traces: int = 1, spread: float = 0.7) -> tuple[ConstantsLaw, torch.Tensor]:
    """A mixture of three whose shares, means and factors are all far from their start; and contexts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = ConstantsLaw(3, 3).double()
        with torch.no_grad():
            made.head.weight.add_(spread * torch.randn(made.head.weight.shape, dtype=torch.float64))
    context = torch.randn((traces, 3), generator=generator(seed), dtype=torch.float64)
    return made.requires_grad_(False), context


def drawn_from(
    made: ConstantsLaw, context: torch.Tensor, draws: int, rate: torch.Tensor | None = None
) -> torch.Tensor:
    noise = torch.randn((draws, len(context), DIMS + 1), generator=generator(7), dtype=torch.float64)
    return made.draw(context, noise, rate)


@pytest.mark.parametrize("seed", range(3))
def test_the_density_of_the_constants_is_that_of_a_mixture(seed: int) -> None:
    """Held against PyTorch's own mixtures of Gaussians."""
    made, context = law_of_constants(seed, 4)
    share, mean, factor = made._split(context)
    normals = torch.distributions.MultivariateNormal(mean, scale_tril=factor)
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=share), normals)
    theta = drawn_from(made, context, 30)
    assert torch.allclose(made.log_prob(context, theta), mixture.log_prob(theta), atol=1e-9)
    sd = (factor @ factor.mT)[..., 0, 0].sqrt()
    alone = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=share), torch.distributions.Normal(mean[..., 0], sd)
    )
    assert torch.allclose(made.log_rate(context, theta[3, :, 0]), alone.log_prob(theta[3, :, 0]), atol=1e-9)


@pytest.mark.parametrize("given", [False, True])
def test_the_density_of_the_constants_integrates_to_one(given: bool) -> None:
    """By importance sampling from a wider Student's t about the draws; given the rate, over the others."""
    made, context = law_of_constants(4, spread=0.15)
    rate = torch.tensor([0.4], dtype=torch.float64) if given else None
    free = slice(1 if given else 0, None)
    drawn = drawn_from(made, context, 4000, rate)[:, 0, free]
    wide = stats.multivariate_t(drawn.mean(0).numpy(), 1.5 * np.cov(drawn.numpy().T), df=5, seed=1)
    points = wide.rvs(100000)
    theta = torch.tensor(points)
    if rate is not None:
        theta = torch.cat([rate.expand(len(points), 1), theta], 1)
    told = made.log_prob(context, theta[:, None])[:, 0]
    if rate is not None:
        told = told - made.log_rate(context, rate)
    ratio = np.exp(told.numpy() - wide.logpdf(points))
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.03
    assert abs(ratio.mean() - 1) < 4 * error


@pytest.mark.parametrize("given", [False, True])
def test_constants_are_drawn_from_their_density(given: bool) -> None:
    """Means and second moments of the draws, against those of the density by importance sampling."""
    made, context = law_of_constants(5)
    rate = torch.tensor([-0.3], dtype=torch.float64) if given else None
    drawn = drawn_from(made, context, 40000, rate)
    other = drawn_from(*law_of_constants(5), 40000)
    # the joint law, weighed to a narrow window of rates, is the law given the rate in its middle
    chosen = other[(other[:, 0, 0] + 0.3).abs() < 0.05] if given else None
    if chosen is not None:
        assert torch.allclose(drawn[..., 0], torch.tensor(-0.3, dtype=torch.float64))
        expected, error = chosen[:, 0, 1:].mean(0), chosen[:, 0, 1:].std(0) / math.sqrt(len(chosen))
        assert ((drawn[:, 0, 1:].mean(0) - expected).abs() < 4.5 * error + 0.02).all()
        assert torch.allclose(drawn[:, 0, 1:].std(0), chosen[:, 0, 1:].std(0), rtol=0.12)
        return
    share, mean, factor = (part[0] for part in made._split(context))
    expected = (share.exp()[:, None] * mean).sum(0)
    inside = factor @ factor.mT + mean[:, :, None] * mean[:, None, :]
    covariance = (share.exp()[:, None, None] * inside).sum(0) - expected[:, None] * expected
    error = covariance.diagonal().sqrt() / 200
    assert ((drawn[:, 0].mean(0) - expected).abs() < 4.5 * error).all()
    assert torch.allclose(
        torch.cov(drawn[:, 0].T), covariance, atol=0.05 * float(covariance.diagonal().max())
    )


def test_each_trace_has_constants_of_its_own() -> None:
    made, context = law_of_constants(6, 4)
    noise = torch.randn((6, 4, DIMS + 1), generator=generator(3), dtype=torch.float64)
    drawn = made.draw(context, noise)
    told = made.log_prob(context, drawn)
    for b in range(4):
        alone = made.draw(context[b : b + 1], noise[:, b : b + 1])
        assert torch.allclose(alone[:, 0], drawn[:, b])
        assert torch.allclose(made.log_prob(context[b : b + 1], alone)[:, 0], told[:, b])
