"""The best member of a family for each trace: against closed forms, nesting, and what it started from."""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import model, process, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.distributions.terms import Coupling, NonlinearHistory, OwnHistory
from dfp.references.exact.enumerated import exact_elbo, log_joint, log_probability, path_logits, paths_of
from experiments.ledger.best import best_drives, best_members
from experiments.ledger.members import Members
from experiments.ledger.minimise import minimise_each


def law(kind: str, seed: int, bins: int = 4) -> CausalBernoulli:
    """A posterior for two trials and cells, of the terms that families have."""
    rng = generator(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    terms = {
        "factorised": (),
        "linear": (OwnHistory(normal(2, 3)),),
        "nonlinear": (
            OwnHistory(normal(2, 2)),
            NonlinearHistory(normal(2, 3, 3), normal(2, bins, 2, 3), normal(2, 3)),
        ),
        "coupled": (
            OwnHistory(normal(2, 2)),
            Coupling(normal(2, 2, 2) * (1 - torch.eye(2)), torch.eye(2).double()),
        ),
    }
    return CausalBernoulli(normal(2, bins, 2), terms[kind])


def instances(kind: str, seed: int) -> tuple[Members, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Members of a law, the paths of a group, and log q and log p(x, z) on them, ``(P, M)``."""
    alone = kind != "coupled"
    q, x = law(kind, seed), traces(seed, bins=4)
    paths = paths_of(x, alone)
    with torch.no_grad():
        log_p = log_joint(model(2, seed, basis=0 if alone else 1), x, paths, alone).flatten(1)
        log_q = log_probability(q, paths, alone).flatten(1)
    return Members.of(q, alone), paths[:, 0, :, :1] if alone else paths[:, 0], log_q, log_p


@pytest.mark.parametrize("kind", ["factorised", "linear", "nonlinear", "coupled"])
@pytest.mark.parametrize("seed", [0, 1])
def test_members_are_the_posterior_trace_by_trace(kind: str, seed: int) -> None:
    members, paths, log_q, log_p = instances(kind, seed)
    assert torch.allclose(members.elbo(paths, log_p), exact_elbo(log_q, log_p), atol=1e-10)
    again = members.unflat(members.flat())
    assert torch.allclose(again.elbo(paths, log_p), exact_elbo(log_q, log_p), atol=1e-10)
    q, alone = law(kind, seed), kind != "coupled"
    found = path_logits(q, paths_of(traces(seed, bins=4), alone)).expand(len(paths), -1, -1, -1)
    wanted = found.transpose(2, 3).reshape(len(paths), 4, 4, 1) if alone else found
    assert torch.allclose(members.logits(paths), wanted, atol=1e-10)


@pytest.mark.parametrize("kind", ["factorised", "linear", "nonlinear", "coupled"])
def test_never_below_a_start_nor_above_the_evidence(kind: str) -> None:
    members, paths, log_q, log_p = instances(kind, 2)
    found, reached = best_members(log_p, paths, [members], 2, generator(0), steps=60)
    assert (reached >= exact_elbo(log_q, log_p) - 1e-12).all()
    assert (reached <= log_p.logsumexp(0) + 1e-9).all()
    assert torch.allclose(found.elbo(paths, log_p), reached, atol=1e-10)


def test_drives_alone_are_between_the_start_and_the_best() -> None:
    members, paths, log_q, log_p = instances("linear", 6)
    found, reached = best_drives(log_p, paths, members, steps=60)
    assert torch.equal(found.linear, members.linear) and not torch.equal(found.drive, members.drive)
    assert torch.allclose(found.elbo(paths, log_p), reached, atol=1e-10)
    assert (reached >= exact_elbo(log_q, log_p)).all()
    best = best_members(log_p, paths, [found], 0, generator(0), steps=60)[1]
    assert (best >= reached).all() and (best > reached + 1e-6).any()


def test_two_bins_with_a_history_hold_every_law() -> None:
    """Drive of two bins and one lag: three numbers for the three of any law over four paths."""
    q = CausalBernoulli(torch.zeros(3, 2, 1).double(), (OwnHistory(torch.zeros(1, 1).double()),))
    log_p = torch.randn(4, 3, generator=generator(1), dtype=torch.float64)
    _, reached = best_members(log_p, all_paths(2, 1)[:, 0], [Members.of(q, True)], 1, generator(0))
    assert torch.allclose(reached, log_p.logsumexp(0), atol=1e-9)


def test_a_factorised_optimum_is_a_fixed_point_of_mean_field() -> None:
    """At an optimum every logit is E[log p(x, z₁) − log p(x, z₀)] under the other bins."""
    members, paths, _, log_p = instances("factorised", 4)
    found, _ = best_members(log_p, paths, [members], 0, generator(0))
    drive, z = found.drive[..., 0], paths[..., 0]
    each = z[:, None] * drive - torch.nn.functional.softplus(drive)  # (P, M, T)
    for t in range(4):
        weight = (each.sum(2) - each[:, :, t]).exp()
        change = (weight * log_p * (2 * z[:, t] - 1)[:, None]).sum(0)
        assert torch.allclose(change, drive[:, t], atol=1e-4)


def test_a_larger_family_is_never_worse() -> None:
    small, paths, _, log_p = instances("linear", 5)
    large = instances("nonlinear", 5)[0]
    wide = large.within(large)
    assert wide.fits_in(large) and not large.fits_in(small)
    best, reached = best_members(log_p, paths, [small], 1, generator(0), steps=40)
    lags = OwnHistory(torch.zeros(2, 3).double())
    larger = Members.of(law("nonlinear", 5).with_terms([lags, law("nonlinear", 5).terms[1]]), True)
    assert best.fits_in(larger)
    nested = best.within(larger)
    assert torch.allclose(nested.elbo(paths, log_p), reached, atol=1e-10)
    _, grown = best_members(log_p, paths, [larger, nested], 0, generator(0), steps=40)
    assert (grown >= reached - 1e-12).all() and (grown > reached + 1e-6).any()


def test_terms_without_weights_of_their_own_are_refused() -> None:
    with torch.no_grad():
        coupled = process("coupled", 0)
    with pytest.raises(UserError, match="best member: found the term Coupling, expected own history"):
        Members.of(coupled, True)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_quadratics_are_minimised_each_by_itself(seed: int) -> None:
    rng = generator(seed)
    root = torch.randn(6, 4, 4, generator=rng, dtype=torch.float64)
    hessian = root @ root.mT + torch.eye(4)
    at = torch.randn(6, 4, generator=rng, dtype=torch.float64)

    def function(x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        away = x - at[which]
        return 0.5 * torch.einsum("mi,mij,mj->m", away, hessian[which], away) + which

    found, value = minimise_each(function, torch.zeros_like(at))
    assert torch.allclose(found, at, atol=1e-5)
    assert torch.allclose(value, torch.arange(6).double(), atol=1e-9)


def test_values_never_rise_and_a_valley_is_followed() -> None:
    """Rosenbrock's function from several starts, with a step limit on the way."""

    def function(x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return (1 - x[:, 0]) ** 2 + 100 * (x[:, 1] - x[:, 0] ** 2) ** 2

    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    values = [minimise_each(function, start, steps)[1] for steps in (1, 5, 20, 200)]
    assert all((after <= before + 1e-15).all() for before, after in itertools.pairwise(values))
    assert float(values[-1].max()) < 1e-10
