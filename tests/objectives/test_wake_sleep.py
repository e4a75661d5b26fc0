"""Wake-sleep: the posterior learns from simulated traces only, the model from recorded ones only."""

from __future__ import annotations

import pytest
import torch
from cases import Family, model, problem, traces

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Problem
from dfp.objectives.wake_sleep import WakeSleep
from dfp.posteriors.base import Posterior
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.training.loop import Trainer
from dfp.training.phase import Phase
from dfp.training.schedules import Schedule
from dfp.training.step import training_loss

SMALL = Family("twisted", {"recognition": {"window": 3, "hidden": 8}, "history": 3, "hidden": 8})


def loss_of(network: CalciumNetwork, posterior: Posterior, objective: WakeSleep) -> torch.Tensor:
    x = traces(0, trials=3, bins=6, cells=2)
    step = training_loss(problem(network, x), posterior, objective, FixedPoint(), Hard(), generator(1))
    return step.total


def test_the_model_learns_awake_and_the_posterior_asleep() -> None:
    network, posterior = model(2, basis=1), SMALL.trained()
    used = [p for p in posterior.parameters() if p.numel()]
    awake = torch.autograd.grad(
        loss_of(network, posterior, WakeSleep(samples=3, dreams=4)), [*network.parameters()]
    )
    # the gradient in θ is the M-step's, at the samples that were drawn: none of it comes from the dreams
    x = traces(0, trials=3, bins=6, cells=2)
    setting = problem(network, x)
    rng = generator(1)
    objective = WakeSleep(samples=3, dreams=4)
    objective.sleep(setting, lambda y, prior: posterior.condition(y, None, prior).q, rng)
    q = posterior.condition(x, None, network.prior(3, 6)).q
    z = q.draw(q.noise(3, rng), FixedPoint(), Hard()).z
    joint = setting.per_bin(network.log_joint(x, z)).mean((0, 1)).sum()
    for found, expected in zip(awake, torch.autograd.grad(-joint, [*network.parameters()]), strict=True):
        assert torch.allclose(found, expected, atol=1e-12)
    # asleep alone: nothing for θ, something for every weight of φ
    asleep = loss_of(network, posterior, WakeSleep(samples=0, dreams=4))
    gradients = torch.autograd.grad(asleep, [*used, *network.parameters()], allow_unused=True)
    assert all(g is not None and float(g.abs().max()) > 0 for g in gradients[: len(used)])
    assert all(g is None for g in gradients[len(used) :])


@pytest.mark.parametrize("indirect", [False, True])
def test_awake_the_posterior_goes_on_learning_asleep(indirect: bool) -> None:
    """With samples for the model, φ has the gradient of the sleep phase alone; told is the bound awake."""
    network, posterior = model(2, basis=1), SMALL.trained()
    used = [p for p in posterior.parameters() if p.numel()]
    x = traces(0, trials=3, bins=6, cells=2)
    objective = WakeSleep(samples=3, dreams=4, indirect=indirect)
    both = training_loss(problem(network, x), posterior, objective, FixedPoint(), Hard(), generator(1))
    asleep = loss_of(network, posterior, WakeSleep(samples=0, dreams=4))
    pairs = zip(torch.autograd.grad(both.total, used), torch.autograd.grad(asleep, used), strict=True)
    assert all(torch.allclose(found, expected, atol=1e-12) for found, expected in pairs)
    assert both.total.item() == pytest.approx(both.per_cell.sum().item(), abs=1e-12)
    terms = ("log_likelihood", "log_prior", "entropy")
    assert sum(both.terms[name] for name in terms) == pytest.approx(-both.total.item() / 2, abs=1e-12)
    assert both.terms["sleep"] == pytest.approx(asleep.item() / 2, abs=1e-12)


def test_a_tied_posterior_teaches_the_model_nothing_asleep() -> None:
    network = model(2, basis=1)
    tied = Family("autoregressive", {"recognition": {"window": 2, "hidden": 4}, "tied_coupling": True})
    asleep = loss_of(network, tied.trained(), WakeSleep(samples=0, dreams=4))
    assert all(g is None for g in torch.autograd.grad(asleep, [*network.parameters()], allow_unused=True))


def test_the_sleep_loss_is_least_at_the_exact_posterior() -> None:
    """Averaged over the model's own traces, −log q(z | x) of the exact posterior is below that of the prior
    and of a posterior with one logit moved, paired by trace."""
    network, rng = model(1, kernel_bins=3), generator(3)
    bins, trials = 4, 4000
    paths = all_paths(bins, 1)
    with torch.no_grad():
        prior = network.prior(trials, bins)
        z = prior.draw(prior.noise(1, rng), FixedPoint(), Hard()).z
        x = network.observe(z, rng)[0]
        joint = network.log_joint(x, paths.expand(-1, trials, -1, -1)).sum((2, 3))
        exact = joint.log_softmax(0)
        index = (z[0, :, :, 0] @ (2.0 ** torch.arange(bins - 1, -1, -1, dtype=z.dtype))).long()
        codes = (paths[:, 0, :, 0] @ (2.0 ** torch.arange(bins - 1, -1, -1, dtype=z.dtype))).long()
        place = torch.empty_like(codes)
        place[codes] = torch.arange(len(codes))
        cross = -exact[place[index], torch.arange(trials)]
        tilted = (joint + 1.0 * paths[:, :, 1, 0]).log_softmax(0)
        worse = -tilted[place[index], torch.arange(trials)] - cross
        naive = -prior.log_prob(z).sum((0, 2, 3)) - cross
    for difference in (worse, naive):
        assert float(difference.mean()) > 3 * float(difference.std()) / trials**0.5


def test_training_asleep_approaches_the_exact_evidence() -> None:
    """One cell, eight bins: the bound, by enumeration, ends within 0.05 nats a bin of log p(x), ten times
    nearer than it starts."""
    network = model(1, kernel_bins=4, learn=()).float()
    posterior = Family(
        "twisted", {"recognition": {"window": 8, "hidden": 16}, "history": 4, "hidden": 16}
    ).fresh(1)
    with torch.no_grad():
        prior = network.prior(12, 8)
        z = prior.draw(prior.noise(1, generator(2)), FixedPoint(), Hard()).z
        x = network.observe(z, generator(4))[0]

    def gap() -> float:
        paths = all_paths(8, 1).float().expand(-1, 12, -1, -1)
        with torch.no_grad():
            joint = network.log_joint(x, paths).sum((2, 3))
            log_q = posterior.condition(x, None, network.prior(12, 8)).q.log_prob(paths).sum((2, 3))
            bound = (log_q.exp() * (joint - log_q)).sum(0)
        return float((joint.logsumexp(0) - bound).mean()) / 8

    before = gap()
    phase = Phase(
        WakeSleep(samples=0, dreams=64),
        FixedPoint(),
        "hard",
        steps=500,
        learning_rate=Schedule(0.02, 1e-3, "cosine"),
    )
    for _ in Trainer(network, posterior, x, [phase], seed=0).run():
        pass
    assert gap() < 0.05 < 0.1 * before


def test_lead_bins_carry_calcium_into_the_dream() -> None:
    network = model(1, learn=())
    seen: list[torch.Tensor] = []

    def condition(x: torch.Tensor, prior: CausalBernoulli) -> CausalBernoulli:
        seen.append(x)
        return prior

    setting = Problem(network, traces(0, bins=6, cells=1), torch.ones(2, 6, 1).double(), False)
    for lead in (0, 30):
        objective = WakeSleep(samples=0, dreams=2000, lead=lead)
        dream = objective.sleep(setting, condition, generator(1))
        assert dream.loss.shape == (1,) and dream.spikes.z.shape[2] == lead + 6
    rest, carried = (float(x[:, 0].mean()) for x in seen)
    spread = float(seen[1][:, 0].std()) / 2000**0.5
    assert carried - rest > 10 * spread


def test_dreams_lack_the_frames_that_the_recording_lacks() -> None:
    network, x = model(2, learn=()), traces(0, trials=2, bins=6)
    x[0, 3, 1] = x[1, 5] = float("nan")
    seen: list[torch.Tensor] = []

    def condition(y: torch.Tensor, prior: CausalBernoulli) -> CausalBernoulli:
        seen.append(y)
        return prior

    WakeSleep(samples=0, dreams=3, lead=2).sleep(problem(network, x), condition, generator(0))
    assert torch.equal(torch.isfinite(seen[0]), torch.isfinite(x[[0, 1, 0]]))


def test_refused_combinations() -> None:
    refined = Family(
        "refined", {"of": "factorised", "factorised": {"recognition": {"window": 2, "hidden": 4}}}
    )
    with pytest.raises(UserError, match="wake_sleep: found a refined posterior"):
        Phase(WakeSleep(), FixedPoint(), "hard").check(refined.fresh())
    with pytest.raises(UserError, match="expected 'hard'"):
        Phase(WakeSleep(), FixedPoint(), "concrete")
    with pytest.raises(UserError, match="found no prior"):
        SMALL.fresh().condition(traces(0).float())
    with pytest.raises(UserError, match="wake_sleep dreams: found 0"):
        WakeSleep(dreams=0)
    with pytest.raises(UserError, match="indirect: found samples 0"):
        WakeSleep(samples=0, indirect=True)


def test_indirect_subtracts_what_the_dreams_ask_for() -> None:
    network, posterior = model(2, basis=1), SMALL.trained()
    x = traces(0, trials=3, bins=6, cells=2)
    setting, rng = problem(network, x), generator(1)
    plain, indirect = WakeSleep(2, dreams=4), WakeSleep(2, dreams=4, indirect=True)
    found = torch.autograd.grad(loss_of(network, posterior, indirect), [*network.parameters()])
    dream = plain.sleep(setting, lambda y, prior: posterior.condition(y, None, prior).q, rng)
    assert dream.problem.x.shape == (4, 6, 2)
    both = torch.cat([x, dream.problem.x])
    with torch.no_grad():
        q = posterior.condition(both, None, network.prior(7, 6)).q
        z = q.draw(q.noise(2, rng), FixedPoint(), Hard()).z
    # summed over cells, averaged over samples, trials and bins
    joint = network.log_joint(x, z[:, :3]).mean((0, 1, 2)).sum()
    asked = network.log_joint(dream.problem.x, z[:, 3:]).mean((0, 1, 2)).sum()
    expected = torch.autograd.grad(asked - joint, [*network.parameters()])
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_indirect_gradients_vanish_at_the_truth_for_a_poor_posterior() -> None:
    """Traces of the model itself and an untrained factorised posterior: the plain wake phase would move the
    model, by up to 100 standard errors; the indirect one leaves it where it is, in every coordinate."""
    network, rng = model(2, basis=1), generator(5)
    poor = Family("factorised", {"recognition": {"window": 2, "hidden": 4}}).trained()
    learned = [p for p in network.parameters() if p.requires_grad]
    gradients: dict[bool, list[torch.Tensor]] = {False: [], True: []}
    for draw in range(600):
        with torch.no_grad():
            prior = network.prior(8, 6)
            x = network.observe(prior.draw(prior.noise(1, rng), FixedPoint(), Hard()).z, rng)[0]
        for indirect, kept in gradients.items():
            step = training_loss(
                problem(network, x),
                poor,
                WakeSleep(samples=1, dreams=8, indirect=indirect),
                FixedPoint(),
                Hard(),
                generator(draw),
            )
            flat = torch.autograd.grad(step.total, learned)
            kept.append(torch.cat([g.flatten() for g in flat]))
    scores = {}
    for indirect, kept in gradients.items():
        g = torch.stack(kept)
        moving = g.std(0) > 0
        scores[indirect] = (g.mean(0) / g.std(0) * len(g) ** 0.5)[moving].abs()
    # some twenty coordinates: 4 standard errors is beyond chance
    assert float(scores[True].max()) < 4
    assert float(scores[False].max()) > 20


def test_a_posterior_that_cannot_be_joined_is_conditioned_on_all_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known and unknown terms take two ways to one loss."""
    posterior = Family("autoregressive", {"history": 2}).trained(2)
    network, x = model(2, basis=1), traces(3, trials=2, bins=6)
    objective = WakeSleep(samples=2, dreams=3, indirect=True)

    def total() -> float:
        setting = problem(network, x)
        return training_loss(setting, posterior, objective, FixedPoint(), Hard(), generator(0)).total.item()

    known = total()
    asked = []
    monkeypatch.setattr("dfp.training.step.joined", lambda *laws: asked.append(len(laws)))
    assert total() == pytest.approx(known, abs=1e-12) and asked == [2]


def test_dreams_have_a_burn_in_where_any_recorded_window_has_one() -> None:
    """The first of two windows starts its trial and counts in full; every dream leaves two bins out."""
    network, posterior = model(2, basis=1, learn=()), SMALL.trained()
    x = traces(0, trials=2, bins=6)
    weights = torch.ones(2, 6, 1, dtype=x.dtype)
    weights[1, :2] = 0
    setting = problem(network, x, weights)
    objective = WakeSleep(samples=0, dreams=4, lead=2)
    dream = objective.sleep(setting, lambda y, p: posterior.condition(y, None, p).pmf, generator(0))
    assert dream.problem.weights[:, :, 0].tolist() == [[0, 0, 1, 1, 1, 1]] * 4
    log_q = dream.q.log_prob(dream.spikes.z[:, :, 2:])
    assert torch.allclose(dream.loss, -log_q[:, :, 2:].mean((0, 1, 2)), atol=1e-12)
