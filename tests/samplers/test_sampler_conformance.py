"""What every sampler must satisfy: with the same noise it gives the sample
that ancestral sampling gives, and its gradient.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
import torch
from cases import KINDS, leaves, normal, process
from torch import Tensor

from dfp.config.build import samplers
from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard, MeanField, Relaxation, StraightThrough
from dfp.samplers.sequential import Sequential

every_sampler = pytest.mark.parametrize("name", sorted(samplers()))
RELAXATIONS: tuple[Relaxation, ...] = (
    Hard(), Concrete(0.7), Concrete(0.2), MeanField(), StraightThrough("literal"), StraightThrough("sigma"),
)  # fmt: skip


def sampler(name: str) -> Sampler:
    """A discovered sampler as precise as it goes; its tolerance is the
    only setting that a sampler is assumed to have.
    """
    cls = samplers()[name]
    return cls(tolerance=1e-13) if "tolerance" in getattr(cls, "__dataclass_fields__", {}) else cls()  # type: ignore[call-arg]


def case(
    number: int, kind: str, dtype: torch.dtype = torch.float64, **settings: Any
) -> tuple[CausalBernoulli, Tensor]:
    """A random process of random size and strength, weak to supercritical, and noise for it."""
    rng = generator(10_000 + number)
    sizes = [
        int(torch.randint(low, high, (), generator=rng))
        for low, high in ((1, 4), (1, 4), (1, 41), (1, 5), (1, 7))
    ]
    samples, trials, bins, cells, lags = sizes
    strength = float(torch.empty(()).uniform_(0.1, 4.0, generator=rng))
    q = process(kind, number, trials, bins, cells, strength, lags, dtype, **settings)
    return q, logistic_noise((samples, trials, bins, cells), rng, dtype)


def drawn(q: CausalBernoulli, noise: Tensor, how: Sampler, relaxation: Relaxation) -> Draw:
    with torch.no_grad():
        return q.draw(noise, how, relaxation)


# ---------------------------------------------------------------- samples


@every_sampler
@pytest.mark.parametrize("kind", KINDS)
def test_hard_samples_are_exactly_the_sequential_ones(name: str, kind: str) -> None:
    """100 random cases of each kind, 400 in all, 1 to 40 bins and
    memories that may be longer than the trial.
    """
    spikes = hardest = 0
    for number in range(100):
        q, noise = case(number, kind)
        found, expected = drawn(q, noise, sampler(name), Hard()), drawn(q, noise, Sequential(), Hard())
        assert torch.equal(found.z, expected.z)
        assert torch.allclose(found.logits, expected.logits, atol=1e-11)
        assert torch.equal(found.z, Hard()(found.logits, noise)), (
            "z is not what the logits and the noise give"
        )
        assert found.converged and found.residual == 0 and 1 <= found.sweeps <= noise.shape[2] + 1
        spikes, hardest = spikes + int(found.z.sum()), max(hardest, found.sweeps)
    assert spikes > 1000
    assert hardest == 1 or hardest > 5, "the cases are too easy to tell samplers that sweep apart"


@every_sampler
def test_hard_samples_are_exactly_the_sequential_ones_in_single_precision(name: str) -> None:
    for number in range(300):
        q, noise = case(number, "own_history", torch.float32)
        found = drawn(q, noise, sampler(name), Hard())
        assert found.z.dtype == torch.float32
        assert torch.equal(found.z, drawn(q, noise, Sequential(), Hard()).z)


@every_sampler
@pytest.mark.parametrize("relaxation", RELAXATIONS, ids=str)
def test_relaxed_samples_agree_within_tolerance(name: str, relaxation: Relaxation) -> None:
    for number in range(24):
        q, noise = case(number, KINDS[number % len(KINDS)])
        found, expected = (
            drawn(q, noise, sampler(name), relaxation),
            drawn(q, noise, Sequential(), relaxation),
        )
        assert found.converged
        assert torch.allclose(found.z, expected.z, atol=1e-9)
        assert torch.allclose(found.logits, expected.logits, atol=1e-8)


@every_sampler
def test_paths_come_up_as_often_as_they_are_probable(name: str) -> None:
    """Chi-square over all 64 paths of three bins and two coupled cells; threshold at p = 1e-4."""
    q = process("all_terms", 3, trials=1, bins=3, cells=2, strength=0.5)
    paths = all_paths(3, 2)
    with torch.no_grad():
        probability = q.log_prob(paths).sum((1, 2, 3)).exp()
        z = q.draw(q.noise(40_000, generator(5)), sampler(name), Hard()).z
    codes = (z.reshape(-1, 6) @ (2.0 ** torch.arange(6, dtype=torch.float64))).long()
    counts = torch.bincount(codes, minlength=64).double()
    expected = 40_000 * probability
    assert expected.min() > 2
    assert float(((counts - expected).square() / expected).sum()) < 118.6  # 63 degrees of freedom


# ---------------------------------------------------------------- gradients


@every_sampler
@pytest.mark.parametrize("relaxation", [r for r in RELAXATIONS if r.pathwise], ids=str)
def test_gradients_are_those_of_backpropagation_through_time(name: str, relaxation: Relaxation) -> None:
    """A random linear function of values and logits, differentiated in
    the drive and in every tensor of every term.
    """
    for number in range(16):
        q, noise = case(number, KINDS[number % len(KINDS)])
        if noise.shape[2] > 15:  # products of more Jacobians than that may pass what float64 resolves
            noise, q = noise[:, :, :15], shortened(q, 15)
        expected = gradients(q, noise, Sequential(), relaxation)
        found = gradients(q, noise, sampler(name), relaxation)
        scale = max(float(g.abs().max()) for g in expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10 * scale)


def shortened(q: CausalBernoulli, bins: int) -> CausalBernoulli:
    """The first bins of a process."""

    def cut(tensor: Tensor) -> Tensor:
        return tensor.detach()[:, :bins].clone().requires_grad_()

    terms = [
        replace(term, context=cut(term.context)) if hasattr(term, "context") else term for term in q.terms
    ]
    return CausalBernoulli(cut(q.drive), tuple(terms))


def gradients(q: CausalBernoulli, noise: Tensor, how: Sampler, relaxation: Relaxation) -> list[Tensor]:
    draw = q.draw(noise, how, relaxation)
    rng = generator(77)
    value = (draw.z * normal(rng, *draw.z.shape)).sum() + 0.1 * (
        draw.logits * normal(rng, *draw.z.shape)
    ).sum()
    return list(torch.autograd.grad(value, leaves(q)))


@every_sampler
def test_hard_samples_carry_no_gradient(name: str) -> None:
    q, noise = case(1, "all_terms")
    assert not q.draw(noise, sampler(name), Hard()).z.requires_grad


@every_sampler
def test_without_gradients_nothing_is_recorded(name: str) -> None:
    q, noise = case(2, "all_terms")
    draw = drawn(q, noise, sampler(name), Concrete(0.5))
    assert not draw.z.requires_grad and not draw.logits.requires_grad


@every_sampler
def test_a_factorised_process_is_drawn_in_one_pass(name: str) -> None:
    q = process("factorised", 4, trials=2, bins=9, cells=3)
    noise = logistic_noise((5, 2, 9, 3), generator(0), torch.float64)
    for relaxation in RELAXATIONS:
        draw = q.draw(noise, sampler(name), relaxation)
        assert q.memory == 0 and draw.sweeps == 1 and draw.converged and draw.residual == 0
        assert torch.allclose(draw.z, relaxation(q.drive.expand_as(noise), noise), rtol=1e-14)
        if relaxation.pathwise:
            (found,) = torch.autograd.grad(draw.z.sum(), q.drive)
            (expected,) = torch.autograd.grad(relaxation(q.drive.expand_as(noise), noise).sum(), q.drive)
            assert torch.allclose(found, expected, rtol=1e-12)


@every_sampler
def test_a_drive_may_differ_between_samples(name: str) -> None:
    q = process("own_history", 6, trials=2, bins=9, cells=2)
    rng = generator(1)
    several = q.with_drive(normal(rng, 4, 2, 9, 2))
    noise = several.noise(4, rng)
    whole = drawn(several, noise, sampler(name), Hard()).z
    for s in range(4):
        alone = drawn(q.with_drive(several.drive[s]), noise[s : s + 1], Sequential(), Hard()).z
        assert torch.equal(whole[s : s + 1], alone)


# ---------------------------------------------------------------- sweeps of the fixed point


@pytest.mark.parametrize("relaxation", [Hard(), Concrete(0.3)], ids=str)
def test_exactly_k_sweeps_make_the_first_k_bins_right(relaxation: Relaxation) -> None:
    wrong_beyond = 0
    for number in range(12):
        q = process(KINDS[number % len(KINDS)], number, trials=2, bins=10, cells=2, strength=3.0)
        noise = logistic_noise((3, 2, 10, 2), generator(number), torch.float64)
        expected = drawn(q, noise, Sequential(), relaxation).z
        for sweeps in range(1, 11):
            draw = drawn(q, noise, FixedPoint(sweeps=sweeps), relaxation)
            assert draw.sweeps == sweeps
            assert torch.allclose(draw.z[:, :, :sweeps], expected[:, :, :sweeps], atol=1e-12)
            wrong_beyond += not torch.allclose(draw.z, expected, atol=1e-6)
        proof = drawn(q, noise, FixedPoint(sweeps=11), relaxation)
        assert proof.converged and proof.residual == 0
    assert wrong_beyond > 20, "the cases do not need their sweeps"


def chain(bins: int) -> tuple[CausalBernoulli, Tensor]:
    """A spike in the first bin that makes the next, and so on: information travels one bin a sweep."""
    q = process("own_history", 0, trials=1, bins=bins, cells=1, lags=1)
    with torch.no_grad():
        q.drive.fill_(-10.0)
        q.drive[:, 0] = 10.0
        leaves(q)[1].fill_(20.0)
    return q, torch.zeros(1, 1, bins, 1, dtype=torch.float64)


def test_a_chain_needs_as_many_sweeps_as_bins_and_one_more_to_prove_it() -> None:
    q, noise = chain(12)
    draw = drawn(q, noise, FixedPoint(), Hard())
    assert draw.sweeps == 13 and draw.converged and draw.z.all()
    assert drawn(q, noise, FixedPoint(max_sweeps=1000), Hard()).sweeps == 13
    unproven = drawn(q, noise, FixedPoint(max_sweeps=12), Hard())
    assert unproven.z.all() and not unproven.converged and unproven.residual == 1.0


@pytest.mark.parametrize("relaxation", [Hard(), Concrete(0.5), StraightThrough("sigma")], ids=str)
@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_a_cap_that_is_hit_shows(relaxation: Relaxation, gradient: str) -> None:
    q, noise = chain(12)
    draw = q.draw(noise, FixedPoint(max_sweeps=5, gradient=gradient), relaxation)
    assert draw.sweeps == 5 and not draw.converged and draw.residual > 0.5
    assert draw.z[0, 0, :, 0].round().tolist() == [1.0] * 5 + [0.0] * 7


def test_relaxed_sweeps_stop_at_the_tolerance_and_tell_the_residual() -> None:
    q = process("all_terms", 9, trials=2, bins=60, cells=2, strength=0.5)
    noise = logistic_noise((2, 2, 60, 2), generator(0), torch.float64)
    sweeps = []
    for tolerance in (1e-2, 1e-4, 1e-8, 1e-12):
        draw = drawn(q, noise, FixedPoint(tolerance=tolerance), Concrete(0.5))
        again = Concrete(0.5)(q.logits(draw.z), noise)
        assert draw.converged and draw.residual <= tolerance
        assert float((again - draw.z).detach().abs().max()) < 3 * tolerance
        sweeps.append(draw.sweeps)
    assert sweeps == sorted(sweeps) and sweeps[0] < sweeps[-1] < 61


@pytest.mark.parametrize("relaxation", [Concrete(0.4), MeanField()], ids=str)
def test_implicit_and_unrolled_gradients_agree(relaxation: Relaxation) -> None:
    for number in range(12):
        q = process(KINDS[number % len(KINDS)], 40 + number, trials=2, bins=10, cells=2)
        noise = logistic_noise((2, 2, 10, 2), generator(number), torch.float64)
        both = [
            gradients(q, noise, FixedPoint(tolerance=1e-13, gradient=how), relaxation)
            for how in ("implicit", "unrolled")
        ]
        scale = max(float(g.abs().max()) for g in both[0])
        for implicit, unrolled in zip(*both, strict=True):
            assert torch.allclose(implicit, unrolled, rtol=1e-10, atol=1e-10 * scale)


def test_exactly_k_sweeps_are_differentiated_as_they_are() -> None:
    """The gradient of the K-step map, against one written out by hand, not that of the fixed point."""
    q = process("coupled", 3, trials=1, bins=8, cells=2)
    noise = logistic_noise((2, 1, 8, 2), generator(2), torch.float64)
    relaxation = Concrete(0.5)
    z = torch.zeros_like(noise)
    for _ in range(2):
        z = relaxation(q.logits(z), noise)
    expected = torch.autograd.grad(z.square().sum(), leaves(q))
    found = torch.autograd.grad(q.draw(noise, FixedPoint(sweeps=2), relaxation).z.square().sum(), leaves(q))
    converged = torch.autograd.grad(
        q.draw(noise, FixedPoint(tolerance=1e-12), relaxation).z.square().sum(), leaves(q)
    )
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(found, expected, strict=True))
    assert not all(torch.allclose(a, b, rtol=1e-3) for a, b in zip(converged, expected, strict=True))


def test_gradients_at_the_default_tolerance_are_good_enough_to_train_with() -> None:
    """Weak to supercritical cases, warm and cold: within 1e-3 of
    backpropagation through time, relative to the largest entry.
    """
    for number in range(60):
        q, noise = case(number, KINDS[number % len(KINDS)])
        relaxation = Concrete((1.0, 0.5, 0.15)[number % 3])
        expected, found = (gradients(q, noise, how, relaxation) for how in (Sequential(), FixedPoint()))
        scale = max(float(g.abs().max()) for g in expected)
        assert all(
            torch.allclose(a, b, rtol=0, atol=1e-3 * scale) for a, b in zip(found, expected, strict=True)
        )


@pytest.mark.parametrize("reading", ["literal", "sigma"])
def test_unrolled_straight_through_has_the_gradient_of_the_sweeps_made(reading: str) -> None:
    q = process("all_terms", 3, trials=1, bins=10, cells=2)
    noise = logistic_noise((2, 1, 10, 2), generator(2), torch.float64)
    relaxation = StraightThrough(reading)
    draw = q.draw(noise, FixedPoint(gradient="unrolled"), relaxation)
    z = torch.zeros_like(noise)
    for _ in range(draw.sweeps):
        z = relaxation(q.logits(z), noise)
    found, expected = (torch.autograd.grad((values * noise).sum(), leaves(q)) for values in (draw.z, z))
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
@pytest.mark.parametrize("relaxation", [r for r in RELAXATIONS if r.pathwise], ids=str)
@pytest.mark.parametrize("cap", [None, 3])
def test_values_are_the_same_with_and_without_gradients(
    gradient: str, relaxation: Relaxation, cap: int | None
) -> None:
    for number in range(8):
        q, noise = case(number, KINDS[number % len(KINDS)])
        how = FixedPoint(max_sweeps=cap, gradient=gradient)
        recorded, plain = q.draw(noise, how, relaxation), drawn(q, noise, how, relaxation)
        assert recorded.z.requires_grad
        # double precision; on some processors sums of relaxed values differ in their last digits
        torch.testing.assert_close(recorded.z.detach(), plain.z, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(recorded.logits.detach(), plain.logits, rtol=1e-12, atol=1e-12)
        assert torch.allclose(recorded.z, relaxation(recorded.logits, noise), rtol=1e-14)
        assert (recorded.sweeps, recorded.converged) == (plain.sweeps, plain.converged)
        assert recorded.residual == pytest.approx(plain.residual, abs=1e-12)


def test_a_draw_is_freed_as_soon_as_it_is_let_go() -> None:
    """The hook that solves the adjoint must not keep its own graph
    alive: a training loop would grow without end.
    """
    q = process("all_terms", 1, trials=1, bins=10, cells=2)
    noise = logistic_noise((1, 1, 10, 2), generator(0), torch.float64)
    alive = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(4):
            q.draw(noise, FixedPoint(), Concrete(0.5)).z.sum().backward()
            alive.append(sum(type(thing) is Tensor for thing in gc.get_objects()))
    finally:
        gc.enable()
    assert alive[-1] == alive[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sweeps": 0}, "sweeps: found 0"),
        ({"max_sweeps": 0}, "max_sweeps: found 0"),
        ({"tolerance": 0.0}, "tolerance: found 0.0"),
        ({"tolerance": float("nan")}, "tolerance: found nan"),
        ({"gradient": "exact"}, "gradient: found 'exact'"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        FixedPoint(**settings)
