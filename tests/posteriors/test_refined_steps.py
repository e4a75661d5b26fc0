"""The refinement itself: its recursion, that it raises the bound, and
what it does where it is not asked for.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import Family, model, problem, traces
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.posteriors.base import Bound
from dfp.posteriors.refined import Refined
from dfp.samplers.relaxations import Concrete, MeanField, Relaxation, StraightThrough
from dfp.samplers.sequential import Sequential
from dfp.training.step import bound_for

SMALL = {"window": 1, "hidden": 4}


def refined(of: str = "factorised", **settings: Any) -> Refined:
    posterior = Family("refined", {"of": of, of: {"recognition": SMALL}, **settings}).trained(1, seed=1)
    assert isinstance(posterior, Refined)
    return posterior


def bound(x: Tensor, samples: int = 1, seed: int = 0) -> Bound:
    """Analytic entropy: at the means of a factorised q that is the
    whole bound but for the prior's history.
    """
    objective = RelaxedPmf(samples, entropy="analytic")
    return bound_for(problem(model(1, learn=(), kernel_bins=3), x), objective, Sequential(), generator(seed))


def elbo(q: CausalBernoulli, x: Tensor) -> Tensor:
    """By enumeration, ``(B,)``."""
    paths = all_paths(x.shape[1], 1).expand(-1, x.shape[0], -1, -1)
    with torch.no_grad():
        log_q = q.log_prob(paths).sum((2, 3))
        log_joint = model(1, learn=(), kernel_bins=3).log_joint(x, paths).sum((2, 3))
        return (log_q.exp() * (log_joint - log_q)).sum(0)


X = traces(3, trials=4, bins=8, cells=1)


@pytest.mark.parametrize("of", ["factorised", "autoregressive"])
@pytest.mark.parametrize(
    "estimator", ["mean_passing", "concrete", "straight_through_sigma", "straight_through"]
)
def test_refinement_raises_the_exact_bound(of: str, estimator: str) -> None:
    samples = 1 if estimator == "mean_passing" else 60
    posterior = refined(of, estimator=estimator, steps=15, rate=0.05, momentum=0.5)
    conditioned = posterior.condition(X, bound(X, samples))
    assert conditioned.amortised is not None and conditioned.distil
    gained = elbo(conditioned.q, X) - elbo(conditioned.amortised, X)
    assert float(gained.mean()) > 0.5 and bool((gained > 0).all())


def test_steps_are_gradient_ascent_with_momentum() -> None:
    """ζ ← ζ + γ v, v ← m v + ∇ELBO, written out; trials do not touch one another."""
    posterior = refined(steps=3, rate=0.2, momentum=0.7)
    found = posterior.condition(X, bound(X)).q.drive
    zeta = posterior.base.condition(X).q.drive.detach()
    velocity = torch.zeros_like(zeta)
    for _ in range(3):
        zeta = zeta.requires_grad_()
        (gradient,) = torch.autograd.grad(bound(X)(CausalBernoulli(zeta), MeanField()), zeta)
        velocity = 0.7 * velocity + gradient
        zeta = (zeta + 0.2 * velocity).detach()
    assert torch.allclose(found, zeta, atol=1e-12)
    alone = posterior.condition(X[1:2], bound(X[1:2])).q.drive
    assert torch.allclose(found[1:2], alone, atol=1e-12)


def test_a_bound_counts_every_bin_once_whatever_the_batch() -> None:
    """Nats summed over trials and bins: so a refinement rate means the same for any batch and length."""
    q = refined(steps=0).condition(X).q
    whole = bound(X)(q, MeanField())
    parts = [bound(X[b : b + 1])(CausalBernoulli(q.drive[b : b + 1]), MeanField()) for b in range(4)]
    assert whole.item() == pytest.approx(sum(part.item() for part in parts))


def test_the_recognition_network_learns_by_distillation_or_through_the_steps() -> None:
    apart = refined(steps=2).condition(X, bound(X))
    assert apart.distil and not apart.q.drive.requires_grad
    through = refined(steps=2, through=True).condition(X, bound(X))
    assert not through.distil and through.q.drive.requires_grad
    assert torch.equal(apart.q.drive, through.q.drive)
    with torch.no_grad():
        assert not refined(steps=2, through=True).condition(X, bound(X)).q.drive.requires_grad


def test_only_the_drive_of_an_autoregressive_base_is_refined() -> None:
    posterior = refined("autoregressive", steps=3)
    conditioned = posterior.condition(X, bound(X))
    assert conditioned.amortised is not None
    assert conditioned.q.terms == conditioned.amortised.terms and conditioned.q.memory > 0
    assert not torch.equal(conditioned.q.drive, conditioned.amortised.drive)


def test_no_steps_are_ordinary_amortised_inference() -> None:
    posterior = refined(steps=0)
    conditioned = posterior.condition(X)
    assert conditioned.amortised is None and not conditioned.distil
    assert torch.equal(conditioned.q.drive, posterior.base.condition(X).q.drive)


def test_each_estimator_passes_its_own_gradient() -> None:
    expected: dict[str, Relaxation] = {
        "mean_passing": MeanField(),
        "straight_through": StraightThrough("literal"),
        "straight_through_sigma": StraightThrough("sigma"),
        "concrete": Concrete(0.3),
    }
    for estimator, relaxation in expected.items():
        assert refined(estimator=estimator, temperature=0.3).relaxation == relaxation


def test_refining_needs_a_bound() -> None:
    with pytest.raises(UserError, match="found no bound to refine on"):
        refined(steps=1).condition(X)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"of": "logistic_flow"}, "of: found 'logistic_flow'"),
        ({"estimator": "mean_pasing"}, r"estimator: found 'mean_pasing' \(did you mean 'mean_passing'\?\)"),
        ({"steps": -1}, "steps: found -1"),
        ({"rate": 0.0}, "rate, momentum: found 0.0"),
        ({"momentum": 1.0}, "rate, momentum: found 0.3, 1.0"),
        ({"estimator": "concrete", "temperature": 0.0}, "temperature: found 0.0"),
        ({"factorised": {"recognition": {"hidden": 0}}}, "recognition.hidden: found 0"),
        ({"autoregressive": {"history": -1}}, "history: found -1"),
        ({"autoregressive": {"nonlinear_hidden": 2, "nonlinear_history": 0}}, "nonlinear_history: found 0"),
        (
            {"factorised": {"recognition": {"per_cell": True, "cross_channels": 2}}},
            "per_cell together with cross",
        ),
        ({"factorised": {"recognition": {"initial_rate": 1.0}}}, "initial_rate: found 1.0"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Family("refined", settings).fresh()
