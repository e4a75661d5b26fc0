"""The exact posterior of coupled cells against slow sums over every path, written independently of it."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from cases import model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.enumeration import all_paths
from dfp.evaluation.exact import network_steps as exact_network_steps
from dfp.evaluation.exact.network import ExactNetworkPosterior, NetworkParameters, log_evidence
from dfp.evaluation.exact.one_cell import CellParameters, ExactPosterior
from dfp.models.calcium import CalciumNetwork

#: cells, history lags, basis functions, basis lags, kernel bins
Sizes = tuple[int, int, int, int, int]
#: the state's oldest bin matters for the spikes, or not; one function or two; no history, coupling or memory
SIZES: list[tuple[Sizes, int]] = [
    ((2, 2, 1, 3, 2), 6),
    ((2, 1, 2, 2, 3), 6),
    ((3, 1, 1, 2, 1), 4),
    ((3, 0, 2, 1, 3), 4),
    ((2, 3, 1, 2, 1), 5),
    ((2, 1, 1, 1, 1), 5),
    ((2, 1, 1, 2, 5), 3),
    ((1, 2, 0, 0, 3), 9),
    ((2, 0, 0, 0, 1), 4),
]


def network(sizes: Sizes, seed: int, noise: float = 0.7) -> NetworkParameters:
    """Random cells, couplings of both signs; numbers on the diagonal, which must not matter."""
    cells, history, functions, lags, kernel = sizes
    rng = np.random.default_rng(seed)
    return NetworkParameters(
        bias=torch.as_tensor(rng.normal(-0.7, 0.8, cells)),
        history=torch.as_tensor(rng.normal(-0.5, 1.2, (cells, history))),
        coupling=torch.as_tensor(rng.normal(0, 1.5, (functions, cells, cells))),
        basis=torch.as_tensor(rng.uniform(0.2, 1.2, (functions, lags))),
        kernel=torch.as_tensor(rng.uniform(0.1, 1, (cells, kernel))),
        amplitude=torch.as_tensor(rng.uniform(0.5, 2, cells)),
        baseline=torch.as_tensor(rng.normal(0, 1, cells)),
        noise=torch.as_tensor(noise * rng.uniform(0.5, 1.5, cells)),
    )


def traces(trials: int, bins: int, cells: int, seed: int, missing: float = 0.0) -> Tensor:
    """Random frames; about the share ``missing`` of them is not observed, as NaN or as infinity."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.7, 1.2, (trials, bins, cells))
    lost = rng.random(x.shape) < missing
    x[lost] = rng.choice([np.nan, np.inf], lost.sum())
    return torch.as_tensor(x)


def log_joint(z: np.ndarray, x: np.ndarray, parameters: NetworkParameters) -> np.ndarray:
    """``log p(x, z)`` of paths ``(paths, T, N)``, written out term by term."""
    p = {field.name: getattr(parameters, field.name).numpy() for field in fields(parameters)}
    total = np.zeros(len(z))
    for t, i in np.ndindex(x.shape):
        u = np.full(len(z), p["bias"][i])
        for lag in range(1, t + 1):
            if lag <= p["history"].shape[1]:
                u += p["history"][i, lag - 1] * z[:, t - lag, i]
            for r, j in itertools.product(range(len(p["basis"])), range(x.shape[1])):
                if j != i and lag <= p["basis"].shape[1]:
                    u += p["coupling"][r, i, j] * p["basis"][r, lag - 1] * z[:, t - lag, j]
        total += np.where(z[:, t, i] == 1, -np.logaddexp(0, -u), -np.logaddexp(0, u))
        calcium = sum(p["kernel"][i, k] * z[:, t - k, i] for k in range(p["kernel"].shape[1]) if t >= k)
        if math.isfinite(x[t, i]):
            mean = p["baseline"][i] + p["amplitude"][i] * calcium
            deviation = (x[t, i] - mean) / p["noise"][i]
            total += -0.5 * deviation**2 - math.log(p["noise"][i] * math.sqrt(2 * math.pi))
    return total


def brute_force(x: np.ndarray, parameters: NetworkParameters) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-evidence, all paths ``(2^(TN), T, N)`` and their posterior probabilities, for one trial."""
    paths = all_paths(*x.shape)[:, 0].numpy()
    joint = log_joint(paths, x, parameters)
    top = joint.max()
    evidence = top + math.log(np.exp(joint - top).sum())
    return evidence, paths, np.exp(joint - evidence)


def assert_exact(posterior: ExactNetworkPosterior, parameters: NetworkParameters, x: Tensor) -> None:
    """Every number of the posterior, to 1e-10."""
    bins = x.shape[1]
    for b in range(len(x)):
        evidence, paths, weight = brute_force(x[b].numpy(), parameters)
        assert posterior.log_evidence[b].item() == pytest.approx(evidence, abs=1e-10, rel=1e-12)
        marginals = np.einsum("p,pti->ti", weight, paths)
        np.testing.assert_allclose(posterior.marginals[b].numpy(), marginals, rtol=0, atol=1e-10)
        for lag in range(min(posterior.memory, bins)):
            both = np.einsum("p,pti,ptj->tij", weight, paths[:, lag:], paths[:, : bins - lag])
            np.testing.assert_allclose(posterior.pairwise(lag)[b].numpy(), both, rtol=0, atol=1e-10)


def autograd(parameters: NetworkParameters, x: Tensor) -> dict[str, Tensor]:
    """The gradient of the summed log-evidence, by differentiating the recursion."""
    leaves = {f.name: getattr(parameters, f.name).clone().requires_grad_() for f in fields(parameters)}
    log_evidence(NetworkParameters(**leaves), x).sum().backward()
    grads = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()
    }
    del grads["basis"]
    return grads


@pytest.fixture(params=["whole", "in factors"])
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of keeping the probabilities of a step."""
    if request.param == "in factors":
        monkeypatch.setattr(exact_network_steps, "_TABLE", 1)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("budget", [500_000_000, 1], ids=["kept", "recomputed"])
@pytest.mark.parametrize(("sizes", "bins"), SIZES)
def test_every_number_agrees_with_the_sum_over_paths(sizes: Sizes, bins: int, budget: int) -> None:
    parameters = network(sizes, seed=bins)
    x = traces(2, bins, sizes[0], seed=sizes[-1], missing=0.2)
    assert_exact(ExactNetworkPosterior(parameters, x, budget), parameters, x)


def numbers(low: float, high: float, *shape: int) -> st.SearchStrategy[Tensor]:
    size = math.prod(shape)
    values = st.lists(st.floats(low, high), min_size=size, max_size=size)
    return values.map(lambda found: torch.tensor(found, dtype=torch.float64).reshape(shape))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), history=st.integers(0, 2), lags=st.integers(1, 3), kernel=st.integers(1, 3))
def test_random_networks_agree_with_the_sum_over_paths(
    data: st.DataObject, history: int, lags: int, kernel: int
) -> None:
    parameters = NetworkParameters(
        bias=data.draw(numbers(-6, 4, 2)),
        history=data.draw(numbers(-6, 3, 2, history)),
        coupling=data.draw(numbers(-8, 8, 1, 2, 2)),
        basis=data.draw(numbers(-1, 2, 1, lags)),
        kernel=data.draw(numbers(-1, 2, 2, kernel)),
        amplitude=data.draw(numbers(0.01, 10, 2)),
        baseline=data.draw(numbers(-3, 3, 2)),
        noise=data.draw(numbers(0.05, 5, 2)),
    )
    x = data.draw(numbers(-5, 15, 1, 4, 2))
    x[:, data.draw(st.integers(0, 3)), data.draw(st.integers(0, 1))] = math.nan
    posterior = ExactNetworkPosterior(parameters, x)
    assert_exact(posterior, parameters, x)
    found = posterior.gradient()
    for name, expected in autograd(parameters, x).items():
        scale = 1 + float(expected.abs().max()) if expected.numel() else 1.0
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-8 * scale)


def test_a_basis_shifted_by_one_bin_is_noticed() -> None:
    """The check can fail: the reference with every basis function one bin late, or one bin early."""
    parameters, x = network((2, 1, 1, 3, 2), seed=4), traces(1, 6, 2, seed=4)
    posterior = ExactNetworkPosterior(parameters, x)
    assert_exact(posterior, parameters, x)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    for basis in (torch.cat([zero, parameters.basis], 1), parameters.basis[:, 1:]):
        shifted = replace(parameters, basis=basis)
        with pytest.raises(AssertionError):
            assert_exact(posterior, shifted, x)
        assert abs(brute_force(x[0].numpy(), shifted)[0] - posterior.log_evidence.item()) > 1e-3


def test_a_coupling_the_wrong_way_round_is_noticed() -> None:
    parameters, x = network((2, 1, 1, 2, 2), seed=5), traces(1, 6, 2, seed=5)
    turned = replace(parameters, coupling=parameters.coupling.transpose(1, 2))
    with pytest.raises(AssertionError):
        assert_exact(ExactNetworkPosterior(parameters, x), turned, x)


def network_parameters(of: CalciumNetwork) -> NetworkParameters:
    """Those of a calcium network whose kernel is cut."""
    names = ("bias", "history", "coupling", "amplitude", "baseline", "noise")
    values = {name: of.value(name).detach() for name in names}
    return NetworkParameters(**values, basis=of.basis, kernel=of.kernel(of.kernel_bins).detach())


@pytest.mark.parametrize(("kernel_bins", "history"), [(4, 2), (2, 1), (3, 0)])
def test_it_is_the_posterior_of_the_calcium_network(kernel_bins: int, history: int) -> None:
    """The network's own ``log_joint``, summed over every path: reference and model are the same model."""
    calcium = model(2, seed=kernel_bins, learn=(), kernel_bins=kernel_bins, history=history, basis=2)
    x = traces(2, 6, 2, seed=history)
    x[1, 3, 0] = math.nan
    paths = all_paths(6, 2)
    joint = calcium.log_joint(x, paths.expand(-1, 2, -1, -1)).sum((2, 3))
    posterior = ExactNetworkPosterior(network_parameters(calcium), x)
    evidence = torch.logsumexp(joint, 0)
    torch.testing.assert_close(posterior.log_evidence, evidence, rtol=0, atol=1e-10)
    marginals = torch.einsum("pb,ptn->btn", (joint - evidence).exp(), paths[:, 0])
    torch.testing.assert_close(posterior.marginals, marginals, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sizes", [(3, 2, 1, 3, 4), (3, 3, 2, 3, 2), (2, 2, 0, 0, 5), (16, 0, 0, 0, 1)])
def test_without_coupling_the_cells_are_those_of_the_exact_posterior(sizes: Sizes) -> None:
    parameters, x = network(sizes, seed=2), traces(2, 30, sizes[0], seed=2, missing=0.1)
    parameters = replace(parameters, coupling=0 * parameters.coupling)
    together = ExactNetworkPosterior(parameters, x)
    names = [field.name for field in fields(CellParameters)]
    alone = ExactPosterior(CellParameters(**{name: getattr(parameters, name) for name in names}), x)
    torch.testing.assert_close(together.log_evidence, alone.log_evidence.sum(1), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(together.marginals, alone.marginals, rtol=0, atol=1e-11)
    for lag in range(alone.memory):
        own = together.pairwise(lag).diagonal(dim1=2, dim2=3)
        torch.testing.assert_close(own, alone.pairwise(lag), rtol=0, atol=1e-11)
    # spikes of different cells are independent
    first, second = together.marginals[..., 0], together.marginals[..., 1]
    torch.testing.assert_close(together.pairwise(0)[..., 0, 1], first * second, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(("sizes", "bins"), SIZES)
def test_the_gradient_is_that_of_the_recursion(sizes: Sizes, bins: int) -> None:
    parameters = network(sizes, seed=bins)
    for length, budget in ((2, 500_000_000), (25, 500_000_000), (25, 1)):
        x = traces(3, length, sizes[0], seed=sizes[-1], missing=0.15)
        found = ExactNetworkPosterior(parameters, x, budget).gradient()
        expected = autograd(parameters, x)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=0, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
            )
        assert not found["coupling"].diagonal(dim1=1, dim2=2).any()


def test_the_gradient_is_that_of_the_sum_over_paths() -> None:
    """By differences of brute force, which shares nothing with the recursion."""
    parameters, x = network((2, 2, 1, 2, 2), seed=9), traces(1, 5, 2, seed=9, missing=0.1)
    step = 1e-5
    for name, found in ExactNetworkPosterior(parameters, x).gradient().items():
        for index in np.ndindex(*found.shape):
            sides = []
            for sign in (1, -1):
                moved = getattr(parameters, name).clone()
                moved[index] += sign * step
                sides.append(brute_force(x[0].numpy(), replace(parameters, **{name: moved}))[0])
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(found[index].item(), abs=1e-7)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("sizes", [(2, 2, 1, 4, 3), (3, 1, 1, 2, 3)])
def test_samples_have_the_exact_marginals_and_pairs(sizes: Sizes) -> None:
    samples = 4000
    parameters, x = network(sizes, seed=5, noise=1.2), traces(2, 40, sizes[0], seed=5, missing=0.1)
    posterior = ExactNetworkPosterior(parameters, x)
    z = posterior.sample(samples, generator(0))
    assert z.shape == (samples, *x.shape)
    assert z.dtype == torch.int8
    z = z.double()
    crossed = torch.einsum("sbti,sbtj->btij", z[:, :, 2:], z[:, :, :-2]) / samples
    for found, expected in ((z.mean(0), posterior.marginals), (crossed, posterior.pairwise(2))):
        normal = (expected > 0.005) & (expected < 0.995)  # where 4,000 samples have a normal mean
        deviation = (expected * (1 - expected) / samples).sqrt()
        scores = ((found - expected) / deviation)[normal]
        assert len(scores) > 60
        assert scores.abs().max() < 4.5
        assert 0.6 < scores.square().mean() < 1.4


@pytest.mark.usefixtures("table")
def test_whole_paths_are_drawn_with_their_exact_probabilities() -> None:
    parameters, x = network((2, 1, 1, 2, 2), seed=8), traces(1, 4, 2, seed=9)
    _, paths, weight = brute_force(x[0].numpy(), parameters)
    z = (
        ExactNetworkPosterior(parameters, x, budget=50_000)
        .sample(20_000, generator(1))[:, 0]
        .flatten(1)
        .numpy()
    )
    code = 2 ** np.arange(8)
    observed = np.bincount(z @ code, minlength=256)[(paths.reshape(-1, 8) @ code).astype(int)]
    common = weight * len(z) > 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(weight[common], weight[~common].sum()) * len(z)
    assert len(observed) > 30
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_samples_repeat_with_their_generator_and_leave_the_global_state_alone() -> None:
    posterior = ExactNetworkPosterior(network((2, 1, 1, 2, 3), seed=1), traces(2, 12, 2, seed=1))
    before = torch.get_rng_state()
    first, again, other = (posterior.sample(5, generator(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("sizes", [(2, 2, 1, 3, 2), (2, 1, 1, 1, 3)])
def test_the_budget_changes_nothing(sizes: Sizes) -> None:
    parameters, x = network(sizes, seed=6), traces(5, 23, 2, seed=6)
    whole = ExactNetworkPosterior(parameters, x)
    assert whole._plan() == (5, 23)
    plans = set()
    for budget in (130_000, 60_000, 50_000, 1):
        parts = ExactNetworkPosterior(parameters, x, budget)
        plans.add(parts._plan())
        for a, b in [
            (whole.log_evidence, parts.log_evidence),
            (whole.marginals, parts.marginals),
            (whole.pairwise(2), parts.pairwise(2)),
            *zip(whole.gradient().values(), parts.gradient().values(), strict=True),
        ]:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    assert (1, 5) in plans
    assert any(1 < trials < 5 and bins == 23 for trials, bins in plans)
    z = ExactNetworkPosterior(parameters, x, budget=50_000).sample(3000, generator(0)).double()
    assert (z.mean(0) - whole.marginals).abs().max() < 5 * 0.5 / 3000**0.5


def test_cells_may_be_named_in_any_order() -> None:
    parameters, x = network((3, 1, 2, 3, 4), seed=7), traces(2, 20, 3, seed=7, missing=0.1)
    order = torch.tensor([2, 0, 1])
    turned = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    turned = {
        name: value if name in ("basis", "coupling") else value[order] for name, value in turned.items()
    }
    turned["coupling"] = parameters.coupling[:, order][:, :, order]
    here = ExactNetworkPosterior(parameters, x)
    there = ExactNetworkPosterior(NetworkParameters(**turned), x[..., order])
    torch.testing.assert_close(there.log_evidence, here.log_evidence, rtol=1e-12, atol=0)
    torch.testing.assert_close(there.marginals, here.marginals[..., order], rtol=0, atol=1e-12)
    pairs = here.pairwise(3)[:, :, order][..., order]
    torch.testing.assert_close(there.pairwise(3), pairs, rtol=0, atol=1e-12)


def test_a_cell_that_is_never_seen_is_found_through_those_it_drives() -> None:
    """Cell 1 copies cell 0 one bin later; only cell 1 is observed."""
    rng = np.random.default_rng(0)
    truth = (rng.random(200) < 0.2).astype(float)
    x = torch.full((1, 200, 2), math.nan, dtype=torch.float64)
    x[0, 1:, 1] = torch.as_tensor(truth[:-1])
    parameters = replace(
        network((2, 0, 1, 1, 1), seed=0),
        bias=torch.tensor([-1.4, -6.0], dtype=torch.float64),
        coupling=torch.tensor([[[0.0, 0.0], [12.0, 0.0]]], dtype=torch.float64),
        basis=torch.ones(1, 1, dtype=torch.float64),
        kernel=torch.ones(2, 1, dtype=torch.float64),
        amplitude=torch.ones(2, dtype=torch.float64),
        baseline=torch.zeros(2, dtype=torch.float64),
        noise=torch.full((2,), 0.1, dtype=torch.float64),
    )
    found = ExactNetworkPosterior(parameters, x).marginals[0, :-1, 0].numpy()
    np.testing.assert_allclose(found, truth[:-1], atol=0.02)


def test_long_trace_with_strong_signals_is_finite_and_finds_the_spikes() -> None:
    bins, rng = 1000, np.random.default_rng(0)
    truth = (rng.random((bins, 2)) < 0.3).astype(float)
    kernel = 0.8 ** torch.arange(4, dtype=torch.float64)
    calcium = np.stack([np.convolve(truth[:, i], kernel.numpy())[:bins] for i in range(2)], 1)
    x = torch.as_tensor(50 * calcium + 0.1 * rng.normal(size=(bins, 2)))[None]
    parameters = replace(
        network((2, 2, 1, 3, 4), seed=3),
        kernel=kernel.expand(2, -1),
        amplitude=torch.full((2,), 50.0, dtype=torch.float64),
        baseline=torch.zeros(2, dtype=torch.float64),
        noise=torch.full((2,), 0.1, dtype=torch.float64),
    )
    posterior = ExactNetworkPosterior(parameters, x)
    np.testing.assert_allclose(posterior.marginals[0].numpy(), truth, atol=1e-12)
    joint = log_joint(truth[None], x[0].numpy(), parameters).item()
    assert posterior.log_evidence.item() == pytest.approx(joint, rel=1e-10)
    # a trace that the model can hardly explain: frames thousands of sd away from any state
    wrong = ExactNetworkPosterior(parameters, -3 * x)
    gradient = wrong.gradient()
    for value in (wrong.log_evidence, wrong.marginals, wrong.pairwise(2), *gradient.values()):
        assert torch.isfinite(value).all()


def test_a_thousand_bins_of_three_cells_take_a_moment() -> None:
    """0.35 s on one core of a server; the limit leaves room for slow and busy machines."""
    parameters, x = network((3, 2, 2, 4, 4), seed=13), traces(1, 1000, 3, seed=13)
    start = time.process_time()
    ExactNetworkPosterior(parameters, x)
    assert time.process_time() - start < 5


def test_sixteen_bits_are_taken_and_more_refused() -> None:
    parameters, x = network((2, 1, 1, 2, 8), seed=0), traces(1, 3, 2, seed=0)
    assert_exact(ExactNetworkPosterior(parameters, x), parameters, x)
    for sizes in ((2, 1, 1, 2, 9), (2, 9, 1, 2, 3), (2, 1, 1, 9, 3)):
        message = "found 2 cells with a memory of 9 bins, expected at most 16 for cells times bins"
        with pytest.raises(UserError, match=message):
            ExactNetworkPosterior(network(sizes, seed=0), x)
        with pytest.raises(UserError, match=message):
            log_evidence(network(sizes, seed=0), x)


def test_large_logits_are_exact_up_to_the_limit_and_refused_beyond() -> None:
    parameters, x = network((2, 1, 1, 2, 2), seed=1), traces(1, 5, 2, seed=1)
    # the past makes every spike almost certain or almost impossible, and the frames disagree
    large = replace(
        parameters,
        bias=torch.tensor([-140.0, 140.0], dtype=torch.float64),
        history=torch.tensor([[-40.0], [30.0]], dtype=torch.float64),
        coupling=torch.tensor([[[0.0, 60.0], [-80.0, 0.0]]], dtype=torch.float64),
        noise=torch.full((2,), 0.02, dtype=torch.float64),
    )
    posterior = ExactNetworkPosterior(large, x)
    assert_exact(posterior, large, x)
    with pytest.raises(
        UserError, match=r"found log-probability -1\d{3} for the spikes of a bin, expected at"
    ):
        ExactNetworkPosterior(replace(large, bias=6 * large.bias), x)


def test_mistakes_are_told_in_a_sentence() -> None:
    parameters = network((2, 2, 1, 3, 3), seed=0)
    with pytest.raises(UserError, match=r"traces of shape \(1, 5, 3\), expected \(trials, bins, 2 cells\)"):
        ExactNetworkPosterior(parameters, traces(1, 5, 3, seed=0))
    with pytest.raises(UserError, match=r"traces of shape \(1, 0, 2\)"):
        log_evidence(parameters, torch.zeros(1, 0, 2))
    posterior = ExactNetworkPosterior(parameters, traces(1, 5, 2, seed=0))
    for lag in (-1, 3):
        with pytest.raises(UserError, match=f"found {lag} bins, expected 0 to 2"):
            posterior.pairwise(lag)
    wrong = {
        "history": (parameters.history[:1], r"history: found shape \(1, 2\), expected \(2, bins\)"),
        "coupling": (parameters.coupling[0], r"coupling: found shape \(2, 2\), expected \(1, 2, 2\)"),
        "basis": (parameters.basis[0, :1], r"basis: found shape \(1,\), expected \(1, bins\)"),
        "amplitude": (parameters.amplitude[:, None], r"amplitude: found shape \(2, 1\), expected \(2,\)"),
        "kernel": (parameters.kernel[:, :0], "kernel: found 0 bins, expected at least 1"),
        "noise": (parameters.noise * 0, "noise: found 0, expected numbers above 0"),
        "bias": (parameters.bias.float(), "bias: found torch.float32, expected torch.float64"),
        "baseline": (parameters.baseline * math.nan, "baseline: found a value that is not finite"),
    }
    for name, (value, sentence) in wrong.items():
        with pytest.raises(UserError, match=f"network parameters, {sentence}"):
            replace(parameters, **{name: value})
    with pytest.raises(UserError, match="bias: found 0 cells, expected at least 1"):
        network((0, 2, 1, 3, 3), seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers() -> None:
    for sizes in ((2, 2, 1, 4, 3), (3, 1, 1, 2, 3)):
        parameters, x = network(sizes, seed=2), traces(3, 60, sizes[0], seed=2, missing=0.1)
        here = ExactNetworkPosterior(parameters, x)
        moved = {field.name: getattr(parameters, field.name).cuda() for field in fields(parameters)}
        there = ExactNetworkPosterior(NetworkParameters(**moved), x)
        torch.testing.assert_close(there.log_evidence.cpu(), here.log_evidence, rtol=1e-12, atol=0)
        torch.testing.assert_close(there.marginals.cpu(), here.marginals, rtol=0, atol=1e-11)
        for name, value in here.gradient().items():
            torch.testing.assert_close(there.gradient()[name].cpu(), value, rtol=0, atol=1e-8)
        z = there.sample(4000, generator(0, "cuda"))
        assert (z.double().mean(0).cpu() - here.marginals).abs().max() < 5 * 0.5 / 4000**0.5
