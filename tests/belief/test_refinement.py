"""The E-step: estimators against exact gradients, refinement against the enumerated bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from belief_cases import images, network, point, recognition
from hypothesis import given, settings
from hypothesis import strategies as st

from dfp.belief.enumerated import Enumerated
from dfp.belief.refinement import EDGE, Refinement, bound, climb_exactly, sampled_bound
from dfp.core.errors import UserError
from dfp.core.noise import generator

BINARY = ("mean_passing", "straight_through", "straight_through_sigma", "score_function", "importance")


def test_score_function_has_no_bias_and_the_others_do() -> None:
    """z-test, 400 gradients of 50 samples, 24 coordinates: |z| < 4.5; literal straight-through fails."""
    net, x = network(scale=2.0), images()
    exact = Enumerated(net, x)
    at = point().requires_grad_()
    (expected,) = torch.autograd.grad(exact.bound(at).sum(), at)
    largest = {}
    for estimator in ("score_function", "straight_through"):
        rng, draws = generator(3), []
        for _ in range(400):
            zeta = point().requires_grad_()
            value = bound(net, x, zeta, estimator, 50, rng).sum()
            draws.append(torch.autograd.grad(value, zeta)[0])
        found = torch.stack(draws)
        z = (found.mean(0) - expected) / (found.std(0) / len(found) ** 0.5)
        largest[estimator] = float(z.abs().max())
    assert largest["score_function"] < 4.5
    assert largest["straight_through"] > 10


def test_gaussian_gradients_have_no_bias() -> None:
    """Reparametrised and score-function gradients agree within their errors."""
    net, x = network("gaussian"), images()
    means, errors = [], []
    for estimator, samples in (("reparametrised", 50), ("score_function", 200)):
        rng, draws = generator(4), []
        for _ in range(200):
            zeta = point("gaussian").requires_grad_()
            (one,) = torch.autograd.grad(bound(net, x, zeta, estimator, samples, rng).sum(), zeta)
            draws.append(one)
        found = torch.stack(draws)
        means.append(found.mean(0))
        errors.append(found.var(0) / len(found))
    z = (means[0] - means[1]) / (errors[0] + errors[1]).sqrt()
    assert float(z.abs().max()) < 4.5


@pytest.mark.parametrize("estimator", BINARY[1:4])
def test_values_are_unbiased_for_the_bound(estimator: str) -> None:
    """Eq. 1 by enumeration; for mean-passing it is not."""
    net, x = network(scale=2.0), images()
    expected = Enumerated(net, x).bound(point())
    found = torch.stack([bound(net, x, point(), estimator, 200, generator(s)) for s in range(100)]).detach()
    z = (found.mean(0) - expected) / (found.std(0) / 10)
    assert float(z.abs().max()) < 4.5
    plain = torch.stack([sampled_bound(net, x, point(), 200, generator(s)) for s in range(100)]).detach()
    assert torch.allclose(plain, found, atol=1e-9)  # the same noise, the same value
    passing = bound(net, x, point(), "mean_passing", 1, generator(0)).detach()
    assert bool(((passing - expected).abs() > 10 * found.std(0) / 10).any())


@pytest.mark.parametrize("estimator", BINARY)
def test_refinement_raises_the_exact_bound(estimator: str) -> None:
    net, x = network(scale=2.0), images()
    exact, start = Enumerated(net, x), recognition()(x).detach()
    rate = 0.3 if estimator == "importance" else 0.05
    refinement = Refinement(estimator, 40, rate, momentum=0.5, decay=0.95, samples=50)
    zeta = refinement.refine(net, x, start, generator(1))
    gained = exact.bound(zeta) - exact.bound(start)
    assert float(gained.mean()) > 0.2


def test_gaussian_refinement_raises_the_bound() -> None:
    net, x = network("gaussian"), images()
    start = recognition("gaussian")(x).detach()
    zeta = Refinement("reparametrised", 60, 0.02, samples=20).refine(net, x, start, generator(1))
    before, after = (sampled_bound(net, x, at, 20_000, generator(2)).detach() for at in (start, zeta))
    assert float((after - before).mean()) > 0.2 and bool((after > before).all())


def test_steps_are_equations_4_and_5_with_momentum_and_decay() -> None:
    net, x, start = network(), images(), point()
    refinement = Refinement("mean_passing", 4, 0.2, momentum=0.7, decay=0.5)
    zeta, velocity, rng = start, torch.zeros_like(start), generator(0)
    for step in range(4):
        at = zeta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(bound(net, x, at, "mean_passing", 4, rng).sum(), at)
        velocity = 0.7 * velocity + gradient
        zeta = zeta + 0.2 * 0.5**step * velocity
    assert torch.allclose(refinement.refine(net, x, start, generator(0)), zeta, atol=1e-12)


@pytest.mark.parametrize("estimator", BINARY)
def test_a_long_refinement_begins_as_a_short_one(estimator: str) -> None:
    net, x, start = network(), images(), point()
    long = list(Refinement(estimator, 6, 0.1).path(net, x, start, generator(0)))
    short = replace(Refinement(estimator, 6, 0.1), steps=2).refine(net, x, start, generator(0))
    assert len(long) == 6 and torch.equal(long[1], short) and not torch.equal(long[2], short)


def test_no_steps_leave_the_start() -> None:
    net, x, start = network(), images(), point()
    assert torch.equal(Refinement("importance", 0, 0.1).refine(net, x, start, generator(0)), start)


def test_importance_steps_end_at_the_exact_posterior_means() -> None:
    """Many samples, undamped: the weighted mean is the posterior mean; with damping the share of the way."""
    net, x = network(), images()
    means, start = Enumerated(net, x).means, torch.zeros(6, 4).double()
    for rate in (1.0, 0.25):
        zeta = Refinement("importance", 1, rate, samples=100_000).refine(net, x, start, generator(0))
        expected = (1 - rate) * 0.5 + rate * means
        assert torch.allclose(torch.sigmoid(zeta), expected.clamp(EDGE, 1 - EDGE), atol=0.015)


@given(seed=st.integers(0, 1000), scale=st.floats(0.2, 4.0), rate=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_with_exact_expectations_and_a_line_search_the_bound_never_falls(
    seed: int, scale: float, rate: float
) -> None:
    net, x = network(seed=seed, scale=scale), images(seed=seed)
    exact = Enumerated(net, x)
    path = climb_exactly(exact.bound, point(seed=seed), 10, rate)
    values = torch.stack([exact.bound(zeta) for zeta in path])
    assert bool((values.diff(dim=0) >= 0).all()) and bool((values[-1] > values[0]).all())
    assert bool((values[-1] <= exact.log_evidence).all())


def test_enumeration_is_the_sum_over_states() -> None:
    net, x = network(), images()
    exact = Enumerated(net, x)
    joint = net.log_joint(x, exact.states[:, None].expand(-1, 6, -1)).detach()
    assert torch.allclose(joint, exact.log_joint, atol=1e-12)
    assert torch.allclose(joint.logsumexp(0), exact.log_evidence)
    which = torch.tensor([2, 2, 0])
    assert torch.allclose(exact.bound(point()[which], which), exact.bound(point())[which])
    with pytest.raises(UserError, match="found 13 Bernoulli units, expected at most 12"):
        Enumerated(network(units=13), x)
    with pytest.raises(UserError, match="found 2 Gaussian units"):
        Enumerated(network("gaussian", units=2), x)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"steps": -1}, "steps: found -1"),
        ({"rate": 0.0}, "rate, momentum: found 0.0"),
        ({"decay": 1.5}, "decay: found 1.5"),
        ({"samples": 0}, "samples: found 0, expected at least 1"),
        ({"estimator": "score_function", "samples": 1}, "samples: found 1, expected at least 2"),
        ({"estimator": "importance", "rate": 1.5}, "rate: found 1.5, expected at most 1"),
        ({"estimator": "importance", "through": True}, "through: found true with importance"),
    ],
)
def test_settings_without_meaning_are_refused(own: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Refinement(**{"estimator": "straight_through", **own})


def test_estimators_belong_to_their_units() -> None:
    Refinement("mean_passing").check(network().latents)
    with pytest.raises(UserError, match=r"estimator: found 'mean_passing', expected one of reparametrised"):
        Refinement("mean_passing").check(network("gaussian").latents)
    with pytest.raises(UserError, match=r"'importence' \(did you mean 'importance'\?\)"):
        Refinement("importence").check(network().latents)
