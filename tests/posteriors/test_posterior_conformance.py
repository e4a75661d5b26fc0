"""What every posterior family must satisfy. Families are discovered: a new file in
``dfp.posteriors`` is tested without a change here.
"""

from __future__ import annotations

import pytest
import torch
from cases import Family, condition, families, traces
from torch import Tensor

from dfp.core.noise import logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.distributions.terms import Coupling
from dfp.distributions.twist import Twist
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential

BINS, CELLS = 6, 2
every_family = pytest.mark.parametrize("family", families(), ids=str)


def q_of(family: Family, seed: int = 0, x: Tensor | None = None) -> CausalBernoulli:
    """A trained-looking q for two trials of two cells."""
    return condition(family.trained(CELLS, seed), traces(seed, bins=BINS, cells=CELLS) if x is None else x).q


def test_the_families_of_the_paper_are_found_in_every_setting() -> None:
    found = families()
    assert {"factorised", "autoregressive", "logistic_flow", "refined", "twisted"} <= {
        family.name for family in found
    }
    assert len({str(family) for family in found}) == len(found)


@every_family
def test_logits_are_strictly_causal_and_look_no_further_back_than_memory(family: Family) -> None:
    q = q_of(family)
    z = torch.rand(1, 2, BINS, CELLS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda values: q.logits(values)[0, 1], z)[
        :, :, 0
    ]  # (T, N, B, T, N)
    assert (jacobian[:, :, 0] == 0).all(), "another trial's spikes enter"
    reach = jacobian[:, :, 1].abs().amax((1, 3))  # (T, T): bin reached, bin acting
    lag = torch.arange(BINS)[:, None] - torch.arange(BINS)
    assert (reach[lag <= 0] == 0).all()
    assert (reach[lag > q.memory] == 0).all()
    assert q.memory == 0 or (reach[lag == q.memory] > 0).all(), "the memory is longer than what is used"
    across = jacobian[:, :, 1].abs().amax((0, 2))  # (N, N)
    assert q.couples_cells == bool(across[0, 1] + across[1, 0])


@every_family
def test_probabilities_of_all_paths_sum_to_one(family: Family) -> None:
    q = q_of(family, seed=2, x=traces(2, bins=5, cells=2))
    total = q.log_prob(all_paths(5, 2).expand(-1, 2, -1, -1)).sum((2, 3)).exp().sum(0)
    assert torch.allclose(total, torch.ones(2, dtype=torch.float64), atol=1e-12)


@every_family
def test_incremental_step_agrees_with_all_logits(family: Family) -> None:
    q = q_of(family, seed=3)
    z = torch.rand(3, 2, BINS, CELLS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits = q.logits(z)
    padded = torch.cat([z.new_zeros(3, 2, q.memory, CELLS), z], 2)
    for t in range(BINS):
        assert torch.allclose(q.step(padded[:, :, t : t + q.memory], t), logits[:, :, t], atol=1e-12)


@every_family
def test_unobserved_frames_give_finite_logits(family: Family) -> None:
    x = traces(4, bins=BINS, cells=CELLS)
    x[0, 2] = float("nan")
    x[1, :, 1] = float("nan")
    conditioned = condition(family.trained(CELLS, 4), x)
    draw = conditioned.q.draw(conditioned.q.noise(3, torch.Generator().manual_seed(0)), Sequential(), Hard())
    assert torch.isfinite(draw.logits).all()


def _has_a_true_derivative(family: Family) -> bool:
    # differentiating through straight-through steps gives the estimator's own second derivative, by
    # definition not the true one
    return not (family.settings.get("through") and str(family.settings["estimator"]).startswith("straight"))


@pytest.mark.parametrize(
    "family", [family for family in families() if _has_a_true_derivative(family)], ids=str
)
def test_conditioning_is_differentiable(family: Family) -> None:
    """Directional derivatives of log q at a fixed path against central
    differences, for every parameter at once.
    """
    posterior, x = family.trained(CELLS, 5), traces(5, bins=BINS, cells=CELLS)
    z = (
        torch.rand(2, 2, BINS, CELLS, generator=torch.Generator().manual_seed(3), dtype=torch.float64) < 0.4
    ).double()

    def value() -> Tensor:
        conditioned = condition(posterior, x, seed=6)
        return (conditioned.amortised if conditioned.distil else conditioned.q).log_prob(z).sum()  # type: ignore[union-attr]

    used = [
        parameter for parameter in posterior.parameters() if parameter.numel()
    ]  # a history of no lags is empty
    gradients = torch.autograd.grad(value(), used)
    rng = torch.Generator().manual_seed(4)
    for parameter, gradient in zip(used, gradients, strict=True):
        assert gradient.abs().max() > 0
        direction = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
        size = 1e-6
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter += sign * size * direction
            ends.append(value().item())
            with torch.no_grad():
                parameter -= sign * size * direction
        measured = (ends[0] - ends[1]) / (2 * size)
        assert measured == pytest.approx(float((gradient * direction).sum()), rel=1e-4, abs=1e-5)


@every_family
def test_initial_weights_come_from_the_generator_alone(family: Family) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (family.fresh(CELLS, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before), "a global generator was used"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_family
def test_training_starts_from_a_factorised_posterior_near_the_initial_rate(family: Family) -> None:
    posterior, x = family.fresh(CELLS), traces(0, bins=40, cells=CELLS, dtype=torch.float32)
    conditioned = condition(posterior, x)
    q = conditioned.amortised or conditioned.q
    if family.name == "twisted":  # from the prior instead, whose rate it knows
        (twist,) = q.terms
        assert isinstance(twist, Twist)
        z = torch.rand((2, *x.shape), generator=torch.Generator().manual_seed(1))
        assert torch.allclose(q.logits(z), q.drive + twist.prior.logits(z), atol=1e-6)
        assert 0.3 < torch.sigmoid(q.drive).mean().item() < 0.7
        return
    silent, all_on = (q.logits(torch.full((1, *x.shape), value)) for value in (0.0, 1.0))
    if "tied_coupling" in str(family):  # but for what it shares with the model
        shared = [term for term in q.terms if isinstance(term, Coupling)][-1]
        all_on = all_on - shared(torch.ones_like(all_on))
        assert torch.allclose(silent, all_on, atol=1e-6)
    else:
        assert torch.equal(silent, all_on)
    assert 0.01 < torch.sigmoid(silent).mean().item() < 0.4


@every_family
def test_weights_survive_saving(family: Family) -> None:
    posterior, x = family.trained(CELLS, 8), traces(8, bins=BINS, cells=CELLS)
    copy = family.fresh(CELLS, 9).double()
    copy.load_state_dict(posterior.state_dict())
    z = torch.ones(1, 2, BINS, CELLS, dtype=torch.float64)
    assert torch.equal(condition(copy, x).q.logits(z), condition(posterior, x).q.logits(z))


@pytest.mark.parametrize("family", [family for family in families() if family.fresh(CELLS).per_cell], ids=str)
def test_per_cell_posteriors_share_nothing_between_cells(family: Family) -> None:
    posterior = family.trained(CELLS, 10)
    x = traces(10, bins=BINS, cells=CELLS)
    z = torch.rand(1, 2, BINS, CELLS, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    other = x.clone()
    other[..., 1] += 1.0

    def first_cell(traces: Tensor) -> Tensor:
        conditioned = condition(posterior, traces)
        return (conditioned.amortised or conditioned.q).logits(z)[..., 0]

    before = first_cell(x)
    assert all(parameter.shape[0] == CELLS for parameter in posterior.parameters())
    assert torch.equal(first_cell(other), before)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter[1] += 1.0
    assert torch.equal(first_cell(x), before)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter[0] += 1.0
    assert not torch.equal(first_cell(x), before)


@every_family
def test_drawing_is_the_generators_doing(family: Family) -> None:
    q = q_of(family, seed=11)
    draws = [
        q.draw(q.noise(4, torch.Generator().manual_seed(seed)), Sequential(), Hard()).z for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert (
        logistic_noise((4, 2, BINS, CELLS), torch.Generator().manual_seed(0), torch.float64).shape
        == draws[0].shape
    )
