"""Compiled and chunked samplers: the same bits by every route, at sizes and strengths where floats differ."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from cases import KINDS, leaves, process
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import Coupling, OwnHistory
from dfp.samplers import auto as auto_module
from dfp.samplers.auto import Auto, expected_seconds
from dfp.samplers.bins import hard
from dfp.samplers.chunked import Chunked, in_chunks
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.grid import on_grid, taps_of
from dfp.samplers.relaxations import Concrete, Hard
from dfp.samplers.sequential import Sequential


def network(
    bins: int, cells: int, density: float, trials: int = 2, dtype: torch.dtype = torch.float32
) -> CausalBernoulli:
    """Refractory cells with subcritical coupling over five lags."""
    rng = generator(3)
    taps = -2.0 * 0.7 ** torch.arange(12, dtype=dtype).expand(cells, 12)
    weights = torch.randn(1, cells, cells, generator=rng, dtype=dtype)
    weights = weights * (torch.rand(1, cells, cells, generator=rng, dtype=dtype) < density)
    coupling = Coupling(weights * (2.0 / (density * cells)) ** 0.5, 0.6 ** torch.arange(5, dtype=dtype)[None])
    drive = -2.5 + 0.7 * torch.randn(trials, bins, cells, generator=rng, dtype=dtype)
    return CausalBernoulli(drive, (OwnHistory(taps), coupling))


def noise_for(q: CausalBernoulli, samples: int = 2) -> Tensor:
    return logistic_noise((samples, *q.drive.shape[-3:]), generator(8), q.drive.dtype)


# ---------------------------------------------------------------- the grid


@given(st.integers(0, 10_000), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_sums_on_the_grid_do_not_depend_on_their_order(seed: int, lags: int) -> None:
    """Any subset, in any order, adding and taking back: the same double, and as near as doubles are."""
    rng = generator(seed)
    taps = 10.0 ** (4 * torch.rand((), generator=rng)) * torch.randn(1, lags, generator=rng).double()
    wide = on_grid(taps, 1)[0]
    assert float((wide - taps[0]).abs().max()) <= 2.0**-52 * float(taps.abs().sum())
    chosen = (torch.rand(lags, generator=rng) < 0.5).nonzero()[:, 0].tolist()
    total = math.fsum(float(wide[k]) for k in chosen)
    for _ in range(3):
        running = 0.0
        for k in torch.randperm(lags, generator=rng).tolist():  # all in …
            running += float(wide[k])
        for k in torch.randperm(lags, generator=rng).tolist():  # … and the others out again
            running -= 0.0 if k in chosen else float(wide[k])
        assert running == total


def test_taps_off_the_grid_do_depend_on_it() -> None:
    """Or the test above could not fail."""
    wide = torch.randn(40, generator=generator(0)).double() / 3
    orders = {float(sum(wide[torch.randperm(40, generator=generator(s))].tolist())) for s in range(20)}
    assert len(orders) > 1


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_compiled_and_chunked_spikes_are_the_same_bits(density: float, dtype: torch.dtype) -> None:
    """A quarter of a million cell-bins, lists of targets and full matrices, chunks that divide T or not."""
    q = network(3000, 20, density, dtype=dtype)
    noise = noise_for(q)
    one, logits = hard(q.recursion(), noise)  # type: ignore[arg-type]
    assert (taps_of(q.recursion()).sparse.size > 0) == (density < 0.2)  # type: ignore[arg-type]
    assert 0.01 < float(one.mean()) < 0.3
    for chunk in (1, 7, 64, 1000, 5000):
        z, found, sweeps = in_chunks(q.recursion(), noise, chunk)  # type: ignore[arg-type]
        assert torch.equal(z, one) and torch.equal(found, logits)
        assert sweeps.shape == (4, -(-3000 // chunk)) and sweeps.max() <= chunk + 1


def test_lists_of_targets_and_full_matrices_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    q = network(500, 20, 0.1)
    noise = noise_for(q)
    lists = hard(q.recursion(), noise)  # type: ignore[arg-type]
    monkeypatch.setattr("dfp.samplers.grid.SPARSE_BELOW", 0.0)
    full = hard(q.recursion(), noise)  # type: ignore[arg-type]
    assert torch.equal(lists[0], full[0]) and torch.equal(lists[1], full[1])


def test_threads_do_not_change_a_bit() -> None:
    q = network(2000, 10, 0.3, trials=7)  # enough to be shared out
    noise = noise_for(q, 1)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(Compiled().draw(q, noise, Hard()))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0].logits, other.logits) for other in found[1:])


def test_gradients_of_several_threads_are_those_of_one() -> None:
    """Every thread adds to a sum of its own: two that add to one lose what they write at the same time."""
    q = process("all_terms", 2, trials=4, bins=400, cells=5, strength=0.8, lags=8)
    noise = noise_for(q, 4)

    def gradients() -> list[Tensor]:
        draw = Compiled().draw(q, noise, Concrete(0.5))
        return list(torch.autograd.grad((draw.z * noise).sum(), leaves(q), allow_unused=True))

    threads = torch.get_num_threads()
    expected = gradients()
    try:
        torch.set_num_threads(4)
        found = [gradients() for _ in range(40)]
    finally:
        torch.set_num_threads(threads)
    for each in found:
        for ours, first, one in zip(each, found[0], expected, strict=True):
            assert torch.equal(ours, first)
            assert torch.allclose(ours, one, rtol=1e-9, atol=1e-9)


def test_in_double_precision_the_eager_samplers_agree_bit_for_bit() -> None:
    q = network(5000, 20, 0.3, dtype=torch.float64)
    noise = noise_for(q, 1)
    found = Compiled().draw(q, noise, Hard()).z
    assert torch.equal(found, FixedPoint().draw(q, noise, Hard()).z)


def test_in_single_precision_rounding_changes_a_spike_less_than_once_in_a_million() -> None:
    """Own histories, so that a flip does not spread. |u + ℓ| is within the rounding of single precision,
    5e-7 for logits near 4, with probability 2 · 5e-7 · 0.25 at most; measured: about 1e-8.
    """
    q = network(20_000, 50, 1.0).with_terms([network(1, 50, 1.0).terms[0]])
    noise = noise_for(q, 1)
    ours, eager = Compiled().draw(q, noise, Hard()).z, FixedPoint().draw(q, noise, Hard()).z
    assert int((ours != eager).sum()) <= 1e-6 * ours.numel() * 12  # a flip acts on twelve bins


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_every_kind(kind: str) -> None:
    for number in range(20):
        q = process(kind, number, trials=2, bins=37, cells=3, strength=1.5, lags=5)
        noise = logistic_noise((3, 2, 37, 3), generator(number), torch.float64)
        expected = Sequential().draw(q, noise, Hard())
        for chunk in (1, 4, 10):
            assert torch.equal(Chunked(chunk).draw(q, noise, Hard()).z, expected.z)


def test_sweeps_are_those_of_the_fixed_point_when_one_chunk_holds_all() -> None:
    for number in range(20):
        q = process("coupled", number, trials=1, bins=30, cells=2, strength=2.0)
        noise = logistic_noise((1, 1, 30, 2), generator(number), torch.float64)
        assert Chunked(64).draw(q, noise, Hard()).sweeps == FixedPoint().draw(q, noise, Hard()).sweeps


def test_a_chunk_without_bins_is_refused() -> None:
    with pytest.raises(UserError, match="chunk: found 0, expected at least 1 bin"):
        Chunked(0)


# ---------------------------------------------------------------- gradients that the suite does not ask for


def test_basis_functions_get_their_gradient() -> None:
    q = process("coupled", 5, trials=2, bins=12, cells=3)
    basis = q.terms[0].basis.requires_grad_()  # type: ignore[attr-defined]
    noise = logistic_noise((2, 2, 12, 3), generator(1), torch.float64)
    found, expected = (
        torch.autograd.grad(how.draw(q, noise, Concrete(0.5)).z.square().sum(), [basis, *leaves(q)])
        for how in (Compiled(), Sequential())
    )
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(found, expected, strict=True))


def test_two_terms_of_a_kind_are_added_up() -> None:
    q = process("all_terms", 7, trials=1, bins=20, cells=2)
    longer = CausalBernoulli(
        q.drive, (q.terms[0], OwnHistory(torch.randn(2, 6).double()), q.terms[1], q.terms[1])
    )
    noise = logistic_noise((2, 1, 20, 2), generator(1), torch.float64)
    assert torch.equal(Compiled().draw(longer, noise, Hard()).z, Sequential().draw(longer, noise, Hard()).z)


def test_couplings_that_look_back_differently_far_are_added_up_lag_by_lag() -> None:
    near, far = (process("coupled", 7, trials=1, bins=20, cells=2, lags=lags) for lags in (3, 6))
    both = near.with_terms([*near.terms, *far.terms])
    noise = logistic_noise((2, 1, 20, 2), generator(1), torch.float64)
    found, expected = (how.draw(both, noise, Hard()) for how in (Compiled(), Sequential()))
    assert torch.equal(found.z, expected.z) and torch.allclose(found.logits, expected.logits, atol=1e-11)


def test_what_is_no_recursion_is_drawn_all_the_same() -> None:
    """Two nonlinear terms are more than a recursion holds; a gradient in the noise is one that it has not."""
    q = process("nonlinear", 7, trials=1, bins=20, cells=2)
    twice = q.with_terms([*q.terms, replace(q.terms[0])])  # type: ignore[type-var]
    noise = logistic_noise((2, 1, 20, 2), generator(1), torch.float64)
    assert twice.recursion() is None
    for how in (Compiled(), Chunked(), Auto()):
        assert torch.equal(how.draw(twice, noise, Hard()).z, Sequential().draw(twice, noise, Hard()).z)
        asked = noise.clone().requires_grad_()
        (found,) = torch.autograd.grad(how.draw(q, asked, Concrete(0.5)).z.sum(), asked)
        (expected,) = torch.autograd.grad(Sequential().draw(q, asked, Concrete(0.5)).z.sum(), asked)
        assert torch.allclose(found, expected, atol=1e-3 if isinstance(how, Chunked | Auto) else 1e-12)


# ---------------------------------------------------------------- the choice


def test_the_choice_depends_on_what_was_drawn_and_on_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing compiled runs: sweeps while they are few for the bins, bins while sweeps are many."""
    monkeypatch.setattr(auto_module, "compiled", lambda *_: None)
    rng = generator(0)
    weak = process("own_history", 1, trials=1, bins=200, cells=1, strength=0.2)
    noise = logistic_noise((1, 1, 200, 1), rng, torch.float64)
    assert Auto().draw(weak, noise, Hard()).sweeps > 1
    strong = process("coupled", 1, trials=20, bins=60, cells=12, strength=6.0)
    many = logistic_noise((40, 20, 60, 12), rng, torch.float64)
    how = Auto()
    made = [how.draw(strong, many, Hard()).sweeps for _ in range(3)]
    assert made[0] > 30 and made[1:] == [1, 1]
    bins, sweeps = expected_seconds(strong, many, made[0])
    assert bins < sweeps
    assert Auto() == how, "what it remembers is no setting of it"


def test_sweeps_are_looked_at_again_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A law that has become weaker takes fewer sweeps, which bins alone would never tell."""
    monkeypatch.setattr(auto_module, "compiled", lambda *_: None)
    monkeypatch.setattr(auto_module, "expected_seconds", lambda *_: (0.0, 1.0))
    monkeypatch.setattr(auto_module, "LOOK_AGAIN", 3)
    q = process("own_history", 1, trials=1, bins=40, cells=1)
    noise, how = logistic_noise((1, 1, 40, 1), generator(0), torch.float64), Auto()
    swept = [how.draw(q, noise, Hard()).sweeps > 1 for _ in range(9)]
    assert swept == [True, False, False, False, True, False, False, False, True]
