"""Networks: the law of each generator, the direction of an edge, and the shapes of the bases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfp.core.errors import UserError
from dfp.data import networks
from dfp.data.bases import exponential_basis, lag_basis, raised_cosine_basis
from dfp.data.topology import from_topology, load_topology


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_peer_setting_follows_the_published_numbers() -> None:
    weights, biases, joined = [], [], []
    for seed in range(40):
        network = networks.peer_setting(generator(seed))
        coupling = network.coupling[0]
        assert coupling.shape == (40, 40) and network.basis.tolist() == [[1.0]]
        assert np.array_equal(network.history, np.full((40, 1), -2.0))
        assert not np.any(np.diag(coupling))
        # Dale's law: one sign in each column (the sending cell).
        signs = [np.sign(column[column != 0]) for column in coupling.T]
        assert all(len(np.unique(sign)) <= 1 for sign in signs)
        weights.append(np.abs(coupling[coupling != 0]))
        biases.append(network.bias)
        joined.append(np.count_nonzero(coupling) / (40 * 39))
    pooled = np.concatenate(weights)
    assert pooled.mean() == pytest.approx(1.2, abs=0.03) and pooled.std() == pytest.approx(0.4, abs=0.03)
    assert np.mean(joined) == pytest.approx(0.1, abs=0.005)
    bias = np.concatenate(biases)
    assert bias.mean() == pytest.approx(np.log((2 / 30) / (1 - 2 / 30)), abs=0.03)
    assert bias.std() == pytest.approx(0.3, abs=0.02)


def test_peer_setting_has_four_in_five_cells_excitatory() -> None:
    # With every pair joined the sign of each sender shows.
    network = networks.sparse_random(
        40, generator(), density=1.0, weight_mean=1.2, weight_sd=0.4, excitatory_fraction=0.8
    )
    assert int((network.coupling[0].sum(0) > 0).sum()) == 32


def test_sparse_random_without_dale_has_both_signs_and_the_asked_sd() -> None:
    network = networks.sparse_random(100, generator(), density=0.3, weight_sd=1.5, basis=lag_basis(2))
    present = network.coupling[:, network.coupling[0] != 0]
    assert present.shape[0] == 2
    assert np.mean(network.coupling != 0) == pytest.approx(0.3 * 0.99, abs=0.02)
    assert present.std() == pytest.approx(1.5, abs=0.06)
    assert np.array_equal(network.coupling[0] != 0, network.coupling[1] != 0)
    assert 0.4 < np.mean(present > 0) < 0.6


def test_the_same_generator_gives_the_same_network() -> None:
    first, second = networks.peer_setting(generator(3)), networks.peer_setting(generator(3))
    assert np.array_equal(first.coupling, second.coupling) and np.array_equal(first.bias, second.bias)


def test_independent_has_no_coupling() -> None:
    network = networks.independent(500, generator(), rate_hz=1.0, bin_rate=20.0, bias_sd=0.5)
    assert not np.any(network.coupling)
    assert network.bias.mean() == pytest.approx(np.log(0.05 / 0.95), abs=0.07)
    assert network.bias.std() == pytest.approx(0.5, abs=0.05)


def test_an_edge_runs_from_the_first_cell_onto_the_second() -> None:
    network = networks.from_edges([(0, 2), (1, 0)], [1.5, -0.5], 3, generator(), history=(-2.0, -1.0))
    assert network.coupling[0, 2, 0] == 1.5 and network.coupling[0, 0, 1] == -0.5
    assert np.count_nonzero(network.coupling) == 2
    lags = network.lag_weights()
    assert lags.shape == (2, 3, 3)
    assert lags[0, 2, 0] == 1.5 and lags[1, 2, 0] == 0.0
    assert np.array_equal(np.diagonal(lags, axis1=1, axis2=2), [[-2.0] * 3, [-1.0] * 3])


@pytest.mark.parametrize(
    ("edges", "weights", "message"),
    [
        ([(0, 3)], [1.0], "expected 0 to 2"),
        ([(1, 1)], [1.0], "joins cell 1 to itself"),
        ([(0, 1), (0, 1)], [1.0, 2.0], "twice"),
        ([(0, 1)], [1.0, 2.0], "weights of shape"),
    ],
)
def test_from_edges_refuses(edges: list[tuple[int, int]], weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        networks.from_edges(edges, weights, 3, generator())


def test_network_refuses_self_coupling_and_wrong_shapes() -> None:
    good = networks.independent(2, generator())
    with pytest.raises(UserError, match="onto itself"):
        networks.Network(good.bias, good.history, np.ones((1, 2, 2)), good.basis, good.names)
    with pytest.raises(UserError, match=r"coupling has shape \(1, 3, 3\)"):
        networks.Network(good.bias, good.history, np.zeros((1, 3, 3)), good.basis, good.names)
    with pytest.raises(UserError, match="not finite"):
        good.with_bias(np.array([np.nan, 0.0]))


@pytest.mark.parametrize("rate", [0.0, 30.0, -1.0, 45.0])
def test_a_rate_that_no_bin_can_hold_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match="expected a rate above 0 and below that"):
        networks.independent(2, generator(), rate_hz=rate, bin_rate=30.0)


@pytest.fixture
def wirings(tmp_path: Path) -> Path:
    path = tmp_path / "wirings.npz"
    np.savez(
        path,
        small_edges_pre_post=np.array([[1, 2], [2, 3], [4, 1], [3, 5]], dtype=np.int16),
        small_weight=np.array([1, -1, 1, 1], dtype=np.float32),
        small_pos_mm=np.arange(10, dtype=np.float32).reshape(5, 2),
    )
    return path


def test_topology_counts_cells_from_zero_and_keeps_signs(wirings: Path) -> None:
    topology = load_topology(wirings, "small")
    assert topology.edges.tolist() == [[0, 1], [1, 2], [3, 0], [2, 4]]
    network = from_topology(topology, generator(), weight_mean=2.0, weight_sd=0.1)
    assert np.sign(network.coupling[0, 1, 0]) == 1 and np.sign(network.coupling[0, 2, 1]) == -1
    assert network.names == ("small_1", "small_2", "small_3", "small_4", "small_5")


def test_subnetwork_keeps_the_wiring_among_its_cells(wirings: Path) -> None:
    topology = load_topology(wirings, "small")
    first = topology.subnetwork(3)
    assert first.edges.tolist() == [[0, 1], [1, 2]] and first.names == ("small_1", "small_2", "small_3")
    chosen = topology.subnetwork(3, generator(1))
    number = {name: k for k, name in enumerate(topology.names)}
    whole = {tuple(edge) for edge in topology.edges.tolist()}
    kept = {number[name] for name in chosen.names}
    back = {(number[chosen.names[a]], number[chosen.names[b]]) for a, b in chosen.edges}
    assert back == {edge for edge in whole if set(edge) <= kept}
    with pytest.raises(UserError, match="expected 1 to 5"):
        topology.subnetwork(6)


def test_topology_names_what_is_missing(wirings: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no network 'smal' \(did you mean 'small'\?\)"):
        load_topology(wirings, "smal")
    with pytest.raises(UserError, match="no such file"):
        load_topology(tmp_path / "absent.npz")


def test_exponential_basis_decays_by_the_time_constant() -> None:
    basis = exponential_basis([0.1, 0.5], bin_rate=20.0)
    assert np.allclose(basis[:, 0], 1.0)
    assert np.allclose(basis[0, 1:] / basis[0, :-1], np.exp(-1 / 2))
    assert basis[1, -1] <= 0.01 < basis[1, -3]
    summed = exponential_basis([0.1], 20.0, length=7, normalise="sum")
    assert summed.shape == (1, 7) and summed.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("count", "length"), [(1, 5), (3, 10), (5, 30), (8, 100)])
def test_raised_cosines_are_bumps_in_order_that_fit_their_length(count: int, length: int) -> None:
    basis = raised_cosine_basis(count, length)
    assert basis.shape == (count, length)
    assert np.all(basis >= 0) and np.allclose(basis.max(1), 1.0)
    peaks = basis.argmax(1)
    assert peaks[0] == 0 and np.all(np.diff(peaks) > 0)
    for row in basis:
        peak = row.argmax()
        assert np.all(np.diff(row[: peak + 1]) >= 0) and np.all(np.diff(row[peak:]) <= 1e-12)
    # The last bump ends with the length and is not cut off half-way.
    assert basis[-1, -1] < 0.3


def test_raised_cosines_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(UserError, match="not independent"):
        raised_cosine_basis(8, 8, stretch=0.0)
    with pytest.raises(UserError, match="1 <= count <= length"):
        raised_cosine_basis(5, 4)
