"""The EM loop: what n = 0 is, what each part follows, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from belief_cases import PIXELS, images, network, recognition
from torch import Tensor

from dfp.belief.enumerated import Enumerated
from dfp.belief.latents import make_latents
from dfp.belief.learning import EM, Learning, losses
from dfp.belief.network import BeliefNetwork, Recognition
from dfp.belief.refinement import Refinement
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from experiments.belief_network.scores import score

X = images(8)


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    parameters = [one for one in module.parameters() if one.requires_grad]
    return list(torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True))


def test_no_steps_are_a_variational_autoencoder() -> None:
    """One reparametrised loss for both networks, written out with the same noise; KL(q ‖ q_φ) would be 0."""
    net, rec = network("gaussian"), recognition("gaussian")
    loss, other = losses(net, rec, Refinement("reparametrised", 0, samples=3), X, generator(5))
    assert other is None
    mean, log_sd = rec(X).chunk(2, -1)
    h = mean + torch.randn(3, 8, 4, generator=generator(5), dtype=torch.float64) * log_sd.exp()
    logits = net.decoder(h)
    fit = -torch.nn.functional.binary_cross_entropy_with_logits(logits, X.expand(3, -1, -1), reduction="none")
    kl = 0.5 * ((2 * log_sd).exp() + mean.square() - 1 - 2 * log_sd).sum(-1)
    expected = -(fit.sum(-1).mean(0) - kl).mean()
    assert torch.allclose(loss, expected)
    for module in (net, rec):
        for found, own in zip(gradients(loss, module), gradients(expected, module), strict=True):
            assert torch.allclose(found, own, atol=1e-12) and bool(found.any())


@pytest.mark.parametrize("estimator", ["mean_passing", "straight_through", "score_function", "importance"])
def test_no_steps_train_the_recognition_network(estimator: str) -> None:
    """KL(q ‖ q_φ) would leave it as it is."""
    net, rec = network(), recognition()
    of_theta, of_phi = losses(net, rec, Refinement(estimator, 0), X, generator(5))
    assert any(bool(one.any()) for one in gradients(of_theta if of_phi is None else of_phi, rec))


def test_no_steps_of_the_score_function_follow_the_exact_bound() -> None:
    """φ's and θ's gradients against enumeration: |z| < 4.5 over all coordinates, 200 draws of 50 samples."""
    net, rec = network(), recognition()
    exact = _exact_bound(net, rec)
    for module in (net, rec):
        expected = torch.cat([one.flatten() for one in gradients(-exact, module)])
        draws = []
        for seed in range(200):
            loss, _ = losses(net, rec, Refinement("score_function", 0, samples=50), X, generator(seed))
            draws.append(torch.cat([one.flatten() for one in gradients(loss, module)]))
        found = torch.stack(draws)
        z = (found.mean(0) - expected) / (found.std(0) / len(found) ** 0.5).clamp_min(1e-12)
        assert float(z.abs().max()) < 4.5


def _exact_bound(net: BeliefNetwork, rec: Recognition) -> Tensor:
    """The enumerated bound with gradients in both networks."""
    states = Enumerated(net, X).states[:, None].expand(-1, len(X), -1)
    zeta = rec(X)
    log_q = net.latents.log_prob(zeta, states)
    return (log_q.exp() * (net.log_joint(X, states) - log_q)).sum(0).mean()


def test_with_steps_each_network_follows_its_own_loss() -> None:
    """θ the samples of the refined q, φ KL(q ‖ q_φ) of eq. 7, with the refined q held."""
    net, rec = network(), recognition()
    refinement = Refinement("straight_through_sigma", 3, 0.2)
    of_theta, of_phi = losses(net, rec, refinement, X, generator(5))
    assert of_phi is not None
    zeta = refinement.refine(net, X, rec(X), generator(5))
    assert torch.allclose(of_phi, net.latents.kl(zeta, rec(X)).mean())
    assert not any(bool(one.any()) for one in gradients(of_theta, rec))
    assert not any(bool(one.any()) for one in gradients(of_phi, net))


def test_through_the_steps_is_the_derivative_of_the_refined_bound() -> None:
    """Semi-amortised: the gradient in φ against differences of the loss with the same noise."""
    net, rec = network("gaussian"), recognition("gaussian")
    refinement = Refinement("reparametrised", 3, 0.05, samples=2, through=True)
    loss, other = losses(net, rec, refinement, X, generator(5))
    assert other is None
    last = rec.encoder[-1]
    found = torch.autograd.grad(loss, last.bias)[0]
    for place in range(len(last.bias)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                last.bias[place] += sign * 1e-5
            ends.append(losses(net, rec, refinement, X, generator(5))[0].detach())
            with torch.no_grad():
                last.bias[place] -= sign * 1e-5
        assert float((ends[0] - ends[1]) / 2e-5) == pytest.approx(float(found[place]), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("kind", "refinement"),
    [
        ("gaussian", Refinement("reparametrised", 5, 0.02)),
        ("gaussian", Refinement("reparametrised", 2, 0.02, through=True)),
        ("bernoulli", Refinement("mean_passing", 5, 0.1)),
        ("bernoulli", Refinement("straight_through", 5, 0.03)),
        ("bernoulli", Refinement("score_function", 5, 0.03)),
        ("bernoulli", Refinement("importance", 5, 0.3)),
        ("bernoulli", Refinement("importance", 0, 0.3)),
    ],
)
def test_em_learns_two_prototypes(kind: str, refinement: Refinement) -> None:
    """Images that are all on or all off, with 5% of flipped pixels."""
    rng = generator(0)
    which = (torch.rand(200, 1, generator=rng) < 0.5).float()
    flips = (torch.rand(200, PIXELS, generator=rng) < 0.05).float()
    x = (which - flips).abs().expand(-1, PIXELS).clone()
    latents = make_latents(kind, 2)
    net = BeliefNetwork(latents, (8,), x.mean(0), rng)
    em = EM(net, Recognition(latents, (8,), PIXELS, rng), refinement, Learning(50, 0.02), rng)
    for _ in zip(range(150), em.run(x), strict=False):
        pass
    assert em.done == 150
    zeta = refinement.refine(net, x, em.recognition(x).detach(), rng)
    independent = PIXELS * math.log(0.5)
    assert float(score(net, x, zeta.detach(), 50, rng).bound.mean()) > independent + 2.0


def test_batches_go_through_all_images() -> None:
    net, rec = network().float(), recognition().float()
    em = EM(net, rec, Refinement("mean_passing", 0), Learning(batch=3), generator(0))
    seen = torch.stack([batch for _, batch in zip(range(2), em._batches(torch.arange(6.0)), strict=False)])
    assert sorted(seen.flatten().tolist()) == list(range(6))


def test_a_rate_far_too_large_is_told() -> None:
    net, rec = network("gaussian"), recognition("gaussian")
    em = EM(net, rec, Refinement("reparametrised", 20, 1e4), Learning(batch=4), generator(0))
    with pytest.raises(NumericalError, match="lower the rate"):
        for _ in zip(range(5), em.run(X), strict=False):
            pass


@pytest.mark.parametrize(
    ("own", "words"), [({"batch": 0}, "batch: found 0"), ({"rate": 0.0}, "rate: found 0.0")]
)
def test_settings_without_meaning_are_refused(own: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Learning(**own)  # type: ignore[arg-type]


def test_sizes_of_layers_are_checked() -> None:
    with pytest.raises(UserError, match=r"hidden: found \[0\], expected sizes of at least 1"):
        network(hidden=(0,))
