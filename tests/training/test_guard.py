"""The guard: a projection onto ρ ≤ limit that leaves alone what is below it, and a refusal where it has no
meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from cases import Family, families, metrics_of, normal, parameters, traces
from cases import model as model_of_two
from torch import Tensor

from dfp.config.build import make_phase
from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.branching import flip_matrix, spectral_radius
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.posteriors.base import Posterior
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.training.guard import Guard
from dfp.training.loop import Trainer
from dfp.training.phase import Phase

SMALL = {"window": 2, "hidden": 4}
X = traces(0, trials=6, bins=60, cells=3, dtype=torch.float32)
NOISE = logistic_noise((2, 6, 60, 3), generator(1))
PER_CELL = Family("autoregressive", {"recognition": {**SMALL, "per_cell": True}, "history": 3})
COUPLED = Family("autoregressive", {"recognition": SMALL, "history": 2, "coupling_lags": 2})
REFINED = Family("refined", {"of": "autoregressive", "autoregressive": {"recognition": SMALL, "history": 2}})


def model(basis: int = 0, learn: tuple[str, ...] = (), strength: float = 0.2) -> CalciumNetwork:
    return CalciumNetwork(parameters(3, basis=basis, strength=strength), 10.0, learn)


def strong(family: Family, sizes: tuple[float, ...] = (-4.0, -4.0, -4.0)) -> Posterior:
    """Causal weights that inhibit, a size a cell: rates do not saturate, and a flip flips many."""
    posterior = family.fresh(3)
    base: Any = getattr(posterior, "base", posterior)
    with torch.no_grad():
        for cell, size in enumerate(sizes):
            base.history[cell] = size
        if base.config.coupling_lags:
            base.coupling -= 1.0
    return posterior


def rho(posterior: Posterior, network: CalciumNetwork, guard: Guard, z: Tensor | None = None) -> Tensor:
    """ρ of the law at its own hard draw, or at z: of each cell, or of all where they are coupled."""
    base: Any = getattr(posterior, "base", posterior)
    law = base.condition(X, prior=network.prior(6, 60)).q
    if z is None:
        z = law.draw(NOISE[:1], FixedPoint(max_sweeps=guard.sweeps), Hard()).z
    flips = flip_matrix(law, z)
    return spectral_radius(flips)[None] if law.couples_cells else flips.diagonal()


def hard_draw(posterior: Posterior, network: CalciumNetwork, guard: Guard) -> Any:
    base: Any = getattr(posterior, "base", posterior)
    law = base.condition(X, prior=network.prior(6, 60)).q
    return law.draw(NOISE, FixedPoint(max_sweeps=guard.sweeps), Hard())


@pytest.mark.parametrize("family", [PER_CELL, COUPLED, REFINED], ids=str)
def test_what_is_beyond_the_limit_is_scaled_back_to_it(family: Family) -> None:
    """ρ at the spikes that it was judged by ends just below the limit, and the weights keep their ratios."""
    network, posterior = model(), strong(family)
    with torch.no_grad():
        largest = float(rho(posterior, network, Guard()).max())
        guard = Guard(0.5 * largest)
        draw = hard_draw(posterior, network, guard)
        before = {name: p.clone() for name, p in posterior.named_parameters()}
        metrics = guard.project(network, posterior, X, draw, learn_model=True)
        after = rho(posterior, network, guard, draw.z[:1])
    assert metrics["rho"] == pytest.approx(largest) and 0 < metrics["guard_scale"] < 1
    assert 0.97 * guard.rho < float(after.max()) <= guard.rho
    for name, parameter in posterior.named_parameters():
        causal = name.endswith(("history", "coupling"))
        ratio = (parameter / before[name]).detach()
        if not causal:
            assert torch.equal(parameter, before[name])
        elif family is COUPLED:
            assert torch.allclose(ratio, torch.full_like(ratio, metrics["guard_scale"]))
        else:  # a factor a cell
            assert torch.equal(ratio, ratio[:, :1].expand_as(ratio)) and bool((ratio <= 1).all())
            assert float(ratio.min()) == pytest.approx(metrics["guard_scale"])


def test_uncoupled_cells_are_scaled_each_by_a_factor_of_their_own() -> None:
    network, posterior = model(), strong(PER_CELL, (-4.0, -0.1, -4.0))
    largest = rho(posterior, network, Guard())
    guard = Guard(0.5 * float(largest[[0, 2]].min()))
    assert float(largest[1]) < guard.rho
    before = posterior.history.detach().clone()
    guard.project(network, posterior, X, hard_draw(posterior, network, guard), learn_model=True)
    factors = (posterior.history.detach() / before)[:, 0]
    assert float(factors[1]) == 1.0 and float(factors[[0, 2]].max()) < 1


@pytest.mark.parametrize("learned", [True, False])
def test_the_prior_is_guarded_only_where_it_is_learned(learned: bool) -> None:
    guard, posterior = Guard(0.3), Family("factorised", {"recognition": SMALL}).fresh(3)
    network = model(basis=1, learn=("coupling", "history", "bias") if learned else ("bias",), strength=6.0)
    before = network.raw_coupling.detach().clone(), network.raw_history.detach().clone()
    with torch.no_grad():
        draw = posterior.condition(X).pmf.draw(NOISE, FixedPoint(), Hard())
        metrics = guard.project(network, posterior, X, draw, learn_model=True)
        law = network.prior(6, 60)
        found = float(spectral_radius(flip_matrix(law, draw.z[:1])))
    assert metrics == {"rho": 0.0, "guard_scale": 1.0}
    same = torch.equal(before[0], network.raw_coupling) and torch.equal(before[1], network.raw_history)
    assert same == (not learned) and (found <= 0.3) == learned


def test_weights_tied_to_a_model_that_is_not_learned_are_left_alone() -> None:
    family = Family("autoregressive", {"recognition": SMALL, "history": 2, "tied_coupling": True})
    network, posterior = model(basis=1, strength=0.3), strong(family)
    guard = Guard(0.5 * float(rho(posterior, network, Guard())))
    before = network.raw_coupling.detach().clone()
    guard.project(network, posterior, X, hard_draw(posterior, network, guard), learn_model=True)
    assert torch.equal(before, network.raw_coupling)
    assert float(posterior.history.detach().min()) > -4.0


def phase(**settings: Any) -> Phase:
    return Phase(RelaxedPmf(2), FixedPoint(), **{"steps": 5, "batch": 4, **settings})


def trained(family: Family, guard: Guard | None) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    network = model(basis=1, learn=("bias", "history", "coupling"))
    trainer = Trainer(network, family.fresh(3), X, [phase(guard=guard)], seed=0)
    metrics = metrics_of(trainer)
    return metrics, {**trainer.posterior.state_dict(), **network.state_dict()}


@pytest.mark.parametrize("family", [PER_CELL, COUPLED, Family("factorised", {"recognition": SMALL})], ids=str)
def test_below_its_limit_a_guard_changes_no_bit(family: Family) -> None:
    plain, weights = trained(family, None)
    guarded, same = trained(family, Guard(0.99))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    metrics = [{key: row.pop(key) for key in ("rho", "guard_scale")} for row in guarded]
    assert str(plain) == str(guarded)
    assert all(row["guard_scale"] == 1.0 for row in metrics)
    assert not any("rho" in row for row in plain)


def test_a_guarded_training_resumes_to_the_bit() -> None:
    guard = Guard(0.005)

    def make() -> Trainer:
        return Trainer(model(), COUPLED.fresh(3), X, [phase(guard=guard, steps=8)], seed=0)

    whole, first, second = make(), make(), make()
    metrics = metrics_of(whole)
    assert min(row["guard_scale"] for row in metrics) < 1
    metrics_of(first, 4)
    second.load_state(first.state())
    assert str(metrics_of(second)) == str(metrics[4:])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rho": 1.5}, "rho: found 1.5, expected a number between 0 and 1"),
        ({"rho": 0.0}, "rho: found 0, expected a number between 0 and 1"),
        ({"sweeps": 0}, "sweeps: found 0, expected at least 1"),
        ({"rhoo": 0.5}, "unknown key 'rhoo'"),
        ({"rho": "low"}, "found text 'low', expected a number"),
    ],
)
def test_settings_without_meaning_are_refused_with_a_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as refusal:
        make_phase({"guard": settings}, "runs.x")
    assert told in str(refusal.value) and "runs.x.guard" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_combinations_without_meaning_are_refused_with_a_sentence() -> None:
    twisted = Family("twisted", {"recognition": SMALL, "history": 2, "hidden": 3}).fresh(3)
    hard = replace(phase(guard=Guard()), objective=ScoreFunction(2), relaxation="hard")
    with pytest.raises(UserError, match="guard: found the posterior twisted, whose causal weights no"):
        hard.check(twisted)
    replace(hard, guard=None).check(twisted)
    hard.check(PER_CELL.fresh(3))


@pytest.mark.parametrize("family", families(pmf=True), ids=str)
def test_a_posterior_names_what_multiplies_its_terms(family: Family) -> None:
    """Half the parameters, half of what past spikes add to the logits; the model's own terms aside."""
    posterior = family.trained(2).unrefined
    named = posterior.causal_parameters()
    prior = model_of_two(2, basis=1).prior(2, 5)
    x = traces(0, bins=5)
    with torch.no_grad():
        if named is None:
            assert family.name == "twisted"
            return
        z = (normal(generator(1), 3, 2, 5, 2) > 0).double()

        def added() -> list[Tensor]:
            law = posterior.condition(x, prior=prior).pmf
            return [term(z) for term in law.terms if not any(term is other for other in prior.terms)]

        whole = added()
        assert len(whole) == len(named)
        for parameter in named:
            parameter *= 0.5
        assert all(torch.allclose(half, one / 2) for half, one in zip(added(), whole, strict=True))


@pytest.mark.parametrize("per_cell", [True, False])
@pytest.mark.parametrize("history", [0, 2])
def test_a_nonlinear_history_is_scaled_back_too(per_cell: bool, history: int) -> None:
    """ρ of hidden units, with a readout a cell or one for all, which then has one factor."""
    recognition = {**SMALL, "per_cell": per_cell}
    settings = {"recognition": recognition, "history": history, "nonlinear_hidden": 3, "nonlinear_history": 2}
    posterior: Any = Family("autoregressive", settings).fresh(3)
    with torch.no_grad():
        posterior.inward *= 3
        posterior.outward += 4
        posterior.history -= 2
        network, before = model(), posterior.outward.detach().clone()
        largest = float(rho(posterior, network, Guard()).max())
        guard = Guard(0.5 * min(largest, 1.0))
        draw = hard_draw(posterior, network, guard)
        metrics = guard.project(network, posterior, X, draw, learn_model=True)
        after = float(rho(posterior, network, guard, draw.z[:1]).max())
    assert metrics["rho"] == pytest.approx(largest) and 0 < metrics["guard_scale"] < 1
    assert 0.9 * guard.rho < after <= guard.rho
    ratio = posterior.outward.detach() / before
    assert torch.equal(ratio, ratio[:, :1].expand_as(ratio))
    assert float(ratio.min()) == pytest.approx(metrics["guard_scale"])


@pytest.mark.parametrize(
    "settings", [{}, {"samples": 0, "dreams": 3}, {"indirect": True}, {"lead": 7}], ids=str
)
def test_wake_sleep_is_guarded_at_the_noise_of_what_it_drew(settings: dict[str, Any]) -> None:
    asleep = make_phase(
        {"objective": {"kind": "wake_sleep", **settings}, "relaxation": "hard", "guard": {"rho": 0.05},
         "steps": 4, "batch": 5, "learning_rate": {"start": 0.01}}, "here",
    )  # fmt: skip
    posterior = strong(COUPLED)
    metrics = metrics_of(Trainer(model(basis=1, learn=("bias", "coupling")), posterior, X, [asleep], seed=0))
    assert metrics[0]["rho"] > 0.3 and metrics[0]["guard_scale"] < 0.5
    assert all(row["rho"] < 0.06 for row in metrics[1:])  # no more than what a step adds
