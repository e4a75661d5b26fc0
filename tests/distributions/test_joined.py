"""Laws of different trials, joined."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from cases import Family, model, process, traces
from torch import Tensor

from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.joined import joined
from dfp.distributions.terms import CausalTerm
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential

FAMILIES = [
    Family("factorised", {}),
    Family("autoregressive", {"history": 3}),
    Family(
        "autoregressive", {"history": 3, "coupling_lags": 2, "tied_coupling": True, "nonlinear_hidden": 3}
    ),
    Family("twisted", {"history": 3, "hidden": 4, "channels": 2}),
]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_joined_posterior_is_that_of_all_trials(family: Family) -> None:
    network, posterior = model(2, basis=1), family.trained(2)
    x = traces(0, trials=5, bins=7)
    with torch.no_grad():
        parts = [posterior.condition(y, None, network.prior(*y.shape[:2])).pmf for y in (x[:2], x[2:])]
        whole = posterior.condition(x, None, network.prior(5, 7)).pmf
        both = joined(*parts)
        assert both is not None
        noise = whole.noise(3, generator(1))
        z = whole.draw(noise, Sequential(), Hard()).z
        assert torch.allclose(both.logits(z), whole.logits(z), atol=1e-12)
        assert torch.equal(both.draw(noise, Sequential(), Hard()).z, z)
        swapped = joined(*parts[::-1])
        assert swapped is not None and not torch.allclose(swapped.logits(z), whole.logits(z))


def test_a_coupling_of_low_rank_is_joined() -> None:
    """What does not depend on the trial stays, the drive of the trials follows one another."""
    whole = process("low_rank", 1, trials=5, bins=7)
    both = joined(whole.with_drive(whole.drive[:2]), whole.with_drive(whole.drive[2:]))
    assert both is not None and both.terms == whole.terms
    z = whole.draw(whole.noise(3, generator(1)), Sequential(), Hard()).z
    assert torch.equal(both.logits(z), whole.logits(z))


def test_a_term_of_an_unknown_kind_is_not_joined() -> None:
    @dataclass(frozen=True)
    class Gated(CausalTerm):
        gate: Tensor

        @property
        def memory(self) -> int:
            return 1

        def __call__(self, z: Tensor) -> Tensor:
            return self.gate * z

        def step(self, window: Tensor, t: int) -> Tensor:
            return self.gate[:, t] * window[:, :, -1]

    q = process("own_history", 0)
    odd = CausalBernoulli(q.drive, (Gated(q.drive),))
    assert joined(odd, odd) is None and joined(q, q) is not None
