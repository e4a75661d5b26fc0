"""How many spikes a flip flips: against its definition, against flips that are made, and over sweeps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from cases import Family, model, normal, process, traces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.data.networks import sparse_random
from dfp.data.stability import simulate_logits, spectral_radius
from dfp.distributions import branching
from dfp.distributions.branching import (
    branching_ratio,
    flip_growth,
    flip_matrix,
    lag_weights,
    relaxed_ratio,
)
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import Coupling, OwnHistory
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard


def network(bins: int, cells: int = 4, strength: float = 1.0) -> CausalBernoulli:
    """Own history of two lags, coupling by two functions of two lags, a drive around −1."""
    rng = generator(3)
    taps = strength * normal(rng, cells, 2)
    coupling = Coupling(
        strength * normal(rng, 2, cells, cells), torch.tensor([[1.0, 0.5], [0.0, 1.0]]).double()
    )
    return CausalBernoulli(
        (normal(rng, 1, 1, cells) - 1).expand(1, bins, cells), (OwnHistory(taps), coupling)
    )


def hard(law: CausalBernoulli, seed: int, samples: int = 1) -> tuple[Tensor, Tensor]:
    noise = law.noise(samples, generator(seed))
    return law.draw(noise, FixedPoint(), Hard()).z, noise


@pytest.mark.parametrize("law", [network(6), process("low_rank", 1, 1, 6, 4)], ids=["full", "low rank"])
def test_lag_weights_are_what_a_spike_adds_to_a_logit(law: CausalBernoulli) -> None:
    silent = torch.zeros(1, 1, 6, 4, dtype=torch.float64)
    weights = lag_weights(law)
    for sender in range(4):
        spike = silent.clone()
        spike[..., 1, sender] = 1
        added = (law.logits(spike) - law.logits(silent))[0, 0]
        assert torch.allclose(added[2:4], weights[:, :, sender])
        assert not added[4:].any() and not added[:2].any()


@pytest.mark.parametrize("kind", ["own_history", "coupled", "low_rank", "nonlinear", "all_terms"])
def test_the_matrix_is_that_of_the_definition(kind: str) -> None:
    """Every bin's spike flipped one at a time; the change of the probabilities, added up."""
    law = process(kind, 4, trials=2, bins=20, cells=3)
    with torch.no_grad():
        z, _ = hard(law, 1, samples=2)
        u = law.logits(z)
        expected = torch.zeros(3, 3, dtype=torch.float64)
        # lags have different numbers of bins that they can be seen in
        for sender, lag in itertools.product(range(3), range(1, law.memory + 1)):
            changes = []
            for t in range(20 - lag):
                flipped = z.clone()
                flipped[:, :, t, sender] = 1 - z[:, :, t, sender]
                changed = torch.sigmoid(law.logits(flipped)) - torch.sigmoid(u)
                changes.append(changed[:, :, t + lag].abs().mean((0, 1)))
            expected[:, sender] += torch.stack(changes).mean(0)
    assert float(expected.max()) > 0.1
    assert torch.allclose(flip_matrix(law, z), expected, atol=1e-12)
    assert branching_ratio(law, z) == pytest.approx(float(torch.linalg.eigvals(expected).abs().max()))


def test_cells_of_many_hidden_units_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    law = process("all_terms", 3, cells=4, bins=12)
    z, _ = hard(law, 5, samples=2)
    whole = flip_matrix(law, z)
    monkeypatch.setattr(branching, "_CHUNK", 100)
    assert torch.allclose(flip_matrix(law, z), whole, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(3)), st.floats(0.0, 8.0))
def test_the_matrix_follows_the_cells_and_stays_within_its_lags(
    seed: int, order: list[int], strength: float
) -> None:
    """Renamed cells rename rows and columns; a flip flips a cell at most once a lag; no weight, no flip."""
    rng = generator(seed)
    taps, weights = strength * normal(rng, 3, 2), strength * normal(rng, 1, 3, 3)
    drive, z = normal(rng, 1, 20, 3), (normal(rng, 2, 1, 20, 3) > 0.5).double()
    basis = torch.tensor([[1.0, 0.0, 0.5]]).double()

    def matrix(cells: list[int]) -> Tensor:
        terms = OwnHistory(taps[cells]), Coupling(weights[:, cells][:, :, cells], basis)
        return flip_matrix(CausalBernoulli(drive[..., cells], terms), z[..., cells])

    plain = matrix([0, 1, 2])
    assert torch.allclose(matrix(list(order)), plain[list(order)][:, list(order)], atol=1e-12)
    assert bool((plain >= 0).all()) and bool((plain <= 3).all())
    assert strength > 0 or not plain.any()


def test_flips_made_with_the_noise_fixed_come_as_often_as_predicted() -> None:
    """A spike is flipped in z, one sweep is made: the flips of each cell, within four standard errors."""
    law = network(120)
    z, noise = hard(law, 2, samples=400)
    u = law.logits(z)
    predicted = flip_matrix(law, z, u)
    for sender in range(4):
        flipped = z.clone()
        at = torch.arange(1, 116, 5)  # further apart than the memory: each bin sees one flip at most
        flipped[:, :, at, sender] = 1 - z[:, :, at, sender]
        swept = Hard()(law.logits(flipped), noise)
        caused = (swept != z).double()
        each = (caused[:, :, at + 1] + caused[:, :, at + 2]).mean(2)[:, 0]  # (S, N)
        error = each.std(0) / math.sqrt(len(each))
        assert float(error.max()) < 0.01
        assert bool(((each.mean(0) - predicted[:, sender]).abs() < 4 * error + 2e-3).all())


def test_it_agrees_with_the_simulator_s_own() -> None:
    """The same ρ from NumPy's simulation of the network, rates being low, to a tenth."""
    made = sparse_random(30, np.random.default_rng(1), density=0.2, weight_sd=1.5, rate_hz=3.0)
    _, logits = simulate_logits(made, 2000, 2, np.random.default_rng(2))
    terms = (
        OwnHistory(torch.as_tensor(made.history)),
        Coupling(torch.as_tensor(made.coupling), torch.as_tensor(made.basis)),
    )
    law = CausalBernoulli(torch.as_tensor(made.bias).expand(1, 4000, 30), terms)
    z, _ = hard(law, 3)
    assert branching_ratio(law, z) == pytest.approx(spectral_radius(made, logits), rel=0.1)


def test_changes_of_a_sweep_shrink_by_the_ratio() -> None:
    """Late sweeps of one draw: the number of spikes that change falls by ρ a sweep, to a tenth."""
    drive = torch.full((1, 400_000, 1), -1.0)
    law = CausalBernoulli(drive, (OwnHistory(torch.tensor([[1.5, 0.8]])),))
    noise = law.noise(1, generator(4))
    z, counts = torch.zeros_like(noise), []
    for _ in range(9):
        moved = Hard()(law.logits(z), noise)
        counts.append(float((moved != z).sum()))
        z = moved
    measured = (counts[8] / counts[4]) ** 0.25
    still = law.draw(noise, FixedPoint(), Hard()).z
    assert measured == pytest.approx(branching_ratio(law, still), rel=0.1)


def test_the_lyapunov_exponent_has_the_sign_of_the_ratio_s_logarithm() -> None:
    for strength, grows in ((0.4, False), (4.0, True)):
        law = network(600, cells=4, strength=strength)
        wide = CausalBernoulli(
            law.drive.repeat(1, 1, 10),
            (
                OwnHistory(torch.zeros(40, 1, dtype=torch.float64)),
                Coupling(strength * 0.3 * normal(generator(5), 1, 40, 40), torch.ones(1, 1).double()),
            ),
        )
        draw = wide.draw(wide.noise(1, generator(6)), FixedPoint(), Hard())
        flips = flip_growth(wide, draw, 4, generator(7))
        ratio = branching_ratio(wide, draw.z)
        assert (float(flips[-1]) > float(flips[0])) == grows == (ratio > 1)
        assert float(flips[0]) == pytest.approx(float(flip_matrix(wide, draw.z).sum(0).mean()), rel=0.1)


def test_a_relaxed_sweep_s_ratio_bounds_how_a_small_change_shrinks() -> None:
    """One cell: the mean |change| of z after a sweep of the Jacobian ÷ before is the ratio itself."""
    law = CausalBernoulli(
        torch.full((1, 20_000, 1), -0.5).double(), (OwnHistory(torch.tensor([[1.2]]).double()),)
    )
    relax = Concrete(0.5)
    noise = law.noise(1, generator(8))
    z = law.draw(noise, FixedPoint(tolerance=1e-12), relax).z.detach()
    moved = relax(law.logits(z + 1e-7), noise) - relax(law.logits(z), noise)
    assert float(moved[:, :, 1:].abs().mean()) / 1e-7 == pytest.approx(relaxed_ratio(law, z, 0.5), rel=1e-3)


def test_without_causal_terms_nothing_flips() -> None:
    law = CausalBernoulli(torch.zeros(1, 10, 2))
    assert branching_ratio(law, torch.zeros(1, 1, 10, 2)) == 0.0


def test_what_has_no_numbers_is_refused_with_a_sentence() -> None:
    silent = torch.zeros(1, 2, 8, 2, dtype=torch.float64)
    law = process("nonlinear", 0)
    for ratio in (lambda: lag_weights(law), lambda: relaxed_ratio(law, silent, 0.5)):
        with pytest.raises(UserError, match=r"found a nonlinear history, whose effect .* is not one weight"):
            ratio()
    x = traces(0, trials=2, bins=8)
    twisted = Family("twisted", {"history": 2, "hidden": 3}).trained().condition(x, None, model().prior(2, 8))
    with pytest.raises(UserError, match="found the terms Twist, expected own histories, couplings and"):
        branching_ratio(twisted.pmf, silent)
