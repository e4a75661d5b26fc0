"""The exact posterior of coupled cells: memory, length, large logits, devices, refusals."""

from __future__ import annotations

import math
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from network_sums import Sizes, assert_exact, log_joint, network, traces

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters, log_evidence


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
    for factor in (1.0, 2.14):  # of a bin after silence, the most unlikely: log-probability −280 and −599
        extreme = replace(large, bias=factor * large.bias)
        assert_exact(ExactNetworkPosterior(extreme, x), extreme, x)
    with pytest.raises(UserError, match=r"found log-probability -602 for the spikes of a bin, expected at"):
        ExactNetworkPosterior(replace(large, bias=2.15 * large.bias), x)


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
