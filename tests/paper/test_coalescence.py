"""How soon runs on the same noise meet: against pairs of runs that are made and enumerated chains."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from cases import normal, process
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.data.networks import sparse_random
from dfp.distributions.branching import branching_ratio, lag_weights
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import Coupling, OwnHistory
from dfp.samplers.chunked import Chunked
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from experiments.convergence.coalescence import Changes, changes, pair_rate, tail_rate


def network(bins: int, cells: int = 3, strength: float = 2.5, seed: int = 3) -> CausalBernoulli:
    """Own history and coupling at lag 1, a drive around −1."""
    rng = generator(seed)
    terms = (
        OwnHistory(torch.full((cells, 1), -1.0).double()),
        Coupling(strength * normal(rng, 1, cells, cells), torch.ones(1, 1).double()),
    )
    return CausalBernoulli((normal(rng, 1, 1, cells) - 1).expand(1, bins, cells), terms)


def by_enumeration(law: CausalBernoulli) -> float:
    """λ, by the largest eigenvalue of the chain of pairs of states among pairs of different ones. Noise is
    shared, so that a cell spikes in both with min(p, p'), in one alone with the difference."""
    cells = law.drive.shape[-1]
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=cells))).double()
    p = torch.sigmoid(law.step(states[:, None, None], 0))[:, 0]
    apart = [(a, b) for a in range(len(states)) for b in range(len(states)) if a != b]
    matrix = np.ones((len(apart), len(apart)))
    for row, (a, b) in enumerate(apart):
        for column, (c, d) in enumerate(apart):
            for n in range(cells):
                one, other = float(p[a, n]), float(p[b, n])
                both = min(one, other)
                joint = {
                    (1, 1): both,
                    (1, 0): one - both,
                    (0, 1): other - both,
                    (0, 0): 1 - max(one, other),
                }
                matrix[row, column] *= joint[int(states[c, n]), int(states[d, n])]
    return -math.log(np.abs(np.linalg.eigvals(matrix)).max())


def run_from(law: CausalBernoulli, noise: Tensor, start: int, end: int) -> Tensor:
    """Spikes of bin ``end`` of a run that starts without spikes before bin ``start``."""
    z = torch.zeros(1, 1, 1, noise.shape[-1], dtype=noise.dtype)
    for t in range(start, end + 1):
        z = (law.step(z, t) + noise[:, :, t] > 0).to(noise.dtype)[:, :, None]
    return z[0, 0, 0]


def test_a_sweep_changes_the_bins_whose_pairs_of_runs_have_not_met() -> None:
    law = network(60)
    noise = law.noise(1, generator(1))
    found = changes(law, noise)
    for sweep in range(1, len(found.bins) + 2):
        apart = [
            not torch.equal(run_from(law, noise, t - sweep + 1, t), run_from(law, noise, t - sweep + 2, t))
            if sweep > 1
            else bool(run_from(law, noise, t, t).any())
            for t in range(sweep - 1, 60)
        ]
        counted = found.bins[sweep - 1] if sweep <= len(found.bins) else 0
        assert sum(apart) == counted
        assert sweep > len(found.bins) or apart[-1] == bool(found.ending[sweep - 1])
    assert len(found.bins) > 5 and found.total == 60


@pytest.mark.parametrize("lags", [1, 3])
def test_one_chunk_is_swept_as_often_as_all_bins_at_once(lags: int) -> None:
    own = OwnHistory(torch.tensor([[1.5, 0.5, -1.0][:lags]]).double())
    law = CausalBernoulli(torch.full((1, 5000, 1), -1.0).double(), (own,))
    noise = law.noise(1, generator(2))
    swept = law.draw(noise, FixedPoint(), Hard()).sweeps
    assert law.draw(noise, Chunked(chunk=5000), Hard()).sweeps == swept == len(changes(law, noise).bins) + 1


@pytest.mark.parametrize("strength", [1.0, 3.0, 5.0])
def test_pairs_and_the_tail_of_a_run_give_the_rate_of_the_enumerated_chain(strength: float) -> None:
    """To 4%: 2,000 pairs over 160 bins, and a run of 200,000 bins."""
    law = network(200_000, strength=strength)
    exact = by_enumeration(law)
    assert pair_rate(law, generator(4)) == pytest.approx(exact, rel=0.04)
    assert tail_rate(changes(law, law.noise(1, generator(5)))) == pytest.approx(exact, rel=0.04)


def test_one_cell_that_sees_one_bin_back_has_the_branching_ratio() -> None:
    """A flip is the only one there is: e^(−λ) = |σ(b + w) − σ(b)| = ρ."""
    own = OwnHistory(torch.tensor([[2.0]]).double())
    law = CausalBernoulli(torch.full((1, 20_000, 1), -1.0).double(), (own,))
    expected = 1 / (1 + math.exp(-1)) - 1 / (1 + math.e)
    noise = law.noise(1, generator(6))
    ratio = branching_ratio(law, law.draw(noise, FixedPoint(), Hard()).z)
    assert ratio == pytest.approx(expected, rel=1e-6)
    assert by_enumeration(law) == pytest.approx(-math.log(expected))
    assert tail_rate(changes(law, noise)) == pytest.approx(-math.log(expected), rel=0.08)


def one_at_a_time(law: CausalBernoulli, weights: Tensor, rng: torch.Generator, copies: int = 3000) -> float:
    """Flips that a flip causes a bin later, each followed in a copy of the run that differs by it alone."""
    cells, every = len(weights), torch.arange(copies)
    noise = [law.with_drive(law.drive[:, :1]).noise(copies, rng)[:, 0, 0] for _ in range(60)]
    bias, logs = law.drive[0, 0], []
    x = torch.zeros(copies, cells, dtype=torch.float64)
    flipped = torch.randint(cells, (copies,), generator=rng)
    for number, drawn in enumerate(noise):
        u = x @ weights.T + bias
        moved = u + (1 - 2 * x[every, flipped])[:, None] * weights[:, flipped].T
        now = (u + drawn > 0).double()
        run, cell = ((moved + drawn > 0).double() != now).nonzero(as_tuple=True)
        chosen = torch.randint(len(run), (copies,), generator=rng)
        x, flipped = now[run[chosen]], cell[chosen]
        logs += [math.log(len(run) / copies)] if number >= 15 else []
    return math.exp(float(np.mean(logs)))


def test_flips_that_meet_undo_each_other_where_many_live_at_a_time() -> None:
    """Twenty cells of four inputs each: e^(−λ) is ρ where ρ is small, and far below it near 1. Flips followed
    one at a time are as many as ρ says, so that what ρ leaves out is that they meet."""
    found = []
    for weight_sd in (1.0, 3.0):
        made = sparse_random(20, np.random.default_rng(100), density=0.2, weight_sd=weight_sd, rate_hz=3.0)
        terms = (
            OwnHistory(torch.as_tensor(made.history)),
            Coupling(torch.as_tensor(made.coupling), torch.as_tensor(made.basis)),
        )
        law = CausalBernoulli(torch.as_tensor(made.bias).expand(1, 5000, 20), terms)
        z = law.draw(law.noise(1, generator(7)), FixedPoint(), Hard()).z
        ratio = branching_ratio(law, z)
        assert one_at_a_time(law, lag_weights(law)[0], generator(9)) == pytest.approx(ratio, rel=0.04)
        found.append((ratio, math.exp(-pair_rate(law, generator(8), bins=120))))
    (low, small), (high, large) = found
    assert small == pytest.approx(low, rel=0.06) and 0.3 < low < 0.5
    assert large < 0.9 * high and 0.9 < high < 1.05


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 0.97), st.integers(1, 1000), st.integers(1, 5))
def test_a_geometric_tail_is_read_back_whatever_its_size(ratio: float, size: int, before: int) -> None:
    """Counts in proportion to ratio^k after a start that is something else."""
    tail = size * ratio ** torch.arange(1200, dtype=torch.float64)
    bins = torch.cat([torch.full((before,), 40.0 * size, dtype=torch.float64), tail])
    found = Changes(bins, torch.zeros_like(bins), total=50 * size)
    assert found.start(0.1) == before
    assert tail_rate(found, 0.1) == pytest.approx(-math.log(ratio), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 0.95), st.integers(0, 1000))
def test_changes_that_run_out_of_bins_are_not_taken_for_changes_that_ended(ratio: float, seed: int) -> None:
    """Depths of 2,000 geometric chains cut at lengths of 1 to 30: within 6 standard errors."""
    rng = np.random.default_rng(seed)
    depth, room = rng.geometric(1 - ratio, 2000), rng.integers(1, 31, 2000)
    alive = np.minimum(depth, room)
    steps = np.arange(1, alive.max() + 1)
    bins = (alive[:, None] >= steps).sum(0)
    ending = ((room[:, None] == steps) & (depth[:, None] >= steps)).sum(0)
    found = Changes(torch.tensor(bins).double(), torch.tensor(ending).double(), total=2000)
    trials = (bins - ending).sum()
    error = math.sqrt((1 - ratio) / ratio / trials)
    assert abs(tail_rate(found, 1.0) + math.log(ratio)) < 6 * error


def test_without_a_tail_there_is_no_rate_but_its_limits() -> None:
    silent = CausalBernoulli(torch.zeros(1, 10, 2))
    found = changes(silent, silent.noise(1, generator(8)))
    assert len(found.bins) == 1 and tail_rate(found) == math.inf == pair_rate(silent, generator(8))
    still = changes(silent, torch.full((1, 1, 10, 2), -30.0))
    assert len(still.bins) == 0 and tail_rate(still) == math.inf
    kept = CausalBernoulli(torch.full((1, 1, 1), -50.0), (OwnHistory(torch.tensor([[100.0]])),))
    assert pair_rate(kept, generator(9), pairs=10, bins=50) == 0.0
    forever = torch.full((30,), 5.0).double()
    ends = torch.zeros(30).double()
    ends[-1] = 5.0
    assert tail_rate(Changes(forever, ends, total=10)) == 0.0


def test_longer_memories_and_hidden_units_are_counted_too() -> None:
    law = process("nonlinear", 0)
    noise = law.noise(3, generator(10))
    assert len(changes(law, noise).bins) + 1 == law.draw(noise, FixedPoint(), Hard()).sweeps


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_is_none_is_refused_with_a_sentence(share: float) -> None:
    with pytest.raises(
        UserError, match=f"tail share: found {share:g}, expected a number above 0 and at most"
    ):
        tail_rate(Changes(torch.ones(3), torch.zeros(3), total=3), share)
