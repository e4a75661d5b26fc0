"""Sample statistics against numpy, against the exact posterior, and against what calibration promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.metrics import statistics
from dfp.references.exact.one_cell import CellParameters, ExactPosterior, exact_neighbour_covariance


def spikes(shape: tuple[int, ...], probability: float | Tensor, seed: int) -> Tensor:
    return (torch.rand(shape, generator=generator(seed), dtype=torch.float64) < probability).to(torch.int8)


def binomial(shape: tuple[int, ...], seed: int) -> Tensor:
    """One-bin 'trials' of 0 to 4 spikes: paths of 4 bins with probability 0.3."""
    return spikes((*shape[:-1], 4, shape[-1]), 0.3, seed)


def test_counts_and_marginals_are_numpys() -> None:
    z = spikes((7, 3, 20, 2), 0.3, seed=0)
    mean, sd = statistics.count_moments(z)
    counts = z.numpy().sum(2, dtype=float)
    np.testing.assert_allclose(mean.numpy(), counts.mean(0))
    np.testing.assert_allclose(sd.numpy(), counts.std(0, ddof=1))
    np.testing.assert_allclose(statistics.marginals(z).numpy(), z.numpy().mean(0))
    for same in (z.bool(), z.double(), z.float()):
        assert torch.equal(statistics.marginals(same), statistics.marginals(z))
    with pytest.raises(UserError, match="found 1 sample, expected at least 2"):
        statistics.count_moments(z[:1])


def test_counts_of_many_samples_do_not_overflow_their_type() -> None:
    z = torch.ones(300, 1, 400, 1, dtype=torch.int8)
    mean, sd = statistics.count_moments(z)
    assert mean.item() == 400
    assert sd.item() == 0
    assert statistics.marginals(z).unique().tolist() == [1.0]


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_neighbour_covariance_is_numpys(lag: int) -> None:
    z = spikes((9, 3, 12, 2), 0.4, seed=1)
    z[:, :, 1:] = torch.where(spikes((9, 3, 11, 2), 0.5, seed=2) > 0, z[:, :, :-1], z[:, :, 1:])
    found = statistics.neighbour_covariance(z, lag)
    for n in range(2):
        values = [
            np.cov(z[:, b, t, n].numpy(), z[:, b, t + lag, n].numpy())[0, 1]
            for b, t in itertools.product(range(3), range(12 - lag))
        ]
        assert found[n].item() == pytest.approx(np.mean(values), abs=1e-12)


def test_neighbour_covariance_of_independent_bins_is_unbiased() -> None:
    """With 2 samples, the divisor S would shift nothing here, but a plug-in mean of z z' − p p' would."""
    rate = torch.linspace(0.1, 0.9, 50, dtype=torch.float64)[:, None]
    found = torch.stack(
        [statistics.neighbour_covariance(spikes((2, 40, 50, 1), rate, seed), 1) for seed in range(40)]
    )
    assert abs(found.mean().item()) < 4 * found.std().item() / 40**0.5
    assert found.std().item() < 0.01


def test_sampled_and_exact_covariance_and_marginals_agree() -> None:
    one = torch.ones(2, dtype=torch.float64)
    parameters = CellParameters(
        bias=-1.0 * one,
        history=torch.tensor([[-3.0, -1.0], [1.0, 0.0]], dtype=torch.float64),
        kernel=(0.8 ** torch.arange(5, dtype=torch.float64)).expand(2, -1),
        amplitude=one,
        baseline=0 * one,
        noise=torch.tensor([0.7, 1.5], dtype=torch.float64),
    )
    x = torch.as_tensor(np.random.default_rng(0).normal(0.8, 0.8, (4, 80, 2)))
    posterior = ExactPosterior(parameters, x)
    z = posterior.sample(2000, generator(0))
    for lag in (1, 2, 4):
        sampled = torch.stack([statistics.neighbour_covariance(part, lag) for part in z.split(100)])
        expected = exact_neighbour_covariance(posterior, lag)
        assert ((sampled.mean(0) - expected).abs() < 4.5 * sampled.std(0) / 20**0.5).all()
    # the refractory cell's neighbours exclude each other, the bursting cell's come together
    first, second = exact_neighbour_covariance(posterior, 1)
    assert first < -0.01
    assert second > 0.005
    error = statistics.marginal_rmse(statistics.marginals(z), posterior.marginals)
    p = posterior.marginals
    assert torch.allclose(error, (p * (1 - p) / 2000).mean((0, 1)).sqrt(), rtol=0.2)


@pytest.mark.parametrize("lag", [0, -1, 12])
def test_impossible_lags_are_refused(lag: int) -> None:
    z = spikes((3, 2, 12, 1), 0.5, seed=0)
    with pytest.raises(UserError, match=f"found a lag of {lag} bins, expected 1 to 11"):
        statistics.neighbour_covariance(z, lag)
    with pytest.raises(UserError, match="found 1 sample"):
        statistics.neighbour_covariance(z[:1], 1)


def test_marginal_rmse_by_hand() -> None:
    p = torch.tensor([[[0.1, 0.5], [0.2, 0.5]], [[0.0, 0.5], [1.0, 0.5]]])
    q = torch.tensor([[[0.1, 0.0], [0.2, 1.0]], [[0.2, 0.0], [0.6, 1.0]]])
    expected = torch.tensor([math.sqrt((0.04 + 0.16) / 4), 0.5], dtype=torch.float64)
    torch.testing.assert_close(statistics.marginal_rmse(p, q), expected, rtol=1e-6, atol=0)


def test_windowed_counts() -> None:
    z = torch.arange(7).remainder(3).eq(0).to(torch.int8)[None, None, :, None]  # 1 0 0 1 0 0 1
    assert statistics.windowed_counts(z, 3).flatten().tolist() == [1, 1]
    assert statistics.windowed_counts(z, 4).flatten().tolist() == [2]
    assert statistics.windowed_counts(z, 7).flatten().tolist() == [3]
    assert statistics.windowed_counts(z, 0).flatten().tolist() == [3]
    for window in (-1, 8):
        with pytest.raises(UserError, match=f"found {window} bins, expected 0 .* to 7"):
            statistics.windowed_counts(z, window)


def test_ranks_of_a_truth_from_the_same_law_are_uniform() -> None:
    samples, truth = binomial((9, 20_000, 1), seed=0).sum(2), binomial((20_000, 1), seed=1).sum(1)
    ranks = statistics.randomised_ranks(samples, truth, generator(2)).flatten().numpy()
    observed = np.histogram(ranks, bins=20, range=(0, 1))[0]
    assert ((observed - 1000) ** 2 / 1000).sum() < 44  # 99.9% of chi-square with 19 degrees
    assert ranks.min() > 0
    assert ranks.max() < 1


@settings(max_examples=30, deadline=None)
@given(
    probabilities=st.lists(st.floats(0.01, 1), min_size=1, max_size=3),
    samples=st.integers(1, 4),
    level=st.floats(0.05, 0.99),
)
def test_coverage_of_a_calibrated_posterior_is_its_level_exactly(
    probabilities: list[float], samples: int, level: float
) -> None:
    """Sum over every outcome of S samples and the truth, all from one law on 0, 1, 2: no Monte Carlo."""
    law = np.array(probabilities) / np.sum(probabilities)
    total = 0.0
    for outcome in itertools.product(range(len(law)), repeat=samples + 1):
        counts = torch.tensor(outcome)
        z = (torch.arange(2)[None, :] < counts[:, None]).to(torch.int8)  # a count as a path of 2 bins
        covered = statistics.count_coverage(z[1:, None, :, None], z[:1, :, None], level)
        total += float(np.prod(law[list(outcome)])) * covered.item()
    assert total == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("window", [0, 5])
def test_averaging_over_ties_keeps_the_expectation_and_cuts_the_variance(level: float, window: int) -> None:
    z, truth = spikes((20, 400, 10, 1), 0.15, seed=3), spikes((400, 10, 1), 0.25, seed=4)
    averaged = statistics.count_coverage(z, truth, level, window=window).item()
    drawn = [
        statistics.count_coverage(z, truth, level, generator(seed), window=window).item()
        for seed in range(60)
    ]
    assert np.std(drawn) > 0
    assert abs(np.mean(drawn) - averaged) < 4 * np.std(drawn) / 60**0.5


def test_coverage_is_per_cell_and_tells_too_narrow_from_too_wide() -> None:
    """Cell 0 right, cell 1 with half the variance, cell 2 with twice, about the same mean count of 10."""
    trials, samples = 4000, 40
    truth = torch.stack([spikes((trials, 20), 0.5, seed=n) for n in range(3)], -1)
    right = spikes((samples, trials, 20), 0.5, seed=10)
    narrow = torch.cat([torch.ones(samples, trials, 5), torch.zeros(samples, trials, 5)], -1)
    narrow = torch.cat([narrow.to(torch.int8), spikes((samples, trials, 10), 0.5, seed=11)], -1)
    wide = spikes((samples, trials, 10), 0.5, seed=12).repeat_interleave(2, -1)
    z = torch.stack([right, narrow, wide], -1)
    for level, spread in ((0.5, 0.03), (0.9, 0.02)):
        coverage = statistics.count_coverage(z, truth, level, generator(0))
        assert coverage.shape == (3,)
        assert abs(coverage[0].item() - level) < spread
        assert coverage[1] < level - 2 * spread
        assert coverage[2] > level + 2 * spread
    # in windows of 10 bins the wide posterior is too wide and the narrow one too narrow as well
    windowed = statistics.count_coverage(z, truth, 0.5, window=10)
    assert abs(windowed[0].item() - 0.5) < 0.03
    assert windowed[1] < 0.45
    assert windowed[2] > 0.55


def test_coverage_mistakes_are_told() -> None:
    z, truth = spikes((3, 2, 12, 1), 0.5, seed=0), spikes((2, 12, 1), 0.5, seed=1)
    with pytest.raises(UserError, match="found a level of 90, expected one between 0 and 1"):
        statistics.count_coverage(z, truth, 90)
    with pytest.raises(UserError, match="expected the same trials, bins and cells"):
        statistics.count_coverage(z, truth[:, :11], 0.9)


def test_calibration_error_by_hand_and_per_cell() -> None:
    p = torch.tensor([0.05, 0.05, 0.85, 0.85, 1 + 1e-12, 0.0], dtype=torch.float64)
    z = torch.tensor([0, 1, 1, 1, 2, 0])
    # groups [0, 0.1): 3 frames, said 1/30, happened 1/3; [0.8, 0.9): 2, 0.85, 1; [0.9, 1]: 1, 1, 1
    expected = 3 / 6 * 0.3 + 2 / 6 * 0.15
    both = torch.stack([p, z.clamp_max(1).double()], -1)
    error = statistics.expected_calibration_error(both[None], torch.stack([z, z], -1)[None])
    torch.testing.assert_close(error, torch.tensor([expected, 0.0], dtype=torch.float64), rtol=0, atol=1e-9)


def test_calibration_error_vanishes_for_true_probabilities_only() -> None:
    p = torch.rand(50, 2000, 2, generator=generator(0), dtype=torch.float64)
    z = spikes(p.shape, p, seed=1)
    assert (statistics.expected_calibration_error(p, z) < 0.01).all()
    assert (statistics.expected_calibration_error(p.sqrt(), z) > 0.1).all()
