"""Every sampler on the same processes, in turns: how long a draw takes, and whether the spikes are the same.

    python benchmarks/samplers.py results/reference/benchmarks/samplers.csv
    python benchmarks/samplers.py samplers.csv --cases goal --threads 2 --rounds 5
    python benchmarks/samplers.py --check 1e9          # cell-bins to compare bit for bit, by two routes

Columns are those of ``tables.py``: a draw of hard samples with its noise, or of relaxed ones with their
gradients (``relaxed`` in the case), or of the noise alone. ``over_factorised``, ``over_sequential`` and
``over_compiled`` are ratios of wall-clock seconds, paired within the round; ``over_best`` of ``auto`` is what
choosing cost. Eager sequential draws that would take minutes are left out (``--slow`` includes them).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from tables import Case, arguments, in_turn, now, table, write
from torch import Tensor

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, NonlinearHistory, OwnHistory
from dfp.samplers.auto import Auto
from dfp.samplers.base import Sampler
from dfp.samplers.chunked import Chunked
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard
from dfp.samplers.sequential import Sequential

SAMPLERS: dict[str, Sampler] = {
    "sequential": Sequential(),
    "fixed_point": FixedPoint(),
    "chunked": Chunked(),
    "compiled": Compiled(),
    "auto": Auto(),
}
#: an eager sequential draw of more operations than this is slow
SLOW_BINS = 10_000
ROUND_SECONDS = 0.3


@dataclass(frozen=True)
class Size:
    """A case: a kind of process, T bins, N cells, chains side by side, lags; relaxed or hard."""

    kind: str
    bins: int
    cells: int
    chains: int
    lags: int = 20
    relaxed: bool = False


CASES: dict[str, Size] = {
    # the sample that the goals are about
    "goal": Size("own", 10_000, 100, 16),
    "one_cell_300": Size("own", 300, 1, 16, 10),
    "one_cell_10000": Size("own", 10_000, 1, 16, 10),
    "one_cell_million": Size("own", 1_000_000, 1, 1, 10),
    "sparse_100": Size("sparse", 10_000, 100, 4),
    "sparse_1000": Size("sparse", 1_000, 1000, 1),
    "dense_20": Size("dense", 1_000, 20, 4),
    "dense_100": Size("dense", 1_000, 100, 4),
    "nonlinear_1": Size("nonlinear", 300, 1, 128, 10),
    "nonlinear_20": Size("nonlinear", 1_000, 20, 4, 10),
    "relaxed_1": Size("own", 300, 1, 16, 10, True),
    "relaxed_1_long": Size("own", 10_000, 1, 16, 10, True),
    "relaxed_20": Size("dense", 300, 20, 8, 10, True),
    "relaxed_100": Size("sparse", 300, 100, 4, 10, True),
    "relaxed_100_long": Size("own", 10_000, 100, 1, 10, True),
    "relaxed_nonlinear": Size("nonlinear", 300, 20, 4, 10, True),
}


def process(size: Size, requires_grad: bool = False) -> CausalBernoulli:
    """Refractory cells of about 5% spikes a bin; couplings subcritical, three sources a cell where sparse."""
    rng = generator(0)

    def made(tensor: Tensor) -> Tensor:
        return tensor.requires_grad_(requires_grad)

    cells = size.cells
    drive = made(-2.8 + 0.8 * torch.randn(size.chains, size.bins, cells, generator=rng))
    terms: list[CausalTerm] = []
    if size.kind != "nonlinear":
        terms.append(OwnHistory(made((-2.0 * 0.8 ** torch.arange(size.lags)).repeat(cells, 1))))
    if size.kind in ("sparse", "dense"):
        density = min(1.0, 3.0 / cells) if size.kind == "sparse" else 1.0
        present = torch.rand(1, cells, cells, generator=rng) < density
        weights = torch.randn(1, cells, cells, generator=rng) * present * (1.5 / (density * cells)) ** 0.5
        terms.append(Coupling(made(weights), torch.ones(1, 1)))
    if size.kind == "nonlinear":
        hidden = 16
        inward = 0.5 * torch.randn(1, size.lags, hidden, generator=rng) - 0.5
        context = torch.randn(size.chains, size.bins, cells, hidden, generator=rng)
        terms.append(NonlinearHistory(made(inward), made(context), made(torch.full((1, hidden), 0.2))))
    return CausalBernoulli(drive, tuple(terms))


def draws(size: Size, slow: bool) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    q, rng = process(size, size.relaxed), generator(1)
    shape = (1, size.chains, size.bins, size.cells)

    def draw(law: CausalBernoulli, how: Sampler) -> None:
        noise = logistic_noise(shape, rng)
        if not size.relaxed:
            with torch.no_grad():
                law.draw(noise, how, Hard())
            return
        found = law.draw(noise, how, Concrete(0.3))
        (found.z.sum() + found.logits.sum()).backward()

    made: dict[str, Callable[[], object]] = {"noise": lambda: logistic_noise(shape, rng)}
    alone = q.with_terms(())
    made["factorised"] = lambda: draw(alone, Compiled())
    for name, how in SAMPLERS.items():
        if name == "chunked" and size.relaxed:
            continue
        if name == "sequential" and size.bins > SLOW_BINS and not slow:
            continue
        made[name] = lambda how=how: draw(q, how)  # type: ignore[misc]
    return made


def clock(call: Callable[[], object]) -> np.ndarray:
    """Median seconds of a call, of the process and of the wall, of as many as fit a round."""
    taken: list[np.ndarray] = []
    while not taken or (np.sum(taken, 0)[1] < ROUND_SECONDS and len(taken) < 30):
        started = now()
        call()
        taken.append(now() - started)
    return np.median(taken, 0)


def rows(names: list[str], rounds: int, slow: bool) -> Iterator[dict[str, Any]]:
    """Rows of every case and sampler; the first call of each is not counted."""
    for name in names:
        size = CASES[name]
        case = Case(name, size.chains, size.bins, size.cells)
        calls = draws(size, slow)
        for call in calls.values():
            call()
        timed = {sampler: partial(clock, call) for sampler, call in calls.items()}
        taken = {key: np.array(found) for key, found in in_turn(timed, rounds, warm_up=0).items()}
        best = np.min([taken[key][:, 1] for key in SAMPLERS if key in taken and key != "auto"], 0)
        for sampler, clocks in taken.items():
            seconds = clocks[:, 1]
            yield from case.times(sampler, clocks)
            each = 1e9 * seconds / (size.bins * size.cells * size.chains)
            yield case.row(sampler, "wall_per_cell_bin", "ns", each)
            for other in ("factorised", "sequential", "compiled"):
                if other in taken:
                    yield case.row(sampler, f"over_{other}", "1", seconds / taken[other][:, 1])
            if sampler == "auto":
                yield case.row(sampler, "over_best", "1", seconds / best)


def check(cell_bins: float) -> int:
    """How many cell-bins differ between two compiled routes, and between one of them and an eager route.

    The compiled routes draw that many cell-bins, the eager one, in double precision, a hundredth of them.
    """
    done = wrong = eager = wrong_eager = number = 0
    while done < cell_bins:
        kind = ("own", "sparse", "dense")[number % 3]
        size = Size(kind, 20_000, 100 if kind == "own" else 30, 4)
        q, rng = process(size), generator(100 + number)
        noise = logistic_noise((1, 4, size.bins, size.cells), rng)
        one, other = Compiled().draw(q, noise, Hard()), Chunked().draw(q, noise, Hard())
        wrong += int((one.z != other.z).sum()) + int((one.logits != other.logits).sum())
        done += noise.numel()
        if number % 100 < 3:
            wide = CausalBernoulli(q.drive.double(), tuple(_double(term) for term in q.terms))
            found = Compiled().draw(wide, noise.double(), Hard()).z
            wrong_eager += int((found != FixedPoint().draw(wide, noise.double(), Hard()).z).sum())
            eager += noise.numel()
        number += 1
    print(
        f"{done:.3g} cell-bins: {wrong} differ between compiled and chunked; "
        f"{eager:.3g} in double precision: {wrong_eager} differ between compiled and eager fixed point"
    )
    return int(wrong > 0)


def _double(term: CausalTerm) -> CausalTerm:
    made = type(term).__new__(type(term))
    for key, value in vars(term).items():
        object.__setattr__(made, key, value.double())
    return made


def main() -> int:
    """Parse the command line and write the table."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--slow", action="store_true", help="eager draws of over 10,000 bins too")
    parser.add_argument("--check", type=float, default=0, metavar="N", help="compare N cell-bins, and stop")
    asked = parser.parse_args()
    if asked.check:
        return check(asked.check)
    made = []
    for threads in asked.threads:
        torch.set_num_threads(threads)
        made.append(table("samplers", rows(asked.cases, asked.rounds, asked.slow)))
    write(pd.concat(made), asked.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
