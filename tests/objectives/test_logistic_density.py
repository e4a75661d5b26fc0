"""The logistic flow: its log-determinant, its densities, and the evidence that it really bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from cases import KINDS, model, normal, problem, process, traces
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli, logistic_log_density
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.objectives.logistic_density import LogisticDensity
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete
from dfp.samplers.sequential import Sequential

BINS, CELLS = 6, 2


def flow(
    kind: str, seed: int, sweeps: int | None
) -> tuple[Callable[[Tensor], Tensor], CausalBernoulli, Tensor]:
    """The map ℓ → L of one trial as ``(T·N,) → (T·N,)``, its q, and a noise."""
    q = process(kind, seed, trials=1, bins=BINS, cells=CELLS)
    noise = logistic_noise((1, 1, BINS, CELLS), generator(seed), torch.float64)

    def latents(flat: Tensor) -> Tensor:
        how = Sequential() if sweeps is None else FixedPoint(sweeps=sweeps)
        draw = q.draw(flat.reshape(noise.shape), how, Concrete(0.5))
        return (draw.logits + draw.noise).reshape(-1)

    return latents, q, noise.reshape(-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sweeps", [1, 2, 5, BINS, None])
def test_the_log_determinant_is_zero_at_every_number_of_sweeps(kind: str, sweeps: int | None) -> None:
    for seed in range(3):
        latents, _, noise = flow(kind, seed, sweeps)
        jacobian = torch.autograd.functional.jacobian(latents, noise)
        sign, log_determinant = torch.linalg.slogdet(jacobian)
        assert float(sign) == 1.0 and float(log_determinant) == pytest.approx(0.0, abs=1e-12)
        assert torch.equal(jacobian.diagonal(), torch.ones_like(noise))
        bins = torch.arange(BINS * CELLS) // CELLS
        within_or_after = (bins[:, None] <= bins) & ~torch.eye(BINS * CELLS, dtype=torch.bool)
        assert (jacobian[within_or_after] == 0).all()
        assert sweeps == 1 or float(jacobian[bins[:, None] > bins].abs().max()) > 0.01, "the map is trivial"


@pytest.mark.parametrize("sweeps", [1, 2, BINS])
def test_log_q_is_the_change_of_variables(sweeps: int) -> None:
    """log q(L) = log p(ℓ) − log |∂L/∂ℓ|, with the determinant from
    autodiff, is minus the objective's entropy term.
    """
    latents, q, noise = flow("all_terms", 4, sweeps)
    determinant = torch.linalg.slogdet(torch.autograd.functional.jacobian(latents, noise))[1]
    x = traces(0, trials=1, bins=BINS, cells=CELLS)
    network = model(CELLS, learn=(), basis=1)
    draw = q.draw(noise.reshape(1, 1, BINS, CELLS), FixedPoint(sweeps=sweeps), Concrete(0.5))
    likelihood, prior, entropy = LogisticDensity().parts(problem(network, x), q, draw)
    assert float(-entropy.sum()) == pytest.approx(
        float(logistic_log_density(noise).sum() - determinant), abs=1e-10
    )
    # prior and likelihood see the same final latents: z = σ(L/τ)
    final = latents(noise).reshape(draw.z.shape)
    z = torch.sigmoid(final / 0.5)
    assert torch.allclose(z, draw.z, atol=1e-12)
    assert torch.allclose(likelihood, network.log_likelihood(x, z))
    assert torch.allclose(prior, logistic_log_density(final - network.prior(1, BINS).logits(z)))


@pytest.mark.parametrize(
    "sampler", [Sequential(), FixedPoint(), FixedPoint(max_sweeps=3), FixedPoint(sweeps=3)], ids=str
)
def test_relaxed_spikes_are_a_function_of_the_latents_for_every_sampler(
    sampler: Sequential | FixedPoint,
) -> None:
    """Also with the implicit gradient, and where a cap was hit: else prior
    and likelihood would see different variables.
    """
    q = process("all_terms", 5, trials=2, bins=12, cells=2)
    draw = q.draw(q.noise(3, generator(0)), sampler, Concrete(0.3))
    assert torch.allclose(draw.z, torch.sigmoid((draw.logits + draw.noise) / 0.3), rtol=1e-13)


@pytest.fixture
def one_bin() -> CalciumNetwork:
    """u = −2, amplitude 1, noise 0.4, instant rise."""
    one = torch.ones(1).numpy()
    start = CalciumParameters(
        bias=-2 * one,
        history=torch.zeros(1, 0).numpy(),
        coupling=torch.zeros(0, 1, 1).numpy(),
        basis=torch.zeros(0, 1).numpy(),
        rise=0 * one,
        decay=0.2 * one,
        amplitude=one,
        baseline=0 * one,
        noise=0.4 * one,
    )
    return CalciumNetwork(start, bin_rate=10.0).double()


X = torch.full((1, 1, 1), 0.5, dtype=torch.float64)


def test_the_evidence_of_one_bin(one_bin: CalciumNetwork) -> None:
    z = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    assert float(torch.logsumexp(one_bin.log_joint(X, z), 0)) == pytest.approx(-0.784, abs=5e-4)


@pytest.mark.parametrize(("temperature", "expected"), [(0.15, -0.720), (0.5, -0.574), (0.001, -0.784)])
@pytest.mark.parametrize("logit", [-2.0, 0.7])
def test_the_relaxed_evidence_of_one_bin_is_another(
    one_bin: CalciumNetwork, temperature: float, expected: float, logit: float
) -> None:
    """∫ p(x | σ(L/τ)) p(L) dL = ∫ q(ℓ) exp(log-weight) dℓ, through
    the objective's own parts, whatever q is.
    """
    q = CausalBernoulli(torch.full((1, 1, 1), logit, dtype=torch.float64))
    ell = torch.linspace(-60, 60, 400_001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    draw: Draw = q.draw(ell, Sequential(), Concrete(temperature))
    with torch.no_grad():
        likelihood, prior, entropy = LogisticDensity().parts(problem(one_bin, X), q, draw)
    integrand = (logistic_log_density(ell) + likelihood + prior + entropy).exp()
    evidence = float((integrand.sum() * (ell[1] - ell[0]).squeeze()).log())
    assert evidence == pytest.approx(expected, abs=6e-4)
    mean = float(
        (logistic_log_density(ell).exp() * (likelihood + prior + entropy)).sum() * (ell[1] - ell[0]).squeeze()
    )
    assert mean < evidence
    assert math.isfinite(mean)


def test_latents_far_out_keep_their_gradient() -> None:
    """The density and its slope hold where exp would overflow."""
    ell = torch.tensor([-1e4, -90.0, 90.0, 1e4], requires_grad=True)
    (slope,) = torch.autograd.grad(logistic_log_density(ell).sum(), ell)
    assert torch.equal(slope, torch.tensor([1.0, 1.0, -1.0, -1.0]))


def test_the_gradient_is_that_of_the_bound() -> None:
    """Central differences of the loss at fixed noise, in every
    parameter of q, sequential and implicit alike.
    """
    for sampler in (Sequential(), FixedPoint(tolerance=1e-13)):
        q = process("all_terms", 6, trials=2, bins=5, cells=2, strength=0.7)
        x = normal(generator(1), 2, 5, 2)
        setting = problem(model(2, basis=1, learn=()), x)

        def value(
            shift: Tensor, q: CausalBernoulli = q, setting: object = setting, sampler: object = sampler
        ) -> Tensor:
            return (
                LogisticDensity(3)
                .loss(
                    setting,
                    q.with_drive(q.drive + shift),
                    sampler,
                    Concrete(0.5),
                    generator(2),  # type: ignore[arg-type]
                )
                .total
            )

        assert torch.autograd.gradcheck(
            value, (torch.zeros(2, 5, 2, dtype=torch.float64, requires_grad=True),), atol=1e-6
        )
