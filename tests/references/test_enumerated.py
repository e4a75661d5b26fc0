"""Exact bounds by enumeration: three routes to one number, and a training loss that is that number."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from cases import KINDS, model, problem, process, traces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm
from dfp.metrics.bounds import sample_hard
from dfp.references.exact.enumerated import (
    EnumeratedElbo,
    chained_elbo,
    exact_elbo,
    log_joint,
    log_probability,
    path_logits,
    paths_of,
    tree_elbo,
)
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard


def independent_kind(kind: str) -> bool:
    return kind in ("own_history", "nonlinear")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 10_000), st.integers(1, 4))
@torch.no_grad()
def test_three_routes_to_one_bound(kind: str, seed: int, bins: int) -> None:
    """Over all paths at once, bin by bin forward and bin by bin backward: they share no sum."""
    alone = independent_kind(kind)
    network = model(2, seed, basis=0 if alone else 1)
    q, x = process(kind, seed, bins=bins), traces(seed, bins=bins)
    paths = paths_of(x, alone)
    log_q, log_p = log_probability(q, paths, alone), log_joint(network, x, paths, alone)
    assert torch.allclose(log_q.logsumexp(0), torch.zeros_like(log_q[0]), atol=1e-12)
    elbo = exact_elbo(log_q, log_p)
    assert elbo.shape == (2, 2 if alone else 1)
    assert torch.allclose(chained_elbo(network, q, x, alone), elbo, atol=1e-10)
    assert torch.allclose(tree_elbo(q, paths, log_p, alone), elbo, atol=1e-10)
    assert (elbo <= log_p.logsumexp(0) + 1e-12).all()


@torch.no_grad()
def test_the_exact_posterior_has_no_gap() -> None:
    log_p = log_joint(model(2, 3), traces(3), paths_of(traces(3), False), False)
    posterior = log_p - log_p.logsumexp(0)
    assert torch.allclose(exact_elbo(posterior, log_p), log_p.logsumexp(0), atol=1e-12)


def test_a_path_that_cannot_be_adds_nothing() -> None:
    log_q = torch.tensor([[0.0], [-torch.inf]], dtype=torch.float64)
    log_p = torch.tensor([[-1.5], [-2.0]], dtype=torch.float64)
    assert exact_elbo(log_q, log_p).item() == -1.5


@torch.no_grad()
def test_the_bound_is_that_of_production_samples() -> None:
    network, q, x = model(2, 1), process("own_history", 1, bins=5), traces(1)
    exact = exact_elbo(
        log_probability(q, paths_of(x, True), True), log_joint(network, x, paths_of(x, True), True)
    )
    drawn = sample_hard(network, q, x, 20_000, generator(0), independent=True)
    error = drawn.log_weights.std(0) / 20_000**0.5
    assert ((drawn.elbo() - exact).abs() < 5 * error).all()


@torch.no_grad()
def test_a_planted_error_separates_the_routes() -> None:
    """A law whose parallel form is off by a little in one bin: its paths still add up to one."""

    class Off(CausalBernoulli):
        def step(self, window: Tensor, t: int) -> Tensor:
            return super().step(window, t) + (1e-3 if t == 2 else 0.0)

    network, q, x = model(2, 1), process("own_history", 1, bins=5), traces(1)
    log_p = log_joint(network, x, paths_of(x, True), True)
    elbo = exact_elbo(log_probability(q, paths_of(x, True), True), log_p)
    off = chained_elbo(network, Off(q.drive, q.terms), x, True)
    assert float((off - elbo).abs().max()) > 1e-6


@dataclass(frozen=True)
class Gated(CausalTerm):
    """A term that needs the trial: ``gate[t, n] · z[t − 1, n]``."""

    gate: Tensor

    @property
    def memory(self) -> int:
        return 1

    def __call__(self, z: Tensor) -> Tensor:
        assert z.shape[1] == self.gate.shape[0]
        return self.gate * torch.nn.functional.pad(z, (0, 0, 1, 0))[:, :, :-1]

    def step(self, window: Tensor, t: int) -> Tensor:
        assert window.shape[1] == self.gate.shape[0]
        return self.gate[:, t] * window[:, :, -1]


@torch.no_grad()
def test_terms_that_need_the_trial_take_the_general_form() -> None:
    network, x, paths = model(2, 7, basis=1), traces(5), paths_of(traces(5), False)
    q = process("own_history", 5, bins=5).with_terms([Gated(traces(6))])
    found = path_logits(q, paths).expand(len(paths), -1, -1, -1)
    assert torch.equal(found, q.logits(paths.expand(-1, 2, -1, -1)))
    log_p = log_joint(network, x, paths, False)
    exact = exact_elbo(log_probability(q, paths, False), log_p)
    assert torch.allclose(tree_elbo(q, paths, log_p, False), exact, atol=1e-10)


@pytest.mark.parametrize("alone", [True, False])
def test_the_loss_is_minus_the_bound_with_its_gradient(alone: bool) -> None:
    network, x = model(2, 2, learn=(), basis=0 if alone else 1), traces(2)
    q = process("own_history" if alone else "all_terms", 2, bins=5)
    setting = problem(network, x, independent=alone)
    loss = EnumeratedElbo().loss(setting, q, FixedPoint(), Hard(), generator(0))
    paths = paths_of(x, alone)
    elbo = exact_elbo(log_probability(q, paths, alone), log_joint(network, x, paths, alone))
    assert float(loss.total.detach()) == pytest.approx(-float(elbo.detach().sum()) / 2 / 5, abs=1e-12)
    assert float(loss.per_cell.sum()) == pytest.approx(float(loss.total.detach()), abs=1e-12)
    (slope,) = torch.autograd.grad(loss.total, q.drive)
    (wanted,) = torch.autograd.grad(-elbo.sum() / 2 / 5, q.drive)
    assert torch.allclose(slope, wanted, atol=1e-12)


def test_what_cannot_be_enumerated_is_refused() -> None:
    q, x = process("own_history", 0, bins=5), traces(0)
    weights = torch.ones_like(x[..., :1])
    weights[:, 0] = 0
    with pytest.raises(UserError, match="found a burn-in, expected whole trials"):
        EnumeratedElbo().loss(problem(model(2, 0), x, weights), q, FixedPoint(), Hard(), generator(0))
    with pytest.raises(UserError, match="found a relaxation, expected 'hard'"):
        EnumeratedElbo().check(Concrete(0.5))
    with pytest.raises(UserError, match="expected at most 20 variables"):
        paths_of(traces(0, bins=11), False)
