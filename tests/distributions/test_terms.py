"""Terms that are two ways of saying one thing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from cases import Family, model, normal, process, traces
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator, logistic_noise
from dfp.distributions.branching import flip_matrix
from dfp.distributions.terms import CausalTerm, LowRankCoupling, check_term
from dfp.samplers.compiled import Compiled
from dfp.samplers.relaxations import Hard


def test_a_coupling_of_low_rank_is_the_full_one() -> None:
    """Terms, spikes to the bit, and how many spikes a flip flips."""
    low = process("low_rank", 4, trials=2, bins=60, cells=5, strength=0.8)
    full = low.with_terms([low.terms[0].full])  # type: ignore[attr-defined]
    noise = logistic_noise((3, 2, 60, 5), generator(0), torch.float64)
    one, other = (Compiled().draw(q, noise, Hard()) for q in (low, full))
    assert torch.equal(one.z, other.z) and torch.equal(one.logits, other.logits)
    assert torch.allclose(low.logits(one.z), full.logits(one.z), atol=1e-12)
    assert torch.allclose(flip_matrix(low, one.z), flip_matrix(full, one.z), atol=1e-12)
    assert low.couples_cells and low.memory == full.memory


def test_channels_keep_their_own_weights_bin_by_bin() -> None:
    """Two channels, each with senders and receivers of its own: the step against all bins at once."""
    rng = generator(5)
    term = LowRankCoupling(
        normal(rng, 2, 4, 2), normal(rng, 2, 2, 4), torch.rand(2, 3, generator=rng).double()
    )
    z = (torch.rand(2, 3, 9, 4, generator=rng) < 0.4).double()
    whole = term(z)
    assert torch.allclose(whole, term.full(z), atol=1e-12)
    for t in range(term.memory, 9):
        assert torch.allclose(term.step(z[:, :, t - term.memory : t], t), whole[:, :, t], atol=1e-12)


@pytest.mark.parametrize("history", [0, 1, 3, 5])
def test_a_twist_takes_the_prior_at_the_latest_bins(history: int) -> None:
    """Own past of any length beside a prior that looks three bins back: bin by bin as all bins at once."""
    family = Family("twisted", {"recognition": {"window": 2, "hidden": 4}, "history": history, "hidden": 3})
    x = traces(1, bins=10)
    prior = model(2, seed=7, learn=(), basis=1).prior(2, 10)
    law = family.trained(2).condition(x, None, prior).pmf
    z = (torch.rand(2, 2, 10, 2, generator=generator(3)) < 0.4).double()
    assert prior.memory == 3 and law.memory == max(3, history)
    whole = law.logits(z)
    for t in range(law.memory, 10):
        assert torch.allclose(law.step(z[:, :, t - law.memory : t], t), whole[:, :, t], atol=1e-12)


@dataclass(frozen=True)
class Own(CausalTerm):
    """``z[t − lag]`` by all bins at once, ``z[t − 1]`` by its step, said to look ``memory`` bins back."""

    lag: int
    memory: int = 1

    def __call__(self, z: Tensor) -> Tensor:
        rolled = torch.roll(z, self.lag, 2)
        rolled[:, :, : max(self.lag, 0)] = 0
        return rolled

    def step(self, window: Tensor, t: int) -> Tensor:
        return window[:, :, -1]


@pytest.mark.parametrize(
    ("term", "says"),
    [
        (Own(0), "depends on its own bin"),
        (Own(-1), "depends on bins to come"),
        (Own(3, 2), "more bins looked back than its memory of 2"),
        (Own(2, 2), "its step differs from all bins at once"),
    ],
)
def test_a_term_that_is_no_causal_one_is_refused(term: Own, says: str) -> None:
    with pytest.raises(UserError, match=f"term Own: found .*{says}"):
        check_term(term, cells=2)


@pytest.mark.parametrize("kind", ["own", "coupling", "low_rank"])
def test_terms_of_the_library_are_causal(kind: str) -> None:
    check_term(Own(1), cells=2)
    for term in process(kind, 4, trials=2, bins=20, cells=5, strength=0.8).terms:
        check_term(term, cells=5, dtype=torch.float64)
