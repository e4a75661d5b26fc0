"""The training loop: repeatable to the bit, resumable to the bit, and a panel is its cells side by side."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from cases import Family, metrics_of, parameters, traces
from torch import Tensor

from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.logistic_density import LogisticDensity
from dfp.objectives.multi_sample import MultiSample
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer
from dfp.training.phase import Phase
from dfp.training.schedules import Schedule

SMALL = {"window": 2, "hidden": 4}
LEARNED = ("bias", "history", "amplitude", "noise")
X = traces(0, trials=5, bins=24, cells=2, dtype=torch.float32)


def relaxed(**settings: Any) -> Phase:
    return Phase(RelaxedPmf(2), FixedPoint(), **{"steps": 4, "batch": 3, **settings})


def scored(**settings: Any) -> Phase:
    return Phase(ScoreFunction(3), FixedPoint(), relaxation="hard", **{"steps": 4, "batch": 3, **settings})


FALLING = Schedule(0.5, 0.2, "geometric")
PER_CELL = {"recognition": {**SMALL, "per_cell": True}, "history": 3}
SETTINGS: dict[str, tuple[Family, list[Phase]]] = {
    "relaxed then score function": (
        Family("autoregressive", {"recognition": SMALL, "nonlinear_hidden": 2}),
        [relaxed(temperature=FALLING, average=0.7), scored(learn_model=False)],
    ),
    "windows": (
        Family("autoregressive", PER_CELL),
        [relaxed(window=10, burn_in=3), scored(window=12, burn_in=2, batch=8)],
    ),
    "flow": (
        Family("logistic_flow", {"recognition": {**SMALL, "cross_channels": 2}, "coupling_lags": 2}),
        [Phase(LogisticDensity(2), Sequential(), steps=3, batch=2)] * 2,
    ),
    "refined": (
        Family(
            "refined", {"factorised": {"recognition": SMALL}, "steps": 2, "estimator": "straight_through"}
        ),
        [relaxed(refinement_steps=0), relaxed(relaxation="straight_through")],
    ),
    "refined through": (
        Family(
            "refined",
            {"of": "autoregressive", "autoregressive": {"recognition": SMALL}, "steps": 2, "through": True},
        ),
        [Phase(MultiSample(2), FixedPoint(gradient="unrolled"), steps=3, batch=2)] * 2,
    ),
}
every_setting = pytest.mark.parametrize("name", sorted(SETTINGS))


def make(name: str, seed: int = 0, weights: int = 0) -> Trainer:
    family, phases = SETTINGS[name]
    network = CalciumNetwork(parameters(2), 10.0, LEARNED)
    return Trainer(network, family.fresh(2, weights), X, phases, seed)


def same(first: Any, second: Any) -> bool:
    """Equal to the bit, through dictionaries and sequences, NaN equal to itself."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        keys = first.keys() - {"seconds"}
        return keys == second.keys() - {"seconds"} and all(same(first[key], second[key]) for key in keys)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second) or (first != first and second != second)


@every_setting
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    first, again, other = make(name), make(name), make(name, seed=1)
    metrics = [metrics_of(trainer) for trainer in (first, again, other)]
    assert same(metrics[0], metrics[1]) and not same(metrics[0], metrics[2])
    assert same(first.state(), again.state()) and not same(first.state(), other.state())


@every_setting
def test_a_killed_run_resumes_to_the_same_bits(name: str) -> None:
    """Saved through a file after every step: within a phase, at its end, before the first, after the last."""
    whole = make(name)
    expected = metrics_of(whole)
    for stop in range(whole.steps + 1):
        cut_off = make(name)
        before = metrics_of(cut_off, stop) if stop else []
        file = io.BytesIO()
        torch.save(cut_off.state(), file)
        file.seek(0)
        resumed = make(name, seed=5, weights=7)  # everything that matters comes from the file
        resumed.load_state(torch.load(file, weights_only=True))
        assert resumed.step == stop
        assert same(before + metrics_of(resumed), expected)
        assert same(resumed.state(), whole.state())


def test_a_state_is_a_snapshot() -> None:
    """Steps made after it leave it as it was."""
    trainer = make("windows")
    metrics_of(trainer, 2)
    state = trainer.state()
    kept = copy.deepcopy(state)
    metrics_of(trainer)
    assert same(state, kept)


def test_windows_and_noise_are_drawn_from_streams_of_their_own() -> None:
    """One stream for both would tie what is looked at to how it is sampled."""
    state = make("windows", seed=3).state()
    assert not torch.equal(state["noise"], state["cuts"])


@every_setting
def test_metrics_of_every_step(name: str) -> None:
    trainer = make(name)
    seconds = 0.0
    for number, metrics in enumerate(trainer.run(), start=1):
        assert metrics["step"] == number
        first = number <= trainer.phases[0].steps
        assert metrics["phase"] == (1 if first else 2)
        assert metrics["objective"] == trainer.phases[metrics["phase"] - 1].objective.name
        assert math.isfinite(metrics["loss"]) and metrics["gradient_norm"] > 0 and metrics["sweeps"] >= 1
        assert metrics["loss"] == pytest.approx(sum(metrics["loss_per_cell"]) / 2, rel=1e-5)
        assert metrics["seconds"] > seconds
        seconds = metrics["seconds"]
    assert number == trainer.steps == sum(phase.steps for phase in trainer.phases)


def test_schedules_reach_the_step() -> None:
    phase = relaxed(steps=5, temperature=FALLING, learning_rate=Schedule(0.01, 0.001, "linear"))
    trainer = Trainer(CalciumNetwork(parameters(2), 10.0), Family("factorised", {}).fresh(), X, [phase], 0)
    metrics = metrics_of(trainer)
    assert [m["temperature"] for m in metrics] == [FALLING.at(step, 5) for step in range(5)]
    assert [m["learning_rate"] for m in metrics] == [phase.learning_rate.at(step, 5) for step in range(5)]
    hard = Trainer(CalciumNetwork(parameters(2), 10.0), Family("factorised", {}).fresh(), X, [scored()], 0)
    assert all(math.isnan(m["temperature"]) for m in metrics_of(hard))


def test_parameters_move_only_where_and_as_far_as_asked() -> None:
    """Adam's first step is its learning rate: 0.01 for the posterior, here a tenth of it for the model."""
    network = CalciumNetwork(parameters(2), 10.0, LEARNED)
    before = copy.deepcopy(network.state_dict())
    phase = relaxed(steps=1, learning_rate=Schedule(0.01), model_learning_rate=0.1)
    posterior = Family("factorised", {}).fresh()
    weights = copy.deepcopy(posterior.state_dict())
    metrics_of(Trainer(network, posterior, X, [phase], 0))
    for name, value in network.state_dict().items():
        moved = float((value - before[name]).abs().max()) if value.numel() else 0.0
        assert moved == pytest.approx(0.001 if name.removeprefix("raw_") in LEARNED else 0.0, rel=0.01)
    moved = float((posterior.state_dict()["recognition.offset"] - weights["recognition.offset"]).abs().max())
    assert moved == pytest.approx(0.01, rel=0.01)
    kept = copy.deepcopy(network.state_dict())
    metrics_of(Trainer(network, posterior, X, [relaxed(learn_model=False)], 0))
    assert same(network.state_dict(), kept)


@pytest.mark.parametrize("rate", [None, 0.3])
def test_calcium_constants_have_a_rate_of_their_own(rate: float | None) -> None:
    """Adam's first step again: history and bias by a tenth of 0.01, amplitude and noise by ``rate`` of it."""
    network = CalciumNetwork(parameters(2), 10.0, LEARNED)
    before = copy.deepcopy(network.state_dict())
    settings = {"model_learning_rate": 0.1, "constants_learning_rate": rate}
    phase = relaxed(steps=1, learning_rate=Schedule(0.01), **settings)
    metrics_of(Trainer(network, Family("factorised", {}).fresh(), X, [phase], 0))
    for name in LEARNED:
        expected = 0.01 * (rate or 0.1) if name in ("amplitude", "noise") else 0.001
        moved = (network.state_dict()[f"raw_{name}"] - before[f"raw_{name}"]).abs().max()
        assert float(moved) == pytest.approx(expected, rel=0.01), name
    fixed = CalciumNetwork(parameters(2), 10.0, ["bias"])  # no constant is learned: nothing to have a rate
    metrics_of(Trainer(fixed, Family("factorised", {}).fresh(), X, [phase], 0))


def test_the_model_ends_at_the_mean_of_its_last_steps() -> None:
    ends = {}
    for share in (0.0, 0.5):
        family = Family("autoregressive", {"recognition": SMALL})
        network = CalciumNetwork(parameters(2), 10.0, LEARNED)
        trainer = Trainer(network, family.fresh(2), X, [relaxed(steps=7, average=share)], 0)
        seen = [network.raw_bias.detach().clone() for _ in trainer.run()]
        ends[share] = seen, network.raw_bias.detach(), [p.clone() for p in trainer.posterior.parameters()]
    path, last, weights = ends[0.0]
    assert torch.equal(last, path[-1])
    # four of seven steps, of the same path; the posterior keeps its last weights
    assert torch.allclose(ends[0.5][1], torch.stack(path[-4:]).mean(0), atol=1e-6)
    assert not torch.allclose(ends[0.5][1], last, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(weights, ends[0.5][2], strict=True))
    with pytest.raises(UserError, match=r"average: found 1\.5"):
        relaxed(average=1.5)


def test_each_phase_starts_with_a_fresh_optimiser() -> None:
    trainer = make("windows")
    metrics_of(trainer, trainer.phases[0].steps)
    counts = [steps.item() for _, _, steps in trainer.state()["optimiser"][0].values()]
    assert set(counts) == {4.0}
    metrics_of(trainer, 1)
    counts = [steps.item() for _, _, steps in trainer.state()["optimiser"][0].values()]
    assert set(counts) == {1.0}


def test_refinement_steps_are_the_phases_own() -> None:
    trainer = make("refined")
    made = []
    for metrics in trainer.run():
        made.append((trainer.posterior.steps, "refinement_kl" in metrics))
    assert made == [(0, False)] * 4 + [(2, True)] * 4


# ---------------------------------------------------------------- what goes wrong


def test_a_loss_that_is_not_finite_is_told_with_its_step_and_cell() -> None:
    trainer = make("windows")
    metrics_of(trainer, 5)
    with torch.no_grad():
        trainer.posterior.get_parameter("recognition.gain")[1] = math.nan
    with pytest.raises(
        NumericalError, match=r"step 6 \(phase 2, score_function\): the loss is nan \(cells \[1\]\)"
    ):
        metrics_of(trainer)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["windows", "relaxed then score function"])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(name: str, bad: float) -> None:
    trainer = make(name)
    metrics_of(trainer, 2)
    trainer.posterior.get_parameter("recognition.offset").register_hook(lambda gradient: gradient * bad)
    before = copy.deepcopy(trainer.posterior.state_dict())
    with pytest.raises(NumericalError, match=r"step 3 \(phase 1, relaxed_pmf\): the gradient is (nan|inf)"):
        metrics_of(trainer)
    assert same(trainer.posterior.state_dict(), before) and trainer.step == 2


def test_a_combination_without_meaning_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match="objective relaxed_pmf: found the posterior logistic_flow"):
        Trainer(CalciumNetwork(parameters(2), 10.0), Family("logistic_flow", {}).fresh(), X, [relaxed()], 0)


def test_unobserved_frames_train_like_any_other() -> None:
    x = X.clone()
    x[:, 5:9] = math.nan
    x[0, :, 1] = math.nan
    family, phases = SETTINGS["relaxed then score function"]
    metrics = metrics_of(Trainer(CalciumNetwork(parameters(2), 10.0, LEARNED), family.fresh(), x, phases, 0))
    assert all(math.isfinite(m["loss"]) for m in metrics)


# ---------------------------------------------------------------- and it learns


@pytest.mark.parametrize(
    ("posterior", "phases", "closes"),
    [
        (
            "factorised",
            [Phase(RelaxedPmf(4), FixedPoint(), steps=120, batch=8, learning_rate=Schedule(0.02))],
            0.5,
        ),
        (
            "autoregressive",
            [
                Phase(RelaxedPmf(4), FixedPoint(), steps=80, batch=8, learning_rate=Schedule(0.02)),
                Phase(
                    ScoreFunction(8), FixedPoint(), "hard", steps=80, batch=8, learning_rate=Schedule(0.02)
                ),
            ],
            0.7,
        ),
    ],
)
def test_training_closes_the_gap_to_the_exact_evidence(
    posterior: str, phases: list[Phase], closes: float
) -> None:
    """Gap before and after by enumeration, on the eight traces that are trained on."""
    network = CalciumNetwork(parameters(1, 2), 10.0, kernel_bins=4)
    paths = all_paths(8, 1, torch.float32).expand(-1, 8, -1, -1)
    probability = torch.sigmoid(network.prior(1, 8).logits(paths[:1, :1]))
    truth = (torch.rand(8, 8, 1, generator=generator(3)) < probability[0, 0]).float()
    with torch.no_grad():
        x = network.fluorescence(truth[None])[0] + 0.4 * torch.randn(8, 8, 1, generator=generator(4))
    family = Family(posterior, {"recognition": {"window": 4, "hidden": 16}})
    approximate = family.fresh(1)

    def gap() -> float:
        with torch.no_grad():
            log_joint = network.log_joint(x, paths).sum((2, 3))
            log_q = approximate.condition(x).q.log_prob(paths).sum((2, 3))
            elbo = (log_q.exp() * (log_joint - log_q)).sum(0)
            return float((log_joint.logsumexp(0) - elbo).mean())

    before = gap()
    metrics_of(Trainer(network, approximate, x, phases, 0))
    assert 0 <= gap() < (1 - closes) * before
