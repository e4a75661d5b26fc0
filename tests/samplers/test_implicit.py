"""The implicit gradient by its two routes, and the memory that it takes."""

from __future__ import annotations

import pytest
import torch
from cases import KINDS, leaves, normal, process
from torch import Tensor

import dfp.samplers.implicit
import dfp.samplers.pathwise
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import OwnHistory
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, MeanField, Relaxation, StraightThrough
from dfp.samplers.sequential import Sequential

PATHWISE = (Concrete(0.7), Concrete(0.2), MeanField(), StraightThrough("literal"), StraightThrough("sigma"))


def gradients(q: CausalBernoulli, noise: Tensor, how: Sampler, relaxation: Relaxation) -> list[Tensor]:
    """Of a random linear function of values and logits, in every leaf."""
    draw, rng = q.draw(noise, how, relaxation), generator(77)
    of_values, of_logits = (normal(rng, *draw.z.shape) for _ in range(2))
    value = (draw.z * of_values).sum() + 0.1 * (draw.logits * of_logits).sum()
    return list(torch.autograd.grad(value, leaves(q)))


def agree(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    scale = max(float(part.abs().max()) for part in expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("route", ["compiled", "sweeps"])
@pytest.mark.parametrize("relaxation", PATHWISE, ids=str)
def test_both_routes_are_backpropagation_through_time(
    route: str, relaxation: Relaxation, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    attach = dfp.samplers.pathwise.attach
    monkeypatch.setattr(dfp.samplers.implicit, "HAS_NUMBA", route == "compiled")
    monkeypatch.setattr(dfp.samplers.implicit, "attach", lambda *given: calls.append(0) or attach(*given))
    for number, kind in enumerate(KINDS):
        q = process(kind, 20 + number, trials=2, bins=14, cells=3)
        noise = logistic_noise((2, 2, 14, 3), generator(number), torch.float64)
        found = gradients(q, noise, FixedPoint(tolerance=1e-13), relaxation)
        agree(found, gradients(q, noise, Sequential(), relaxation), 1e-10)
    assert len(calls) == (len(KINDS) if route == "compiled" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_routes_agree_at_the_default_tolerance_far_closer_than_the_tolerance(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same equation at the same point: what differs is where the sweeps of the adjoint stop."""
    q = process(kind, 5, trials=2, bins=40, cells=2, strength=0.7)
    noise = logistic_noise((2, 2, 40, 2), generator(0), torch.float64)
    compiled = gradients(q, noise, FixedPoint(), Concrete(0.4))
    monkeypatch.setattr(dfp.samplers.implicit, "HAS_NUMBA", False)
    agree(gradients(q, noise, FixedPoint(), Concrete(0.4)), compiled, 1e-5)


def test_gradients_in_noise_and_temperature_are_kept() -> None:
    """Neither is a tensor of the recursion; they take the route of sweeps."""
    q = process("all_terms", 1, trials=1, bins=9, cells=2)
    fixed = logistic_noise((2, 1, 9, 2), generator(0), torch.float64)
    found = []
    for how in (FixedPoint(tolerance=1e-13), Sequential()):
        noise = fixed.clone().requires_grad_()
        temperature = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
        z = q.draw(noise, how, Concrete(temperature)).z
        found.append(torch.autograd.grad(z.square().sum(), [noise, temperature]))
    agree(list(found[0]), list(found[1]), 1e-10)


def kept(gradient: str, sweeps: int) -> int:
    """Bytes of different storages that backpropagation keeps of a draw, its leaves left out, after so many
    sweeps of a process that needs as many as there are bins: a spike in the first makes the next, and so on.
    """
    drive = torch.full((8, 200, 2), -4.0, dtype=torch.float64)
    drive[:, 0] = 4.0
    own = [drive.requires_grad_(), torch.full((2, 1), 8.0, dtype=torch.float64, requires_grad=True)]
    q, noise = CausalBernoulli(own[0], (OwnHistory(own[1]),)), torch.zeros(1, 8, 200, 2, dtype=torch.float64)
    storages: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        storages[memory.data_ptr()] = memory.nbytes(), tensor.detach()  # held, so that no address comes twice
        return tensor

    how = FixedPoint(gradient=gradient, tolerance=1e-300, max_sweeps=sweeps)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        draw = q.draw(noise, how, Concrete(0.3))
    assert draw.sweeps == sweeps and draw.z.requires_grad
    given = {leaf.untyped_storage().data_ptr() for leaf in [*own, noise]}
    return sum(size for place, (size, _) in storages.items() if place not in given)


@pytest.mark.parametrize("route", ["compiled", "sweeps"])
def test_what_is_kept_does_not_grow_with_the_sweeps(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dfp.samplers.implicit, "HAS_NUMBA", route == "compiled")
    counts = (1, 2, 4, 8, 16, 32, 64)
    implicit = [kept("implicit", sweeps) for sweeps in counts]
    assert max(implicit) <= 1.05 * min(implicit)
    unrolled = [kept("unrolled", sweeps) for sweeps in counts]
    assert unrolled[-1] > 20 * unrolled[0], "the measure does not see what grows"
