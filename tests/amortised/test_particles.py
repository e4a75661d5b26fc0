"""The particle filter of a cell's law: its evidence where that has a closed form, and its spikes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from dfp.amortised.particles import filtered
from dfp.amortised.simulate import Cell, simulate_cell

BIN = 1 / 30


def test_without_spikes_the_evidence_is_that_of_a_gaussian() -> None:
    """Slow part, drift and offset are summed out exactly. What is left: spikes are tried in a hundredth of
    the frames, sd √(80 · 0.01 / N) of log p̂: 0.014 and 0.007.
    """
    cell = Cell(0.3, 0.5, 0.05, rate_hz=1e-9, noise=0.1, slow=0.2, slow_seconds=3.0, drift=0.05, offset=0.7)
    x = np.random.default_rng(0).normal(0.7, 0.2, 80)
    t = np.arange(80)
    cov = 0.1**2 * np.eye(80) + 0.2**2 * np.exp(-np.abs(t[:, None] - t) * BIN / 3.0)
    cov += 0.05**2 * BIN * (np.minimum(t[:, None], t) + 1) + 0.3**2
    seen = np.delete(t, [10, 11, 50])
    exact = multivariate_normal.logpdf(x[seen] - 0.7, cov=cov[np.ix_(seen, seen)])
    holed = x.copy()
    holed[[10, 11, 50]] = np.nan
    for particles, error in ((4096, 0.06), (16384, 0.03)):
        found = filtered(holed, BIN, cell, particles, seed=0, offset_sd=0.3)
        assert found.log_evidence == pytest.approx(exact, abs=error) and not found.counts.any()


def test_the_evidence_is_unbiased_whatever_the_number_of_particles() -> None:
    """The mean of p̂ over runs is the same for few particles and for many, and with a guide or without."""
    cell = Cell(rate_hz=2.0, amplitude=0.3, decay=0.4, rise=0.03, noise=0.1, modulation=0.5)
    x, counts = simulate_cell(cell, 45, BIN, seed=3)
    guide = np.clip(counts + 0.05, 0, 0.8)
    means, errors = [], []
    for particles, chances, runs in ((32, None, 1500), (256, None, 300), (32, guide, 1500)):
        found = (filtered(x, BIN, cell, particles, seed, chances) for seed in range(runs))
        logs = np.array([one.log_evidence for one in found])
        ratios = np.exp(logs - logs.max())
        means.append(logsumexp(logs) - np.log(runs))
        errors.append(ratios.std() / ratios.mean() / np.sqrt(runs))
    for mean, error in zip(means[1:], errors[1:], strict=True):
        assert abs(mean - means[0]) < 4 * np.hypot(error, errors[0]) and error < 0.2


def test_spikes_that_can_be_seen_are_found() -> None:
    """At an amplitude of ten noise sds, in their frames; and the count at one of three."""
    cell = Cell(rate_hz=1.0, amplitude=0.5, decay=0.5, rise=0.03, noise=0.05)
    x, counts = simulate_cell(cell, 900, BIN, seed=1)
    found = filtered(x, BIN, cell, 256, seed=0, paths=8).counts.mean(0)
    smooth = np.ones(3)
    assert np.corrcoef(np.convolve(found, smooth), np.convolve(counts, smooth))[0, 1] > 0.95
    dim = Cell(rate_hz=1.0, amplitude=0.15, decay=0.5, rise=0.03, noise=0.05)
    ratios = []
    for seed in range(6):
        x, counts = simulate_cell(dim, 900, BIN, seed)
        ratios.append(filtered(x, BIN, dim, 256, seed).counts.sum() / counts.sum())
    assert np.exp(np.log(ratios).mean()) == pytest.approx(1, abs=0.15)
