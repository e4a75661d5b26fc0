"""DisARM: unbiased by exact enumeration of its noise, and by z-test; planted errors are caught."""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import model, normal, problem, process, traces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dfp.config.build import make_objective
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.objectives.base import Problem
from dfp.objectives.disarm import DisArm
from dfp.objectives.score_function import ScoreFunction
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

BINS = 3


def exact_gradient(setting: Problem, q: CausalBernoulli, unknowns: list[Tensor]) -> tuple[Tensor, ...]:
    """∇ of minus the ELBO per counted bin, by enumeration of a single trial."""
    bins, cells = setting.x.shape[1:]
    paths = all_paths(bins, cells)
    log_q = q.log_prob(paths)
    likelihood = setting.model.log_likelihood(setting.x, paths)
    joint = likelihood + setting.model.prior(1, bins).log_prob(paths)
    reward = ((joint - log_q) * setting.weights).sum((1, 2, 3))
    return torch.autograd.grad(-(log_q.sum((1, 2, 3)).exp() * reward).sum() / setting.weights.sum(), unknowns)


class EveryNoise(CausalBernoulli):
    """Draws one noise for every cell of the partition that ±u cut the noise of each bin into."""

    def partition(self) -> tuple[Tensor, Tensor]:
        """Noises ``(3^T, 1, T, 1)`` and their probabilities ``(3^T,)``: a pair of samples depends on each ℓ
        only by whether it lies below −|u|, between, or above |u|.
        """
        size = self.drive.detach()[0, :, 0].abs()
        tail = torch.sigmoid(-size)
        choices = list(itertools.product((-1, 0, 1), repeat=len(size)))
        signs = torch.tensor(choices, dtype=torch.float64)
        noise = torch.where(signs == 0, torch.zeros_like(signs), signs * (size + 1.0))
        probability = torch.where(signs == 0, 1 - 2 * tail, tail).prod(1)
        return noise[:, None, :, None], probability

    def noise(self, samples: int, rng: torch.Generator) -> Tensor:
        return self.chosen

    chosen: Tensor


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), burn_in=st.integers(0, 2), independent=st.booleans())
def test_expectation_over_all_noise_is_the_exact_gradient(seed: int, burn_in: int, independent: bool) -> None:
    """The pair is a function of which of three stretches each noise falls into: the expectation is a finite
    sum, with no sampling error.
    """
    network = model(1, seed % 50, basis=0)
    drive = (1.2 * normal(generator(seed), 1, BINS, 1)).requires_grad_()
    weights = torch.ones(1, BINS, 1, dtype=torch.float64)
    weights[:, :burn_in] = 0
    setting = problem(network, traces(seed, 1, BINS, 1), weights, independent)
    q = EveryNoise(drive)
    unknowns = [drive, network.raw_bias, network.raw_history, network.raw_amplitude]
    noises, probabilities = q.partition()
    assert float(probabilities.sum()) == pytest.approx(1)
    expected = [torch.zeros_like(unknown) for unknown in unknowns]
    for noise, probability in zip(noises, probabilities, strict=True):
        object.__setattr__(q, "chosen", noise[None])
        loss = DisArm(1).loss(setting, q, FixedPoint(), Hard(), generator(0))
        for total, part in zip(expected, torch.autograd.grad(loss.total, unknowns), strict=True):
            total += probability * part
    exact = exact_gradient(setting, CausalBernoulli(drive), unknowns)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(expected, exact, strict=True))


TRIALS, LOSSES = 400, 60


def largest_z(objective: DisArm | ScoreFunction, coupled: bool = True) -> tuple[float, float]:
    """Largest |z| over the coordinates of φ and θ of two cells, and its 0.1% Bonferroni threshold."""
    network = model(2, 3, basis=1 if coupled else 0, rise=0.1)
    q = process("factorised", 5, 1, BINS, 2)
    x = traces(6, 1, BINS, 2)
    unknowns = [q.drive, *(p for p in network.parameters() if p.numel())]
    one = problem(network, x, independent=not coupled)
    exact = torch.cat([part.reshape(-1) for part in exact_gradient(one, q, unknowns)])
    many = problem(network, x.expand(TRIALS, -1, -1), independent=not coupled)
    rng, rows = generator(7), []
    for _ in range(LOSSES):
        spread = q.with_drive(q.drive.expand(TRIALS, -1, -1))
        loss = objective.loss(many, spread, FixedPoint(), Hard(), rng)
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss.total, unknowns)]))
    found = torch.stack(rows)
    error = found.std(0) / LOSSES**0.5
    moving = error > 1e-12
    if not torch.allclose(found.mean(0)[~moving], exact[~moving], atol=1e-9):
        return float("inf"), 0.0  # the same in every draw, and wrong
    z = ((found.mean(0) - exact) / error)[moving]
    return float(z.abs().max()), float(stats.t.isf(0.001 / 2 / len(z), LOSSES - 1))


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("samples", [1, 3])
def test_gradient_is_unbiased(samples: int, coupled: bool) -> None:
    z, threshold = largest_z(DisArm(samples), coupled)
    assert z < threshold


def test_half_the_weight_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    import dfp.objectives.disarm as module

    sound = module._difference
    monkeypatch.setattr(module, "_difference", lambda values: sound(values) * 0.9)
    z, threshold = largest_z(DisArm(1))
    assert z > 1.3 * threshold


def test_rewards_to_go_one_bin_late_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = ScoreFunction.reward_to_go

    def late(self: ScoreFunction, reward: Tensor, independent: bool) -> Tensor:
        return sound(self, reward, independent) - reward

    monkeypatch.setattr(ScoreFunction, "reward_to_go", late)
    z, threshold = largest_z(DisArm(1))
    assert z > 1.3 * threshold


def test_the_draw_holds_antithetic_pairs() -> None:
    q = process("factorised", 1, 2, 6, 2)
    loss = DisArm(3).loss(problem(model(2, 0), traces(1, 2, 6, 2)), q, FixedPoint(), Hard(), generator(0))
    first, second = loss.draw.noise.chunk(2)
    assert loss.draw.z.shape[0] == 6 and torch.equal(first, -second)
    z, partner = loss.draw.z.chunk(2)
    both = (z == 1) & (partner == 1)
    assert bool((q.drive.expand_as(z)[both] > 0).all())  # both spike only where a spike is likelier than not


def test_a_posterior_with_causal_terms_is_refused() -> None:
    q = process("own_history", 1, 2, 6, 2)
    with pytest.raises(UserError, match=r"objective disarm: found .*causal term.*expected"):
        DisArm(1).loss(problem(model(2, 0), traces(1, 2, 6, 2)), q, FixedPoint(), Hard(), generator(0))


def test_it_is_made_from_a_configuration() -> None:
    assert make_objective({"kind": "disarm", "samples": 2}, "here") == DisArm(2)
