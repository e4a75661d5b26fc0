"""The M-step after a refinement: KL, gradients and value against brute force over all paths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import Family, model, problem, traces
from torch import Tensor

from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Loss, Problem
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.posteriors.base import Conditioned
from dfp.posteriors.refined import Refined
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import MeanField
from dfp.training.step import bound_for, training_loss

BINS, CELLS, TRIALS = 3, 2, 2
SMALL = {"window": 1, "hidden": 4}
X = traces(1, trials=TRIALS, bins=BINS, cells=CELLS)
SAMPLER = FixedPoint()


def settings(of: str) -> tuple[CalciumNetwork, Problem, Refined]:
    network = model(CELLS, 2, basis=1)
    posterior = Family("refined", {"of": of, of: {"recognition": SMALL}, "steps": 3, "rate": 0.2}).trained(
        CELLS, 3
    )
    assert isinstance(posterior, Refined)
    return network, problem(network, X), posterior


def refined(setting: Problem, posterior: Refined) -> Conditioned:
    """Means use no noise, so this is the q that the loss refines to as well."""
    return posterior.condition(X, bound_for(setting, RelaxedPmf(1), SAMPLER, generator(0)))


def loss_of(setting: Problem, posterior: Refined, samples: int, seed: int = 0) -> Loss:
    return training_loss(setting, posterior, RelaxedPmf(samples), SAMPLER, MeanField(), generator(seed))


def brute_force_kl(conditioned: Conditioned) -> Tensor:
    """KL(q ‖ q_φ) summed over trials, with gradient in q_φ only."""
    paths = all_paths(BINS, CELLS).expand(-1, TRIALS, -1, -1)
    assert conditioned.amortised is not None
    log_q = _fixed(conditioned.q).log_prob(paths).sum((2, 3))
    return (log_q.exp() * (log_q - conditioned.amortised.log_prob(paths).sum((2, 3)))).sum()


def _fixed(q: CausalBernoulli) -> CausalBernoulli:
    from dataclasses import fields, replace

    terms = []
    for term in q.terms:
        held = {f.name: getattr(term, f.name).detach() for f in fields(term)}  # type: ignore[arg-type]
        terms.append(replace(term, **held))  # type: ignore[type-var]
    return CausalBernoulli(q.drive.detach(), tuple(terms))


def test_the_kl_of_a_factorised_q_is_exact() -> None:
    """Value and gradient in φ, from a single sample: nothing of it is sampled."""
    _, setting, posterior = settings("factorised")
    expected = brute_force_kl(refined(setting, posterior)) / (TRIALS * BINS)
    loss = loss_of(setting, posterior, samples=1)
    assert loss.terms["refinement_kl"] * CELLS == pytest.approx(expected.item(), abs=1e-10)
    assert expected.item() > 0.01
    unknowns = list(posterior.parameters())
    found = torch.autograd.grad(loss.total, unknowns, retain_graph=True)
    by_force = torch.autograd.grad(expected, unknowns)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, by_force, strict=True))


def test_the_kl_of_an_autoregressive_q_is_unbiased() -> None:
    """Mean value and gradient over many samples of the history, four standard errors."""
    _, setting, posterior = settings("autoregressive")
    conditioned = refined(setting, posterior)
    expected = brute_force_kl(conditioned) / (TRIALS * BINS)
    unknowns = [p for p in posterior.parameters() if p.numel()]
    exact = torch.cat([g.reshape(-1) for g in torch.autograd.grad(expected, unknowns)])
    values, gradients = [], []
    for seed in range(120):
        loss = loss_of(setting, posterior, samples=40, seed=seed)
        values.append(loss.terms["refinement_kl"] * CELLS)
        gradients.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss.total, unknowns)]))
    found = torch.tensor(values, dtype=torch.float64)
    assert abs(float(found.mean()) - expected.item()) < 4 * float(found.std()) / 120**0.5
    stacked = torch.stack(gradients)
    error = stacked.std(0) / 120**0.5
    moving = error > 1e-12
    z = ((stacked.mean(0) - exact) / error)[moving]
    assert float(z.abs().max()) < 4.5 and int(moving.sum()) > 20
    assert torch.allclose(stacked.mean(0)[~moving], exact[~moving], atol=1e-9)


@pytest.mark.parametrize("of", ["factorised", "autoregressive"])
def test_the_model_learns_from_hard_samples_of_the_refined_q(of: str) -> None:
    """∇_θ is −∇_θ log p(x, z) at those samples, per bin; the number reported is their ELBO."""
    network, setting, posterior = settings(of)
    loss = loss_of(setting, posterior, samples=5)
    z = loss.draw.z
    assert set(z.unique().tolist()) <= {0.0, 1.0}
    q = _fixed(refined(setting, posterior).q)
    joint = network.log_joint(X, z)
    expected = -joint.sum() / (5 * TRIALS * BINS)
    unknowns = [p for p in network.parameters() if p.numel()]
    found = torch.autograd.grad(loss.total, unknowns, retain_graph=True)
    by_hand = torch.autograd.grad(expected, unknowns)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, by_hand, strict=True))
    elbo = (joint - q.log_prob(z)).detach().sum() / (5 * TRIALS * BINS)
    assert loss.total.item() == pytest.approx(-float(elbo))
    assert float(loss.per_cell.sum()) == pytest.approx(-float(elbo))


def test_the_burn_in_is_neither_distilled_nor_learned_from() -> None:
    network, _, posterior = settings("factorised")
    weights = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)[None, :, None].expand(TRIALS, -1, -1)
    setting = problem(network, X, weights)
    loss = loss_of(setting, posterior, samples=3)
    terms = network.log_joint(X, loss.draw.z)[:, :, 1:]
    expected = -terms.sum() / (3 * TRIALS * 2)
    unknowns = [p for p in network.parameters() if p.numel()]
    found, by_hand = (
        torch.autograd.grad(value, unknowns, retain_graph=True) for value in (loss.total, expected)
    )
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, by_hand, strict=True))


def test_a_perfect_recognition_network_has_nothing_to_learn() -> None:
    """A rate of refinement near 0 leaves q where q_φ is: the KL and its gradient vanish."""
    network = model(CELLS, 2, basis=1)
    config: dict[str, Any] = {"factorised": {"recognition": SMALL}, "steps": 1, "rate": 1e-9}
    posterior = Family("refined", config).trained(CELLS, 3)
    loss = training_loss(problem(network, X), posterior, RelaxedPmf(1), SAMPLER, MeanField(), generator(0))
    assert loss.terms["refinement_kl"] == pytest.approx(0.0, abs=1e-12)
    assert all(
        float(g.abs().max()) < 1e-6 for g in torch.autograd.grad(loss.total, list(posterior.parameters()))
    )
