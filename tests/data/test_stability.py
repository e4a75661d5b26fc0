"""The simulator against the law, the spectral radius against its definition, and tuned rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from dfp.core.errors import UserError
from dfp.data.bases import exponential_basis
from dfp.data.networks import Network, from_edges, independent, peer_setting, sparse_random
from dfp.data.stability import check_stability, simulate_logits, spectral_radius, tune_bias_to_rate


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def slow_logits(network: Network, spikes: np.ndarray) -> np.ndarray:
    """u[t, i] by the sums of the definition, ``spikes (T, N)``."""
    lags = network.lag_weights()
    out = np.tile(network.bias, (len(spikes), 1))
    for t in range(len(spikes)):
        for lag in range(1, min(t, network.memory) + 1):
            out[t] += lags[lag - 1] @ spikes[t - lag]
    return out


@pytest.mark.parametrize("cells", [5, 210])
def test_simulated_logits_are_those_of_the_law(cells: int) -> None:
    """210 cells at a low density take the sparse path; the memory of coupling and own history differ."""
    network = sparse_random(
        cells,
        generator(),
        density=0.02 if cells > 100 else 0.5,
        weight_sd=0.8,
        rate_hz=5.0,
        history=(-2.0, -1.0, -0.5),
        basis=exponential_basis([0.05, 0.2], 30.0, length=6),
    )
    spikes, logits = simulate_logits(network, 40, 2, generator(1), burn_in=0)
    assert spikes.sum() > 0
    for trial in range(2):
        assert np.allclose(logits[trial], slow_logits(network, spikes[trial].astype(float)))


def test_simulated_spikes_have_the_probability_of_their_logits() -> None:
    spikes, logits = simulate_logits(peer_setting(generator()), 500, 10, generator(1))
    probability = expit(logits)
    z = (spikes.sum() - probability.sum()) / np.sqrt((probability * (1 - probability)).sum())
    assert abs(z) < 4
    high = probability > 0.2
    assert spikes[high].mean() == pytest.approx(probability[high].mean(), abs=0.03)


def test_spectral_radius_is_that_of_the_definition() -> None:
    network = sparse_random(4, generator(), density=0.6, weight_sd=2.0, history=(-2.0, -1.0), rate_hz=8.0)
    _, logits = simulate_logits(network, 200, 2, generator(1))
    rows = logits.reshape(-1, 4)
    reach = np.zeros((4, 4))
    for weights in network.lag_weights():
        for i in range(4):
            for j in range(4):
                reach[i, j] += np.abs(expit(rows[:, i] + weights[i, j]) - expit(rows[:, i])).mean()
    expected = np.max(np.abs(np.linalg.eigvals(reach)))
    assert spectral_radius(network, logits) == pytest.approx(expected, rel=1e-9)


def test_spectral_radius_of_a_chain_is_its_refractoriness() -> None:
    """Without a loop nothing returns to the sender: only the own history is left."""
    network = from_edges([(0, 1), (1, 2)], [5.0, 5.0], 3, generator(), bias_sd=0.0, history=(-2.0,))
    logits = np.tile(network.bias, (1, 1))
    own = abs(expit(network.bias[0] - 2) - expit(network.bias[0]))
    assert spectral_radius(network, logits) == pytest.approx(own)


def test_spectral_radius_predicts_whether_a_flipped_spike_dies_out() -> None:
    """Flip one spike, run both copies on one noise: below 1 they meet again, above 1 they stay apart."""

    def still_apart(network: Network) -> float:
        rng, differ = generator(2), 0
        weights = network.lag_weights()[0]
        for _ in range(40):
            a = (rng.random(network.cells) < 0.1).astype(float)
            b = a.copy()
            cell = rng.integers(network.cells)
            b[cell] = 1 - b[cell]
            for _ in range(60):
                noise = rng.random(network.cells)
                a, b = ((noise < expit(network.bias + weights @ z)).astype(float) for z in (a, b))
            differ += int(not np.array_equal(a, b))
        return differ / 40

    radii, apart = [], []
    for sd in (0.5, 4.0):
        network = sparse_random(60, generator(3), density=0.2, weight_sd=sd, rate_hz=3.0, history=(-2.0,))
        _, logits = simulate_logits(network, 300, 4, generator(4))
        radii.append(spectral_radius(network, logits))
        apart.append(still_apart(network))
    assert radii[0] < 0.8 and radii[1] > 1.5
    assert apart[0] == 0.0 and apart[1] > 0.5


def test_check_stability() -> None:
    check_stability(0.99)
    check_stability(3.0, allow_supercritical=True)
    for rho in (1.0, 2.5, float("nan")):
        with pytest.raises(UserError, match="expected below 1"):
            check_stability(rho)


def test_spectral_radius_refuses_logits_of_other_cells() -> None:
    with pytest.raises(UserError, match=r"expected \(\.\.\., 3\)"):
        spectral_radius(independent(3, generator()), np.zeros((10, 4)))


@pytest.mark.parametrize(
    "network",
    [
        peer_setting(generator(5)),
        independent(3, generator(6), history=(-4.0, -3.0)),
        sparse_random(
            30, generator(7), density=0.2, weight_sd=0.5, basis=exponential_basis([0.05, 0.3], 30.0)
        ),
    ],
    ids=["peer", "refractory", "exponentials"],
)
def test_tuned_rate_is_within_five_percent(network: Network) -> None:
    tuned = tune_bias_to_rate(network, 4.0, 30.0, generator(8))
    spikes, _ = simulate_logits(tuned, 3000, 64, generator(9))
    assert spikes.mean() * 30 == pytest.approx(4.0, rel=0.05)
    assert np.allclose(np.diff(tuned.bias), np.diff(network.bias))
    untuned, _ = simulate_logits(network, 1000, 16, generator(9))
    assert abs(untuned.mean() * 30 / 4.0 - 1) > 0.05, "the test needs a network that is off before tuning"


def test_a_rate_in_the_gap_of_a_bistable_network_is_refused() -> None:
    """Strong mutual excitation: nearly silent or in a storm, never at 12 Hz of 30."""
    cells = 30
    coupling = np.full((1, cells, cells), 3.0)
    coupling[0][np.diag_indices(cells)] = 0.0
    plain = independent(cells, generator(), history=(0.0,))
    network = Network(plain.bias, plain.history, coupling, plain.basis, plain.names)
    with pytest.raises(UserError, match="too strong for a steady rate"):
        tune_bias_to_rate(network, 12.0, 30.0, generator(1))
