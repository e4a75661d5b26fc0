"""A relaxed sample and its gradient, by every sampler: seconds, sweeps, and what backpropagation keeps.

    python benchmarks/relaxed_gradients.py relaxed_gradients.csv [--rounds 7]

One tidy table, hardware, threads and versions in every row. `forward`: without gradient; `recorded`: with it;
`backward`: from there; `both_to_forward`: (recorded + backward) ÷ forward. Competitors take turns within a
round, the first round is left out, medians of processor and wall-clock seconds are given. `sweeps`: Newton's
against the fixed point's over temperature and coupling. `kept`: bytes that backpropagation keeps after K
sweeps.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from dfp.core.files import atomic_path
from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.samplers.base import Sampler
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.newton import Newton
from dfp.samplers.relaxations import Concrete
from dfp.samplers.sequential import Sequential
from dfp.stages.provenance import environment

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


def clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def once(way: Sampler, q: CausalBernoulli, leaves: list[Tensor], noise: Tensor) -> dict[str, Any]:
    """Processor and wall-clock seconds of the parts of one step."""
    marks = [clocks()]
    with torch.no_grad():
        q.draw(noise, way, Concrete(TEMPERATURE))
    marks.append(clocks())
    draw = q.draw(noise, way, Concrete(TEMPERATURE))
    marks.append(clocks())
    torch.autograd.grad((draw.z * noise).sum() + draw.logits.sum(), leaves)
    marks.append(clocks())
    found: dict[str, Any] = {"sweeps": draw.sweeps}
    for kind, clock in enumerate(("cpu", "wall")):
        parts = [late[kind] - early[kind] for early, late in itertools.pairwise(marks)]
        found |= {f"{name}_{clock}": part for name, part in zip(PARTS, parts, strict=True)}
        found[f"both_to_forward_{clock}"] = (parts[1] + parts[2]) / parts[0]
    return found


PARTS = ("forward", "recorded", "backward")


def times(rounds: int) -> Iterator[dict[str, Any]]:
    """Medians over rounds of every way at every size."""
    for traces, bins, cells in SIZES:
        q, leaves = problem(traces, bins, cells)
        noise = q.noise(1, generator(1))
        ways = {name: way for name, way in WAYS.items() if cells <= MOST_CELLS.get(name, cells)}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                measured = once(way, q, leaves, noise)
                if number:  # the first is warming up
                    found[name].append(measured)
        for name, rows in found.items():
            own = {"traces": traces, "bins": bins, "cells": cells, "temperature": TEMPERATURE, "way": name}
            for measure in rows[0]:
                value = statistics.median(row[measure] for row in rows)
                unit = "s" if measure.startswith(PARTS) else "1"
                yield own | {"measure": measure, "unit": unit, "value": value, "rounds": rounds}


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
                yield {
                    "traces": 1, "bins": 300, "cells": 10, "temperature": temperature, "way": name,
                    "weight_sd": strength, "measure": "sweeps_of_five", "unit": "1",
                    "value": statistics.mean(found), "rounds": 1,
                }  # fmt: skip


def kept() -> Iterator[dict[str, Any]]:
    """Bytes of all storages that backpropagation keeps after K sweeps, of a process that needs as many sweeps
    as bins: a spike in the first one makes the next, and so on.
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
            yield {
                "traces": 16, "bins": 1_000, "cells": 1, "temperature": TEMPERATURE, "way": name,
                "measure": f"kept_at_{cap}", "unit": "bytes", "value": total, "rounds": 1,
                            }  # fmt: skip


def main() -> None:
    """Write the table and print its times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.DataFrame([*times(options.rounds), *sweeps(), *kept()])
    with atomic_path(options.out) as part:
        table.assign(**environment()).to_csv(part, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
