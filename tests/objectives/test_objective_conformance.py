"""What every objective must satisfy, and the bounds against exact numbers. Objectives are discovered."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from cases import leaves, model, normal, problem, process, traces
from torch import Tensor

from dfp.config.build import objectives
from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli, bernoulli_entropy
from dfp.distributions.enumeration import all_paths
from dfp.metrics.bounds import sample_hard
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Objective, Problem, logits_at
from dfp.objectives.disarm import DisArm
from dfp.objectives.multi_sample import MultiSample
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.objectives.wake_sleep import WakeSleep
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard, MeanField, Relaxation, StraightThrough
from dfp.samplers.sequential import Sequential

RELAXATIONS: tuple[Relaxation, ...] = (
    Concrete(0.5),
    MeanField(),
    StraightThrough("literal"),
    StraightThrough("sigma"),
    Hard(),
)


def meaningful(objective: Objective) -> list[Relaxation]:
    """The relaxations that the objective accepts."""
    found = []
    for relaxation in RELAXATIONS:
        try:
            objective.check(relaxation)
        except UserError:
            continue
        found.append(relaxation)
    return found


def pairs() -> list[tuple[Objective, Relaxation]]:
    """Every discovered objective in small settings, with every relaxation that it accepts."""
    made = []
    for name, cls in objectives().items():
        made += [cls(samples=3)]  # type: ignore[call-arg]
        if name == "multi_sample":
            made += [MultiSample(3, of="logistic_density")]
        if name == "relaxed_pmf":
            made += [RelaxedPmf(3, entropy="analytic")]
    return [(objective, relaxation) for objective in made for relaxation in meaningful(objective)]


every_pair = pytest.mark.parametrize(("objective", "relaxation"), pairs(), ids=str)
#: wake-sleep's posterior learns from simulated traces, in another loss: see test_wake_sleep
every_pair_that_moves_q = pytest.mark.parametrize(
    ("objective", "relaxation"), [pair for pair in pairs() if not isinstance(pair[0], WakeSleep)], ids=str
)


@pytest.mark.parametrize("name", sorted(objectives()))
def test_every_objective_has_a_relaxation(name: str) -> None:
    assert meaningful(objectives()[name](samples=3))  # type: ignore[call-arg]


def small(
    coupled: bool = True,
    independent: bool = False,
    weights: Tensor | None = None,
    seed: int = 0,
    objective: Objective | None = None,
) -> tuple[CalciumNetwork, CausalBernoulli, Problem]:
    """A model, a q with as many terms as the objective allows, and its problem."""
    network = model(2, seed, basis=1 if coupled else 0)
    kind = "all_terms" if coupled else "own_history"
    kind = "factorised" if isinstance(objective, DisArm) else kind
    q = process(kind, seed, trials=3, bins=6, cells=2, strength=0.7)
    return network, q, problem(network, traces(seed, trials=3, bins=6, cells=2), weights, independent)


@every_pair
@pytest.mark.parametrize(
    "sampler", [Sequential(), FixedPoint(tolerance=1e-12), FixedPoint(sweeps=2)], ids=str
)
def test_loss_is_finite_and_differentiable_in_everything(
    objective: Objective, relaxation: Relaxation, sampler: Sequential | FixedPoint
) -> None:
    network, q, setting = small(objective=objective)
    loss = objective.loss(setting, q, sampler, relaxation, generator(1))
    assert torch.isfinite(loss.total) and all(value == value for value in loss.terms.values())
    assert loss.per_cell.shape == (2,) and not loss.per_cell.requires_grad
    assert float(loss.per_cell.sum()) == pytest.approx(loss.total.item())
    unknowns = [*(() if isinstance(objective, WakeSleep) else leaves(q)), *network.parameters()]
    for gradient in torch.autograd.grad(loss.total, unknowns):
        assert torch.isfinite(gradient).all() and float(gradient.abs().max()) > 0


@pytest.mark.parametrize(
    ("objective", "relaxation"),
    [pair for pair in pairs() if isinstance(pair[1], (Concrete, MeanField))],
    ids=str,
)
def test_pathwise_gradients_are_those_of_the_loss_at_fixed_noise(
    objective: Objective, relaxation: Relaxation
) -> None:
    """Central differences along a random direction in all of φ and θ at once."""
    network, q, setting = small(
        weights=torch.tensor([0.0, 1, 1, 1, 0, 1]).double()[None, :, None].expand(3, -1, -1)
    )
    unknowns = [*leaves(q), *(p for p in network.parameters() if p.numel())]
    directions = [normal(generator(50 + k), *p.shape) for k, p in enumerate(unknowns)]

    def value() -> Tensor:
        return objective.loss(setting, q, FixedPoint(tolerance=1e-13), relaxation, generator(2)).total

    gradients = torch.autograd.grad(value(), unknowns)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    ends = []
    for sign in (1.0, -2.0):
        with torch.no_grad():
            for p, d in zip(unknowns, directions, strict=True):
                p += sign * 1e-6 * d
        ends.append(value().item())
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-5)


@every_pair_that_moves_q
def test_a_panel_is_its_cells_side_by_side(objective: Objective, relaxation: Relaxation) -> None:
    """With independent cells, each cell's loss and gradient are
    those of the cell alone with its own noise.
    """
    network, q, setting = small(coupled=False, independent=True, objective=objective)
    noise = logistic_noise((3, 3, 6, 2), generator(3), torch.float64)
    whole = objective.loss(
        setting, _with_noise(q, noise), FixedPoint(tolerance=1e-13), relaxation, generator(0)
    )
    (gradient,) = torch.autograd.grad(whole.total, q.drive)
    for n in range(2):
        one = model(1, 0)
        state = {key: value for key, value in network.state_dict().items() if key.startswith("raw")}
        cut = {key: value[n : n + 1] for key, value in state.items() if key != "raw_coupling"}
        one.load_state_dict({**one.state_dict(), **cut})
        drive = q.drive.detach()[..., n : n + 1].clone().requires_grad_()
        terms = [type(term)(term.taps[n : n + 1]) for term in q.terms]  # type: ignore[call-arg, attr-defined]
        alone = objective.loss(
            problem(one, setting.x[..., n : n + 1], independent=True),
            _with_noise(CausalBernoulli(drive, tuple(terms)), noise[..., n : n + 1]),
            FixedPoint(tolerance=1e-13),
            relaxation,
            generator(0),
        )
        assert float(alone.per_cell) == pytest.approx(float(whole.per_cell[n]), abs=1e-10)
        (own,) = torch.autograd.grad(alone.total, drive)
        assert torch.allclose(own, gradient[..., n : n + 1], atol=1e-10)


def _with_noise(q: CausalBernoulli, noise: Tensor) -> CausalBernoulli:
    class Given(CausalBernoulli):
        """Draws with the noise that it is given."""

        def noise(self, samples: int, rng: torch.Generator) -> Tensor:
            return noise

    return Given(q.drive, q.terms)


# ---------------------------------------------------------------- weights


def _weights() -> Tensor:
    """Trials with different numbers of bins that count."""
    rows = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    return torch.tensor(rows, dtype=torch.float64)[..., None]


@every_pair_that_moves_q
def test_bins_that_do_not_count_are_not_looked_at(objective: Objective, relaxation: Relaxation) -> None:
    """At fixed q and noise, frames in the burn-in may be anything, NaN included."""
    network, q, setting = small(weights=_weights(), objective=objective)
    other = setting.x.clone()
    other[_weights().expand_as(other) == 0] = torch.tensor(float("nan"), dtype=torch.float64)
    losses = [
        objective.loss(
            problem(network, x, _weights()), q, FixedPoint(tolerance=1e-12), relaxation, generator(4)
        )
        for x in (setting.x, other)
    ]
    assert losses[0].total.item() == losses[1].total.item()
    gradients = [torch.autograd.grad(loss.total, [*leaves(q), *network.parameters()]) for loss in losses]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@every_pair
def test_the_loss_is_nats_per_counted_bin(objective: Objective, relaxation: Relaxation) -> None:
    """Numerator and number of bins are summed over the batch: every counted
    bin weighs the same, in whichever trial it stands.
    """
    network, q, setting = small(weights=_weights(), objective=objective)
    loss = objective.loss(setting, q, FixedPoint(tolerance=1e-12), relaxation, generator(5))
    draw = loss.draw
    with torch.no_grad():
        if isinstance(objective, ScoreFunction | DisArm | WakeSleep):
            terms = network.log_joint(setting.x, draw.z) - q.log_prob(draw.z)
        else:
            single = objective.single if isinstance(objective, MultiSample) else objective
            terms = sum(single.parts(setting, q, draw))  # type: ignore[union-attr, attr-defined]
        counted = (terms * _weights()).sum((2, 3))
        many = isinstance(objective, MultiSample)
        bound = counted.logsumexp(0) - math.log(3) if many else counted.mean(0)
    assert loss.total.item() == pytest.approx(float(-bound.sum() / _weights().sum()), abs=1e-12)


def test_named_terms_add_up_to_the_loss() -> None:
    for objective, relaxation in pairs():
        if isinstance(objective, MultiSample):
            continue
        _, q, setting = small(weights=_weights(), objective=objective)
        loss = objective.loss(setting, q, FixedPoint(), relaxation, generator(6))
        parts = [loss.terms[name] for name in ("log_likelihood", "log_prior", "entropy")]
        assert sum(parts) == pytest.approx(-float(loss.per_cell.mean()), abs=1e-9)


# ---------------------------------------------------------------- bounds


BINS, CELLS = 3, 2


@pytest.fixture(scope="module")
def exact() -> dict[str, Any]:
    """One trial of three bins and two coupled cells: log p(x), ELBO
    and the two-sample bound, by enumeration.
    """
    network, q = (
        model(CELLS, 3, basis=1, learn=()),
        process("all_terms", 4, trials=1, bins=BINS, cells=CELLS, strength=0.6),
    )
    q = CausalBernoulli(q.drive.detach(), tuple(q.terms))
    x = traces(5, trials=1, bins=BINS, cells=CELLS)
    paths = all_paths(BINS, CELLS)
    with torch.no_grad():
        log_q = q.log_prob(paths).sum((1, 2, 3))
        log_joint = network.log_joint(x, paths).sum((1, 2, 3))
        weight, p = log_joint - log_q, log_q.exp()
        pair = torch.logaddexp(weight[:, None], weight) - math.log(2)
        return {
            "network": network,
            "q": q,
            "x": x,
            "evidence": float(log_joint.logsumexp(0)),
            "elbo": float((p * weight).sum()),
            "iwae": float((p[:, None] * p * pair).sum()),
        }


def test_the_bounds_are_in_order(exact: dict[str, Any]) -> None:
    assert exact["elbo"] + 0.02 < exact["iwae"] < exact["evidence"] - 0.02


def test_hard_samples_give_the_exact_bounds(exact: dict[str, Any]) -> None:
    """40,000 samples: ELBO and two-sample bound within four standard
    errors, a bound of many samples near the evidence.
    """
    samples = sample_hard(exact["network"], exact["q"], exact["x"], 40_000, generator(0), independent=False)
    weights = samples.log_weights[:, 0, 0].detach()
    error = float(weights.std()) / 200
    assert abs(float(samples.elbo()[0, 0]) - exact["elbo"]) < 4 * error
    assert abs(float(samples.iwae(2)[0, 0]) - exact["iwae"]) < 4 * error
    assert exact["iwae"] < float(samples.iwae(2000)[0, 0]) < exact["evidence"] + 0.02


@pytest.mark.parametrize(
    ("objective", "relaxation", "number"),
    [
        (RelaxedPmf(2), StraightThrough("literal"), "elbo"),
        (RelaxedPmf(2, entropy="analytic"), StraightThrough("sigma"), "elbo"),
        (ScoreFunction(2), Hard(), "elbo"),
        (MultiSample(2), StraightThrough("sigma"), "iwae"),
    ],
    ids=str,
)
def test_losses_on_hard_values_are_the_bounds(
    exact: dict[str, Any], objective: Objective, relaxation: Relaxation, number: str
) -> None:
    """The mean of independent losses against enumeration, four standard errors."""
    q, x = exact["q"], exact["x"].expand(2000, -1, -1)
    setting = problem(exact["network"], x)
    rng = generator(1)
    with torch.no_grad():
        q = q.with_terms(term for term in q.terms if not hasattr(term, "context"))
        drive = q.drive.expand(2000, -1, -1)
        losses = [
            -objective.loss(setting, q.with_drive(drive), FixedPoint(), relaxation, rng).total * BINS
            for _ in range(20)
        ]
        paths = all_paths(BINS, CELLS)
        log_q = q.log_prob(paths).sum((1, 2, 3))
        weight = exact["network"].log_joint(exact["x"], paths).sum((1, 2, 3)) - log_q
        pair = torch.logaddexp(weight[:, None], weight) - math.log(2)
        p = log_q.exp()
        expected = {"elbo": float((p * weight).sum()), "iwae": float((p[:, None] * p * pair).sum())}[number]
    values = torch.stack(losses)
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / 20**0.5


def test_mean_field_on_a_factorised_q_is_hjelms_bound() -> None:
    """Eq. 8: log p at the means, and the exact entropy; for a prior without
    history the expected log-prior is exact too.
    """
    network = model(2, 6, history=0)
    q = process("factorised", 6, trials=2, bins=5, cells=2)
    x = traces(6)
    loss = RelaxedPmf(1, entropy="analytic").loss(
        problem(network, x), q, Sequential(), MeanField(), generator(0)
    )
    mu = torch.sigmoid(q.drive)[None]
    by_hand = (network.log_joint(x, mu) + bernoulli_entropy(q.drive)).sum() / 10
    assert loss.total.item() == pytest.approx(float(-by_hand.detach()))
    paths = all_paths(5, 2).expand(-1, 2, -1, -1)
    prior = (q.log_prob(paths).sum((2, 3)).exp() * network.prior(2, 5).log_prob(paths).sum((2, 3))).sum(0)
    assert torch.allclose(network.prior(2, 5).log_prob(mu).sum((0, 2, 3)), prior)


def test_relaxed_samples_are_scored_at_their_own_logits_after_k_sweeps() -> None:
    """log q of the relaxed pmf is taken at u(z) for the final z, not at the logits one sweep earlier."""
    q = process("all_terms", 7, trials=1, bins=8, cells=2)
    unfinished = q.draw(q.noise(2, generator(0)), FixedPoint(sweeps=2), Concrete(0.5))
    assert torch.equal(logits_at(q, unfinished), q.logits(unfinished.z))
    assert not torch.allclose(unfinished.logits, q.logits(unfinished.z), atol=1e-3)
    done = q.draw(q.noise(2, generator(0)), FixedPoint(tolerance=1e-12), Concrete(0.5))
    assert torch.allclose(logits_at(q, done), q.logits(done.z), atol=1e-10)
    u, setting = q.logits(unfinished.z), problem(model(2), traces(0, trials=1, bins=8))
    p = torch.sigmoid(u)
    sampled = torch.nn.functional.softplus(u) - unfinished.z * u
    for entropy, expected in (("sampled", sampled), ("analytic", -(p * p.log() + (1 - p) * (-p).log1p()))):
        found = RelaxedPmf(2, entropy=entropy).parts(setting, q, unfinished)[2]
        assert torch.allclose(found, expected, atol=1e-9)


def test_multi_sample_counts_its_effective_samples() -> None:
    _, q, setting = small()
    rng = generator(0)
    loss = MultiSample(4).loss(setting, q, Sequential(), Concrete(0.5), rng)
    assert 1.0 <= loss.terms["effective_samples"] <= 4.0
