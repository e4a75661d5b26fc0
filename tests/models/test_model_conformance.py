"""What every observation model has to keep, run over all that are found: a new one is tested unlisted."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import model as gaussian
from cases import parameters, traces
from scipy.integrate import quad
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.models.base import ObservationModel, Parameters
from dfp.models.kinds import kinds
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

KINDS = sorted(kinds())


def record(kind: str, cells: int = 2, seed: int = 0, **settings: Any) -> Parameters:
    """Random parameters of a kind; what is its own alone starts at its defaults."""
    cls = kinds()[kind]
    return cls.adopt(parameters(cells, seed, **settings), cls.Config())


def model(
    kind: str, cells: int = 2, seed: int = 0, kernel_bins: int = 0, **settings: Any
) -> ObservationModel:
    """A float64 model of a kind that learns all it can, at 10 bins per second."""
    start = record(kind, cells, seed, **settings)
    learn = [name for name in start.names if name != "coupling" or start.basis.shape[0]]
    return kinds()[kind](start, 10.0, learn, kernel_bins).double()


def spikes(network: ObservationModel, trials: int, bins: int, seed: int) -> Tensor:
    """Drawn from the model's own law, ``(1, B, T, N)``."""
    with torch.no_grad():
        prior = network.prior(trials, bins)
        return prior.draw(prior.noise(1, generator(seed)), FixedPoint(), Hard()).z


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel_bins", [0, 3])
def test_traces_have_the_density_that_is_stated(kind: str, kernel_bins: int) -> None:
    """At the parameters that simulated z and x the score ``∂ log p(x, z)`` of every one has mean 0."""
    network = model(kind, seed=1, basis=1, kernel_bins=kernel_bins)
    z = spikes(network, 400, 12, 2)
    with torch.no_grad():
        x = network.observe(z, generator(3))[0]
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    assert {f"raw_{name}" for name in network.Record.names} == {name for name, _ in named}
    scores: dict[str, list[Tensor]] = {name: [] for name, _ in named}
    for b in range(len(x)):
        joint = network.log_joint(x[b : b + 1], z[:, b : b + 1]).sum()
        for (name, _), score in zip(named, torch.autograd.grad(joint, [p for _, p in named]), strict=True):
            scores[name].append(score)
    for name, drawn in scores.items():
        each = torch.stack(drawn)
        error = each.std(0) / math.sqrt(len(each))
        assert (each.mean(0).abs() <= 4 * error).all(), name
        assert float(error.max()) > 0, f"{name} has no score at all"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spike", [0.0, 1.0])
def test_the_density_of_a_frame_integrates_to_one(kind: str, spike: float) -> None:
    network = model(kind, cells=1, seed=4)
    z = torch.full((1, 1, 1, 1), spike, dtype=torch.float64)

    @torch.no_grad()
    def density(x: float) -> float:
        return float(network.log_likelihood(torch.full((1, 1, 1), x, dtype=torch.float64), z).exp())

    below, above = (quad(density, *ends)[0] for ends in ((-math.inf, 0.0), (0.0, math.inf)))
    assert below + above == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_observed_lies_in_its_stretches_too(kind: str) -> None:
    network = model(kind, seed=5)
    z, noise = (
        spikes(network, 1, 60, 6),
        torch.randn(1, 1, 60, 2, generator=generator(7), dtype=torch.float64),
    )
    with torch.no_grad():
        whole = network.observe(z, noise)[0, 0].numpy()
    try:
        observe = network.in_stretches(60)
    except UserError as error:
        assert "is not simulated in stretches" in str(error)
        return
    cuts = [1, 25, 28]
    parts = zip(np.split(z[0, 0].numpy(), cuts), np.split(noise[0, 0].numpy(), cuts), strict=True)
    assert np.allclose(np.concatenate([observe(*part) for part in parts]), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_of_an_observation_is_an_argument(kind: str) -> None:
    """The same generator, the same traces; noise of one cell moves no other."""
    network = model(kind, seed=8)
    z = spikes(network, 3, 20, 9)
    with torch.no_grad():
        one, same = (network.observe(z, generator(1)) for _ in range(2))
        noise = torch.randn(z.shape, generator=generator(1), dtype=torch.float64)
        given = network.observe(z, noise)
        noise[..., 0] += 1.0
        moved = network.observe(z, noise)
    assert torch.equal(one, same) and torch.equal(one, given) and one.shape == z.shape
    assert torch.equal(moved[..., 1], one[..., 1]) and not torch.equal(moved[..., 0], one[..., 0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel_bins", [0, 3])
def test_gradients_are_finite_differences(kind: str, kernel_bins: int) -> None:
    network = model(kind, seed=10, basis=2, kernel_bins=kernel_bins)
    x, z = traces(11), torch.rand(2, 2, 5, 2, generator=generator(12), dtype=torch.float64)
    network.forward = network.log_joint  # type: ignore[method-assign]
    names = [name for name, _ in network.named_parameters()]
    raws = tuple(p.detach().clone().requires_grad_() for p in network.parameters())

    def joint(z: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (x, z))

    assert torch.autograd.gradcheck(joint, (z.requires_grad_(), *raws))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_frame_adds_nothing_and_leaves_the_rest(kind: str) -> None:
    network = model(kind, seed=13, basis=1)
    x, z = (
        traces(14),
        torch.rand(3, 2, 5, 2, generator=generator(15), dtype=torch.float64, requires_grad=True),
    )
    holed = x.clone()
    holed[:, 1], holed[0, 3, 1] = math.nan, math.nan
    whole, left = network.log_likelihood(x, z), network.log_likelihood(holed, z)
    missing = torch.isnan(holed).expand_as(left)
    assert (left[missing] == 0).all() and torch.equal(left[~missing], whole[~missing])
    gradients = torch.autograd.grad(network.log_joint(holed, z).sum(), [z, *network.parameters()])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    alone = torch.autograd.grad(whole[~missing].sum(), [z, *network.parameters()], allow_unused=True)
    seen = torch.autograd.grad(left.sum(), [z, *network.parameters()], allow_unused=True)
    for a, b in zip(alone, seen, strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("c", [0.01, 250.0])
def test_a_trace_in_another_unit_has_the_density_of_that_unit(kind: str, c: float) -> None:
    start = record(kind, seed=16)
    other = replace(start, **{name: c * getattr(start, name) for name in start.scaled})
    x, z = traces(17), torch.rand(2, 2, 5, 2, generator=generator(18), dtype=torch.float64)
    x[0, 2, 0] = math.nan
    one, two = (kinds()[kind](p, 10.0).double() for p in (start, other))
    found, expected = two.log_likelihood(c * x, z), one.log_likelihood(x, z)
    shift = math.log(c) if start.scaled else 0.0
    expected = torch.where(torch.isfinite(x), expected - shift, expected)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)  # parameters are kept in single precision


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_come_back_as_they_went_in(kind: str) -> None:
    start = record(kind, cells=3, seed=19, basis=2)
    back = kinds()[kind](start, 30.0).double().parameters_now()
    assert type(back) is kinds()[kind].Record and back.kind == kind
    for entry in fields(start):
        expected = getattr(start, entry.name).copy()
        if entry.name == "coupling":
            expected[:, range(3), range(3)] = 0.0
        assert np.allclose(getattr(back, entry.name), expected, rtol=1e-6, atol=1e-6), entry.name


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_learned_takes_gradients(kind: str) -> None:
    start = record(kind, basis=1)
    for learn in [(), *((name,) for name in start.names), start.names]:
        network = kinds()[kind](start, 10.0, learn)
        taking = {name for name, p in network.named_parameters() if p.requires_grad}
        assert taking == {f"raw_{name}" for name in learn} and network.learned == tuple(sorted(learn))
    with pytest.raises(UserError, match=r"learn: unknown parameter 'bios' \(did you mean 'bias'\?\)"):
        kinds()[kind](start, 10.0, ["bios"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_says_what_it_is(kind: str) -> None:
    """Constants are the fields beside the law's, and what is said of them names them."""
    cls = kinds()[kind]
    known = cls.Record
    assert cls.name == kind == known.kind
    assert {entry.name for entry in fields(known)} == {"basis", *known.names}
    assert {*known.logarithmic, *known.scaled, *known.defaults} <= set(known.constants)
    assert set(known.vanishing) <= set(known.logarithmic)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "calcium"])
def test_parameters_of_one_kind_make_no_model_of_another(kind: str) -> None:
    with pytest.raises(
        UserError, match=f"'calcium': found parameters of the kind '{kind}', expected its own"
    ):
        kinds()["calcium"](record(kind), 10.0)
    with pytest.raises(
        UserError, match=f"'{kind}': found parameters of the kind 'calcium', expected its own"
    ):
        kinds()[kind](parameters(2), 10.0)


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_have_the_same_law_in_every_kind(kind: str) -> None:
    z = (torch.rand(2, 1, 6, 2, generator=generator(20)) < 0.4).double()
    ours, theirs = model(kind, seed=21, basis=1), gaussian(2, 21, basis=1)
    assert torch.equal(ours.prior(1, 6).log_prob(z), theirs.prior(1, 6).log_prob(z))
    assert len(ours.causal_parameters()) == len(ours.prior(1, 6).terms) == 2
