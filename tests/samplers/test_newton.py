"""Newton sweeps: the linear recursion that they solve, and what they are worth."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from cases import KINDS, leaves, normal, process
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import dfp.samplers.banded
from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import OwnHistory
from dfp.samplers.banded import solve_banded
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.newton import Newton, coupled_taps, hidden_taps, own_taps
from dfp.samplers.relaxations import Concrete, Hard, MeanField, Relaxation, StraightThrough
from dfp.samplers.sequential import Sequential


def by_hand(taps: Tensor, right: Tensor) -> Tensor:
    """Bin by bin."""
    found = torch.zeros_like(right)
    for t in range(right.shape[1]):
        found[:, t] = right[:, t]
        for lag in range(1, min(taps.shape[2], t) + 1):
            found[:, t] += torch.einsum("mij,mj->mi", taps[:, t, lag - 1], found[:, t - lag])
    return found


@settings(max_examples=60, deadline=None)
@given(
    chains=st.integers(1, 3), bins=st.integers(1, 40), lags=st.integers(0, 6), size=st.integers(1, 3),
    chunk=st.integers(1, 50), largest=st.sampled_from([1, 500, 2**25]), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_banded_recursion_is_solved(
    chains: int, bins: int, lags: int, size: int, chunk: int, largest: int, seed: int
) -> None:
    """Any length, chunk and memory; in however many groups."""
    rng = generator(seed)
    taps = 0.3 * normal(rng, chains, bins, lags, size, size)
    right = normal(rng, chains, bins, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dfp.samplers.banded, "_LARGEST", largest)
        found = solve_banded(taps, right, chunk)
    expected = by_hand(taps, right)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12 * max(1.0, float(expected.abs().max())))


def drawn(q: CausalBernoulli, noise: Tensor, how: Sampler, relaxation: Relaxation) -> Draw:
    with torch.no_grad():
        return q.draw(noise, how, relaxation)


@pytest.mark.parametrize("kind", KINDS)
def test_the_jacobian_is_that_of_automatic_differentiation(kind: str) -> None:
    q = process(kind, 3, trials=1, bins=6, cells=2)
    recursion = q.recursion()
    assert recursion is not None
    z = torch.rand(1, 1, 6, 2, generator=generator(1), dtype=torch.float64)
    whole = torch.autograd.functional.jacobian(lambda at: q.logits(at[None, None])[0, 0], z[0, 0])
    fixed, own = coupled_taps(recursion).detach(), own_taps(recursion).detach()
    hidden = hidden_taps(recursion, z, len(fixed)).detach().expand(1, 1, 6, 2, -1)[0, 0]
    for t in range(6):
        for early in range(6):
            lag = t - early
            expected = torch.zeros(2, 2, dtype=torch.float64)
            if 1 <= lag <= len(fixed):
                expected = fixed[lag - 1] + torch.diag(hidden[t, :, lag - 1])
                assert torch.allclose(expected.diagonal(), own[:, lag - 1] + hidden[t, :, lag - 1])
            assert torch.allclose(whole[t, :, early, :], expected, atol=1e-12)


@pytest.mark.parametrize("relaxation", [Concrete(0.7), Concrete(0.1), MeanField()], ids=str)
@pytest.mark.parametrize(
    "how", [Newton("full"), Newton("own", chunk=3), Newton("full", damping=0.5)], ids=str
)
def test_values_and_gradients_are_the_sequential_ones(how: Newton, relaxation: Relaxation) -> None:
    for number, kind in enumerate(KINDS):
        q = process(kind, number, trials=2, bins=13, cells=3)
        noise = logistic_noise((2, 2, 13, 3), generator(number), torch.float64)
        precise = Newton(how.jacobian, how.damping, tolerance=1e-13, chunk=how.chunk)
        found, expected = (q.draw(noise, sampler, relaxation) for sampler in (precise, Sequential()))
        assert found.converged and torch.allclose(found.z, expected.z, atol=1e-10)
        both = [torch.autograd.grad((draw.z * noise).sum(), leaves(q)) for draw in (found, expected)]
        scale = max(float(part.abs().max()) for part in both[1])
        for ours, theirs in zip(*both, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("jacobian", ["own", "full"])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_k_sweeps_make_the_first_bins_right(jacobian: str, temperature: float) -> None:
    """A sweep starts from z and tells the values after it, so that after k of them k bins are exact."""
    for number, kind in enumerate(KINDS):
        q = process(kind, number, trials=2, bins=10, cells=2, strength=3.0)
        noise = logistic_noise((3, 2, 10, 2), generator(number), torch.float64)
        expected = drawn(q, noise, Sequential(), Concrete(temperature)).z
        for sweeps in range(1, 12):
            how = Newton(jacobian, max_sweeps=sweeps, tolerance=1e-300)
            draw = drawn(q, noise, how, Concrete(temperature))
            assert torch.allclose(draw.z[:, :, :sweeps], expected[:, :, :sweeps], atol=1e-11)


def test_newton_converges_quadratically_where_it_knows_the_whole_jacobian() -> None:
    q = process("coupled", 2, trials=2, bins=60, cells=3, strength=0.5)
    noise = logistic_noise((2, 2, 60, 3), generator(0), torch.float64)
    errors = [
        drawn(q, noise, Newton("full", max_sweeps=k, tolerance=1e-300), Concrete(1.0)).residual
        for k in range(2, 7)
    ]
    kept = [(a, b) for a, b in itertools.pairwise(errors) if 1e-7 < a < 0.03]
    assert kept and all(b < 10 * a**2 for a, b in kept)


def test_sweeps_are_saved_where_slopes_are_gentle() -> None:
    """Own history as strong as in the experiments; about 17 sweeps against 5."""
    rng = generator(1)
    taps = torch.tensor([[-2.0, -1.0, -0.5]], dtype=torch.float64)
    q = CausalBernoulli(-1.5 + 1.5 * normal(rng, 4, 200, 1), (OwnHistory(taps),))
    noise = q.noise(2, rng)
    needed = {how.name: drawn(q, noise, how, Concrete(1.0)).sweeps for how in (Newton(), FixedPoint())}
    assert 2 * needed["newton"] <= needed["fixed_point"]


def test_without_its_jacobian_it_is_the_fixed_point() -> None:
    q = process("all_terms", 4, trials=2, bins=20, cells=2)
    noise = logistic_noise((2, 2, 20, 2), generator(0), torch.float64)
    ours, theirs = (drawn(q, noise, how, Concrete(0.5)) for how in (Newton(damping=1.0), FixedPoint()))
    assert ours.sweeps == theirs.sweeps and torch.equal(ours.z, theirs.z)


@pytest.mark.parametrize("relaxation", [Hard(), StraightThrough("sigma")], ids=str)
def test_values_without_a_slope_are_those_of_the_fixed_point(relaxation: Relaxation) -> None:
    q = process("all_terms", 4, trials=2, bins=20, cells=2)
    noise = logistic_noise((2, 2, 20, 2), generator(0), torch.float64)
    ours, theirs = (drawn(q, noise, how, relaxation) for how in (Newton(), FixedPoint()))
    assert ours.sweeps == theirs.sweeps and torch.equal(ours.z, theirs.z)


def test_a_recursion_that_outgrows_the_precision_does_no_harm() -> None:
    """Silence is the first guess, at which slopes of 4 a lag make products of 300 bins overflow."""
    taps = torch.full((1, 2), -80.0)
    q = CausalBernoulli(torch.zeros(1, 300, 1), (OwnHistory(taps),))
    noise = 0.1 * logistic_noise((2, 1, 300, 1), generator(0), torch.float32)
    steep = torch.full((1, 300, 2, 1, 1), -4.0)
    assert not solve_banded(steep, torch.ones(1, 300, 1)).isfinite().all()
    found, expected = (drawn(q, noise, how, Concrete(5.0)) for how in (Newton(tolerance=1e-6), Sequential()))
    assert found.converged and torch.allclose(found.z, expected.z, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"jacobian": "diagonal"}, "jacobian: found 'diagonal'"),
        ({"damping": 1.5}, "damping: found 1.5"),
        ({"damping": float("nan")}, "damping: found nan"),
        ({"tolerance": 0.0}, "tolerance: found 0.0"),
        ({"max_sweeps": 0}, "max_sweeps: found 0"),
        ({"chunk": 0}, "chunk: found 0"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Newton(**settings)


@pytest.mark.parametrize("jacobian", ["own", "full"])
def test_too_few_sweeps_are_told(jacobian: str) -> None:
    """A cap before the values are still leaves a draw that says so, with a residual above the tolerance."""
    q = process("coupled", 3, bins=40, strength=2.0)
    noise = logistic_noise((2, 2, 40, 2), generator(0), torch.float64)
    short = drawn(q, noise, Newton(jacobian, max_sweeps=2), Concrete(0.3))
    assert short.sweeps == 2 and not short.converged and short.residual > 1e-4
    assert drawn(q, noise, Newton(jacobian), Concrete(0.3)).converged
