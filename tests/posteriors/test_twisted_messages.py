"""Who hears whom in the twisted posterior: by the weights between cells, and no one where there is none."""

from __future__ import annotations

import torch
from cases import Family, condition, model, traces

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import Coupling
from dfp.distributions.twist import Twist
from dfp.posteriors.twisted import Twisted

FAMILY = Family(
    "twisted", {"recognition": {"window": 2, "hidden": 4}, "history": 2, "hidden": 3, "channels": 2}
)


def prior_of(weights: torch.Tensor, bins: int = 8) -> CausalBernoulli:
    """A law with lag-1 weights ``(N, N)``, ``[i, j]`` from j onto i."""
    drive = torch.zeros(2, bins, len(weights), dtype=torch.float64)
    return CausalBernoulli(drive, (Coupling(weights[None], torch.ones(1, 1, dtype=torch.float64)),))


def test_children_speak_to_their_parents_and_parents_to_their_children() -> None:
    """Only cell 1 acts on another, on cell 0: ``f_c(w) = Σ_k s_kc (tanh(a_k w + b_k) − tanh b_k)``."""
    posterior = FAMILY.trained(3)
    assert isinstance(posterior, Twisted)
    weights = torch.zeros(3, 3, dtype=torch.float64)
    weights[0, 1] = 0.7
    law = posterior.condition(traces(0, bins=8, cells=3), None, prior_of(weights)).pmf
    (twist,) = law.terms
    assert isinstance(twist, Twist)
    bent = torch.tanh(0.7 * posterior.steepness + posterior.knee) - torch.tanh(posterior.knee)
    expected = torch.zeros_like(twist.messages.weights)
    for r in range(posterior.config.rounds):
        for c in range(2):
            # [r, c, i, j]: what cell i's word counts for cell j; first words of children, then of parents
            expected[r, c, 0, 1] = (bent * posterior.shape[r, 0, :, c]).sum()
            expected[r, 2 + c, 1, 0] = (bent * posterior.shape[r, 1, :, c]).sum()
    assert torch.allclose(twist.messages.weights, expected, atol=1e-12)


def test_cells_that_nothing_connects_do_not_hear_each_other() -> None:
    """Two pairs: the logits of one stay as they are when the other fires."""
    posterior = FAMILY.trained(4)
    weights = torch.zeros(4, 4, dtype=torch.float64)
    weights[0, 1], weights[3, 2] = 1.5, -2.0
    law = posterior.condition(traces(1, bins=8, cells=4), None, prior_of(weights)).pmf
    z = torch.zeros(1, 2, 8, 4, dtype=torch.float64)
    other = z.clone()
    other[:, :, 2, 2] = 1
    still, moved = law.logits(z), law.logits(other)
    assert torch.equal(still[..., :2], moved[..., :2])
    assert (still[:, :, 3, 3] != moved[:, :, 3, 3]).all(), "its child hears it"


def test_the_model_learns_nothing_through_the_prior_that_is_twisted() -> None:
    """q follows the model: its bias, history and coupling are held, in the logits and in the messages."""
    network, x = model(2, basis=1), traces(0)
    law = FAMILY.trained(2).condition(x, None, network.prior(*x.shape[:2])).pmf
    log_q = law.log_prob(torch.ones(1, *x.shape, dtype=torch.float64)).sum()
    assert all(g is None for g in torch.autograd.grad(log_q, [*network.parameters()], allow_unused=True))


def test_a_law_without_coupling_has_no_words() -> None:
    twist = condition(Family("twisted", {"channels": 0, "hidden": 3}).trained(2), traces(0)).pmf.terms[0]
    assert isinstance(twist, Twist) and twist.messages.weights.shape[1] == 0
