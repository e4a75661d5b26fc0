"""Flows of the logistic latents: densities, determinants, and their bound on the evidence of the spikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import Family, condition, families, model, problem, traces
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import logistic_log_density
from dfp.distributions.enumeration import all_paths
from dfp.flows.planar import planar_inverse
from dfp.flows.radial import radial_inverse
from dfp.metrics.bounds import sample_hard
from dfp.objectives.disarm import DisArm
from dfp.objectives.logistic_density import LogisticDensity
from dfp.objectives.multi_sample import MultiSample
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.objectives.wake_sleep import WakeSleep
from dfp.posteriors.latent_flow import FlowedLatents, LatentFlowConfig, Layers, PlanarLayers, cut
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer
from dfp.training.phase import Phase
from dfp.training.schedules import Schedule

every_family = pytest.mark.parametrize("family", families(pmf=False), ids=str)
every_flow = pytest.mark.parametrize("flow", ["planar", "radial"])
BINS, CELLS = 11, 2


def law(flow: str, seed: int = 0, bins: int = BINS, cells: int = CELLS, **settings: Any) -> FlowedLatents:
    """A trained-looking q for two trials; blocks of 4 bins, the last of them cut short."""
    own = {"recognition": {"window": 2, "hidden": 4}, "flow": flow, "length": 3, "block": 4} | settings
    q = condition(Family("latent_flow", own).trained(cells, seed), traces(seed, bins=bins, cells=cells)).q
    assert isinstance(q, FlowedLatents)
    return q


def noise_for(q: FlowedLatents, samples: int = 1, seed: int = 0) -> Tensor:
    return q.noise(samples, generator(seed))


@every_flow
def test_the_log_determinant_is_that_of_the_whole_trial(flow: str) -> None:
    for seed in range(3):
        q = law(flow, seed, cells=1)
        noise = noise_for(q, seed=seed)
        jacobian = torch.autograd.functional.jacobian(lambda ell, q=q: q.flow(ell)[0][0, 1, :, 0], noise)
        jacobian = jacobian[:, 0, 1, :, 0]
        sign, expected = torch.linalg.slogdet(jacobian)
        found = q.flow(noise)[1][0, 1].sum()
        assert float(sign) == 1.0 and abs(float(expected)) > 0.01, "the map is trivial"
        assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-10)
        # the first and the third flow mix bins 0-3 and 4-7, the second 2-5: edges couple too
        assert abs(float(jacobian[4, 3])) > 1e-6 and abs(float(jacobian[3, 4])) > 1e-6


@every_flow
def test_trials_and_cells_do_not_mix(flow: str) -> None:
    q = law(flow)
    noise = noise_for(q)
    other = noise.clone()
    other[:, 1] += 1
    other[:, :, :, 1] += 1
    kept, moved = q.flow(noise)[0][0, 0, :, 0], q.flow(other)[0][0, 0, :, 0]
    assert torch.equal(kept, moved)


def inverse(q: FlowedLatents, latents: Tensor) -> Tensor:
    """The noise that the flow takes to ``latents``."""
    y = (latents - q.drive).transpose(-1, -2)
    bins = y.shape[-1]
    for k in reversed(range(q.length)):
        layers = q.layers[k % 2]
        blocks = cut(y, layers.start, layers.vectors[0].shape[-1])
        back: Callable[..., tuple[Tensor, Tensor]] = (
            planar_inverse if isinstance(layers, PlanarLayers) else radial_inverse
        )
        given = (part[k // 2] for part in (*layers.vectors, *layers.numbers))
        y = back(blocks, *given)[0].flatten(-2)[..., layers.start : layers.start + bins]
    return y.transpose(-1, -2)


@every_flow
@pytest.mark.parametrize("block", [2, 4])
def test_the_density_of_two_bins_integrates_to_one(flow: str, block: int) -> None:
    """On a grid of latents of ±36 around the drive; the tails beyond hold e⁻³⁰. A radial flow has a cusp at
    its centre, which the grid sees to some 1e-4 only.
    """
    with torch.no_grad():
        q = law(flow, 3, bins=2, cells=1, block=block)
        q = FlowedLatents(q.drive[:1], tuple(_first_trial(layers) for layers in q.layers), q.length)
        line = torch.arange(-36, 36, 0.15, dtype=torch.float64)
        grid = torch.cartesian_prod(line, line).reshape(-1, 1, 2, 1) + q.drive
        noise = inverse(q, grid)
        draw = q.draw(noise, FixedPoint(), Hard())
        assert torch.allclose(draw.logits + draw.noise, grid, atol=1e-8)
        mass = float(q.log_density(draw).sum((1, 2, 3)).exp().sum()) * 0.15**2
    assert mass == pytest.approx(1.0, abs=1e-6 if flow == "planar" else 3e-4)


def _first_trial(layers: Layers) -> Layers:
    vectors, numbers = (tuple(part[:, :1] for part in parts) for parts in (layers.vectors, layers.numbers))
    return type(layers)(layers.start, layers.sizes, vectors, numbers)


@every_flow
def test_weights_of_latents_are_those_of_the_evidence(flow: str) -> None:
    """``E p(x, L)/q(L) = p(x)`` to four standard errors, and so its mean logarithm is below log p(x).

    Two coupled cells and traces that say little, so that a q near the prior has weights of finite variance.
    """
    with torch.no_grad():
        x = traces(5, bins=4)
        network = model(CELLS, 7, learn=(), basis=1, strength=0.5)
        network.raw_noise.fill_(0.7)
        shaped = law(flow, 5, bins=4)
        q = FlowedLatents(
            network.value("bias") + 0.3 * torch.tanh(shaped.drive), shaped.layers, shaped.length
        )
        drawn = sample_hard(network, q, x, 60_000, generator(0), independent=False)
        paths = all_paths(4, CELLS).expand(-1, 2, -1, -1)
        evidence = network.log_joint(x, paths).sum((2, 3)).logsumexp(0)
        for weights in (drawn.log_weights[:, :, 0], drawn.over_spikes[:, :, 0]):
            ratio = (weights - evidence).exp()
            error = ratio.std(0) / len(ratio) ** 0.5
            assert (error < 0.03).all(), "too few samples to tell"
            assert ((ratio.mean(0) - 1).abs() < 4 * error).all()
            assert (weights.mean(0) < evidence - 0.05).all()
        assert (drawn.elbo_over_spikes() >= drawn.elbo().mean(0) - 1e-9).all()
    assert set(drawn.z.unique().tolist()) == {0, 1}
    assert torch.allclose(drawn.probability, drawn.z.double().mean(0), atol=1e-12)


def test_without_flows_the_bound_is_that_of_the_factorised_latents() -> None:
    """Σ_z q(z) [log p(x | z) + Σ_t E(log p(L_t) − log q(L_t) | z_t)], the expectations by quadrature; below
    the bound of the factorised posterior over spikes.
    """
    with torch.no_grad():
        x = traces(2, bins=4, cells=1)
        network = model(1, 7, learn=(), basis=1)
        factorised = condition(
            Family("factorised", {"recognition": {"window": 2, "hidden": 4}}).trained(1, 2), x
        ).pmf
        q = FlowedLatents(factorised.drive)
        drawn = sample_hard(network, q, x, 40_000, generator(0), independent=True)
        paths = all_paths(4, 1).expand(-1, 2, -1, -1)
        log_q = factorised.log_prob(paths)
        u, g = network.prior(2, 4).logits(paths), factorised.drive.expand_as(paths)
        ell = torch.linspace(-40, 40, 8001, dtype=torch.float64)
        latents = torch.where(
            paths > 0, ell.abs()[:, None, None, None, None], -ell.abs()[:, None, None, None, None]
        )
        density = logistic_log_density(latents - g).exp() / 2  # ±L stand for the same half line
        kept = density * (logistic_log_density(latents - u) - logistic_log_density(latents - g))
        inner = kept.sum(0) * (ell[1] - ell[0]) / log_q.exp()
        likelihood = network.log_likelihood(x, paths)
        weight = log_q.sum((2, 3)).exp()
        expected = (weight * (likelihood + inner).sum((2, 3))).sum(0)
        spikes = (weight * (likelihood + network.prior(2, 4).log_prob(paths) - log_q).sum((2, 3))).sum(0)
        error = drawn.log_weights.std(0)[:, 0] / 200
    assert ((drawn.elbo()[:, 0] - expected).abs() < 4 * error).all()
    assert (expected < spikes - 1e-3).all()
    # there the bound over spikes is known exactly: each sample weighs log p(x, z) − log q(z)
    found, error = drawn.over_spikes.mean(0)[:, 0], drawn.over_spikes.std(0)[:, 0] / 200
    assert ((found - spikes).abs() < 4 * error).all()
    joint = network.log_joint(x, drawn.z.double()) - factorised.log_prob(drawn.z.double())
    assert torch.allclose(drawn.over_spikes, joint.sum(2), atol=1e-10)


@every_flow
def test_a_flow_raises_the_bound_of_refractory_spikes(flow: str) -> None:
    """Trained alike from the same initial network, flows of latents come nearer the evidence than no flow."""
    network = model(1, 3, learn=(), history=1)
    with torch.no_grad():
        network.raw_history.fill_(-6.0)
        network.raw_bias.fill_(0.5)
        network.raw_noise.fill_(0.0)
    x = network.observe(
        network.prior(32, 8)
        .draw(logistic_noise((1, 32, 8, 1), generator(1), torch.float64), FixedPoint(), Hard())
        .z,
        generator(2),
    )[0]
    bounds = []
    for length in (0, 6):
        own = {"recognition": {"window": 7, "hidden": 12}, "flow": flow, "length": length, "block": 8}
        posterior = Family("latent_flow", own).fresh(1, 4).double()
        phase = Phase(
            LogisticDensity(4),
            FixedPoint(),
            temperature=Schedule(0.3),
            steps=250,
            learning_rate=Schedule(0.01),
        )
        for _ in Trainer(network, posterior, x.detach(), [phase], seed=0).run():
            pass
        with torch.no_grad():
            q = condition(posterior, x).q
            drawn = sample_hard(network, q, x, 400, generator(3), independent=True)
        bounds.append(float(drawn.elbo().mean()))
    assert bounds[1] > bounds[0] + 0.1, bounds


@every_family
def test_the_gradient_is_that_of_the_loss_in_every_parameter(family: Family) -> None:
    posterior, x = family.trained(CELLS, 5), traces(5, bins=7, cells=CELLS)
    setting = problem(model(CELLS, 3, basis=1), x)
    used = [parameter for parameter in posterior.parameters() if parameter.numel()]

    def value() -> Tensor:
        q = condition(posterior, x).q
        return LogisticDensity(3).loss(setting, q, FixedPoint(), Concrete(0.5), generator(2)).total

    gradients = torch.autograd.grad(value(), used)
    rng = generator(4)
    for parameter, gradient in zip(used, gradients, strict=True):
        assert gradient.abs().max() > 0
        direction = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
        ends = []
        for sign in (1.0, -2.0):
            with torch.no_grad():
                parameter += sign * 1e-6 * direction
            ends.append(value().item())
        with torch.no_grad():
            parameter += 1e-6 * direction
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
            float((gradient * direction).sum()), rel=1e-4, abs=1e-6
        )


@every_family
def test_multi_sample_bounds_take_the_determinant_too(family: Family) -> None:
    x = traces(6, bins=5, cells=CELLS)
    q = condition(family.trained(CELLS, 6), x).q
    setting = problem(model(CELLS, 3, basis=1), x)
    one = LogisticDensity(4).parts(setting, q, q.draw(q.noise(4, generator(1)), FixedPoint(), Concrete(0.5)))
    loss = MultiSample(4, of="logistic_density").loss(setting, q, FixedPoint(), Concrete(0.5), generator(1))
    expected = sum(one).sum((2, 3)).logsumexp(0) - torch.tensor(4.0).log()  # type: ignore[union-attr]
    assert float(loss.total.detach()) == pytest.approx(-float(expected.mean().detach()) / 5, rel=1e-9)


@every_family
def test_samplers_make_no_difference_and_the_noise_decides(family: Family) -> None:
    x = traces(7, bins=BINS, cells=CELLS)
    x[0, 2] = float("nan")
    q = condition(family.trained(CELLS, 7), x).q
    noise = q.noise(4, generator(0))
    draws = [q.draw(noise, sampler, Hard()) for sampler in (Sequential(), FixedPoint(), FixedPoint(sweeps=1))]
    assert all(torch.equal(draws[0].z, draw.z) and draw.converged for draw in draws)
    assert torch.equal(draws[0].z, (draws[0].logits + noise > 0).double())
    relaxed = q.draw(noise, Sequential(), Concrete(0.3))
    assert torch.equal(relaxed.z, torch.sigmoid((relaxed.logits + noise) / 0.3))
    assert not torch.equal(q.draw(q.noise(4, generator(1)), Sequential(), Hard()).z, draws[0].z)
    assert torch.isfinite(draws[0].logits).all()


@every_family
def test_weights_survive_saving_and_come_from_the_generator_alone(family: Family) -> None:
    first, again, other = (family.fresh(CELLS, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    posterior, x = family.trained(CELLS, 8), traces(8, bins=BINS, cells=CELLS)
    copy = family.fresh(CELLS, 9).double()
    copy.load_state_dict(posterior.state_dict())
    noise = logistic_noise((2, 2, BINS, CELLS), generator(0), torch.float64)
    drawn = [condition(one, x).q.draw(noise, FixedPoint(), Concrete(0.5)) for one in (copy, posterior)]
    assert torch.equal(drawn[0].z, drawn[1].z) and torch.equal(drawn[0].log_volume, drawn[1].log_volume)


@pytest.mark.parametrize(
    "family", [family for family in families(pmf=False) if family.fresh(CELLS).per_cell], ids=str
)
def test_per_cell_flows_share_nothing_between_cells(family: Family) -> None:
    posterior, x = family.trained(CELLS, 10), traces(10, bins=BINS, cells=CELLS)
    noise = logistic_noise((2, 2, BINS, CELLS), generator(0), torch.float64)

    def first_cell(traces: Tensor) -> Tensor:
        return condition(posterior, traces).q.draw(noise, FixedPoint(), Concrete(0.5)).logits[..., 0]

    before, other = first_cell(x), x.clone()
    other[..., 1] += 1.0
    assert all(parameter.shape[0] == CELLS for parameter in posterior.parameters())
    assert torch.equal(first_cell(other), before)
    for cell, same in ((1, True), (0, False)):
        with torch.no_grad():
            for parameter in posterior.parameters():
                parameter[cell] += 1.0
        assert torch.equal(first_cell(x), before) is same


@pytest.mark.parametrize(
    "make",
    [
        lambda posterior: Phase(RelaxedPmf(), FixedPoint()).check(posterior),
        lambda posterior: Phase(ScoreFunction(), FixedPoint(), relaxation="hard").check(posterior),
        lambda posterior: Phase(DisArm(), FixedPoint(), relaxation="hard").check(posterior),
        lambda posterior: Phase(WakeSleep(), FixedPoint(), relaxation="hard").check(posterior),
        lambda posterior: condition(posterior, traces(0)).pmf,
        lambda posterior: RelaxedPmf().loss(
            problem(model(), traces(0)), condition(posterior, traces(0)).q,
            FixedPoint(), Concrete(0.5), generator(0),
        ),
        lambda _: LatentFlowConfig(flow="planer"),
        lambda _: LatentFlowConfig(length=-1),
        lambda _: LatentFlowConfig(block=1),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_with_a_sentence(make: Callable[[Any], Any]) -> None:
    posterior = Family("latent_flow", {"recognition": {"window": 2, "hidden": 4}}).trained()
    with pytest.raises(UserError) as refusal:
        make(posterior)
    told = str(refusal.value)
    assert "\n" not in told and len(told) < 300 and "found" in told and "expected" in told
