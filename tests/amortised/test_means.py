"""Expected counts: means over the samples of what each expects, less noisy than those of their counts."""

from __future__ import annotations

import numpy as np
import pytest

from dfp.amortised.counts import CountLaw
from dfp.amortised.network import Network, Sizes
from dfp.amortised.posterior import Pretrained

SMALL = Sizes((4, 4, 4), (3, 3, 3), 2, 2, 8, 8, 1)


def law(samples: int, bins: int, seed: int) -> CountLaw:
    rng = np.random.default_rng(seed)
    return CountLaw(
        base=np.stack([rng.normal(-1, 1, bins), rng.normal(0, 0.3, bins)]),
        gains=rng.normal(0, 1, (2, bins)),
        basis=rng.normal(size=(2, bins)),
        scale_basis=0.1 * rng.normal(size=(1, bins)),
        weights=rng.normal(size=(samples, 2)),
        scale_weights=rng.normal(size=(samples, 1)),
        thresholds=np.array([0.0, 1.0, 2.5, 4.0]),
        decays=np.array([0.5, 0.9]),
    )


def test_the_counts_are_those_without_the_means() -> None:
    one = law(5, 200, 1)
    assert np.array_equal(one.draw_with_means(3)[0], one.draw_seeded(3))


def test_means_are_those_of_the_counts_within_their_noise() -> None:
    one = law(20_000, 12, 2)
    counts, probability, expected = one.draw_with_means(3)
    for mine, theirs in ((probability, counts > 0), (expected, counts)):
        error = theirs.std(0) / np.sqrt(len(counts))
        assert np.all(np.abs(mine - theirs.mean(0)) < 5 * error + 1e-5)


def test_few_samples_tell_the_mean_better_than_their_counts() -> None:
    rare = law(1, 400, 4)
    many = CountLaw(**{**rare.__dict__, "weights": np.zeros((4000, 2)), "scale_weights": np.zeros((4000, 1))})
    truth = many.draw_with_means(0)[2]
    few = CountLaw(**{**rare.__dict__, "weights": np.zeros((20, 2)), "scale_weights": np.zeros((20, 1))})
    counts, _, expected = few.draw_with_means(9)
    assert np.square(expected - truth).mean() < 0.3 * np.square(counts.mean(0) - truth).mean()


@pytest.mark.parametrize(("rate", "frames"), [(30.0, 100), (200.0, 407)])
def test_frames_share_what_their_bin_expects(rate: float, frames: int) -> None:
    trace = np.random.default_rng(0).normal(size=frames)
    drawn = (
        Pretrained(Network(SMALL).requires_grad_(False), {"sha256": ""}).condition(trace, rate).sample(400, 0)
    )
    assert drawn.expected.shape == drawn.probability.shape == (frames,)
    assert drawn.expected.sum() == pytest.approx(drawn.counts.sum(1).mean(), rel=0.05)
    assert (drawn.counts > 0).mean() == pytest.approx(drawn.probability.mean(), rel=0.05)
    assert np.all(drawn.probability <= np.minimum(drawn.expected, 1) + 1e-3)
