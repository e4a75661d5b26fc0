"""The score-function gradient against the exact gradient, by enumeration, with a z-test for every coordinate.

Each loss is one unbiased estimate of the whole gradient; many are drawn independently, and the largest |z|
over all coordinates is held against the Bonferroni threshold. Estimators with a planted error must fail the
same test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from cases import leaves, model, normal, problem, process
from scipy import stats
from torch import Tensor

from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Problem
from dfp.objectives.score_function import ScoreFunction
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

BINS, CELLS = 4, 2
COPIES = 12  # equal trials in one loss: the average of so many estimates
LOSSES = 250


@dataclass(frozen=True)
class Case:
    """A problem small enough to enumerate, in ``COPIES`` equal trials."""

    network: CalciumNetwork
    q: CausalBernoulli
    problem: Problem

    @property
    def unknowns(self) -> list[Tensor]:
        """All of φ and θ."""
        return [*leaves(self.q), *(p for p in self.network.parameters() if p.requires_grad)]

    def posterior(self) -> CausalBernoulli:
        """q for all the copies."""
        return self.q.with_drive(self.q.drive.expand(COPIES, -1, -1))


@cache
def case(kind: str, weights: tuple[float, ...] = (1.0,) * BINS) -> Case:
    """``independent`` cells, a ``coupled`` model with a coupled q, or only one of the two coupled."""
    network = model(
        CELLS, seed=1, basis=0 if kind in ("independent", "coupled q") else 1, history=2, rise=0.1
    )
    q = process(
        "own_history" if kind in ("independent", "coupled model") else "all_terms",
        2,
        1,
        BINS,
        CELLS,
        0.8,
        lags=2,
    )
    if kind == "coupled q":
        # a nonlinear term of every copy, so that its context is expanded like the drive
        q = process("coupled", 3, 1, BINS, CELLS, 0.8, lags=2)
    x = normal(generator(4), 1, BINS, CELLS) + 0.4
    counted = torch.tensor(weights, dtype=torch.float64)[None, :, None]
    same = problem(network, x.expand(COPIES, -1, -1), counted.expand(COPIES, -1, -1), kind == "independent")
    return Case(network, q, same)


def exact_loss(setting: Case) -> Tensor:
    """Minus the ELBO per counted bin, summed over cells, by enumeration."""
    paths = all_paths(BINS, CELLS)
    x, weights = setting.problem.x[:1], setting.problem.weights[:1]
    log_q = setting.q.log_prob(paths)
    reward = ((setting.network.log_joint(x, paths) - log_q) * weights).sum((1, 2, 3))
    return -(log_q.sum((1, 2, 3)).exp() * reward).sum() / weights.sum()


@cache
def estimates(setting: Case, objective: ScoreFunction) -> tuple[Tensor, Tensor]:
    """Gradients ``(losses, coordinates)`` and values ``(losses,)`` of independent losses."""
    rng = generator(99)
    rows, values = [], []
    for _ in range(LOSSES):
        loss = objective.loss(setting.problem, setting.posterior(), FixedPoint(), Hard(), rng)
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss.total, setting.unknowns)]))
        values.append(loss.total.detach())
    return torch.stack(rows), torch.stack(values)


def largest_z(setting: Case, objective: ScoreFunction) -> tuple[float, float]:
    """Largest |z| of mean against exact gradient over all coordinates, and the 0.1% Bonferroni threshold."""
    exact = torch.cat([g.reshape(-1) for g in torch.autograd.grad(exact_loss(setting), setting.unknowns)])
    found, _ = estimates(setting, objective)
    error = found.std(0) / LOSSES**0.5
    moving = error > 1e-12
    if not torch.allclose(
        found.mean(0)[~moving], exact[~moving], atol=1e-9
    ):  # the same in every sample, and wrong
        return float("inf"), 0.0
    assert int(moving.sum()) > 0.5 * len(exact.nonzero())
    z = ((found.mean(0) - exact) / error)[moving]
    return float(z.abs().max()), float(stats.norm.isf(0.001 / 2 / len(z)))


KINDS = ("independent", "coupled", "coupled model", "coupled q")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [2, 5])
def test_gradient_is_unbiased(kind: str, samples: int) -> None:
    z, threshold = largest_z(case(kind), ScoreFunction(samples))
    assert z < threshold


@pytest.mark.parametrize("kind", ["independent", "coupled"])
def test_gradient_is_unbiased_with_a_burn_in(kind: str) -> None:
    """Bins of weight 0 count neither in prior, likelihood nor entropy, but
    their spikes are chosen for what counts later.
    """
    setting = case(kind, (0.0, 0.0, 1.0, 1.0))
    z, threshold = largest_z(setting, ScoreFunction(3))
    assert z < threshold
    (drive,) = torch.autograd.grad(exact_loss(setting), setting.q.drive)
    assert float(drive[:, :2].abs().max()) > 0.01, "the burn-in does not matter here"


def test_a_reward_window_as_long_as_the_trial_changes_nothing() -> None:
    setting = case("coupled")
    whole, windowed = (estimates(setting, ScoreFunction(3, reward_window=w))[0] for w in (0, BINS))
    assert torch.equal(whole, windowed)


# ---------------------------------------------------------------- what the test must catch


class SignError(ScoreFunction):
    """The reward's sign is wrong."""

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        return -super().reward_to_go(reward, independent)


class OffByOne(ScoreFunction):
    """A spike is not credited with its own bin."""

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        return super().reward_to_go(reward, independent) - reward


class OthersForgotten(ScoreFunction):
    """A spike is not credited with what it does to other cells."""

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        return super().reward_to_go(reward, True)


class OthersTwice(ScoreFunction):
    """Its own cell's future is counted with the other cells' as well."""

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        own = super().reward_to_go(reward, True)
        return own + (own - reward).sum(-1, keepdim=True)


class OwnBaseline(ScoreFunction):
    """The baseline includes the sample itself, uncorrected: shrinks the gradient by 1/S."""

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        return super().reward_to_go(reward, independent) * (1 - 1 / self.samples)


class Backwards(ScoreFunction):
    """Reward up to now in place of reward from now on."""

    def reward_to_go(self, reward: Tensor, independent: bool) -> Tensor:
        return super().reward_to_go(reward.flip(2), independent).flip(2)


@pytest.mark.parametrize(
    "planted", [SignError, OffByOne, OthersForgotten, OthersTwice, OwnBaseline, Backwards]
)
def test_planted_errors_are_caught(planted: Callable[[int], ScoreFunction]) -> None:
    z, threshold = largest_z(case("coupled"), planted(3))
    assert z > 2 * threshold


def test_the_bias_of_a_short_reward_window_is_visible() -> None:
    """One bin of reward forgets that a spike lights up the following frames."""
    z, threshold = largest_z(case("coupled"), ScoreFunction(3, reward_window=1))
    assert z > 2 * threshold
    longer, _ = largest_z(case("coupled"), ScoreFunction(3, reward_window=3))
    assert longer < z


# ---------------------------------------------------------------- value and definition


def test_the_value_is_the_elbo() -> None:
    for kind in KINDS:
        setting = case(kind)
        _, values = estimates(setting, ScoreFunction(2))
        z = float((values.mean() - exact_loss(setting).detach()) / (values.std() / LOSSES**0.5))
        assert abs(z) < 4


@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("window", [0, 1, 2, 3])
def test_reward_to_go_is_its_definition(independent: bool, window: int) -> None:
    """Own rewards from t on; the other cells' after t, when cells are
    coupled; at most ``window`` bins, the first included.
    """
    reward = normal(generator(0), 2, 3, 5, 3)
    found = ScoreFunction(2, window).reward_to_go(reward, independent)
    for t in range(5):
        end = t + window if window else 5
        for i in range(3):
            expected = reward[:, :, t:end, i].sum(2)
            if not independent:
                expected = expected + sum(reward[:, :, t + 1 : end, j].sum(2) for j in range(3) if j != i)
            assert torch.allclose(found[:, :, t, i], expected, atol=1e-12)
