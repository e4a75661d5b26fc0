"""Part of `calibration`: posteriors of single cells.

Ranks, coverage and reliability, and the null of the two-sample test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfp.config.build import make_phase, make_posterior
from dfp.config.networks import simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError, suggest
from dfp.core.noise import generator
from dfp.core.parse import merge
from dfp.data.dataset import Dataset
from dfp.metrics import statistics
from dfp.metrics.spikes import reliability
from dfp.metrics.two_sample import two_sample_accuracy
from dfp.models.calcium import CalciumNetwork
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.references.exact.one_cell import CellParameters, ExactPosterior, cell_parameters
from dfp.results.tables import Row
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer
from dfp.training.phase import Phase

from .data import check_data
from .rank_uniformity import FEWEST, uniformity

#: nominal probabilities of the central intervals
LEVELS = (0.5, 0.9)
GROUPS = 10
#: resamples of the trials behind the intervals of the reliability diagram
RESAMPLES = 1000
#: chains that a posterior's hard samples are drawn of at once
CHAINS = 250_000


@dataclass(frozen=True)
class Trained:
    """A posterior that the study trains.

    ``posterior`` is as in a run, ``training`` is laid over the panel's own, ``warm_start`` is the name of
    another posterior.
    """

    posterior: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    warm_start: str = ""


@dataclass(frozen=True)
class Panel:
    """Single cells with known parameters, and what is made of them.

    Attributes:
        data: a panel of independent cells; the posteriors are trained on its trials and judged on its test
            trials.
        samples: L, posterior samples that the truth is ranked among.
        windows: stretches of the counts, bins; 0 is the whole trial.
        recognition, training: of every posterior, as in a run.
        runs: posteriors by name, beside the exact one.
        null_repetitions: two-sample tests of exact against exact samples, a cell.
        null_trials, null_samples: of each.
    """

    data: SimulationSpec
    samples: int
    windows: list[int]
    recognition: dict[str, Any]
    training: dict[str, Any]
    runs: dict[str, Trained]
    null_repetitions: int
    null_trials: int
    null_samples: int

    def __post_init__(self) -> None:
        check_data(self.data, "data", "independent")
        for name, least in {"samples": 9, "null_repetitions": 1, "null_samples": 1, "null_trials": 2}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least {least}")
        held_out = self.data.test_trials
        if held_out < max(FEWEST, self.null_trials):
            raise UserError(
                f"data.test_trials: found {held_out}, expected at least {FEWEST} and null_trials, "
                f"{self.null_trials}"
            )
        for window in self.windows:
            if not 0 <= window <= self.data.bins:
                raise UserError(
                    f"windows: found {window} bins, expected 0 (a whole trial) to {self.data.bins}"
                )
        names = list(self.runs)
        for name, run in self.runs.items():
            earlier = names[: names.index(name)]
            if name == "exact" or (run.warm_start and run.warm_start not in earlier):
                raise UserError(
                    f"runs.{name}: found warm_start {run.warm_start!r}{suggest(run.warm_start, earlier)}, "
                    "expected one of the runs before it, and no run called 'exact'"
                )
            self.phase(name).check(self.fresh(name, TraceSummary(1, torch.zeros(1), torch.ones(1))))

    @property
    def seeds(self) -> list[int]:
        """One a cell."""
        return self.data.seeds

    def phase(self, name: str) -> Phase:
        """The training of a run."""
        return make_phase(merge(self.training, self.runs[name].training), f"runs.{name}.training")

    def fresh(self, name: str, summary: TraceSummary) -> Posterior:
        """The untrained posterior of a run."""
        raw = merge({"recognition": self.recognition}, self.runs[name].posterior)
        return make_posterior(raw, summary, generator(self.seeds[0]), f"runs.{name}.posterior")


def panel_rows(settings: Panel, device: torch.device) -> Iterator[Row]:
    """Every row of the panel."""
    data = simulated(settings.data, "panel.data")
    x, truth = torch.as_tensor(data.x_test).double().to(device), torch.as_tensor(data.z_test).to(device)
    model = CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).to(device)
    parameters = cell_parameters(model, settings.data.bins)
    exact = ExactPosterior(parameters, x)
    labels = {"posterior": "exact", "objective": "", "sampler": "exact"}
    z = exact.sample(settings.samples, generator(1, device))
    yield from judged("exact", labels, z, exact.marginals, truth, settings)
    states: dict[str, dict[str, Tensor]] = {}
    for name in settings.runs:
        posterior, labels = trained(name, settings, data, model, states, device)
        z, probability = drawn(posterior, x, settings.samples, generator(2, device))
        yield from judged(name, labels, z, probability, truth, settings)
    yield from null_rows(settings, parameters, x)


def trained(
    name: str,
    settings: Panel,
    data: Dataset,
    model: CalciumNetwork,
    states: dict[str, dict[str, Tensor]],
    device: torch.device,
) -> tuple[Posterior, Row]:
    """Train a run; its weights are left in ``states``. Also what it is: posterior, objective, sampler."""
    run = settings.runs[name]
    x = torch.as_tensor(data.x).to(device)
    posterior = settings.fresh(name, TraceSummary.of(x)).to(device)
    if run.warm_start:
        own = posterior.state_dict()
        posterior.load_state_dict(
            {**own, **{key: value for key, value in states[run.warm_start].items() if key in own}}
        )
    phase = settings.phase(name)
    for _ in Trainer(model, posterior, x, [phase], settings.seeds[0]).run():
        pass
    states[name] = {key: value.detach().clone() for key, value in posterior.state_dict().items()}
    labels = {"posterior": posterior.name, "objective": phase.objective.name, "sampler": phase.sampler.name}
    return posterior, labels


def drawn(posterior: Posterior, x: Tensor, samples: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hard samples ``(S, B, T, N)`` int8 bin by bin, exact, and P(spike) ``(B, T, N)``, in float64.

    P(spike) is E P(z[t] = 1 | z[<t]) over the samples. Bin by bin, since of so many chains it is faster on a
    CPU than sweeps, and draws the same spikes.
    """
    with torch.no_grad():
        q = posterior.double().condition(x).pmf
        size = max(1, CHAINS // (x.shape[0] * x.shape[2]))
        z, probability = [], torch.zeros_like(x)
        for first in range(0, samples, size):
            found = q.draw(q.noise(min(size, samples - first), rng), Sequential(), Hard())
            z.append(found.z.to(torch.int8))
            probability += torch.sigmoid(found.logits).sum(0) / samples
    return torch.cat(z), probability


def judged(
    run: str, labels: Row, z: Tensor, probability: Tensor, truth: Tensor, settings: Panel
) -> Iterator[Row]:
    """The rows of one posterior, from its samples ``(S, B, T, N)`` and P(spike) ``(B, T, N)``."""
    rng = generator(3, z.device)
    common = {"run": run, **labels}
    for window in settings.windows:
        label = common | {"window": window}
        ranks = window_ranks(z, truth, window, rng)
        coverage = {level: statistics.count_coverage(z, truth, level, window=window) for level in LEVELS}
        for n, seed in enumerate(settings.seeds):
            one = label | {"dataset": "panel", "seed": seed}
            for level, values in coverage.items():
                yield one | {"metric": f"coverage_{100 * level:g}", "value": float(values[n])}
            yield from _uniform(one, ranks[:, n].cpu().numpy())
        yield from _uniform(label | {"dataset": "pooled", "seed": 0}, ranks.cpu().numpy(), curve=True)
    ece = statistics.expected_calibration_error(probability, truth, GROUPS)
    brier = (probability - truth).square().mean((0, 1))
    for n, seed in enumerate(settings.seeds):
        one = common | {"dataset": "panel", "seed": seed}
        yield one | {"metric": "ece", "value": float(ece[n])}
        yield one | {"metric": "brier", "value": float(brier[n])}
    yield from _reliability(common | {"dataset": "pooled", "seed": 0}, probability, truth)


def window_ranks(z: Tensor, truth: Tensor, window: int, rng: torch.Generator) -> Tensor:
    """Ranks ``(B, N)`` of the true count in one stretch of each trial and cell, chosen at random.

    One only, as the counts of several stretches of a trial are dependent, and a test takes ranks to be
    independent.
    """
    counts, true_counts = (statistics.windowed_counts(value, window) for value in (z, truth))
    trials, stretches, cells = true_counts.shape
    chosen = torch.randint(stretches, (trials, 1, cells), generator=rng, device=z.device)
    picked = counts.gather(2, chosen.expand(len(counts), -1, -1, -1))[:, :, 0]
    return statistics.randomised_ranks(picked, true_counts.gather(1, chosen)[:, 0], rng)


def _uniform(labels: Row, ranks: np.ndarray, curve: bool = False) -> Iterator[Row]:
    found = uniformity(ranks)
    for metric in ("distance", "excess", "p_ecdf", "p_chi2", "mean", "spread"):
        yield labels | {"metric": f"rank_{metric}", "value": getattr(found, metric)}
    if curve:
        for name in ("difference", "low", "high"):
            for at, value in zip(found.points, getattr(found, name), strict=True):
                yield labels | {"metric": f"ecdf_{name}", "at": round(float(at), 6), "value": float(value)}


def _reliability(labels: Row, probability: Tensor, truth: Tensor) -> Iterator[Row]:
    """Said and happened by group of P(spike), all cells together; intervals by resampling trials of a cell.

    All bins of a trial are kept together, since they are dependent.
    """
    trials = [value.transpose(1, 2).flatten(0, 1).cpu().numpy() for value in (probability, truth)]  # (BN, T)
    p = np.clip(np.asarray(trials[0], dtype=np.float64), 0, 1)
    z = np.asarray(trials[1], dtype=np.float64)
    diagram = reliability(p.ravel(), z.ravel(), GROUPS)
    index = np.minimum((p * GROUPS).astype(int), GROUPS - 1)
    counts, spikes = (
        np.stack([((index == g) * weight).sum(1) for g in range(GROUPS)], 1) for weight in (1.0, z)
    )
    drawn_trials = np.random.default_rng(0).multinomial(len(p), np.full(len(p), 1 / len(p)), RESAMPLES)
    with np.errstate(invalid="ignore"):
        shares = (drawn_trials @ spikes) / (drawn_trials @ counts)
    for g in np.flatnonzero(diagram["count"] > 0):
        kept = shares[:, g][np.isfinite(shares[:, g])]
        low, high = np.quantile(kept, [0.025, 0.975])
        values = {"said": diagram["said"][g], "happened": diagram["happened"][g], "low": low, "high": high}
        values["share"] = diagram["count"][g] / p.size
        for name, value in values.items():
            yield labels | {"metric": f"reliability_{name}", "group": int(g), "value": float(value)}


def null_rows(settings: Panel, parameters: CellParameters, x: Tensor) -> Iterator[Row]:
    """Accuracy of the two-sample classifier on two sets of exact samples: a row a cell and repetition."""
    some = x[: settings.null_trials]
    exact = ExactPosterior(parameters, some)
    size, many = settings.null_samples, settings.null_repetitions
    z = exact.sample(2 * size * many, generator(4, x.device)).cpu().numpy()
    marginals, traces = exact.marginals.cpu().numpy(), some.cpu().numpy()
    for n, seed in enumerate(settings.seeds):
        for k in range(many):
            first, second = z[2 * k * size :, ..., n][:size], z[(2 * k + 1) * size :, ..., n][:size]
            value = two_sample_accuracy(first, second, marginals[..., n], traces[..., n], seed=k)
            labels = {"run": "exact", "posterior": "exact", "sampler": "exact", "dataset": f"cell_{seed}"}
            yield labels | {"seed": k, "metric": "two_sample_null", "value": value}
