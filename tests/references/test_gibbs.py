"""Blocked Gibbs over coupled cells: the law it converges to, by enumeration and by the exact reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cases
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.networks import lag_basis, sparse_random
from dfp.data.simulate import simulate
from dfp.metrics.connectivity import correlation
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.models.kernels import calcium_kernel
from dfp.references.exact.one_cell import CellParameters, ExactPosterior
from dfp.references.gibbs import base as gibbs_base
from dfp.references.gibbs import blocks as gibbs
from dfp.references.gibbs.blocks import BlockedGibbs
from dfp.references.gibbs.chains import diagnostics
from dfp.references.gibbs.law import draw_law
from dfp.references.gibbs.learning import em, weight_posterior

pytest.importorskip("numba")

Array = NDArray[np.float64]
RATE, BINS, CELLS, KERNEL = 10.0, 6, 2, 4
BATCHES = 50


def small(case: str) -> tuple[CalciumParameters, Array]:
    """Two strongly coupled cells, two trials of six bins, one frame of which is not observed."""
    p = cases.parameters(cells=CELLS, seed=3, history=2, basis=2)
    basis = p.basis if case == "three lags" else np.eye(1)
    coupling = np.zeros((len(basis), CELLS, CELLS))
    coupling[0, 0, 1], coupling[0, 1, 0] = 2.5, -2.0
    if case == "three lags":
        coupling[1, 0, 1], coupling[1, 1, 0] = -1.5, 2.0
    x = cases.traces(5, 2, BINS, CELLS).numpy()
    x[0, 2, 1] = np.nan
    return replace(p, coupling=coupling, basis=basis, noise=np.array([0.9, 0.7])), x


def enumerated(p: CalciumParameters, x: Array) -> Array:
    """P(z_a = 1, z_b = 1 | x) of all pairs of the T·N spikes, singles on the diagonal: ``(B, T·N, T·N)``."""
    words = (np.arange(2 ** (BINS * CELLS))[:, None] >> np.arange(BINS * CELLS)) & 1
    z = torch.as_tensor(words.reshape(-1, 1, BINS, CELLS), dtype=torch.float64)
    network = CalciumNetwork(p, RATE, kernel_bins=KERNEL).double()
    with torch.no_grad():
        joint = network.log_joint(torch.as_tensor(x), z.expand(-1, x.shape[0], -1, -1)).sum((2, 3))
    weight = torch.softmax(joint, 0).numpy()  # (words, B)
    return np.einsum("wb,wi,wj->bij", weight, words, words, optimize=True)


def largest_score(samples: NDArray[np.int8], expected: Array) -> float:
    """The largest distance from the expected pairs in standard errors by batch means."""
    count, trials = samples.shape[:2]
    z = samples.reshape(BATCHES, count // BATCHES, trials, -1).astype(float)
    means = np.einsum("ksbi,ksbj->kbij", z, z, optimize=True) / z.shape[1]
    error = means.std(0, ddof=1) / np.sqrt(BATCHES)
    # batches of rare events can all be empty; no average is better than one of independent draws
    error = np.maximum(error, np.sqrt(expected * (1 - expected) / count))
    return float((np.abs(means.mean(0) - expected) / error).max())


@pytest.mark.parametrize("case", ["lag 1", "three lags"])
def test_it_converges_to_the_enumerated_law(case: str) -> None:
    p, x = small(case)
    chain = BlockedGibbs(p, RATE, KERNEL, x, seed=1)
    assert chain.memory == 3
    assert largest_score(chain.run(10_000, 100), enumerated(p, x)) < 4


@pytest.mark.parametrize("case", ["lag 1", "three lags"])
def test_without_the_childrens_spikes_it_would_not(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p, x = small(case)
    whole = gibbs._block

    def childless(*args: Any) -> Any:
        block = whole(*args)
        return replace(block, children=block.children[:0], onto=np.zeros((0, 1)))

    monkeypatch.setattr(gibbs, "_block", childless)
    chain = BlockedGibbs(p, RATE, KERNEL, x, seed=1)
    assert largest_score(chain.run(2000, 100), enumerated(p, x)) > 8


def test_without_coupling_sweeps_are_independent_exact_samples() -> None:
    p = cases.parameters(cells=2, seed=1, history=2)
    x = cases.traces(2, 2, 30, 2)
    kernel = calcium_kernel(torch.as_tensor(p.rise), torch.as_tensor(p.decay), RATE, 5)
    plain = {name: torch.as_tensor(getattr(p, name)) for name in ("bias", "history", "amplitude", "baseline")}
    exact = ExactPosterior(CellParameters(kernel=kernel, noise=torch.as_tensor(p.noise), **plain), x)
    z = BlockedGibbs(p, RATE, 5, x.numpy(), seed=2).run(3000)
    for expected, found in (
        (exact.marginals, z.mean(0)),
        (exact.pairwise(1), (z[:, :, 1:] * z[:, :, :-1]).mean(0)),
        (exact.pairwise(2), (z[:, :, 2:] * z[:, :, :-2]).mean(0)),
    ):
        error = (expected * (1 - expected) / len(z)).sqrt().numpy() + 1e-6
        assert (np.abs(found - expected.numpy()) / error).max() < 4.5  # of 480 numbers in all
    mean, sd = exact.count_moments()
    counts = z.sum(2, dtype=float)
    np.testing.assert_allclose(counts.mean(0), mean, atol=4 * float(sd.max()) / np.sqrt(len(z)))
    np.testing.assert_allclose(counts.std(0), sd, rtol=0.06)
    # from one sweep to the next: no correlation
    for b, n in np.ndindex(2, 2):
        assert abs(np.corrcoef(counts[:-1, b, n], counts[1:, b, n])[0, 1]) < 4 / np.sqrt(len(z))


def test_logits_kept_along_a_sweep_are_those_of_the_spikes() -> None:
    p, x = small("three lags")
    chain = BlockedGibbs(p, RATE, KERNEL, x, seed=4)
    for _ in range(3):
        chain.sweep()
        network = CalciumNetwork(p, RATE, kernel_bins=KERNEL).double()
        law = network.prior(2, BINS)
        with torch.no_grad():
            logits = law.logits(torch.as_tensor(chain.z, dtype=torch.float64)[None])[0].numpy()
        np.testing.assert_allclose(chain._logits.transpose(0, 2, 1), logits, atol=1e-5)


def test_what_is_read_of_a_chain_stays_as_it_was() -> None:
    """Of one cell too, whose spikes need not be put in another order."""
    p = cases.parameters(cells=1, seed=1, history=2)
    chain = BlockedGibbs(p, RATE, 5, cases.traces(2, 1, 60, 1).numpy(), seed=2)
    before = chain.z
    kept = before.copy()
    chain.sweep()
    assert np.array_equal(before, kept) and not np.array_equal(chain.z, kept)


def test_the_seed_and_the_start_decide_the_chain() -> None:
    p, x = small("lag 1")
    start = np.ones(x.shape, dtype=np.int8)
    chain = BlockedGibbs(p, RATE, KERNEL, x, seed=3, start=start)
    assert chain.z.dtype == np.int8
    np.testing.assert_array_equal(chain.z, start)
    kept = chain.run(6, burn_in=2, thin=3)
    again = BlockedGibbs(p, RATE, KERNEL, x, seed=3, start=start)
    states = []
    for _ in range(8):
        again.sweep()
        states.append(again.z)
    np.testing.assert_array_equal(kept, np.stack([states[4], states[7]]))
    other = BlockedGibbs(p, RATE, KERNEL, x, seed=3, start=start)
    np.testing.assert_allclose(other.marginals(8), np.mean(states, 0))


def test_extreme_frames_leave_it_finite() -> None:
    """A trace that no spikes explain, noise far below it: the law is then almost certain, not undefined."""
    p, x = small("three lags")
    wild = replace(p, noise=np.full(CELLS, 1e-3))
    chain = BlockedGibbs(wild, RATE, KERNEL, 1e3 * np.nan_to_num(x), seed=0)
    chain.run(3)
    assert np.isfinite(chain._logits).all()


def network_data(bins: int = 4000) -> tuple[Dataset, Array]:
    """Four coupled cells seen well; the true weights."""
    rng = np.random.default_rng(0)
    network = sparse_random(
        4, rng, density=0.5, weight_mean=2.0, weight_sd=0.3, rate_hz=1.5, basis=lag_basis(1), history=(-1.0,)
    )
    data = simulate(
        network, [5], bin_rate=30.0, bins=bins, trials=1, test_trials=0, rise=0.0, decay=0.1,
        amplitude=1.0, baseline=0.0, noise=0.3, kernel_bins=7,
    )  # fmt: skip
    return data, network.coupling


def test_em_finds_the_weights() -> None:
    data, truth = network_data()
    fit = em(data, sweeps=30, burn_in=10, seed=0)
    apart = ~np.eye(4, dtype=bool)
    assert correlation(fit.parameters.coupling[0][apart], truth[0][apart]) > 0.9
    np.testing.assert_array_equal(fit.trace["coupling"][-1], fit.parameters.coupling)
    assert fit.trace["bias"].shape == (30, 4)
    # the first sweep's raster is taken as it is, the last moves the estimates little
    moves = np.abs(np.diff(fit.trace["coupling"], axis=0)).max((1, 2, 3))
    assert moves[-5:].mean() < 0.5 * moves[:5].mean()
    with pytest.raises(UserError, match="em: found 2 sweeps, burn-in 2; expected"):
        em(data, 2, 2, 0)


def test_the_law_is_drawn_from_its_posterior_given_spikes() -> None:
    """Bias and one weight from sixty bins: mean, sd and skewness by quadrature."""
    rng = np.random.default_rng(3)
    z = (rng.random((1, 60, 2)) < 0.2).astype(np.int8)
    z[0, 1:, 0] |= z[0, :-1, 1] & (rng.random(59) < 0.5)
    bias, weight = np.meshgrid(np.linspace(-6, 2, 401), np.linspace(-5, 7, 401), indexing="ij")
    sender = np.append(0, z[0, :-1, 1])
    logits = bias[..., None] + weight[..., None] * sender
    log_posterior = (z[0, :, 0] * logits - np.logaddexp(0, logits)).sum(-1)
    log_posterior += -0.5 * ((bias + 3) / 2.0) ** 2 - 0.5 * (weight / 1.5) ** 2
    mass = np.exp(log_posterior - log_posterior.max())
    mass /= mass.sum()
    theta = {"bias": np.full(2, -3.0), "history": np.zeros((2, 0)), "coupling": np.zeros((1, 2, 2))}
    kept, moved = [], 0
    for _ in range(4000):
        theta, accepted = draw_law(z, np.eye(1), theta, 1.5, 2.0, rng)
        moved += accepted[0]
        kept.append((theta["bias"][0], theta["coupling"][0, 0, 1]))
    assert moved > 0.8 * len(kept)
    for values, grid in zip(np.array(kept).T, (bias, weight), strict=True):
        mean = (mass * grid).sum()
        sd = np.sqrt((mass * (grid - mean) ** 2).sum())
        assert abs(values.mean() - mean) < 4 * sd * np.sqrt(1.5 / len(kept))
        np.testing.assert_allclose(values.std(), sd, rtol=0.06)
        skewness = (mass * ((grid - mean) / sd) ** 3).sum()
        assert abs((((values - mean) / sd) ** 3).mean() - skewness) < 0.25


def test_the_posterior_of_the_weights_holds_the_truth() -> None:
    data, truth = network_data(3000)
    found = weight_posterior(data, sweeps=60, burn_in=30, seed=0, prior_sd=1.5)
    assert found.coupling.shape == (60, 1, 4, 4) and found.bias.shape == (60, 4)
    assert (found.acceptance > 0.5).all()
    assert (found.coupling[:, 0, np.arange(4), np.arange(4)] == 0).all()
    apart = ~np.eye(4, dtype=bool)
    draws, true = found.coupling[:, 0][:, apart], truth[0][apart]
    assert correlation(draws.mean(0), true) > 0.8
    assert np.abs((draws.mean(0) - true) / draws.std(0)).max() < 4


def test_bad_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    p, x = small("lag 1")
    with pytest.raises(UserError, match="memory of 19 bins, expected at most 16"):
        BlockedGibbs(p, RATE, 20, x, 0)
    with pytest.raises(UserError, match="traces of shape"):
        BlockedGibbs(p, RATE, KERNEL, x[..., :1], 0)
    with pytest.raises(UserError, match="start"):
        BlockedGibbs(p, RATE, KERNEL, x, 0, start=np.full(x.shape, 2))
    with pytest.raises(UserError, match="thin"):
        BlockedGibbs(p, RATE, KERNEL, x, 0).run(2, thin=3)
    monkeypatch.setattr(gibbs_base, "HAS_NUMBA", False)
    with pytest.raises(UserError, match="pip install numba"):
        BlockedGibbs(p, RATE, KERNEL, x, 0)


def autoregressive(rho: float, draws: int = 4000, chains: int = 4) -> Array:
    """Stationary AR(1) chains of unit variance."""
    noise = np.random.default_rng(1).normal(size=(chains, draws)) * np.sqrt(1 - rho**2)
    out = np.empty_like(noise)
    out[:, 0] = noise[:, 0] / np.sqrt(1 - rho**2)
    for t in range(1, draws):
        out[:, t] = rho * out[:, t - 1] + noise[:, t]
    return out


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.3])
def test_effective_sizes_of_autoregressive_chains(rho: float) -> None:
    rhat, size = diagnostics(autoregressive(rho))
    assert rhat < 1.02
    np.testing.assert_allclose(size, 16_000 * (1 - rho) / (1 + rho), rtol=0.15)


def test_chains_that_disagree_are_told() -> None:
    chains = np.stack([autoregressive(0.0)] * 4, axis=-1)
    chains[0, :, 1] += 1.0  # one is elsewhere
    chains[0, :, 2] *= 4.0  # one is wider
    chains[..., 3] = 0.0  # nothing varies
    rhat, size = diagnostics(chains)
    assert rhat.shape == size.shape == (4,)
    assert rhat[0] < 1.01 < 1.05 < min(rhat[1], rhat[2])
    assert np.isnan(rhat[3]) and np.isnan(size[3])
    with pytest.raises(UserError, match="chains"):
        diagnostics(np.zeros((2, 3)))


def test_where_spikes_say_nothing_the_law_is_drawn_from_its_prior() -> None:
    """Silent cells: own history and coupling have no regressors, so that each keeps its own prior's sd."""
    z, basis = np.zeros((1, 30, 2), np.int8), np.ones((1, 1))
    theta = {"bias": np.full(2, -3.0), "history": np.zeros((2, 2)), "coupling": np.zeros((1, 2, 2))}
    rng, history, coupling = np.random.default_rng(0), [], []
    for _ in range(4000):
        theta, _ = draw_law(z, basis, theta, prior_sd=0.5, other_sd=2.0, rng=rng)
        history.append(theta["history"].ravel())
        coupling.append(theta["coupling"][0, [0, 1], [1, 0]])
    assert np.std(history) == pytest.approx(2.0, rel=0.05)
    assert np.std(coupling) == pytest.approx(0.5, rel=0.05)


def test_a_weight_of_a_cell_onto_itself_is_ignored() -> None:
    """The diagonal of the coupling means nothing, here as in the model: the same spikes whatever it holds."""
    start = cases.parameters(2, seed=1, history=1, basis=1)
    x = cases.traces(2, bins=40).numpy()
    chains = []
    for own in (0.0, 4.0):
        coupling = start.coupling.copy()
        coupling[:, [0, 1], [0, 1]] = own
        chains.append(BlockedGibbs(replace(start, coupling=coupling), 10.0, 3, x, seed=0).run(5))
    assert np.array_equal(*chains) and chains[0].any()
