"""Particle Gibbs over slow kernels: the law that it leaves unchanged, by enumeration, and its choice."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cases
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.references.gibbs import particle_path
from dfp.references.gibbs import particles as particle_gibbs
from dfp.references.gibbs.base import GibbsChain
from dfp.references.gibbs.blocks import BlockedGibbs
from dfp.references.gibbs.chains import diagnostics
from dfp.references.gibbs.learning import em, weight_posterior
from dfp.references.gibbs.particles import ParticleGibbs, gibbs_chain
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential

pytest.importorskip("numba")

Array = NDArray[np.float64]
RATE, BATCHES = 10.0, 50


def small(cells: int, bins: int, lags: int, rise: float = 0.15) -> tuple[CalciumParameters, Array]:
    """Coupled cells with slow responses, two trials, one frame of which is not observed."""
    p = cases.parameters(cells=cells, seed=3, history=2, basis=0 if cells == 1 else lags)
    basis = np.eye(lags) if cells == 2 else p.basis
    coupling = np.zeros((len(basis), cells, cells))
    if cells == 2:
        coupling[0, 0, 1], coupling[0, 1, 0] = 2.5, -2.0
    if cells == 2 and lags > 1:
        p = replace(p, bias=np.zeros(2))
        coupling[-1, 0, 1], coupling[-1, 1, 0] = -3.0, 3.0
    x = cases.traces(5, 2, bins, cells).numpy()
    x[0, 2, -1] = np.nan
    noise, slow = np.full(cells, 0.8), np.full(cells, rise)
    p = replace(p, coupling=coupling, basis=basis)
    return replace(p, noise=noise, rise=slow, decay=np.full(cells, 0.6)), x


def enumerated(p: CalciumParameters, x: Array, kernel_bins: int) -> Array:
    """P(z_a = 1, z_b = 1 | x) of all pairs of the T·N spikes, singles on the diagonal: ``(B, T·N, T·N)``."""
    spikes = x.shape[1] * x.shape[2]
    words = (np.arange(2**spikes)[:, None] >> np.arange(spikes)) & 1
    z = torch.as_tensor(words.reshape(-1, 1, *x.shape[1:]), dtype=torch.float64)
    network = CalciumNetwork(p, RATE, kernel_bins=kernel_bins).double()
    with torch.no_grad():
        joint = network.log_joint(torch.as_tensor(x), z.expand(-1, x.shape[0], -1, -1)).sum((2, 3))
    weight = torch.softmax(joint, 0).numpy()
    return np.einsum("wb,wi,wj->bij", weight, words, words, optimize=True)


def largest_score(samples: NDArray[np.int8], expected: Array) -> float:
    """The largest distance from the expected pairs in standard errors by batch means."""
    count, trials = samples.shape[:2]
    z = samples.reshape(BATCHES, count // BATCHES, trials, -1).astype(float)
    means = np.einsum("ksbi,ksbj->kbij", z, z, optimize=True) / z.shape[1]
    error = means.std(0, ddof=1) / np.sqrt(BATCHES)
    error = np.maximum(error, np.sqrt(expected * (1 - expected) / count))
    return float((np.abs(means.mean(0) - expected) / error).max())


# 20 to 110 numbers a case with 49 degrees of freedom: |t| > 4.5 has a probability of 0.004 in the largest
@pytest.mark.parametrize("particles", [2, 5])
@pytest.mark.parametrize(
    ("cells", "bins", "lags", "kernel_bins"),
    [(1, 10, 1, 0), (2, 5, 1, 0), (2, 5, 3, 0), (2, 5, 3, 4), (1, 9, 1, 5)],
)
def test_it_converges_to_the_enumerated_law(
    cells: int, bins: int, lags: int, kernel_bins: int, particles: int
) -> None:
    p, x = small(cells, bins, lags)
    chain = ParticleGibbs(p, RATE, kernel_bins, x, seed=1, particles=particles)
    assert largest_score(chain.run(10_000, 100), enumerated(p, x, kernel_bins)) < 4.5


@pytest.mark.parametrize("rise", [0.0, 0.6, 1.5])
def test_any_rise_will_do(rise: float) -> None:
    """Instant, as slow as the decay (no difference of exponentials), and slower than it."""
    p, x = small(1, 8, 1, rise)
    chain = ParticleGibbs(p, RATE, 0, x, seed=2, particles=4)
    assert largest_score(chain.run(10_000, 100), enumerated(p, x, 0)) < 4.5


@pytest.mark.parametrize("wrong", ["children", "older coupling", "history", "rise"])
def test_with_a_part_left_out_it_would_not(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children's spikes, older lags of coupling and of own history, and a rise a fifth too fast."""
    p, x = small(2, 5, 3 if wrong == "older coupling" else 1)
    whole = particle_gibbs._path

    def broken(*args: Any) -> Any:
        path = whole(*args)
        if wrong == "children":
            return replace(path, children=path.children[:0], onto=np.zeros((0, 1)))
        if wrong == "older coupling":
            return replace(path, onto=np.ascontiguousarray(path.onto[:, :1]))
        if wrong == "history":
            return replace(path, own=path.own[:1])
        return replace(path, r=0.8 * path.r)

    monkeypatch.setattr(particle_gibbs, "_path", broken)
    chain = ParticleGibbs(p, RATE, 0, x, seed=1, particles=4)
    assert largest_score(chain.run(10_000, 100), enumerated(p, x, 0)) > 6


def test_particles_that_hold_every_path_draw_independent_samples() -> None:
    p, x = small(1, 6, 1)
    z = ParticleGibbs(p, RATE, 0, x, seed=3, particles=64).run(6000)
    assert largest_score(z, enumerated(p, x, 0)) < 4.5
    counts = z.sum(2)[..., 0].astype(float)  # (S, B)
    lagged = [abs(np.corrcoef(column[:-1], column[1:])[0, 1]) for column in counts.T]
    assert max(lagged) < 4 / np.sqrt(len(z))


def test_more_particles_mix_better_and_chains_agree() -> None:
    """From no spikes and from spikes everywhere; the trace is longer than any enumeration."""
    p, x = small(1, 60, 1)
    sizes = []
    for particles in (3, 24):
        starts = (np.zeros(x.shape), np.ones(x.shape))
        chains = [
            ParticleGibbs(p, RATE, 0, x, seed, start, particles).run(400, 50).sum(2)[..., 0]
            for seed, start in enumerate(starts)
        ]
        rhat, size = diagnostics(np.stack(chains))
        assert rhat.max() < 1.05
        sizes.append(size.min())
    assert sizes[1] > 400 and sizes[0] < sizes[1]


def test_of_a_cut_kernel_it_says_what_exact_blocks_say() -> None:
    p, x = small(2, 40, 1)
    means = []
    for chain in (BlockedGibbs(p, RATE, 8, x, 4), ParticleGibbs(p, RATE, 8, x, 5, particles=16)):
        z = chain.run(2000, 50)
        batches = z.reshape(BATCHES, -1, *z.shape[1:]).mean(1)
        means.append((batches.mean(0), batches.std(0, ddof=1) / np.sqrt(BATCHES)))
    (first, error), (second, other) = means
    score = np.abs(first - second) / np.sqrt(error**2 + other**2 + 1e-6)
    assert score.max() < 4.5  # of 160


def test_logits_kept_along_a_sweep_are_those_of_the_spikes() -> None:
    p, x = small(2, 30, 3)
    chain = ParticleGibbs(p, RATE, 0, x, seed=4)
    for _ in range(3):
        chain.sweep()
        law = CalciumNetwork(p, RATE).double().prior(*x.shape[:2])
        with torch.no_grad():
            logits = law.logits(torch.as_tensor(chain.z, dtype=torch.float64)[None])[0].numpy()
        np.testing.assert_allclose(chain._logits.transpose(0, 2, 1), logits, atol=1e-5)


def test_the_seed_decides_and_nothing_overflows() -> None:
    p, x = small(2, 200, 3)
    wild = replace(p, noise=np.full(2, 1e-3), coupling=20 * p.coupling)
    found = [ParticleGibbs(wild, RATE, 0, 50 * np.nan_to_num(x), 7).run(3) for _ in range(2)]
    assert np.array_equal(*found) and found[0].dtype == np.int8 and np.isin(found[0], (0, 1)).all()
    unseen = ParticleGibbs(p, RATE, 0, np.full(x.shape, np.nan), 8).run(200, 20)
    assert 0.02 < unseen.mean() < 0.98


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=20),
    st.integers(0, 19),
    st.integers(1, 6),
    st.floats(0, 1, exclude_max=True),
)
def test_so_many_stay_and_the_reference_among_them(
    weights: list[float], reference: int, keep: int, uniform: float
) -> None:
    values = np.array(weights) + 1e-6
    keep, reference = min(keep, len(values) - 1), reference % len(values)
    alive = np.zeros(len(values), dtype=bool)
    c = particle_path._survivors(values, keep, reference, uniform, alive)
    assert np.minimum(1, values / c).sum() == pytest.approx(keep, rel=1e-9)
    assert alive[reference] and alive[values > c].all() and abs(alive.sum() - keep) <= 1


def test_each_stays_as_often_as_its_weight_says() -> None:
    """Reference drawn with the probability that it stays: then all stay with theirs, as without one."""
    weights, keep = np.array([3.0, 0.5, 0.2, 1.1, 0.7, 0.1, 0.4]), 3
    rng, count = np.random.default_rng(0), 20_000
    c = particle_path._threshold(weights, keep)
    wanted = np.minimum(1, weights / c)
    stayed = np.zeros(len(weights))
    for reference in rng.choice(len(weights), count, p=wanted / wanted.sum()):
        alive = np.zeros(len(weights), dtype=bool)
        particle_path._survivors(weights, keep, reference, rng.random(), alive)
        stayed += alive
    error = np.sqrt(np.maximum(wanted * (1 - wanted), 1e-9) / count)
    assert (np.abs(stayed / count - wanted) / error).max() < 4.5


@pytest.mark.parametrize(
    ("kernel_bins", "bins", "particles", "wanted"),
    [
        (8, 40, 0, BlockedGibbs),
        (0, 12, 0, BlockedGibbs),
        (0, 40, 0, ParticleGibbs),
        (30, 40, 0, ParticleGibbs),
        (8, 40, 6, ParticleGibbs),
    ],
)
def test_the_sampler_is_chosen_by_the_memory(
    kernel_bins: int, bins: int, particles: int, wanted: type[GibbsChain]
) -> None:
    p, x = small(2, bins, 1)
    chain = gibbs_chain(p, RATE, kernel_bins, x, 0, particles=particles)
    assert type(chain) is wanted
    assert chain.memory >= (kernel_bins or bins) - 1 if wanted is ParticleGibbs else chain.memory <= 16


def test_weights_are_learned_through_an_uncut_kernel() -> None:
    """em and the weights' posterior choose particles by themselves: a strong weight comes back."""
    basis, coupling = np.eye(1), np.zeros((1, 2, 2))
    coupling[0, 1, 0] = 2.5
    p = replace(
        small(2, 10, 1)[0], bias=np.array([-1.5, -2.0]), history=np.zeros((2, 1)), coupling=coupling,
        basis=basis, noise=np.full(2, 0.15), rise=np.full(2, 0.1), decay=np.full(2, 0.5),
    )  # fmt: skip
    network, rng = CalciumNetwork(p, RATE).double(), generator(3)
    with torch.no_grad():
        law = network.prior(1, 1500)
        z = law.draw(law.noise(1, rng), Sequential(), Hard()).z.double()
        x = network.observe(z, rng)[0].numpy()
    data = SimpleNamespace(x=x, bin_rate=RATE, start=p, kernel_bins=0)
    found = em(data, 20, 10, seed=0)
    assert isinstance(found.chain, ParticleGibbs)
    assert found.parameters.coupling[0, 1, 0] == pytest.approx(2.5, abs=0.6)
    assert abs(found.parameters.coupling[0, 0, 1]) < 0.6
    drawn = weight_posterior(data, 20, 10, seed=0, prior_sd=2.0)
    assert isinstance(drawn.chain, ParticleGibbs)
    assert drawn.coupling.mean(0)[0, 1, 0] == pytest.approx(2.5, abs=0.6)


def test_bad_input_is_refused() -> None:
    p, x = small(1, 80, 1)
    with pytest.raises(UserError, match="found 1 particles, expected at least 2"):
        ParticleGibbs(p, RATE, 0, x, 0, particles=1)
    with pytest.raises(UserError, match="found a memory of 70 bins, expected at most 62"):
        ParticleGibbs(p, RATE, 70, x, 0)
    with pytest.raises(UserError, match="particle Gibbs: found traces of shape"):
        ParticleGibbs(p, RATE, 0, x[..., 0], 0)
