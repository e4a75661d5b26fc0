"""Bound, log-likelihood and effective sample size against enumeration and against what they are."""

from __future__ import annotations

import pytest
import torch
from belief_cases import images, network, point

from dfp.belief.enumerated import Enumerated
from dfp.core.noise import generator
from experiments.belief_network import scores
from experiments.belief_network.scores import score


def test_many_samples_give_the_exact_bound_and_evidence() -> None:
    net, x = network(), images()
    exact = Enumerated(net, x)
    found = score(net, x, point(), 200_000, generator(0))
    assert torch.allclose(found.bound, exact.bound(point()), atol=0.03)
    assert torch.allclose(found.log_likelihood, exact.log_evidence, atol=0.03)


def test_effective_size_is_that_of_the_exact_weights() -> None:
    """(Σ q w)² / Σ q w² over all states, w = p(x, h)/q(h)."""
    net, x = network(), images()
    exact = Enumerated(net, x)
    log_q = net.latents.log_prob(point(), exact.states[:, None].expand(-1, 6, -1))
    w = exact.log_joint - log_q
    expected = (2 * (log_q + w).logsumexp(0) - (log_q + 2 * w).logsumexp(0)).exp().detach()
    found = score(net, x, point(), 200_000, generator(0)).effective
    assert torch.allclose(found, expected, rtol=0.05)


def test_the_exact_posterior_has_equal_weights() -> None:
    """A single unit: the factorial posterior is exact, so that bound, evidence and weights all agree."""
    net, x = network(units=1), images()
    exact = Enumerated(net, x)
    zeta = torch.logit(exact.means)
    found = score(net, x, zeta, 20, generator(0))
    assert torch.allclose(found.log_likelihood, exact.log_evidence, atol=1e-10)
    assert torch.allclose(found.effective, torch.ones(6).double(), atol=1e-10)
    assert torch.allclose(exact.bound(zeta), exact.log_evidence, atol=1e-10)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_pieces_make_no_difference(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into pieces of a few samples: other noise, the same numbers within chance."""
    net, x = network(kind), images()
    prior = torch.zeros(6, net.latents.parameters).double()  # bounded weights
    whole = score(net, x, prior, 20_000, generator(0))
    monkeypatch.setattr(scores, "_CHUNK", 54 * 999)
    cut = score(net, x, prior, 20_000, generator(0))
    assert not torch.equal(whole.bound, cut.bound)
    assert torch.allclose(whole.bound, cut.bound, atol=0.15)
    assert torch.allclose(whole.log_likelihood, cut.log_likelihood, atol=0.15)
    assert bool((whole.effective > 0).all()) and bool((whole.effective <= 1).all())
