"""Terms that are two ways of saying one thing."""

from __future__ import annotations

import torch
from cases import process

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.branching import flip_matrix
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
