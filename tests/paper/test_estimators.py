"""The atlas of gradient estimators: instances, its z-test (planted errors fail it), figures, claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from claim_tables import claims_of
from torch import Tensor

import dfp.objectives.disarm
from dfp.config import load_experiment
from dfp.config.build import make_phase
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.objectives.score_function import ScoreFunction
from dfp.plotting import style
from dfp.references.exact.enumerated import enumerated_elbo
from dfp.results.judging import FAILS, HOLDS, verdict
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.estimators.panels import Copies, Panel, Ranges, make_panel
from experiments.estimators.study import PARTS, Estimators, unbiased_parts

FOLDER = Path(__file__).parents[2] / "experiments" / "estimators"
CPU = torch.device("cpu")
SCORE = {"objective": {"kind": "score_function", "samples": 2}, "relaxation": "hard"}
DISARM = {"objective": {"kind": "disarm", "samples": 1}, "relaxation": "hard"}
RELAXED = {"objective": {"kind": "relaxed_pmf", "samples": 2}, "relaxation": "concrete"}
LOGISTIC = {"objective": {"kind": "logistic_density", "samples": 2}, "relaxation": "concrete"}
SIGMA = {"objective": {"kind": "relaxed_pmf"}, "relaxation": "straight_through_sigma"}
MEANS = {"objective": {"kind": "relaxed_pmf", "entropy": "analytic"}, "relaxation": "mean_field"}


def tiny(**over: Any) -> Estimators:
    """A study of seconds."""
    own: dict[str, Any] = {
        "estimators": {"score_function": SCORE, "disarm": DISARM},
        "bins": [3],
        "middle": 3,
        "noise": [0.7],
        "temperatures": [0.25, 1.0],
        "seeds": [0, 1],
        "draws": 20_000,
        "draws_biased": 1_000,
        "copies": 1_000,
    }
    return Estimators(**(own | over))


def panel(**over: Any) -> Panel:
    own: dict[str, Any] = {
        "seeds": [0, 1, 2],
        "noise": [0.3, 1.2],
        "bins": 4,
        "longest": 6,
        "kernel_bins": 3,
        "ranges": Ranges(),
        "point": "near",
        "perturbation": 0.5,
        "factorised": False,
        "device": CPU,
    }
    return make_panel(**(own | over))


# ---------------------------------------------------------------- instances


def test_shorter_traces_are_the_first_bins_of_longer_ones() -> None:
    short, long = panel(), panel(bins=6)
    assert torch.equal(short.x, long.x[:, :4])
    assert torch.equal(short.taps, long.taps)


def test_an_instance_depends_on_its_own_seed_and_not_on_the_others() -> None:
    many, one = panel(), panel(seeds=[2])
    for name in ("x", "drive"):
        assert torch.equal(getattr(many, name)[..., 2::3], getattr(one, name))
    assert (many.parameters.bias[2::3] == one.parameters.bias).all()
    assert not torch.equal(many.x[..., 0], many.x[..., 1])


def test_noise_levels_share_spikes_and_shocks() -> None:
    found = panel(noise=[0.3, 0.6, 1.2])
    quiet, middle, loud = found.x.unflatten(-1, (3, 3)).unbind(-2)
    assert torch.allclose((loud - middle) / 0.6, (middle - quiet) / 0.3)
    assert found.parameters.noise.tolist() == [0.3] * 3 + [0.6] * 3 + [1.2] * 3


def test_points() -> None:
    prior, near = panel(point="prior"), panel()
    assert torch.allclose(prior.drive, torch.as_tensor(prior.parameters.bias).expand(1, 4, -1), atol=1e-6)
    assert torch.allclose(prior.taps, torch.as_tensor(prior.parameters.history), atol=1e-6)
    assert float(near.drive.abs().max()) <= 3.0
    still = panel(perturbation=0.0)
    assert not torch.allclose(still.drive, near.drive)
    assert panel(factorised=True).taps.shape == (6, 0)


@pytest.mark.parametrize("factorised", [False, True])
def test_every_copy_has_the_gradient_of_its_cell(factorised: bool) -> None:
    """All copies of a cell, each with its own leaves, against differences of the exact bound."""
    own = panel(factorised=factorised)
    side = Copies(own, 3)
    rows = side.rows(torch.autograd.grad(enumerated_elbo(side.problem, side.q).sum(), side.unknowns))
    assert rows.shape == (3, 6, sum(own.sizes.values()))
    assert torch.allclose(rows, own.exact.expand(3, -1, -1), rtol=1e-12)
    step = 1e-6
    for coordinate in range(own.sizes["phi"]):
        ends = []
        for sign in (1, -1):
            drive, taps = own.drive.clone(), own.taps.clone()
            target = drive[0, coordinate] if coordinate < 4 else taps[:, coordinate - 4]
            target += sign * step
            moved = Copies(dataclasses.replace(own, drive=drive, taps=taps), 1)
            ends.append(enumerated_elbo(moved.problem, moved.q).detach())
        assert torch.allclose((ends[0] - ends[1]) / (2 * step), own.exact[:, coordinate], atol=1e-7)


def test_draws_of_copies_are_independent_and_reproducible() -> None:
    own = panel()
    phase = make_phase(SCORE, "here")
    first, seconds = Copies(own, 100).estimate(phase, 400, generator(1))
    again, _ = Copies(own, 100).estimate(phase, 400, generator(1))
    assert seconds > 0 and first.draws == 400
    assert torch.equal(first.mean, again.mean)
    means, _ = Copies(own, 5).estimate(make_phase(MEANS, "here"), 10, generator(1))
    assert float(means.variance.max()) < 1e-20


# ---------------------------------------------------------------- what theory says


def score(window: int) -> dict[str, Any]:
    return {**SCORE, "objective": {"kind": "score_function", "samples": 2, "reward_window": window}}


@pytest.mark.parametrize(
    ("raw", "factorised", "sweeps", "expected"),
    [
        (SCORE, False, 0, PARTS),
        (SCORE, False, 8, PARTS),
        (SCORE, False, 2, ()),
        (SCORE, True, 1, PARTS),
        (score(2), False, 0, ("theta",)),
        (score(5), False, 0, ("theta",)),
        (score(5), True, 0, PARTS),
        (score(4), True, 0, ("theta",)),
        (score(8), False, 0, PARTS),
        (DISARM, True, 0, PARTS),
        (SIGMA, False, 0, ("theta",)),
        (RELAXED, False, 0, ()),
        (LOGISTIC, True, 0, ()),
        (MEANS, True, 0, ()),
    ],
)
def test_unbiased_parts(
    raw: dict[str, Any], factorised: bool, sweeps: int, expected: tuple[str, ...]
) -> None:
    assert unbiased_parts(make_phase(raw, "here"), factorised, 8, 5, sweeps) == expected


# ---------------------------------------------------------------- the z-test


def test_sound_estimators_pass() -> None:
    table = pd.DataFrame(tiny().rows(CPU))
    found = table[table["metric"] == "largest_z_ratio"]
    assert found["unbiased"].all() and (found["value"] < 1).all()
    assert set(found["run"]) == {"score_function", "disarm"}
    assert set(table[table["run"] == "disarm"]["family"]) == {"factorised"}


def test_no_ratio_is_told_to_a_gradient_that_vanishes() -> None:
    """∇θ where q is the prior: zero but for rounding, of a factorised q not; elsewhere all is told."""
    table = pd.DataFrame(tiny(points=["near", "prior"]).rows(CPU))
    ratios = table[table["metric"] == "relative_sd"]
    told = set(ratios[["family", "point", "part"]].itertuples(index=False, name=None))
    every = set(table[["family", "point", "part"]].itertuples(index=False, name=None))
    assert {key for key in every - told if key[2] != "both"} == {("autoregressive", "prior", "theta")}
    for factorised in (False, True):
        theta = panel(point="prior", factorised=factorised).exact[:, -3:]
        assert (float(theta.abs().max()) < 1e-14) == (not factorised)


def _one_bin_late(to_go: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def planted(self: ScoreFunction, reward: Tensor, independent: bool) -> Tensor:
        return to_go(self, reward, independent) - reward

    return planted


def _wrong_baseline(to_go: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def planted(self: ScoreFunction, reward: Tensor, independent: bool) -> Tensor:
        found = to_go(self, reward, independent)
        return found - 0.3 * (found - found.mean(0))  # a part of a sample's own reward is in its baseline

    return planted


@pytest.mark.parametrize("plant", [_one_bin_late, _wrong_baseline])
@pytest.mark.parametrize("name", ["score_function", "disarm"])
def test_a_planted_error_fails_loudly(
    name: str,
    plant: Callable[[Callable[..., Tensor]], Callable[..., Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScoreFunction, "reward_to_go", plant(ScoreFunction.reward_to_go))
    raw = {"score_function": SCORE, "disarm": DISARM}[name]
    with pytest.raises(
        NumericalError, match=rf"{name} \(T = 3.*∇_phi should have no bias, but \|z\| = .*seed"
    ):
        list(tiny(estimators={name: raw}, posteriors=["factorised"]).rows(CPU))


def test_an_antithetic_pair_that_is_none_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = dfp.objectives.disarm._difference
    monkeypatch.setattr(dfp.objectives.disarm, "_difference", lambda values: sound(values).abs())
    with pytest.raises(NumericalError, match="disarm"):
        list(tiny(estimators={"disarm": DISARM}).rows(CPU))


# ---------------------------------------------------------------- refusals


_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("estimators", {"estimators": {}}),
    ("estimators.x", {"estimators": {"x": {**SCORE, "sampler": {"kind": "sequential"}}}}),
    (
        "estimators.x",
        {"estimators": {"x": {"objective": {"kind": "multi_sample"}, "relaxation": "concrete"}}},
    ),
    ("estimators.x", {"estimators": {"x": {"objective": {"kind": "wake_sleep"}, "relaxation": "hard"}}}),
    ("objective score_function", {"estimators": {"x": {**SCORE, "relaxation": "concrete"}}}),
    ("bins", {"bins": [1], "middle": 1}),
    ("bins", {"bins": [21], "middle": 21}),
    ("bins", {"bins": [3, 3]}),
    ("middle", {"middle": 5}),
    ("noise", {"noise": [0.0]}),
    ("noise", {"noise": []}),
    ("temperatures", {"temperatures": [-1.0]}),
    ("posteriors", {"posteriors": ["gaussian"]}),
    ("points", {"points": ["far"]}),
    ("sweeps", {"sweeps": [0]}),
    ("sweep_temperature", {"sweeps": [1], "sweep_temperature": 0.3}),
    ("draws", {"draws": 1}),
    ("copies", {"copies": 1}),
    ("kernel_bins", {"kernel_bins": 0}),
    ("perturbation", {"perturbation": -1.0}),
    ("alarm", {"alarm": 1.0}),
    ("ranges.decay", {"ranges": Ranges(decay=(0.5, 1.5))}),
    ("ranges.history_1", {"ranges": Ranges(history_1=(1.0, 0.0))}),
    ("ranges.spike_probability", {"ranges": Ranges(spike_probability=(0.1,))}),
]


@pytest.mark.parametrize(("key", "over"), _REFUSED, ids=[f"{key} {over}"[:60] for key, over in _REFUSED])
def test_settings_without_meaning_are_refused_with_a_sentence(key: str, over: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        tiny(**over)
    told = str(refusal.value)
    assert key in told and "found" in told and "expected" in told and "\n" not in told


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    study = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(study, Estimators)
    assert study.draws >= (100_000 if scale != "smoke" else 2)
    jobs = study.jobs()
    assert len({str(job) for job in jobs}) == len(jobs)


# ---------------------------------------------------------------- figures and claims


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A whole study in small."""
    raw = load_experiment(FOLDER / "config.yaml", "smoke").document.study
    study = tiny(
        estimators=raw["estimators"],
        bins=[3, 4],
        noise=[0.5, 1.0],
        sweeps=[1, 2],
        points=["near", "prior"],
        draws=8_000,
        draws_biased=4_000,
        copies=400,
    )
    return pd.DataFrame(study.rows(CPU)).assign(experiment="estimators", scale="smoke")


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


def test_every_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        for figure in drawn.values():
            figure.draw_without_rendering()
            # axes without a frame hold a legend
            assert all(axes.has_data() for axes in figure.axes if axes.axison)


def test_ticks_stand_where_theory_and_the_test_say_unbiased(table: pd.DataFrame, tmp_path: Path) -> None:
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
    ticked = table[table["unbiased"] & (table["sweeps"] == 0) & (table["point"] == "near")]
    for name, family in (("atlas", "autoregressive"), ("atlas_factorised", "factorised")):
        ticks = sum(text.get_text() == "✓" for axes in drawn[name].axes for text in axes.texts)
        own = ticked[ticked["family"] == family]
        assert ticks == len(own.drop_duplicates(["run", "bins", "noise", "part"]))


def test_every_claim_is_judged_and_can_fail(table: pd.DataFrame, tmp_path: Path) -> None:
    claims = {claim.id: claim for claim in claims_of("estimators")}
    judged = {name: list(claim.judge(results(table, tmp_path))) for name, claim in claims.items()}
    assert all(judged.values())
    assert verdict(judged["E1"]) == HOLDS

    def after(metric: str, run: str, change: Callable[[pd.DataFrame], Any]) -> pd.DataFrame:
        changed = table.copy()
        rows = (changed["metric"] == metric) & (changed["run"] == run)
        changed.loc[rows, "value"] = change(changed[rows])
        return changed

    def seeds(frame: pd.DataFrame) -> Any:
        return 1 + 0.01 * frame["seed"]

    planted = {
        "E1": after("largest_z_ratio", "score_function", lambda rows: 2 * seeds(rows)),
        "E2": after("squared_bias", "relaxed_pmf", lambda rows: -seeds(rows)),
        "E3": after("squared_bias", "relaxed_pmf", lambda rows: seeds(rows) / rows["temperature"]),
        "E4": after("relative_sd", "relaxed_pmf", lambda rows: seeds(rows) * rows["temperature"]),
        "E5": after("squared_bias", "relaxed_pmf", lambda rows: 1e5 * seeds(rows)),
        "E6": after("relative_sd", "disarm", lambda rows: 1e3 * seeds(rows)),
    }
    assert set(planted) == set(claims)
    for name, changed in planted.items():
        outcomes = {finding.outcome for finding in claims[name].judge(results(changed, tmp_path))}
        assert FAILS in outcomes, name
