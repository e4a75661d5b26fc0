"""How soon runs on the same noise become one: the tail that the number of sweeps is the extreme value of.

With a memory of one bin, sweep k gives bin t the value of a run that starts without spikes k bins before,
and sweep k − 1 that of a run from k − 1 bins before. Bin t therefore changes in sweep k exactly when these
two, on the same noise, have not met by then: every bin starts a pair, and T bins settle when the last of some
T pairs has met. A pair is a Markov chain that ends when its two runs meet, so that

    P(not met after k sweeps) → C e^(−λ k),    sweeps of T bins ≈ (ln T + constant) / λ,

with e^(−λ) the largest eigenvalue of the pair's transitions among different values: the share of pairs left
after a bin, once those left have settled to their quasi-stationary law. ``branching.branching_ratio`` takes
every flipped spike for the only one; where several live at a time they fall on the same cells and undo each
other, so that e^(−λ) < ρ, the more so the smaller the network. Longer memories have no such chain by bins,
but the same tail by sweeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli

#: the tail starts with the first sweep that changes no more than this share of the bins: our choice, on
#: networks of seeds that no experiment uses. 0.1 spreads a third more, 0.3 is biased more by a cell's history
TAIL = 0.2


@dataclass(frozen=True)
class Changes:
    """What hard sweeps from no spikes change, sweep by sweep; the last, which changes nothing, left out.

    Attributes:
        bins: bins with a spike that changes, float64 ``(K,)``, summed over samples and trials.
        ending: those of them that are the last bin, whose changes have no bin to go on to, ``(K,)``.
        total: bins there are, S·B·T.
    """

    bins: Tensor
    ending: Tensor
    total: int

    def start(self, share: float = TAIL) -> int:
        """Where the tail starts: the first entry of at most ``share · total`` bins; the second where none is.

        Raises:
            UserError: for a share that is no probability.
        """
        if not 0 < share <= 1:
            raise UserError(f"tail share: found {share:g}, expected a number above 0 and at most 1")
        few = (self.bins <= share * self.total).nonzero()
        return int(few[0]) if len(few) else min(1, len(self.bins))


@torch.no_grad()
def changes(process: CausalBernoulli, noise: Tensor) -> Changes:
    """Sweep ``noise`` ``(S, B, T, N)`` until still and count."""
    z = torch.zeros_like(noise)
    bins, ending = [], []
    for _ in range(noise.shape[2]):
        moved = (process.logits(z) + noise > 0).to(z.dtype)
        differs = (moved != z).any(-1)
        if not bool(differs.any()):
            break
        bins.append(differs.sum())
        ending.append(differs[:, :, -1].sum())
        z = moved
        if process.memory == 0:
            break
    empty = torch.zeros(0, device=noise.device)
    counts = [torch.stack(each) if each else empty for each in (bins, ending)]
    return Changes(counts[0].double(), counts[1].double(), noise[..., 0].numel())


def tail_rate(found: Changes, share: float = TAIL) -> float:
    """λ in nats per sweep, by which the bins that still change die out over sweeps.

    ``λ = ln Σ_(k ≥ m) (n_k − those at the end) / Σ_(k > m) n_k``, n_k the bins that sweep k changes, m the
    start of the tail.

    Maximum likelihood for depths that are geometric from m on: each bin that changes goes on to the next
    sweep with probability e^(−λ), but for those at the end, of which that cannot be seen. 0 where no change
    ended, infinite where none went on.

    Raises:
        UserError: as ``Changes.start``.
    """
    start = found.start(share)
    alive = float((found.bins - found.ending)[start:].sum())
    gone_on = float(found.bins[start + 1 :].sum())
    if gone_on == 0:
        return math.inf
    return max(0.0, math.log(alive / gone_on)) if alive > 0 else 0.0


@torch.no_grad()
def pair_rate(
    process: CausalBernoulli, rng: torch.Generator, pairs: int = 2000, bins: int = 200, settle: int = 40
) -> float:
    """λ in nats per bin, from pairs of runs on the same noise, each kept different by the others.

    A pair that has met is replaced by a copy of one that has not (Fleming–Viot), so that what is left settles
    to the pair chain's quasi-stationary law; λ is minus the mean log share of pairs that have not met, over
    the bins after ``settle``. Every pair has noise of its own at every bin. With a memory of one bin a bin is
    a sweep, and this is the limit of ``tail_rate`` for long runs. Infinite where all pairs meet in one bin.

    Args:
        process: of one trial, with a drive that is the same in all bins (its first is used).
    """
    memory, cells = process.memory, process.drive.shape[-1]
    if memory == 0:
        return math.inf
    law = process.with_drive(process.drive[:, :1])
    runs = torch.zeros(2, pairs, 1, memory, cells, dtype=law.drive.dtype, device=law.drive.device)
    first = torch.randint(cells, (pairs,), generator=rng, device=rng.device)
    runs[1, torch.arange(pairs), 0, -1, first] = 1.0
    logs = []
    for number in range(bins):
        noise = law.noise(pairs, rng)[:, :, 0]
        now = torch.stack([(law.step(run, 0) + noise > 0).to(runs.dtype) for run in runs])
        runs = torch.cat([runs[:, :, :, 1:], now[:, :, :, None]], 3)
        apart = (runs[0] != runs[1]).flatten(1).any(1)
        left = apart.nonzero()[:, 0]
        if not len(left):
            return math.inf
        chosen = torch.randint(len(left), (pairs,), generator=rng, device=rng.device)
        runs = runs[:, torch.where(apart, torch.arange(pairs, device=apart.device), left[chosen])]
        if number >= settle:
            logs.append(math.log(len(left) / pairs))
    return -sum(logs) / len(logs)
