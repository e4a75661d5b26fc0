"""Hard samples and their bounds against sums over every path, and what the stages make of them."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import model, process, traces
from torch import Tensor

from dfp.config.schema import EvaluationSpec
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.distributions.terms import OwnHistory
from dfp.fitting.exactness import exact_metrics
from dfp.metrics import bounds
from dfp.metrics.bounds import HardSamples, sample_hard
from dfp.models.calcium import CalciumNetwork
from dfp.samplers.sequential import Sequential
from dfp.stages import evaluate

SAMPLES = 20_000


def guess(x: Tensor, kind: str, seed: int) -> CausalBernoulli:
    """A random posterior of ``kind`` for ``x``; 'factorised' has no terms."""
    flat = kind == "factorised"
    made = process("own_history" if flat else kind, seed, *x.shape, strength=0.8)
    return CausalBernoulli(made.drive - 0.5 + 0.5 * x, () if flat else made.terms)


def draw(
    network: CalciumNetwork, q: CausalBernoulli, x: Tensor, samples: int, seed: int, **how: object
) -> HardSamples:
    settings = {"independent": not network.couples_cells, **how}
    with torch.no_grad():
        return sample_hard(network, q, x, samples, generator(seed), **settings)


def enumerated(network: CalciumNetwork, q: CausalBernoulli, x: Tensor) -> tuple[Tensor, ...]:
    """Of one trial ``(1, T, N)``: all paths ``(P, T, N)``; log p(x, z), log q(z), each ``(P,)``; log p(x)."""
    with torch.no_grad():
        paths = all_paths(x.shape[1], x.shape[2])
        joint = network.log_joint(x, paths).sum((1, 2, 3))
        return paths[:, 0], joint, q.log_prob(paths).sum((1, 2, 3)), torch.logsumexp(joint, 0)


@pytest.mark.parametrize("kind", ["factorised", "own_history", "coupled", "nonlinear"])
@pytest.mark.parametrize("seed", [0, 1])
def test_bounds_and_probabilities_agree_with_the_sum_over_paths(kind: str, seed: int) -> None:
    network, x = model(2, seed, basis=1), traces(seed, trials=1, bins=4)
    q = guess(x, kind, seed)
    paths, joint, log_q, evidence = enumerated(network, q, x)
    weight, ratio = log_q.exp(), joint - log_q
    assert weight.sum().item() == pytest.approx(1, abs=1e-12)

    found = draw(network, q, x, SAMPLES, seed)
    assert found.z.shape == (SAMPLES, 1, 4, 2)
    assert found.z.dtype == torch.int8
    expected = (weight * ratio).sum()
    error = ((weight * (ratio - expected) ** 2).sum() / SAMPLES).sqrt()
    elbo, iwae = found.elbo()[0, 0], found.iwae(20)[0, 0]
    assert abs(elbo - expected) < 4.5 * error
    assert expected < evidence
    # the bound over 20 samples lies between; importance weights average to the evidence itself
    assert elbo < iwae < evidence + 4.5 * error
    scale = ((weight * (ratio - evidence).exp() ** 2).sum() - 1).clamp(min=0).sqrt() / SAMPLES**0.5
    assert abs((found.log_weights[:, 0, 0] - evidence).exp().mean() - 1) < 4.5 * scale

    spike = torch.einsum("p,ptn->tn", weight, paths)
    deviation = (spike * (1 - spike) / SAMPLES).sqrt()  # an upper bound: P given the past varies less than z
    assert ((found.probability[0] - spike).abs() <= 4.5 * deviation + 1e-12).all()
    assert ((found.z.double().mean(0)[0] - spike).abs() < 4.5 * deviation).all()


def test_log_weights_are_kept_per_cell_only_where_cells_are_problems_of_their_own() -> None:
    network, x = model(3, 1), traces(2, trials=2, bins=9, cells=3)
    q = process("own_history", 3, 2, 9, 3)
    alone, together = (draw(network, q, x, 8, 5, independent=choice) for choice in (True, False))
    assert torch.equal(alone.z, together.z)
    assert alone.log_weights.shape == (8, 2, 3)
    total = alone.log_weights.sum(-1, keepdim=True).expand(-1, -1, 3)
    torch.testing.assert_close(together.log_weights, total, rtol=0, atol=1e-12)
    with torch.no_grad():
        z = alone.z.double()
        by_hand = (network.log_joint(x, z) - q.log_prob(z)).sum(2)
    torch.testing.assert_close(alone.log_weights, by_hand, rtol=0, atol=1e-12)
    for found in (alone, together):  # q has a pmf: there is but one bound
        assert torch.equal(found.over_spikes, found.log_weights)
        torch.testing.assert_close(found.elbo_over_spikes(), found.elbo().mean(0), rtol=1e-13, atol=0)


def test_bound_is_the_evidence_where_the_posterior_is_exact() -> None:
    """Nothing observed: the prior is the posterior. One bin: one logit is. Each sample says log p(x)."""
    network = model(2, 4)
    unseen = torch.full((2, 30, 2), math.nan, dtype=torch.float64)
    found = draw(network, network.prior(2, 30), unseen, 50, 0)
    assert found.log_weights.abs().max() < 1e-11
    assert found.z.double().mean() > 0.05

    x = traces(6, trials=3, bins=1)
    with torch.no_grad():
        both = torch.stack([torch.zeros_like(x), torch.ones_like(x)])
        silent, spike = network.log_joint(x, both)
    found = draw(network, CausalBernoulli(spike - silent), x, 50, 1)
    evidence = torch.logaddexp(silent, spike)[:, 0]
    torch.testing.assert_close(found.log_weights, evidence.expand(50, 3, 2), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.elbo(), evidence, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.iwae(7), evidence, rtol=0, atol=1e-12)


def test_probability_varies_less_than_the_mean_of_the_samples() -> None:
    network, x = model(2, 0), traces(1, trials=1, bins=12)
    q = process("own_history", 1, 1, 12, 2)
    batches = [draw(network, q, x, 20, seed) for seed in range(60)]
    smooth = torch.stack([batch.probability for batch in batches]).var(0)
    rough = torch.stack([batch.z.double().mean(0) for batch in batches]).var(0)
    assert smooth.mean() < 0.7 * rough.mean()
    flat = CausalBernoulli(q.drive)
    exact = torch.sigmoid(q.drive.detach())
    torch.testing.assert_close(draw(network, flat, x, 3, 0).probability, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_chunks_draw_the_same_samples_from_the_same_noise(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = model(2, 2, basis=1), traces(3, trials=2, bins=15)
    q = process("coupled", 5, 2, 15, 2)
    whole = draw(network, q, x, 8, 4)
    assert len(whole.sweeps) == 1
    monkeypatch.setattr(bounds, "_CHUNK", size * x.numel() + 1)
    parts = draw(network, q, x, 8, 4)
    assert len(parts.sweeps) == math.ceil(8 / size)
    assert max(parts.sweeps) == whole.sweeps[0]  # the slowest sample sets the pace
    assert torch.equal(parts.z, whole.z)
    torch.testing.assert_close(parts.log_weights, whole.log_weights, rtol=0, atol=1e-11)
    torch.testing.assert_close(parts.probability, whole.probability, rtol=0, atol=1e-13)


def chain(bins: int) -> CausalBernoulli:
    """The first bin always fires, then each bin because the one before did: no sample is slower."""
    drive = torch.full((1, bins, 1), -50.0, dtype=torch.float64)
    drive[:, 0] = 100.0
    return CausalBernoulli(drive, (OwnHistory(torch.tensor([[100.0]], dtype=torch.float64)),))


def test_samples_that_are_not_exact_are_an_error_unless_the_sweeps_are_asked_for() -> None:
    network, x, bins = model(1, 0), traces(0, trials=1, bins=20, cells=1), 20
    with pytest.raises(NumericalError, match=r"after 19 sweeps, so they are not exact"):
        draw(network, chain(bins), x, 2, 0, max_sweeps=19)
    exact = draw(network, chain(bins), x, 2, 0)
    assert exact.z.min() == 1
    assert exact.sweeps == (bins + 1,)

    early = draw(network, chain(bins), x, 2, 0, sweeps=5)
    assert early.sweeps == (5,)
    assert early.z[0, 0, :, 0].tolist() == [1] * 5 + [0] * 15
    # weighed at the logits of the sample itself, of which bin 5 (left silent, P = σ(50)) is the only surprise
    with torch.no_grad():
        z = early.z.double()
        by_hand = (network.log_joint(x, z) - chain(bins).log_prob(z)).sum(2)
    torch.testing.assert_close(early.log_weights, by_hand, rtol=0, atol=1e-12)
    assert early.probability[0, :, 0].round().tolist() == [1] * 6 + [0] * 14

    late = draw(network, chain(bins), x, 2, 0, sweeps=bins + 1)
    assert torch.equal(late.log_weights, exact.log_weights)


def test_samples_are_the_sequential_ones_and_repeat_with_their_generator() -> None:
    network, x = model(2, 3), traces(5, trials=2, bins=25)
    q = process("nonlinear", 2, 2, 25, 2)
    found, again, other = (draw(network, q, x, 6, seed) for seed in (7, 7, 8))
    assert torch.equal(found.z, again.z)
    assert torch.equal(found.log_weights, again.log_weights)
    assert not torch.equal(found.z, other.z)
    with torch.no_grad():
        one_by_one = q.draw(q.noise(6, generator(7)), Sequential(), bounds.Hard()).z
    assert torch.equal(found.z.double(), one_by_one)


def weighed(log_weights: Tensor) -> HardSamples:
    samples, trials, cells = log_weights.shape
    z = torch.zeros(samples, trials, 4, cells, dtype=torch.int8)
    return HardSamples(z, log_weights, torch.zeros(trials, 4, cells, dtype=torch.float64), (1,), log_weights)


def test_multi_sample_bound_by_hand() -> None:
    log_weights = torch.randn(7, 2, 3, generator=generator(0), dtype=torch.float64) * 3 - 2000
    found = weighed(log_weights)
    torch.testing.assert_close(found.iwae(1), found.elbo(), rtol=0, atol=1e-11)
    w = (log_weights + 2000).exp()
    pairs = [(w[2 * g] + w[2 * g + 1]) / 2 for g in range(3)]  # the seventh sample has no partner
    torch.testing.assert_close(found.iwae(2), torch.stack(pairs).log().mean(0) - 2000, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.iwae(7), w.mean(0).log() - 2000, rtol=0, atol=1e-9)
    assert (found.iwae(7) > found.elbo()).all()
    for wrong in (0, 8):
        with pytest.raises(UserError, match=f"found {wrong} importance samples, expected 1 to the 7 drawn"):
            found.iwae(wrong)


# ---- what the stages make of them


def measured(
    bins: int = 40, trials: int = 2, kernel_bins: int = 5, **settings: object
) -> dict[tuple[int, str], float]:
    """Metrics of a two-cell model against its exact posterior, its prior taken for one; by cell and name."""
    network = model(2, 1, learn=(), kernel_bins=kernel_bins)
    x = traces(1, trials=trials, bins=bins)
    fitted = SimpleNamespace(model=network, spec=SimpleNamespace(evaluation=EvaluationSpec(**settings)))
    with torch.no_grad():
        spikes = draw(network, network.prior(trials, bins), x, 1, 9).z[0].numpy()
        samples = draw(network, network.prior(trials, bins), x, fitted.spec.evaluation.samples, 2)
        rows, exact = exact_metrics(fitted, samples, x, spikes, network.parameters_now())
    assert exact.shape == x.shape
    found = {(cell, name): value for cell, name, value in rows}
    assert len(found) == len(rows)
    assert np.isfinite(list(found.values())).all()
    return found


def test_exact_metrics_of_a_posterior_that_ignores_the_trace() -> None:
    found = measured(samples=400, iwae_samples=100, two_sample=True, two_sample_samples=16)
    for n in range(2):
        assert found[n, "gap_per_bin"] > found[n, "iwae_gap_per_bin"] > 0
        assert found[n, "marginal_rmse"] > 0.02
        assert found[n, "count_sd_exact"] > 0.1
        assert 0.5 < found[n, "two_sample_accuracy"] <= 1
        for lag, name in itertools.product((1, 2, 3), ("", "_exact")):
            assert abs(found[n, f"covariance_lag{lag}{name}"]) < 0.25
        assert found[n, "coverage_50"] <= found[n, "coverage_90"] <= 1


def test_a_response_of_one_bin_and_short_trials_are_measured_as_far_as_they_go() -> None:
    """The state of two bins holds lag 1 only; a trial of three bins has lags 1 and 2, no window of 30."""
    short = measured(kernel_bins=1)
    assert (0, "covariance_lag1_exact") in short
    assert (0, "covariance_lag2_exact") not in short
    assert (0, "covariance_lag2") in short
    brief = measured(bins=3)
    assert (1, "covariance_lag2_exact") in brief
    assert (1, "covariance_lag3") not in brief
    assert (1, "coverage_90_windowed") in brief


def test_two_sample_test_uses_no_more_samples_than_were_drawn() -> None:
    found = measured(samples=8, iwae_samples=8, two_sample=True, two_sample_samples=32)
    assert 0.3 < found[0, "two_sample_accuracy"] <= 1


@pytest.mark.parametrize("independent", [True, False])
def test_bound_after_k_sweeps_is_in_the_units_of_the_bound(
    independent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per bin of a cell of its own, per bin and cell of a network: the same samples give the same number."""
    x = traces(0, trials=2, bins=4, cells=3)
    weights = torch.randn(6, 2, 3, generator=generator(1), dtype=torch.float64)
    samples = weighed(weights if independent else weights[..., :1].expand(-1, -1, 3))
    monkeypatch.setattr(evaluate, "draw_samples", lambda *_, **__: samples)
    spec = SimpleNamespace(evaluation=EvaluationSpec(at_sweeps=3))
    fitted = SimpleNamespace(independent=independent, spec=spec)
    known = evaluate._basic_metrics(samples, x, 2, independent)
    known += [(n, "log_evidence_per_bin", 1.0) for n in range(3)]
    found = evaluate._at_sweeps(fitted, x, SimpleNamespace(seed=np.array([0, 1, 2])), known)
    values = {(n, name): value for n, name, value in known + found}
    for n in range(3):
        assert values[n, "elbo_at_k_per_bin"] == values[n, "elbo_per_bin"]
        assert values[n, "gap_at_k_per_bin"] == pytest.approx(1.0 - values[n, "elbo_per_bin"], abs=1e-12)
