"""How many sweeps a random network's samples take, and what one run of it predicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.data.networks import sparse_random
from dfp.distributions.branching import branching_ratio, flip_growth, relaxed_ratio
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.samplers.chunked import Chunked
from dfp.samplers.relaxations import Concrete, Hard, Relaxation

from .coalescence import changes, pair_rate, tail_rate

BIN_RATE = 30.0
#: bins that a flip is followed for; the exponent is the slope from the first to the last
FOLLOWED = 5
#: runs of the shorter length, whose sweeps are averaged
SHORT = 4
#: the seed of a run that only predicts, after the million of its network
OWN = 990_000
#: a rate of ``predictions`` → the growth that follows from it
PREDICTED = {
    "lyapunov_rate": "predicted_by_lyapunov",
    "tail_rate": "predicted_by_tail",
    "pair_rate": "predicted_by_pairs",
}
#: longest run that anything is predicted from
LONGEST_RUN = 10_000


@dataclass(frozen=True)
class Law:
    """A random network (``sparse_random``), lag-1 coupling; one cell has its own history only.

    Attributes:
        cells, density, weight_sd: N, probability of a connection, sd of its weight in logits.
        rate_hz: that of a cell without inputs and history, at 30 bins a second.
        history: of each cell, lag 1 first, logits.
        bins: lengths T that it is drawn at, in place of those of all laws; empty for these.
    """

    cells: int = 20
    density: float = 0.2
    weight_sd: float = 1.0
    rate_hz: float = 3.0
    history: tuple[float, ...] = (-2.0,)
    bins: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.cells < 1 or not 0 <= self.density <= 1 or self.weight_sd < 0:
            raise UserError(
                f"cells, density, weight_sd: found {self.cells}, {self.density:g}, {self.weight_sd:g}, "
                "expected at least 1 cell, a probability and a number of at least 0"
            )
        if not 0 < self.rate_hz < BIN_RATE or not self.history:
            raise UserError(
                f"rate_hz, history: found {self.rate_hz:g}, {list(self.history)}, expected a rate between 0 "
                f"and {BIN_RATE:g} and at least one lag"
            )

    def process(self, seed: int, device: torch.device) -> CausalBernoulli:
        """The law of the network drawn with ``seed``, one trial of one bin: see ``over``."""
        network = sparse_random(
            self.cells,
            np.random.default_rng(seed),
            density=self.density,
            weight_sd=self.weight_sd,
            rate_hz=self.rate_hz,
            history=self.history,
        )

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        terms: list[CausalTerm] = [OwnHistory(tensor(network.history))]
        if self.cells > 1:
            terms.append(Coupling(tensor(network.coupling), tensor(network.basis)))
        return CausalBernoulli(tensor(network.bias).reshape(1, 1, -1), tuple(terms))


def over(process: CausalBernoulli, bins: int) -> CausalBernoulli:
    """The same law for trials of ``bins`` bins."""
    return process.with_drive(process.drive[:, :1].expand(-1, bins, -1))


def predicting(lengths: list[int]) -> int:
    """T of the run that the others' sweeps are predicted from."""
    return max([length for length in lengths if length <= LONGEST_RUN], default=min(lengths))


def draw(
    process: CausalBernoulli, bins: int, rng: torch.Generator, relaxation: Relaxation | None = None
) -> Draw:
    """One draw of one trial, all bins swept at once until still, hard ones by following only what changed."""
    law = over(process, bins)
    return law.draw(law.noise(1, rng), Chunked(chunk=bins), relaxation or Hard())


def exponent(process: CausalBernoulli, made: Draw, rng: torch.Generator) -> float:
    """Largest Lyapunov exponent, nats per bin, from one hard draw."""
    flips = flip_growth(process, made, FOLLOWED, rng).clamp_min(1e-6).log()
    return float(flips[-1] - flips[0]) / (FOLLOWED - 1)


@torch.no_grad()
def growth(
    law: Law, seed: int, bins: list[int], draws: int, device: torch.device, fewest: int = 2
) -> Iterator[tuple[int, str, float]]:
    """Sweeps at each length T and their growth, as ``(T, metric, value)``.

    Metrics are the mean sweeps over draws and, against the shortest length, the growth as measured and as
    predicted from one run at the longest T of at most 10,000 (see ``predictions``).

    Draws are fewer the longer they are: ``draws`` at the shortest, no fewer than ``fewest``.
    """
    process = law.process(seed, device)
    lengths = sorted(law.bins or bins)
    reference = predicting(lengths)
    means: dict[int, float] = {}
    for place, length in enumerate(lengths):
        count = max(fewest, draws // 2**place)
        sweeps = []
        for number in range(count):
            made = draw(process, length, generator(1_000_000 * seed + 1_000 * place + number, device))
            sweeps.append(made.sweeps)
            if length == reference and not number:
                run = made
        means[length] = float(np.mean(sweeps))
        yield length, "sweeps", means[length]
    found = predictions(process, run, seed)
    for name, value in found.items():
        yield reference, name, value
    rates = {"predicted_growth": -math.log(found["rho"]) if found["rho"] > 0 else math.inf} | {
        metric: found[name] for name, metric in PREDICTED.items() if name in found
    }
    for length in lengths[1:]:
        yield length, "growth", means[length] - means[lengths[0]]
        for metric, rate in rates.items():
            if rate > 0:
                yield length, metric, math.log(length / lengths[0]) / rate


def predictions(process: CausalBernoulli, made: Draw, seed: int) -> dict[str, float]:
    """What one run of a network says of the sweeps of others.

    ``rho``, and ``tail_rate`` in nats per sweep, which is taken from a run with noise of its own: it asks for
    sweeps, and must not see any that are measured. Where only the last bin is looked back to, so that a bin
    is a sweep, also ``lyapunov_rate`` (minus the largest Lyapunov exponent) and ``pair_rate``.
    """
    length, device = made.z.shape[2], made.z.device
    law = over(process, length)
    found = {
        "rho": branching_ratio(law, made.z, made.logits),
        "rate_hz": float(made.z.mean()) * BIN_RATE,
        "tail_rate": tail_rate(changes(law, law.noise(1, generator(1_000_000 * seed + OWN, device)))),
    }
    if process.memory == 1:
        found["lyapunov_rate"] = -exponent(process, made, generator(seed, device))
        found["pair_rate"] = pair_rate(process, generator(1_000_000 * seed + OWN + 1, device))
    return found


def changing(
    law: Law, seed: int, bins: list[int], device: torch.device
) -> Iterator[tuple[int, int, str, float]]:
    """How the run that ``tail_rate`` is taken from settles, as ``(T, sweep, metric, value)``.

    ``changing`` is the share of the bins that the sweep changes, and ``changing_fit`` is ``n_m e^(−λ (k − m))
    / T`` from the tail's start on.
    """
    length = predicting(law.bins or bins)
    process = over(law.process(seed, device), length)
    found = changes(process, process.noise(1, generator(1_000_000 * seed + OWN, device)))
    shares, start, rate = (found.bins / found.total).tolist(), found.start(), tail_rate(found)
    for number, share in enumerate(shares):
        yield length, number + 1, "changing", share
        if number >= start:
            yield length, number + 1, "changing_fit", shares[start] * math.exp(-rate * (number - start))


@torch.no_grad()
def exponents(law: Law, seed: int, bins: list[int], device: torch.device) -> Iterator[tuple[str, float]]:
    """Sweeps at two lengths, their growth exponent and its predictions, as ``(metric, value)``.

    The exponent is ``ln(s' / s) / ln(T' / T)``, 1 where sweeps grow as T. One of the shorter runs predicts
    it: by ρ, by the largest Lyapunov exponent, and by λ, with which s' is ``s + ln(T' / T) / λ``, at most T':
    ``predicted_exponent``.
    """
    process = law.process(seed, device)
    rngs = [generator(10_000 * seed + number, device) for number in range(SHORT + 1)]
    second, first, *others = (draw(process, bins[not number], rng) for number, rng in enumerate(rngs))
    sweeps = sum(made.sweeps for made in (first, *others)) / SHORT
    short = over(process, bins[0])
    yield "rho", branching_ratio(short, first.z, first.logits)
    yield "lyapunov", exponent(process, first, generator(seed, device))
    rate, ratio = tail_rate(changes(short, first.noise)), bins[1] / bins[0]
    expected = min(float(bins[1]), sweeps + math.log(ratio) / rate) if rate > 0 else float(bins[1])
    yield "tail_rate", rate
    yield "predicted_exponent", math.log(expected / sweeps) / math.log(ratio)
    yield "sweeps_short", sweeps
    yield "sweeps_long", float(second.sweeps)
    yield "exponent", math.log(second.sweeps / sweeps) / math.log(ratio)
    yield "rate_hz", float(second.z.mean()) * BIN_RATE


@torch.no_grad()
def relaxed(
    law: Law, seed: int, bins: int, temperatures: list[float], device: torch.device
) -> Iterator[tuple[float, str, float]]:
    """(temperature, metric, value) of relaxed draws on one noise; temperature 0 is the hard one."""
    process = law.process(seed, device)
    for temperature in [0.0, *temperatures]:
        relaxation = Concrete(temperature) if temperature else Hard()
        made = draw(process, bins, generator(seed, device), relaxation)
        yield temperature, "sweeps", float(made.sweeps)
        own = over(process, bins)
        rho = relaxed_ratio(own, made.z, temperature) if temperature else branching_ratio(own, made.z)
        yield temperature, "rho", rho
