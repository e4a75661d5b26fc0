"""The study of belief networks: its table, gap split against enumeration, figures, claims, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from claim_tables import claims_of

from dfp.belief.enumerated import Enumerated
from dfp.belief.latents import make_latents
from dfp.belief.learning import Learning
from dfp.belief.network import BeliefNetwork, Recognition
from dfp.belief.refinement import Refinement
from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.plotting import style
from dfp.results.judging import FAILS, HOLDS
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import make_study
from experiments.belief_network import gaps as belief_network_gaps
from experiments.belief_network.gaps import Effort, best_factorial, gaps
from experiments.belief_network.settings import Late, Tuning, Variant
from experiments.belief_network.study import BeliefNetworkStudy
from experiments.belief_network.trainings import Pair, Training

FOLDER = Path(__file__).parents[2] / "experiments" / "belief_network"
CPU = torch.device("cpu")
VARIANT = Variant("bernoulli", "importance", 0.3)


def configured(scale: str = "smoke") -> BeliefNetworkStudy:
    found = make_study(load_experiment(FOLDER / "config.yaml", scale))
    assert isinstance(found, BeliefNetworkStudy)
    return found


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The whole study at the smoke scale."""
    frame = pd.DataFrame(configured().rows(CPU))
    return frame.assign(experiment="belief_network", scale="smoke", sampler="")


def results(table: pd.DataFrame, folder: Path) -> ResultTables:
    table.to_csv(folder / "table.csv", index=False)
    return ResultTables(folder)


# ---------------------------------------------------------------- the table


def test_every_variant_is_scored_after_every_number_of_steps(table: pd.DataFrame) -> None:
    study = configured()
    bounds = table[(table["metric"] == "bound") & (table["budget"] == "iterations")]
    expected = len(study.variants) * len(study.seeds) * len(study.train_steps) * len(study.test_steps)
    assert len(bounds) == expected and not bounds["value"].isna().any()
    exact = table[table["metric"] == "exact_bound"]
    assert set(exact["posterior"]) == {"bernoulli"}


def test_bounds_and_evidence_are_in_their_order(table: pd.DataFrame) -> None:
    """Exact bound below exact log p(x); sampled ones around them; importance sampling above the bound."""
    keys = ["run", "seed", "train_steps", "test_steps", "budget"]
    wide = table.dropna(subset=["test_steps"]).pivot_table(index=keys, columns="metric", values="value")
    assert (wide["log_likelihood"] >= wide["bound"] - 0.5).all()
    exact = wide.dropna(subset=["exact_bound"])
    assert (exact["exact_bound"] < exact["exact_log_likelihood"]).all()
    assert (exact["bound"] - exact["exact_bound"]).abs().max() < 1.0
    assert wide["effective"].between(1 / 20, 1).all()


def test_gaps_are_not_negative_and_add_up_to_the_exact_gap(table: pd.DataFrame) -> None:
    for name in ("gap_approximation", "gap_amortisation", "gap_left"):
        own = table[(table["metric"] == name) & (table["posterior"] == "bernoulli")]
        assert len(own) and (own["value"] > -1e-9).all()


def test_longer_training_time_is_that_of_the_longest_refinement(table: pd.DataFrame) -> None:
    timed = table[table["budget"] == "seconds"]
    seconds = timed[timed["metric"] == "training_seconds"].pivot_table(
        index=["run", "seed"], columns="train_steps", values="value"
    )
    assert (seconds[0] >= seconds[2]).all()
    made = timed[(timed["metric"] == "iterations") & (timed["train_steps"] == 0)]
    assert (made["value"] >= configured().iterations).all()
    assert made["value"].mean() > configured().iterations


def test_late_trainings_have_their_iterations(table: pd.DataFrame) -> None:
    late = table[table["budget"] == "late"]
    made = late[late["metric"] == "iterations"]
    assert set(late["run"]) == {"importance"} and set(late["train_steps"]) == {0, 2}
    assert len(made) == 4 and (made["value"] == configured().late.iterations).all()


def test_seeds_repeat_to_the_bit() -> None:
    study = replace(configured(), variants={"air": VARIANT}, seeds=[0], equal_time=[], late=Late())
    timed = ["milliseconds_per_iteration", "training_seconds", "iterations"]
    first, again = (pd.DataFrame(study.rows(CPU)) for _ in range(2))
    keep = ~first["metric"].isin(timed)
    pd.testing.assert_frame_equal(first[keep], again[keep])


def test_variants_start_from_the_same_networks() -> None:
    x = (torch.rand(30, 8, generator=generator(0)) < 0.4).float()
    made = [
        Training(make_latents("bernoulli", 3), ((4,), (4,)), Refinement(name, 2), Learning(), x, 5).pair
        for name in ("mean_passing", "importance")
    ]
    for first, second in zip(made[0].network.parameters(), made[1].network.parameters(), strict=True):
        assert torch.equal(first, second) and first.dtype == torch.float64


def test_a_search_for_rates_scores_every_rate_on_images_apart() -> None:
    study = replace(
        configured(),
        variants={"air": VARIANT},
        late=Late(),
        tuning=Tuning(rates=[0.1, 0.5, 3.0], seed=7, images=20),
    )
    found = pd.DataFrame(study.rows(CPU))
    assert set(found["metric"]) == {"tuning_bound"} and set(found["seed"]) == {7}
    assert found["rate"].tolist() == [0.1, 0.5]  # 3 is no share


# ---------------------------------------------------------------- gaps


def _pair(kind: str, units: int) -> tuple[Pair, torch.Tensor]:
    rng = generator(0)
    x = (torch.rand(5, 12, generator=rng) < 0.4).double()
    latents = make_latents(kind, units)
    net = BeliefNetwork(latents, (6,), x.float().mean(0), rng).double().requires_grad_(False)
    for parameter in net.decoder.parameters():
        parameter.mul_(2.0)
    return Pair(net, Recognition(latents, (6,), 12, rng).double().requires_grad_(False)), x


def test_best_factorial_is_the_best_of_a_fine_grid() -> None:
    """Two units: no point of a grid of 61² is above it, and it is a point of the bound's range."""
    pair, x = _pair("bernoulli", 2)
    exact = Enumerated(pair.network, x)
    best = best_factorial(exact, [pair.recognition(x), torch.zeros(5, 2).double()], 100)
    axis = torch.linspace(-9, 9, 61, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for image in range(5):
        values = exact.bound(grid, torch.full((len(grid),), image))
        assert float(values.max()) <= float(best[image]) + 1e-6
        assert float(best[image] - values.max()) < 0.05
    assert bool((best <= exact.log_evidence).all())


def test_sampled_gaps_agree_with_enumerated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route of large networks on a small one: within 0.1 nats."""
    pair, x = _pair("bernoulli", 6)
    effort = Effort(search_steps=80, steps=400, samples=40, rate=0.02, score_samples=20_000)
    refinement = Refinement("importance", 20, 0.3, samples=20)
    exact = gaps(pair, refinement, effort, x, seed=0)
    monkeypatch.setattr(belief_network_gaps, "LARGEST", 1)
    sampled = gaps(pair, refinement, effort, x, seed=0)
    assert exact["gap_amortisation"] > 0.3 > 0.1
    for name, value in exact.items():
        assert sampled[name] == pytest.approx(value, abs=0.1), name


def test_gaps_of_gaussian_units_are_sampled() -> None:
    pair, x = _pair("gaussian", 3)
    effort = Effort(steps=150, samples=16, rate=0.02, score_samples=5_000)
    found = gaps(pair, Refinement("reparametrised", 20, 0.02), effort, x, seed=0)
    assert found["gap_amortisation"] > found["gap_left"] >= 0
    assert found["gap_approximation"] > 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("key", "own"),
    [
        ("variants", {"variants": {}}),
        ("train_steps", {"train_steps": [5, 0]}),
        ("train_steps", {"train_steps": []}),
        ("test_steps", {"test_steps": [-1, 0]}),
        ("test_steps", {"test_steps": [0, 1]}),
        ("seeds", {"seeds": [0, 0]}),
        ("equal_time", {"equal_time": [7]}),
        ("gap_steps", {"gap_steps": [7]}),
        ("units", {"units": 0}),
        ("iterations", {"iterations": 0}),
        ("late", {"late": Late(variants=["rws"])}),
        ("late", {"late": Late(variants=["air"], train_steps=[2])}),
        ("late.iterations", {"late": Late(variants=["air"], iterations=10)}),
        ("test_images", {"test_images": 0}),
        ("gap_images", {"gap_images": 0}),
        ("score_samples", {"score_samples": 1}),
    ],
)
def test_settings_without_meaning_are_refused_with_a_sentence(key: str, own: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        BeliefNetworkStudy(**({"variants": {"air": VARIANT}} | own))
    told = str(refusal.value)
    assert key in told and "found" in told and "expected" in told and "\n" not in told


def test_a_variant_needs_an_estimator_of_its_units() -> None:
    with pytest.raises(UserError, match="estimator: found 'reparametrised'"):
        Variant("bernoulli", "reparametrised", 0.1)
    with pytest.raises(UserError, match="steps: found 1, expected at least 2"):
        Effort(steps=1)


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_the_configuration_is_read_at_every_scale(scale: str) -> None:
    study = configured(scale)
    assert {"gaussian", "mean_passing", "straight_through", "importance"} <= set(study.variants)
    assert scale == "smoke" or len(study.seeds) >= 3


# ---------------------------------------------------------------- figures and claims


def test_every_figure_of_the_configuration_is_drawn(table: pd.DataFrame, tmp_path: Path) -> None:
    names = load_experiment(FOLDER / "config.yaml", "default").figures
    with style.look():
        drawn = load_plots(FOLDER).figures(results(table, tmp_path))
        assert list(drawn) == names
        for figure in drawn.values():
            figure.draw_without_rendering()
            shown = [axes for axes in figure.axes if axes.axison]
            assert shown and all(axes.has_data() for axes in shown)


def test_every_claim_is_judged_and_can_go_either_way(table: pd.DataFrame, tmp_path: Path) -> None:
    claims = {claim.id: claim for claim in claims_of("belief_network")}

    def planted(good: bool) -> dict[str, Callable[[pd.Series[Any]], float]]:
        sign = 1 if good else -1

        def bound(row: pd.Series[Any]) -> float:
            own = 5 if row["run"] == "importance" else 0
            return -30 + sign * (own + 0.1 * row["train_steps"] + 0.01 * row["test_steps"])

        left = 0.1 if good else 0.9
        return {
            "bound": bound,
            "exact_bound": bound,
            "gap_amortisation": lambda row: 1.0,
            "gap_left": lambda row: left + 0.001 * row["seed"],
        }

    for good, expected in ((True, HOLDS), (False, FAILS)):
        changed = table.copy()
        for metric, value in planted(good).items():
            rows = changed["metric"] == metric
            noise = 1e-4 * changed.loc[rows, "seed"] * changed.loc[rows, "train_steps"]
            changed.loc[rows, "value"] = changed[rows].apply(value, axis=1) + noise
        for name, claim in claims.items():
            outcomes = {finding.outcome for finding in claim.judge(results(changed, tmp_path))}
            assert outcomes == {expected}, (name, good)
