"""The discrete flow over counts: its pmf, and the same counts by every route."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dfp.amortised.counts import CountLaw, log_prob, saturated, seeded_noise, traces_of

#: a last threshold that is never reached
NEVER = 1e9


def law(seed: int, samples: int, bins: int, history: float = 1.0, memories: int = 2) -> CountLaw:
    """A law with everything in it; ``history`` is the sd of what past counts do."""
    rng = np.random.default_rng(seed)
    return CountLaw(
        base=np.stack([rng.normal(0, 2, bins), rng.normal(0, 1, bins)]),
        gains=rng.normal(0, history, (memories, bins)),
        basis=rng.normal(0, 1, (3, bins)),
        scale_basis=rng.normal(0, 0.5, (2, bins)),
        weights=rng.normal(0, 1, (samples, 3)),
        scale_weights=rng.normal(0, 1, (samples, 2)),
        thresholds=np.concatenate([[0.0], np.cumsum(rng.uniform(0.05, 1.5, 5))]),
        decays=rng.uniform(0.05, 0.95, memories),
    )


def repeated(one: CountLaw, samples: int) -> CountLaw:
    """The first sample's law, for many samples."""
    weights, scale_weights = (np.repeat(part[:1], samples, 0) for part in (one.weights, one.scale_weights))
    return replace(one, weights=weights, scale_weights=scale_weights)


def log_prob_of(one: CountLaw, counts: np.ndarray) -> np.ndarray:
    """Log pmf of counts ``(P, T)`` under the first sample's law."""
    past = np.zeros(counts.shape)
    for gain, decay in zip(one.gains, one.decays, strict=True):
        past += gain * saturated(traces_of(counts, decay))
    location = one.base[0] + one.weights[0] @ one.basis - past
    log_scale = np.clip(one.base[1] + one.scale_weights[0] @ one.scale_basis, -3, 3) + np.zeros_like(past)
    thresholds = torch.tensor(np.append(one.thresholds, NEVER))
    each = log_prob(*map(torch.tensor, (location, log_scale)), thresholds, torch.tensor(counts))
    return each.sum(-1).numpy()


@pytest.mark.parametrize("seed", range(5))
def test_the_pmf_sums_to_one_over_all_counts(seed: int) -> None:
    one = law(seed, 1, 3)
    every = np.array(list(itertools.product(range(7), repeat=3)))
    assert math.isclose(np.exp(log_prob_of(one, every)).sum(), 1.0, abs_tol=1e-6)


def test_the_pmf_is_how_often_counts_are_drawn() -> None:
    """Pearson's test over all pairs of counts of two bins, the second depending on the first."""
    tiny, draws = law(3, 1, 2), 40000
    drawn = repeated(tiny, draws).draw_seeded(5)
    every = np.array(list(itertools.product(range(7), repeat=2)))
    expected = np.exp(log_prob_of(tiny, every)) * draws
    observed = np.array([(drawn == pair).all(1).sum() for pair in every])
    common = expected > 5
    assert common.sum() > 10
    told = [np.append(part[common], part[~common].sum()) for part in (observed, expected)]
    assert stats.chisquare(told[0], told[1] * told[0].sum() / told[1].sum()).pvalue > 1e-3
    # without the effect of the past it is another law
    wrong = np.exp(log_prob_of(replace(tiny, gains=0 * tiny.gains), every))[common] * draws
    assert stats.chisquare(observed[common], wrong * observed[common].sum() / wrong.sum()).pvalue < 1e-6


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    samples=st.integers(1, 5),
    bins=st.integers(1, 60),
    history=st.sampled_from([0.0, 0.5, 3.0, 30.0]),
    memories=st.integers(1, 3),
)
def test_every_route_draws_the_same_counts(
    seed: int, samples: int, bins: int, history: float, memories: int
) -> None:
    one, noise = law(seed, samples, bins, history, memories), seeded_noise(seed, samples, bins)
    drawn = one.draw(noise)
    by_sweeps, sweeps = one.fixed_point(noise)
    assert np.array_equal(drawn, one.draw_seeded(seed))
    assert np.array_equal(drawn, by_sweeps)
    assert sweeps <= bins + 2
    assert drawn.max() <= len(one.thresholds)


def test_bin_t_is_right_after_t_and_one_sweeps() -> None:
    one, noise = law(1, 4, 30, history=8.0), seeded_noise(2, 4, 30)
    drawn = one.draw(noise)
    for limit in (1, 5, 20):
        early, _ = one.fixed_point(noise, limit)
        assert np.array_equal(early[:, : limit + 1], drawn[:, : limit + 1])
    assert not np.array_equal(one.fixed_point(noise, 1)[0], drawn)


def test_a_draw_does_not_depend_on_how_many_there_are() -> None:
    many = law(4, 9, 50)
    few = replace(many, weights=many.weights[:4], scale_weights=many.scale_weights[:4])
    assert np.array_equal(few.draw_seeded(8), many.draw_seeded(8)[:4])
    assert not np.array_equal(many.draw_seeded(8), many.draw_seeded(9))


def test_a_past_spike_hinders_the_next_where_the_gain_is_positive() -> None:
    flat = repeated(replace(law(0, 1, 40), base=np.zeros((2, 40))), 1000)
    hindered = replace(flat, gains=np.full((2, 40), 2.0)).draw_seeded(1)
    free = replace(flat, gains=np.zeros((2, 40))).draw_seeded(1)
    assert np.array_equal(hindered[:, 0], free[:, 0])
    assert hindered[:, 1:].mean() < 0.7 * free[:, 1:].mean()


def test_seeded_noise_is_logistic_and_its_numbers_are_independent() -> None:
    noise = seeded_noise(11, 300, 400)
    assert stats.kstest(noise.ravel(), "logistic").pvalue > 1e-3
    ranks = stats.logistic.cdf(noise) - 0.5
    following = stats.logistic.cdf(seeded_noise(12, 300, 400)) - 0.5
    for products in (ranks[:, 1:] * ranks[:, :-1], ranks[1:] * ranks[:-1], ranks * following):
        assert abs(products.mean()) < 5 / 12 / np.sqrt(products.size)
    assert np.array_equal(seeded_noise(11, 7, 400), noise[:7])
    assert np.array_equal(seeded_noise(11, 300, 9), noise[:, :9])


def test_traces_of_the_past_leave_the_present_out() -> None:
    counts = np.array([0, 2, 0, 1, 0])
    h = traces_of(counts, 0.5)
    expected = [sum(0.5 ** (t - u) * counts[u] for u in range(t)) for t in range(5)]
    assert np.allclose(h, expected)
    assert np.allclose(traces_of(np.stack([counts, 3 * counts]), 0.5), [h, 3 * h])


def test_the_log_pmf_is_finite_where_probabilities_underflow() -> None:
    location = torch.tensor([-500.0, 500.0, 0.0])
    counts = torch.tensor([3, 0, 48])
    log_scale = torch.full((3,), -3.0)
    thresholds = torch.arange(49, dtype=torch.float32)
    location.requires_grad_(True)
    told = log_prob(location, log_scale, thresholds, counts)
    told.sum().backward()
    assert torch.isfinite(told).all() and torch.isfinite(location.grad).all()
