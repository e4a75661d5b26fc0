"""Where the time of a training step goes: named parts of a step, for the kinds of run that there are.

    python benchmarks/training_step.py times.csv                       # all cases, one thread
    python benchmarks/training_step.py times.csv --sizes 100_cells --rounds 30
    python benchmarks/training_step.py times.csv --losses losses.csv   # the losses of the steps, every digit

Columns are those of ``tables.py``, a round is a step. A part's time is its own: what it calls that is a part
of its own is taken off it. ``share`` is that of the process's seconds of a step (of the part ``whole``). With
``--losses`` two versions of the code can be held against each other: ``--against`` a file of an earlier
version prints the largest relative difference of a case's losses.
"""

from __future__ import annotations

import argparse
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tables import WHOLE, Case, arguments, now, table, write

import dfp.training.loop as loop
from dfp.config.build import make_phase, make_posterior, posteriors, samplers
from dfp.core.files import atomic_path
from dfp.core.memory import keep_freed_memory
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.data.networks import independent, sparse_random
from dfp.data.simulate import simulate
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.models.calcium import CalciumNetwork
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.recognition import Recognition
from dfp.training.average import Average
from dfp.training.loop import Trainer
from dfp.training.optimiser import Adam
from dfp.training.windows import Windows

#: length of the simulated recording, bins
BINS = 2_000
WARM_UP = 3


@dataclass
class Clock:
    """Seconds by part, (of the process, of the wall); a part that is called by another is taken off it."""

    spent: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    _open: list[np.ndarray] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens within under ``name``."""
        self._open.append(np.zeros(2))
        started = now()
        yield
        taken = now() - started
        inner = self._open.pop()
        self.spent[name] += taken - inner
        if self._open:
            self._open[-1] += taken

    def wrap(self, owner: Any, name: str, part: str | Callable[[Any], str]) -> Callable[[], None]:
        """Count every call of ``owner.name``; the result puts back what was there."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def timed(*inputs: Any, **named: Any) -> Any:
            with self.part(part if isinstance(part, str) else part(inputs[0])):
                return original(*inputs, **named)

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, original)


def _whose(law: CausalBernoulli) -> str:
    """The model's prior repeats one bias over all bins; a posterior's drive does not."""
    return "prior" if law.drive.stride(-2) == 0 else "log q"


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Have every part of a step counted."""
    undo = [
        clock.wrap(Windows, "cut", "batch"),
        clock.wrap(Recognition, "forward", "recognition"),
        clock.wrap(CausalBernoulli, "noise", "sampling"),
        clock.wrap(CausalBernoulli, "log_prob", _whose),
        clock.wrap(CalciumNetwork, "log_likelihood", "likelihood"),
        clock.wrap(CalciumNetwork, "observe", "dreamt traces"),
        clock.wrap(torch.Tensor, "backward", "backward"),
        clock.wrap(loop, "clip_gradients", "optimiser"),
        clock.wrap(Adam, "step", "optimiser"),
        clock.wrap(Average, "add", "optimiser"),
        *(clock.wrap(sampler, "draw", "sampling") for sampler in samplers().values()),
        *(clock.wrap(one, "condition", "recognition") for one in posteriors().values()),
    ]
    try:
        yield
    finally:
        for put_back in reversed(undo):
            put_back()


RELAXED = {"temperature": {"start": 0.5, "end": 0.15, "shape": "geometric"}}
HARD = {"relaxation": "hard"}
DREAMS = {"kind": "wake_sleep", "samples": 1, "dreams": 4, "lead": 20}
#: posterior and phase of every kind of run; settings of `connectivity` and `shrinkage`
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "factorised": ({"kind": "factorised"}, RELAXED),
    **{
        sampler: ({"kind": "autoregressive", "history": 10}, {**RELAXED, "sampler": {"kind": sampler}})
        for sampler in ("fixed_point", "compiled", "sequential")
    },
    "score_function": (
        {"kind": "autoregressive", "history": 10},
        {**HARD, "objective": {"kind": "score_function", "samples": 4}},
    ),
    "factorised_indirect": ({"kind": "factorised"}, {**HARD, "objective": {**DREAMS, "indirect": True}}),
    "fixed_point_indirect": (
        {"kind": "autoregressive", "history": 10},
        {**HARD, "objective": {**DREAMS, "indirect": True}},
    ),
    "twisted": (
        {"kind": "twisted", "hidden": 48, "channels": 6},
        {**HARD, "objective": DREAMS, "sampler": {"kind": "sequential"}},
    ),
}
SIZES: dict[str, dict[str, int]] = {
    "1_cell": {"cells": 1, "batch": 16, "window": 300},
    "20_cells": {"cells": 20, "batch": 4, "window": 300},
    "100_cells": {"cells": 100, "batch": 4, "window": 300},
    "100_cells_uncut": {"cells": 100, "batch": 4, "window": 300},
    "100_cells_long": {"cells": 100, "batch": 1, "window": 10_000},
}
#: settings of the recognition network
RECOGNITION: dict[str, dict[str, Any]] = {"plain": {"blocked": False}, "blocked": {}}
#: what is left out unless named: large
UNASKED = ("100_cells_long",)


@functools.cache
def recording(cells: int, bins: int, kernel_bins: int) -> Dataset:
    """A network of `connectivity` (or one cell of its panel) of any size."""
    rng = np.random.default_rng(0)
    history = (-2.0, -1.0)
    if cells == 1:
        network = independent(1, rng, rate_hz=4.0, history=history)
    else:
        network = sparse_random(
            cells, rng, density=3.0 / cells, weight_sd=1.5, rate_hz=3.0, bias_sd=0.3, history=history
        )
    return simulate(
        network, [0], bin_rate=30.0, bins=bins, trials=16 if cells == 1 else 1, test_trials=0,
        rise=0.0 if cells == 1 else 0.1, decay=0.14938, amplitude=1.0, baseline=0.0, noise=0.4,
        kernel_bins=kernel_bins,
    )  # fmt: skip


def trainer(size: str, run: str, recognition: str = "plain") -> Trainer:
    """An untrained run; the model's rate, history and coupling are learned where there is a network."""
    cells, batch, window = (SIZES[size][key] for key in ("cells", "batch", "window"))
    panel = cells == 1
    data = recording(cells, window if panel else max(BINS, window), 0 if "uncut" in size else 10)
    model = CalciumNetwork(
        data.start, data.bin_rate, () if panel else ("bias", "history", "coupling"), data.kernel_bins
    )
    posterior, phase = RUNS[run]
    seen: dict[str, Any] = {"window": 15, "hidden": 32} | RECOGNITION[recognition]
    if panel:
        seen["per_cell"] = True
    elif run != "twisted":
        seen["cross_channels"] = 4
    x = torch.as_tensor(data.x)
    built = make_posterior({**posterior, "recognition": seen}, TraceSummary.of(x), generator(0), run)
    settings = {
        **phase, "steps": 1000, "batch": batch, "learning_rate": {"start": 0.005}, "model_learning_rate": 4.0,
        "window": 0 if panel else window, "burn_in": 0 if panel else 20,
    }  # fmt: skip
    if panel and settings.get("objective", {}).get("kind") == "wake_sleep":
        settings["objective"] = {**DREAMS, "samples": 0, "lead": 0, "dreams": batch}
    return Trainer(model, built, x, [make_phase(settings, run)], seed=0)


def measure(
    size: str, run: str, recognition: str, steps: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of times, a part each, and rows of losses, a step each."""
    case = {"size": size, "run": run, "recognition": recognition}
    spent: list[dict[str, np.ndarray]] = []
    losses: list[dict[str, Any]] = []
    moves = trainer(size, run, recognition).run()
    clock = Clock()
    with watched(clock):
        for step in range(WARM_UP + steps):
            clock.spent.clear()
            with clock.part("rest"):
                metrics = next(moves)
            losses.append({**case, "step": step, "loss": repr(metrics["loss"])})
            if step >= WARM_UP:
                spent.append(dict(clock.spent))
    whole = [sum(step.values(), np.zeros(2)) for step in spent]
    parts = {WHOLE: whole} | {
        part: [step.get(part, np.zeros(2)) for step in spent]
        for part in dict.fromkeys(name for step in spent for name in step)
    }
    timed = Case(size, SIZES[size]["batch"], SIZES[size]["window"], SIZES[size]["cells"])
    method = f"{run}, {recognition}"
    rows = []
    for part, values in parts.items():
        rows += timed.times(method, values, part)
        shares = np.array(values)[:, 0] / np.array(whole)[:, 0]
        rows.append(timed.row(method, "share", "1", shares, part))
    return rows, losses


def largest_difference(losses: pd.DataFrame, against: Path) -> pd.DataFrame:
    """Largest relative difference of the losses of every case that both tables have."""
    before = pd.read_csv(against, dtype={"size": str})
    both = losses.merge(before, on=["size", "run", "recognition", "step"], suffixes=("", "_before"))
    now_, then = both["loss"].astype(float), both["loss_before"].astype(float)
    both["difference"] = (now_ - then).abs() / then.abs().clip(lower=1e-12)
    return both.groupby(["size", "run", "recognition"], sort=False)["difference"].max().reset_index()


def command_line() -> argparse.Namespace:
    """The command line."""
    parser = arguments(__doc__, rounds=20)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=[s for s in SIZES if s not in UNASKED])
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS))
    parser.add_argument(
        "--recognition", nargs="*", choices=RECOGNITION, default=list(RECOGNITION), help="plain, by blocks"
    )
    parser.add_argument("--losses", type=Path, help="write the losses of all steps here (.csv)")
    parser.add_argument("--against", type=Path, help="losses of another version of the code to compare with")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    asked = command_line()
    keep_freed_memory()
    made: list[pd.DataFrame] = []
    losses: list[dict[str, Any]] = []
    for threads in asked.threads:
        torch.set_num_threads(threads)
        rows: list[dict[str, Any]] = []
        for size in asked.sizes:
            for run, recognition in product(asked.runs, asked.recognition):
                timed, lost = measure(size, run, recognition, asked.rounds)
                rows, losses = rows + timed, losses + lost
        made.append(table("training_step", rows))
    write(pd.concat(made), asked.out, ("cpu_seconds", "share"))
    found = pd.DataFrame(losses)
    if asked.losses:
        with atomic_path(asked.losses) as part:
            found.to_csv(part, index=False)
    if asked.against:
        print(largest_difference(found, asked.against).to_string(index=False))


if __name__ == "__main__":
    main()
