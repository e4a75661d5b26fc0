"""A relaxed sample and its gradient, by every sampler: seconds, sweeps, and what backpropagation keeps.

    python benchmarks/relaxed_gradients.py relaxed_gradients.csv [--rounds 7]

Columns are those of `tables.py`. Parts: `forward`, without gradient; `recorded`, with it; `backward`, from
there. `cpu_over_forward`, `wall_over_forward`: (recorded + backward) ÷ forward. `mean_sweeps` over
temperature and coupling: Newton's against the fixed point's. `bytes_kept`: what backpropagation keeps after K
sweeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from tables import Case, arguments, in_turn, now, table, write
from torch import Tensor

from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.samplers.base import Sampler
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.newton import Newton
from dfp.samplers.relaxations import Concrete
from dfp.samplers.sequential import Sequential

#: traces, bins, cells
SIZES = ((16, 300, 1), (16, 1_000, 1), (16, 10_000, 1), (4, 300, 20), (2, 300, 100))
TEMPERATURE = 0.3
LAGS = 10
#: of a cell's senders, and the sd of their weights: those of `connectivity`
SENDERS, WEIGHT_SD = 3.0, 1.5
WAYS: dict[str, Sampler] = {
    "implicit": FixedPoint(),
    "unrolled": FixedPoint(gradient="unrolled"),
    "compiled": Compiled(),
    "sequential": Sequential(),
    "newton": Newton(),
    "newton_full": Newton("full", chunk=LAGS),
}
#: ways that take minutes beyond so many cells
MOST_CELLS = {"newton_full": 20}
CAPS = (1, 2, 4, 8, 16, 32, 64)
TEMPERATURES = (1.0, 0.5, 0.25, 0.1)
STRENGTHS = (0.0, 1.5, 3.0)


def problem(
    traces: int, bins: int, cells: int, seed: int = 0, weight_sd: float = WEIGHT_SD
) -> tuple[CausalBernoulli, list[Tensor]]:
    """A process with ten lags of own history, coupled at lag 1 for several cells, and its leaves."""
    rng = generator(seed)
    drive = (-1.9 + 1.5 * torch.randn(traces, bins, cells, generator=rng)).requires_grad_()
    taps = torch.zeros(cells, LAGS)
    taps[:, 0], taps[:, 1] = -2.0, -1.0
    leaves, terms = [drive, taps.requires_grad_()], list[CausalTerm]([OwnHistory(taps)])
    if cells > 1:
        joined = torch.rand(1, cells, cells, generator=rng) < SENDERS / cells
        weights = weight_sd * torch.randn(1, cells, cells, generator=rng) * joined
        leaves.append(weights.requires_grad_())
        terms.append(Coupling(weights, torch.ones(1, 1)))
    return CausalBernoulli(drive, tuple(terms)), leaves


def once(way: Sampler, q: CausalBernoulli, leaves: list[Tensor], noise: Tensor) -> tuple[np.ndarray, int]:
    """Seconds of the parts of one step, (parts, process and wall), and the sweeps of its draw."""
    marks = [now()]
    with torch.no_grad():
        q.draw(noise, way, Concrete(TEMPERATURE))
    marks.append(now())
    draw = q.draw(noise, way, Concrete(TEMPERATURE))
    marks.append(now())
    torch.autograd.grad((draw.z * noise).sum() + draw.logits.sum(), leaves)
    marks.append(now())
    return np.diff(marks, axis=0), draw.sweeps


PARTS = ("forward", "recorded", "backward")


def times(rounds: int) -> Iterator[dict[str, Any]]:
    """Every way at every size."""
    for traces, bins, cells in SIZES:
        q, leaves = problem(traces, bins, cells)
        noise = q.noise(1, generator(1))
        case = Case(f"{traces} × {bins} × {cells}, temperature {TEMPERATURE:g}", traces, bins, cells)
        ways = {
            name: partial(once, way, q, leaves, noise)
            for name, way in WAYS.items()
            if cells <= MOST_CELLS.get(name, cells)
        }
        for name, found in in_turn(ways, rounds).items():
            seconds = np.array([parts for parts, _ in found])  # (rounds, parts, clocks)
            for number, part in enumerate(PARTS):
                yield from case.times(name, seconds[:, number], part)
            both = seconds[:, 1:].sum(1) / seconds[:, 0]
            for kind, clock in enumerate(("cpu", "wall")):
                yield case.row(name, f"{clock}_over_forward", "1", both[:, kind])
            yield case.row(name, "sweeps", "1", [count for _, count in found])


def sweeps() -> Iterator[dict[str, Any]]:
    """Mean sweeps over five networks of the fixed point and of Newton's method, ten cells, 300 bins."""
    ways = {name: WAYS[name] for name in ("implicit", "newton", "newton_full")}
    for strength in STRENGTHS:
        for temperature in TEMPERATURES:
            for name, way in ways.items():
                found = []
                for seed in range(5):
                    q, _ = problem(1, 300, 10, seed, strength)
                    with torch.no_grad():
                        found.append(q.draw(q.noise(1, generator(seed)), way, Concrete(temperature)).sweeps)
                case = Case(f"weight sd {strength:g}, temperature {temperature:g}", 1, 300, 10)
                yield case.row(name, "mean_sweeps", "1", [float(np.mean(found))])


def kept() -> Iterator[dict[str, Any]]:
    """Bytes of all storages that backpropagation keeps after K sweeps.

    The process needs as many sweeps as bins: a spike in the first bin makes the next, and so on.
    """
    drive = torch.full((16, 1_000, 1), -4.0)
    drive[:, 0] = 4.0
    leaves = [drive.requires_grad_(), torch.full((1, 1), 8.0, requires_grad=True)]
    q, noise = CausalBernoulli(leaves[0], (OwnHistory(leaves[1]),)), torch.zeros(1, 16, 1_000, 1)
    for name in ("implicit", "unrolled"):
        for cap in CAPS:
            storages: dict[int, tuple[int, Tensor]] = {}

            def pack(tensor: Tensor, storages: dict[int, tuple[int, Tensor]] = storages) -> Tensor:
                memory = tensor.untyped_storage()
                storages[memory.data_ptr()] = memory.nbytes(), tensor.detach()
                return tensor

            how = FixedPoint(gradient=name, tolerance=1e-30, max_sweeps=cap)
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                draw = q.draw(noise, how, Concrete(TEMPERATURE))
            assert draw.sweeps == cap
            mine = {leaf.untyped_storage().data_ptr() for leaf in [*leaves, noise]}
            total = sum(size for place, (size, _) in storages.items() if place not in mine)
            case = Case(f"temperature {TEMPERATURE:g}, {cap} sweeps", 16, 1_000, 1)
            yield case.row(name, "bytes_kept", "bytes", [total], "recorded")


def main() -> None:
    """Write the table and print its times."""
    asked = arguments(__doc__, rounds=7).parse_args()
    made = []
    for threads in asked.threads:
        torch.set_num_threads(threads)
        made.append(table("relaxed_gradients", [*times(asked.rounds), *sweeps(), *kept()]))
    write(pd.concat(made), asked.out)


if __name__ == "__main__":
    main()
