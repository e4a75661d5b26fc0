"""Training of the amortised posterior: on simulated cells of the prior, and on recordings with true spikes.

    simulated:  −log q(n | θ, x) − w log q(θ | x)                                    (θ and n are known)
    recorded:   −log 1/K Σ_k q(n | θ_k, x) − w log q(r | x) − w Σ_k ω_k log q(θ_k | r, x),
                θ_k ~ q(θ | r, x),  ω_k ∝ q(n | θ_k, x)                 (n and the rate r are known)

The last term is reweighted wake-sleep's (Bornschein & Bengio 2015) for constants that nobody measured:
draws of θ that explain the true counts become likelier. The counts of a whole window share each θ_k, so
that what is not known of a cell widens the intervals of all its bins together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfp.amortised.constants import CENTRE, SPREAD, measured_rate, to_real
from dfp.amortised.counts import MEMORY_SECONDS, saturated, traces_of
from dfp.amortised.features import see
from dfp.amortised.ground_truth import draw_window, weights_of
from dfp.amortised.indicators import known, named
from dfp.amortised.network import DIMS, Convolution, Network, Sizes
from dfp.amortised.priors import Prior
from dfp.amortised.simulate import draw_cell, simulate_cell
from dfp.amortised.told import Told
from dfp.data.recording import Recording

#: bins of a window and how often (our choice)
LENGTHS = {512: 0.2, 1024: 0.4, 2048: 0.25, 4096: 0.15}
#: of the simulated cells that are told amplitude, decay and rise, the share whose responses add up (our
#: choice): who
#: tells all three has the linear response of ``dfp fit`` in mind
LINEAR_TOLD = 0.9


@dataclass(frozen=True)
class Schedule:
    """Settings of a training; all are our choice.

    Attributes:
        steps: of Muon (Jordan et al. 2024) on the convolutions and Adam on the rest.
        bins: of a batch, over all its windows.
        learning_rate: at the start; it falls to 1% along a cosine.
        recorded: share of the windows that are recorded ones, where recordings are given.
        constants_weight: w.
        draws: K.
        clip: largest norm of a gradient.
        seed: of the weights, the cells and the windows.
        half: whether the network's convolutions run in bfloat16 while it is trained (1.7 times as fast).
        prior: table of the response by indicator (``priors.TABLES``).
        sizes: of the network.
    """

    steps: int = 2000
    bins: int = 8192
    learning_rate: float = 2e-3
    recorded: float = 0.5
    constants_weight: float = 0.1
    draws: int = 12
    clip: float = 1.0
    seed: int = 0
    half: bool = True
    prior: str = "published"
    sizes: Sizes = field(default_factory=Sizes)


@dataclass(frozen=True, eq=False)
class Batch:
    """B windows of T bins; ``valid`` is 0 past a window's end; ``theta`` is standardised."""

    frames: Tensor
    numbers: Tensor
    past: Tensor
    counts: Tensor
    valid: Tensor
    theta: Tensor
    simulated: Tensor

    def part(self, which: Tensor) -> Batch:
        """The windows of a mask ``(B,)``."""
        return Batch(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Example:
    """One window: what is seen and what is true."""

    trace: np.ndarray
    counts: np.ndarray
    bin_seconds: float
    told: Told
    theta: np.ndarray | None


def simulated_example(bins: int, rng: np.random.Generator, prior: str = "published") -> Example:
    """A window of a cell of the prior, with some of what it is told."""
    rate = 30.0 if rng.random() < 0.45 else float(np.exp(rng.uniform(np.log(2.0), np.log(64.0))))
    names = known()
    indicator = names[rng.integers(len(names))] if rng.random() < 0.5 else None
    cell = draw_cell(Prior(indicator, prior), 1 / rate, rng)
    how = rng.random()  # our choice: a quarter of the cells is told all, another some, half nothing
    told = np.ones(3, bool) if how < 0.25 else (rng.random(3) < 0.5) & (how < 0.5)
    if told.all() and rng.random() < LINEAR_TOLD:
        cell = replace(cell, power=1.0, saturation=0.0)
    trace, counts = simulate_cell(cell, bins, 1 / rate, int(rng.integers(2**31)))
    values = {
        n: getattr(cell, n) if t else None for n, t in zip(("amplitude", "decay", "rise"), told, strict=True)
    }
    if rng.random() < 0.15:
        trace = _with_gaps(trace, rng)
    return Example(
        trace,
        counts,
        1 / rate,
        Told(indicator, **values),
        to_real(cell.constants(measured_rate(int(counts.sum()), bins / rate))),
    )


def recorded_example(
    recordings: Sequence[Recording], weights: np.ndarray, bins: int, rng: np.random.Generator
) -> Example:
    """A window of a recording; ``weights`` say how often each is taken."""
    window = None
    while window is None:  # a stretch of missing frames says nothing: another one
        one = recordings[int(rng.choice(len(recordings), p=weights))]
        window = draw_window(one, bins, named(one.indicator), rng)
    return Example(window.trace, window.counts, window.bin_seconds, Told(window.indicator), None)


def _with_gaps(trace: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gapped = trace.copy()
    for _ in range(rng.integers(1, 6)):
        start = rng.integers(len(trace))
        gapped[start : start + rng.integers(1, max(2, len(trace) // 15))] = np.nan
    return gapped if np.isfinite(gapped).sum() > 20 else trace


def gather(examples: Sequence[Example], bins: int) -> Batch:
    """Examples of at most ``bins`` bins as tensors."""
    frames, numbers, past, counts, valid, theta = [], [], [], [], [], []
    for one in examples:
        seen = see(one.trace, one.bin_seconds, one.told)
        short = bins - len(one.counts)
        memory = [saturated(traces_of(one.counts, math.exp(-one.bin_seconds / s))) for s in MEMORY_SECONDS]
        frames.append(np.pad(seen.frames, ((0, 0), (0, short))))
        numbers.append(seen.numbers)
        past.append(np.pad(np.stack(memory), ((0, 0), (0, short))))
        counts.append(np.pad(one.counts, (0, short)))
        valid.append(np.arange(bins) < len(one.counts))
        theta.append(_known(one))
    real = [
        torch.from_numpy(np.stack(part).astype(np.float32)) for part in (frames, numbers, past, valid, theta)
    ]
    whole = torch.from_numpy(np.stack(counts).astype(np.int64))
    known_theta = torch.tensor([one.theta is not None for one in examples])
    return Batch(real[0], real[1], real[2], whole, real[3], real[4], known_theta)


def _known(one: Example) -> np.ndarray:
    """Standardised θ of a simulated cell; of a recorded one its rate, and zeros."""
    if one.theta is not None:
        return one.theta
    rate = measured_rate(int(one.counts.sum()), len(one.counts) * one.bin_seconds)
    return np.concatenate([[(np.log(rate) - CENTRE[0]) / SPREAD[0]], np.zeros(DIMS - 1)])


def batches(schedule: Schedule, recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Batch]:
    """Batches without end."""
    weights = weights_of(recordings) if recordings else np.zeros(0)
    share = schedule.recorded if recordings else 0.0
    lengths = list(LENGTHS)
    while True:
        bins = int(rng.choice(lengths, p=list(LENGTHS.values())))
        yield gather(
            [
                recorded_example(recordings, weights, bins, rng)
                if rng.random() < share
                else simulated_example(bins, rng, schedule.prior)
                for _ in range(max(1, schedule.bins // bins))
            ],
            bins,
        )


def loss(
    network: Network, batch: Batch, schedule: Schedule, rng: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its terms: nats a bin (counts) and a window (constants)."""
    with torch.autocast("cpu", torch.bfloat16, enabled=schedule.half):
        parts = network(batch.frames, batch.numbers)
    total, told = parts.frames.new_zeros(()), {}
    bins, windows = batch.valid.sum(), len(batch.valid)
    for simulated in (True, False):
        which = batch.simulated if simulated else ~batch.simulated
        if not bool(which.any()):
            continue
        some, of = (
            batch.part(which),
            type(parts)(parts.frames[which], parts.context[which], parts.hidden[which]),
        )
        rate = some.theta[:, 0]
        if simulated:
            theta = some.theta[None]
        else:
            with torch.no_grad():
                noise = torch.randn((schedule.draws, len(some.theta), DIMS + 1), generator=rng)
                theta = network.constants.draw(of.context, noise, rate)
        each = (network.log_counts(of, theta, some.past, some.counts) * some.valid).sum(-1)
        counts = torch.logsumexp(each, 0) - math.log(len(theta))
        of_rate = network.constants.log_rate(of.context, rate)
        rest = (network.constants.log_prob(of.context, theta) - of_rate).clamp(min=-50)
        constants = of_rate.clamp(min=-50) + (torch.softmax(each.detach(), 0) * rest).sum(0)
        total = total - counts.sum() / bins - schedule.constants_weight * constants.sum() / windows
        told["simulated" if simulated else "recorded"] = -float(counts.detach().sum() / some.valid.sum())
        told["constants" if simulated else "rates"] = -float(
            (constants if simulated else of_rate).detach().mean()
        )
    return total, told


class Trainer:
    """A training, a step at a time, that can be cut off and go on to the same bits.

    Attributes:
        network: what is trained; ``start`` itself where one is given.
        step: how many steps are done.
    """

    def __init__(
        self, schedule: Schedule, recordings: Sequence[Recording] = (), start: Network | None = None
    ) -> None:
        self.schedule, self.recordings, self.step = schedule, recordings, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(schedule.seed)
            self.network = Network(schedule.sizes) if start is None else start.train()
        matrices = [one.weight for one in self.network.modules() if isinstance(one, Convolution)]
        others = [one for one in self.network.parameters() if all(one is not matrix for matrix in matrices)]
        self._optimisers = (
            torch.optim.Muon(
                matrices, lr=0.0, weight_decay=0.0, momentum=0.9, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.Adam(others, lr=0.0),
        )
        self._rng = np.random.default_rng(schedule.seed)
        self._noise = torch.Generator().manual_seed(schedule.seed)

    def run(self) -> Iterator[dict[str, float]]:
        """The steps that are left; the terms of the loss after each."""
        schedule = self.schedule
        left = range(self.step, schedule.steps)
        for step, batch in zip(left, batches(schedule, self.recordings, self._rng), strict=False):
            done = step / schedule.steps
            warm = min(1.0, step / 50 + 0.02)
            rate = schedule.learning_rate * warm * (0.5 * (1 + math.cos(math.pi * done)) * 0.99 + 0.01)
            total, terms = loss(self.network, batch, schedule, self._noise)
            self.network.zero_grad()
            total.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip)
            for optimiser in self._optimisers if torch.isfinite(norm) else ():
                optimiser.param_groups[0]["lr"] = rate
                optimiser.step()
            self.step = step + 1
            yield terms

    def state(self) -> dict[str, Any]:
        """All that the steps to come depend on, between two of them."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimisers": [one.state_dict() for one in self._optimisers],
            "rng": json.dumps(self._rng.bit_generator.state),
            "noise": self._noise.get_state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state`` of a training with the same schedule, recordings and start."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        for one, saved in zip(self._optimisers, state["optimisers"], strict=True):
            one.load_state_dict(saved)
        self._rng.bit_generator.state = json.loads(state["rng"])
        self._noise.set_state(state["noise"])


def train(
    schedule: Schedule,
    recordings: Sequence[Recording] = (),
    start: Network | None = None,
    progress: Callable[[int, dict[str, float]], None] = lambda step, terms: None,
) -> Network:
    """A trained network."""
    trainer = Trainer(schedule, recordings, start)
    for step, terms in enumerate(trainer.run()):
        progress(step, terms)
    return trainer.network.eval()
