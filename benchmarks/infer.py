"""How long 100 joint samples of a cell take, beside OASIS's point estimate of the same trace.

    python benchmarks/infer.py [--seconds 1000] [--rate 30] [--repeats 5]

One thread. Prints the minimum, median and maximum of the repeats in seconds, and the peak memory.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from dfp.amortised import load_pretrained
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.references.peers.oasis import oasis_deconvolve


def timed(work: Callable[[], object], repeats: int) -> np.ndarray:
    """Seconds of each repeat, after one that is not counted (compiled code is loaded in it)."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return np.array(spent)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1000.0)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cell = Cell(0.15, 0.6, 0.05, noise=0.08)
    trace, _ = simulate_cell(cell, round(options.seconds * options.rate), 1 / options.rate, 0)
    posterior = load_pretrained("simulations")
    works: dict[str, Callable[[], object]] = {
        "100 joint samples": lambda: posterior.condition(trace, options.rate).sample(100, 0),
        "of it the network": lambda: posterior.condition(trace, options.rate),
        "OASIS, a point estimate": lambda: oasis_deconvolve(trace),
    }
    what = f"{options.seconds:g} s of a cell at {options.rate:g} Hz"
    print(f"{what}, one thread; min / median / max of {options.repeats}")
    for name, work in works.items():
        spent = timed(work, options.repeats)
        print(f"{name:26s} {spent.min():.3f} / {np.median(spent):.3f} / {spent.max():.3f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
