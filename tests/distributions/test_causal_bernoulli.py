"""The causal Bernoulli process and its terms, against their definitions and against enumeration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from cases import KINDS, leaves, normal, process
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import (
    CausalBernoulli,
    bernoulli_entropy,
    bernoulli_log_prob,
    logistic_log_density,
)
from dfp.distributions.enumeration import all_paths
from dfp.distributions.terms import Coupling, NonlinearHistory, OwnHistory
from dfp.samplers.auto import Auto
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential


@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 10_000), bins=st.integers(1, 4), cells=st.integers(1, 3)
)
def test_probabilities_sum_to_one(kind: str, seed: int, bins: int, cells: int) -> None:
    q = process(kind, seed, trials=2, bins=bins, cells=cells, strength=2.0, lags=1 + seed % 5)
    with torch.no_grad():
        total = q.log_prob(all_paths(bins, cells).expand(-1, 2, -1, -1)).sum((2, 3)).exp().sum(0)
    assert torch.allclose(total, torch.ones(2, dtype=torch.float64), atol=1e-12)


@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 10_000), bins=st.integers(1, 8), cells=st.integers(1, 3)
)
def test_every_term_steps_as_it_sweeps(kind: str, seed: int, bins: int, cells: int) -> None:
    q = process(kind, seed, trials=2, bins=bins, cells=cells, lags=1 + seed % 11)
    z = normal(generator(seed), 3, 2, bins, cells)
    for term in q.terms:
        padded = torch.cat([z.new_zeros(3, 2, term.memory, cells), z], 2)
        swept = term(z)
        for t in range(bins):
            assert torch.allclose(term.step(padded[:, :, t : t + term.memory], t), swept[:, :, t], atol=1e-12)


def test_terms_are_their_definitions() -> None:
    """Entry by entry in NumPy: two cells, five bins, directions of coupling and order of lags included."""
    q = process("all_terms", 2, trials=1, bins=5, cells=2, lags=3)
    own, coupling, nonlinear = q.terms
    assert (
        isinstance(own, OwnHistory)
        and isinstance(coupling, Coupling)
        and isinstance(nonlinear, NonlinearHistory)
    )
    z = normal(generator(0), 1, 1, 5, 2)
    past = z[0, 0].numpy()
    taps, weights, basis = (
        tensor.detach().numpy() for tensor in (own.taps, coupling.weights, coupling.basis)
    )
    inward = nonlinear.inward.detach().expand(2, -1, -1).numpy()
    outward = nonlinear.outward.detach().expand(2, -1).numpy()
    context = nonlinear.context.detach().numpy()
    expected = q.drive.detach().numpy()[0].copy()
    for t in range(5):
        for i in range(2):
            hidden = context[0, t, i].copy()
            for lag in range(1, min(t, 3) + 1):
                expected[t, i] += taps[i, lag - 1] * past[t - lag, i]
                hidden += inward[i, lag - 1] * past[t - lag, i]
                for r in range(basis.shape[0]):
                    if lag <= basis.shape[1]:
                        expected[t, i] += sum(
                            weights[r, i, j] * basis[r, lag - 1] * past[t - lag, j] for j in range(2)
                        )
            expected[t, i] += outward[i] @ np.tanh(hidden)
    assert np.allclose(q.logits(z)[0, 0].detach().numpy(), expected, atol=1e-12)


def test_memory_and_coupling_are_those_of_the_terms() -> None:
    facts = {
        kind: (process(kind, 0, lags=4).memory, process(kind, 0).couples_cells) for kind in (*KINDS, "none")
    }
    assert facts == {
        "own_history": (4, False),
        "coupled": (3, True),
        "nonlinear": (4, False),
        "all_terms": (4, True),
        "low_rank": (3, True),
        "none": (0, False),
    }


def test_log_probability_is_differentiable_in_everything() -> None:
    q = process("all_terms", 5, trials=1, bins=4, cells=2)
    z = all_paths(4, 2)[100:103]
    gradients = torch.autograd.grad(q.log_prob(z).sum(), leaves(q))
    assert len(gradients) == 6 and all(float(gradient.abs().max()) > 0 for gradient in gradients)


def test_exchanging_drive_or_terms_keeps_the_rest() -> None:
    q = process("all_terms", 6)
    other = q.with_drive(q.drive + 1.0)
    assert other.terms is q.terms and torch.equal(other.drive, q.drive + 1.0)
    assert q.with_terms(q.terms[:1]).terms == q.terms[:1] and q.with_terms(()).drive is q.drive


@pytest.mark.parametrize("logit", [-800.0, -3.0, 0.0, 2.0, 800.0])
def test_log_pmf_and_entropy_hold_in_the_tails(logit: float) -> None:
    u = torch.tensor(logit, dtype=torch.float64)
    p = torch.sigmoid(u)
    assert float(bernoulli_log_prob(torch.ones(()), u)) == pytest.approx(
        float(torch.nn.functional.logsigmoid(u))
    )
    assert float(bernoulli_log_prob(torch.zeros(()), u)) == pytest.approx(
        float(torch.nn.functional.logsigmoid(-u))
    )
    assert float(bernoulli_entropy(u)) == pytest.approx(float(stats.bernoulli.entropy(float(p))), abs=1e-9)


def test_logistic_density_is_the_logistic_density() -> None:
    ell = torch.linspace(-900, 900, 361, dtype=torch.float64, requires_grad=True)
    density = logistic_log_density(ell)
    assert np.allclose(density.detach().numpy(), stats.logistic.logpdf(ell.detach().numpy()))
    (slope,) = torch.autograd.grad(density.sum(), ell)
    assert np.allclose(slope.numpy(), -np.tanh(ell.detach().numpy() / 2), atol=1e-12)


def test_all_paths_are_all_and_different() -> None:
    paths = all_paths(3, 2)
    assert paths.shape == (64, 1, 3, 2) and set(paths.unique().tolist()) == {0.0, 1.0}
    assert paths.reshape(64, -1).unique(dim=0).shape[0] == 64
    with pytest.raises(UserError, match="found 7 bins × 3 cells, expected at most 20"):
        all_paths(7, 3)


def one_sentence(make: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        make()
    return str(refused.value)


def test_shapes_that_do_not_fit_are_refused_in_a_sentence() -> None:
    drive, taps, basis = torch.zeros(2, 10, 3), torch.zeros(3, 4), torch.ones(1, 4)
    q = CausalBernoulli(drive, (OwnHistory(taps),))
    noise = q.noise(5, generator(0))
    for wrong in (noise[:, :, :6], noise[..., :2], noise[0], noise[:, :1]):
        for sampler in (FixedPoint(), Sequential(), Auto()):
            told = one_sentence(lambda w=wrong, s=sampler: q.draw(w, s, Hard()))  # type: ignore[misc]
            assert f"noise: found shape {tuple(wrong.shape)}, expected (S, B, T, N)" in told
    assert "samples: found 0, expected at least 1" in one_sentence(lambda: q.noise(0, generator(0)))
    for term, told in (
        (OwnHistory(taps[:2]), "taps of the own history: found shape (2, 4), expected (3, L)"),
        (OwnHistory(taps[0]), "taps of the own history: found shape (4,), expected (3, L)"),
        (Coupling(torch.zeros(3, 3), basis), "the coupling: found shape (3, 3), expected (1, 3, 3)"),
        (Coupling(torch.zeros(2, 3, 3), basis), "found shape (2, 3, 3), expected (1, 3, 3)"),
    ):
        assert told in one_sentence(lambda t=term: CausalBernoulli(drive, (t,)))  # type: ignore[misc]
    bare, array = OwnHistory(taps), drive.numpy()
    assert "a tuple of terms" in one_sentence(lambda: CausalBernoulli(drive, bare))  # type: ignore[arg-type]
    assert "drive: found ndarray" in one_sentence(lambda: CausalBernoulli(array))  # type: ignore[arg-type]
    # one row of taps is every cell's, and samples may have drives of their own
    alike = CausalBernoulli(drive, (OwnHistory(taps[:1]),))
    assert alike.draw(noise, FixedPoint(), Hard()).z.shape == noise.shape
    own = CausalBernoulli(drive.expand(5, -1, -1, -1), (OwnHistory(taps),))
    assert own.draw(noise, FixedPoint(), Hard()).z.shape == noise.shape
