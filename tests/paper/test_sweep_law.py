"""The law of K sweeps: against brute force over the noise, the production sampler, and its own limits."""

from __future__ import annotations

import itertools

import pytest
import torch
from cases import process
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from experiments.ledger.sweep_law import law_after_sweeps, noise_cells


def coupled(seed: int, bins: int, cells: int, strength: float = 1.5) -> tuple[CausalBernoulli, Tensor]:
    """A process of one group, detached, and its logits on all paths, (P, B, T, C)."""
    with torch.no_grad():
        q = process(
            "all_terms" if cells > 1 else "nonlinear", seed, bins=bins, cells=cells, strength=strength
        )
        return q, q.logits(all_paths(bins, cells).expand(-1, 2, -1, -1)).detach()


def codes(z: Tensor) -> Tensor:
    """Numbers of paths ``(R, B, T, C)``."""
    flat = z.flatten(2).long()
    return (flat * 2 ** torch.arange(flat.shape[2])).sum(-1)


sizes = st.sampled_from([(1, 1), (4, 1), (6, 1), (3, 2), (2, 3)])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), sizes, st.integers(1, 7), st.floats(0.2, 4.0))
def test_it_is_a_law_and_from_t_sweeps_on_that_of_q(
    seed: int, size: tuple[int, int], sweeps: int, strength: float
) -> None:
    q, logits = coupled(seed, *size, strength)
    law = law_after_sweeps(logits, sweeps)
    assert torch.allclose(law.sum(0), torch.ones(2, dtype=torch.float64), atol=1e-12)
    assert (law >= 0).all()
    if sweeps >= size[0]:
        with torch.no_grad():
            own = q.log_prob(all_paths(*size).expand(-1, 2, -1, -1)).sum((2, 3)).exp()
        assert torch.allclose(law, own, atol=1e-12)
    # the first K bins are exact after K sweeps: so is their marginal law
    kept = 2 ** (min(sweeps, size[0]) * size[1])
    with torch.no_grad():
        own = q.log_prob(all_paths(*size).expand(-1, 2, -1, -1)).sum((2, 3)).exp()
    assert torch.allclose(law.reshape(-1, kept, 2).sum(0), own.reshape(-1, kept, 2).sum(0), atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), sizes, st.integers(1, 5))
def test_the_production_sampler_draws_the_path_of_each_piece(
    seed: int, size: tuple[int, int], sweeps: int
) -> None:
    q, logits = coupled(seed, *size)
    for _, pieces in noise_cells(logits, sweeps):
        with torch.no_grad():
            z = q.draw(pieces.noise, FixedPoint(sweeps=sweeps), Hard()).z
        wide = pieces.mass > 1e-12  # the median of a piece of no width is its edge
        assert torch.equal(codes(z)[wide], pieces.code[wide])
        assert torch.allclose(pieces.mass.sum(0), torch.ones(2, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("sweeps", [1, 2, 3])
def test_against_brute_force_over_all_noise_there_is(sweeps: int) -> None:
    """Noise cut at every logit that any past could give, 2·3·5·9 cells: no knowledge of sweeps in the cut."""
    q, logits = coupled(7, 4, 1)
    law = torch.zeros_like(logits[:, 0, 0, 0])
    edges = []
    for t in range(4):
        cuts = torch.sigmoid(-logits[: 2**t, 0, t, 0]).sort().values
        edges.append(torch.cat([torch.zeros(1).double(), cuts, torch.ones(1).double()]))
    one = CausalBernoulli(q.drive[:1], tuple(_first_trial(term) for term in q.terms))
    for cell in itertools.product(*(range(len(edge) - 1) for edge in edges)):
        low = torch.stack([edge[k] for edge, k in zip(edges, cell, strict=True)])
        high = torch.stack([edge[k + 1] for edge, k in zip(edges, cell, strict=True)])
        noise = torch.logit(0.5 * (low + high)).reshape(1, 1, 4, 1)
        with torch.no_grad():
            z = one.draw(noise, FixedPoint(sweeps=sweeps), Hard()).z
        law[codes(z)[0, 0]] += (high - low).prod()
    assert torch.allclose(law_after_sweeps(logits, sweeps)[:, 0], law, atol=1e-12)
    shifted = law_after_sweeps(logits, sweeps + 1)[:, 0]
    assert float((shifted - law).abs().max()) > 1e-6, "one sweep more would pass as well"


def _first_trial(term: object) -> object:
    from dataclasses import replace

    return replace(term, context=term.context[:1])  # type: ignore[type-var, attr-defined]


def test_parts_hold_whole_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    _, logits = coupled(3, 4, 1)
    many = logits.repeat(1, 6, 1, 1)
    whole = law_after_sweeps(many, 2)
    monkeypatch.setattr("experiments.ledger.sweep_law._CHUNK", 1000)
    assert torch.allclose(law_after_sweeps(many, 2), whole, atol=0)
    starts = [(first, pieces.mass.shape[1]) for first, pieces in noise_cells(many, 2, multiple=3)]
    assert len(starts) > 1 and all(first % 3 == 0 for first, _ in starts)
    assert sum(count for _, count in starts) == 12


def test_sampled_frequencies_agree() -> None:
    q, logits = coupled(11, 4, 1)
    with torch.no_grad():
        z = q.draw(q.noise(40_000, generator(0)), FixedPoint(sweeps=2), Hard()).z
    law = law_after_sweeps(logits, 2)
    shares = torch.stack([torch.bincount(codes(z)[:, b], minlength=16) for b in range(2)], 1) / 40_000
    assert ((shares - law).abs() < 5 * (law * (1 - law) / 40_000).sqrt() + 1e-9).all()


def test_refusals() -> None:
    _, logits = coupled(0, 2, 1)
    with pytest.raises(UserError, match="sweeps: found 0, expected at least 1"):
        law_after_sweeps(logits, 0)
    with pytest.raises(UserError, match=r"found 3 paths, expected 2\^\(2 bins × 1 cells\)"):
        law_after_sweeps(logits[:3], 1)
