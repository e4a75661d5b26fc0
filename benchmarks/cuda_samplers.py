"""Samplers on a CUDA device, timed and held against the bits of the compiled loops on the CPU.

    python benchmarks/cuda_samplers.py                    # times, and cuda_samplers.csv
    python benchmarks/cuda_samplers.py --cell-bins 1e10   # also: that many cell-bins by every fused path

Columns are those of ``tables.py``. A time is that between two CUDA events around a draw that finds its noise
on the device. ``differ`` counts spikes that are not those of the compiled loop: it has to be 0 for the fused
kernels, which sum exactly, or the command ends with 1; the others add in floating point. ``over_eager`` and
``over_fused`` are ratios of medians to the eager and to the fused sequential loop. Without a CUDA device the
command says so and ends with 2. No GPU has run it yet.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tables import Case, arguments, in_turn, table, write
from torch import Tensor

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.samplers.base import CausalProcess
from dfp.samplers.bins import hard
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.grid import linear_taps
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential

#: cells, chains, bins, lags of the coupling (0: none)
SIZES = (
    (100, 16, 10_000, 0),
    (1, 1, 100_000, 0),
    (1, 16, 10_000, 0),
    (1000, 16, 10_000, 0),
    (100, 16, 10_000, 5),
)
OWN_LAGS, ROUNDS, SLOW_ROUNDS, BLOCK = 20, 9, 3, 100
#: cell-bins of one slice of the long comparison
SLICE = 16_000_000
FUSED = ("fused sequential", "chunked, walked", "chunked, parallel")
SLOW = ("eager sequential", "graphed sequential")
Draws = dict[str, Callable[[], Tensor]]


def network(cells: int, bins: int, coupling_lags: int) -> CausalBernoulli:
    """Refractory cells that fire in a few percent of the bins, weakly coupled."""
    rng = generator(1)
    taps = -2.0 * 0.8 ** torch.arange(OWN_LAGS, dtype=torch.float32).expand(cells, OWN_LAGS)
    terms: list[CausalTerm] = [OwnHistory(taps.contiguous())]
    if coupling_lags:
        weights = torch.randn(1, cells, cells, generator=rng) / math.sqrt(cells)
        terms.append(Coupling(weights, 0.7 ** torch.arange(coupling_lags, dtype=torch.float32)[None]))
    return CausalBernoulli(-3.0 + 0.5 * torch.randn(1, bins, cells, generator=rng), tuple(terms))


def on_device(q: CausalBernoulli, device: str) -> CausalBernoulli:
    """The process with its tensors moved."""

    def moved(term: CausalTerm) -> CausalTerm:
        held = {name: value for name, value in vars(term).items() if isinstance(value, Tensor)}
        return replace(term, **{name: value.to(device) for name, value in held.items()})  # type: ignore[type-var]

    return CausalBernoulli(q.drive.to(device), tuple(moved(term) for term in q.terms))


class GraphedSequential:
    """The eager loop without its kernel launches.

    ``BLOCK`` bins are captured once as a CUDA graph and replayed along time, on fixed buffers for drive,
    noise and the last values.
    """

    def __init__(self, q: CausalBernoulli, noise: Tensor, capture: bool = True) -> None:
        self.q, self.noise = q, noise
        self.block = math.gcd(noise.shape[2], BLOCK)
        samples, trials, _, cells = noise.shape
        self.drive = q.drive[:, : self.block].clone()
        self.heard = noise[:, :, : self.block].clone()
        self.window = noise.new_zeros(samples, trials, q.memory, cells)
        self.spikes = torch.empty_like(self.heard)
        self.part: CausalProcess = CausalBernoulli(self.drive, q.terms)
        self.replay: Callable[[], None] = self.steps
        if capture:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self.steps()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.steps()
            self.replay = graph.replay

    def steps(self) -> None:
        """A block of bins, from the values before it."""
        window = self.window
        for t in range(self.block):
            z = (self.part.step(window, t) + self.heard[:, :, t] > 0).to(window.dtype)
            self.spikes[:, :, t] = z
            window = torch.cat([window[:, :, 1:], z[:, :, None]], dim=2)
        self.window.copy_(window)

    def __call__(self) -> Tensor:
        """Spikes ``(S, B, T, N)``."""
        out = torch.empty_like(self.noise)
        self.window.zero_()
        for start in range(0, self.noise.shape[2], self.block):
            bins = slice(start, start + self.block)
            self.drive.copy_(self.q.drive[:, bins])
            self.heard.copy_(self.noise[:, :, bins])
            self.replay()
            out[:, :, bins] = self.spikes
        return out


def fused_draws(recursion: Recursion, noise: Tensor) -> Draws:
    """The fused kernels, each by itself; taps are laid on the grid beforehand."""
    from dfp.samplers.cuda import launch

    given = (noise, recursion.drive, *linear_taps(recursion))
    draws: Draws = {"fused sequential": lambda: launch.sequential(*given)[0]}
    if recursion.weights.shape[0] == 0 or noise.shape[-1] <= 128:
        draws["chunked, walked"] = lambda: launch.chunked(*given, span=noise.shape[2])[0]
        draws["chunked, parallel"] = lambda: launch.chunked(*given)[0]
    return draws


def all_draws(q: CausalBernoulli, noise: Tensor) -> Draws:
    """Every competitor."""
    recursion = q.recursion()
    assert recursion is not None
    return {
        "eager sequential": lambda: Sequential().draw(q, noise, Hard()).z,
        "graphed sequential": GraphedSequential(q, noise),
        **fused_draws(recursion, noise),
        "fixed point": lambda: FixedPoint().draw(q, noise, Hard()).z,
        "factorised": lambda: Hard()(q.drive.expand_as(noise), noise),
    }


def seconds(draw: Callable[[], Tensor]) -> float:
    """Of one draw, by CUDA's events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    draw()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def timed(cells: int, chains: int, bins: int, coupling_lags: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of one size."""
    q = network(cells, bins, coupling_lags)
    noise = logistic_noise((chains, 1, bins, cells), generator(2))
    recursion = q.recursion()
    assert recursion is not None
    expected = hard(recursion, noise)[0]
    draws = all_draws(on_device(q, "cuda"), noise.cuda())
    differ = {name: int((draw().cpu() != expected).sum()) for name, draw in draws.items()}  # also the warm-up
    calls = {name: partial(seconds, draw) for name, draw in draws.items()}
    found = in_turn(calls, rounds, warm_up=0, most=dict.fromkeys(SLOW, min(SLOW_ROUNDS, rounds)))
    case = Case(f"own history of {OWN_LAGS} bins, coupling of {coupling_lags}", chains, bins, cells)
    rows = []
    for name, taken in found.items():
        rows.append(case.row(name, "device_seconds", "s", taken))
        for over, other in (("over_eager", "eager sequential"), ("over_fused", "fused sequential")):
            ratio = statistics.median(taken) / statistics.median(found[other])
            rows.append(case.row(name, over, "1", [ratio]))
        if name != "factorised":
            rows.append(case.row(name, "differ", "spikes", [differ[name]]))
    return rows


def differing(cell_bins: float) -> dict[str, int]:
    """Spikes of every fused path that are not the compiled loop's, over so many cell-bins."""
    cells, chains, lags = 100, 16, 5
    bins = SLICE // (cells * chains)
    found = dict.fromkeys(FUSED, 0)
    for number in range(math.ceil(cell_bins / SLICE)):
        q = network(cells, bins, lags * (number % 2))
        noise = logistic_noise((chains, 1, bins, cells), generator(100 + number))
        here, there = q.recursion(), on_device(q, "cuda").recursion()
        assert here is not None and there is not None
        expected = hard(here, noise)[0]
        for name, draw in fused_draws(there, noise.cuda()).items():
            found[name] += int((draw().cpu() != expected).sum())
    return found


def missing() -> str | None:
    """What this machine lacks, in a sentence."""
    if not torch.cuda.is_available():
        return "cuda_samplers: found no usable CUDA device, expected one (and a CUDA build of torch)."
    if find_spec("triton") is None:
        return "cuda_samplers: found no Triton, expected one (pip install triton)."
    return None


def main() -> int:
    """Times, a table, and whether the bits are the same."""
    parser = arguments(__doc__, ROUNDS, Path("cuda_samplers.csv"), threads=False)
    parser.add_argument("--cell-bins", type=float, default=0.0, help="also compare so many cell-bins (1e10)")
    asked = parser.parse_args()
    lacks = missing()
    if lacks:
        print(lacks, file=sys.stderr)
        return 2
    made = table("cuda_samplers", [row for size in SIZES for row in timed(*size, asked.rounds)])
    write(made, asked.out)
    fused = (made["measure"] == "differ") & made["method"].isin(FUSED)
    wrong = int(made.loc[fused, "value"].sum())
    if asked.cell_bins:
        found = differing(asked.cell_bins)
        print(f"differing spikes in {asked.cell_bins:g} cell-bins: {found}")
        wrong += sum(found.values())
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
