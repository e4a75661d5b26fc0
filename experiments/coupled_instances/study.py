"""Random pairs of coupled cells: posteriors trained side by side, each pair against its exact one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dfp.config.build import make_phases, make_posterior
from dfp.config.runs import make_runs, raw_runs
from dfp.config.schema import RunSpec
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.data.simulate import simulate
from dfp.metrics.bounds import sample_hard
from dfp.metrics.statistics import count_coverage, count_moments
from dfp.models.calcium import CalciumNetwork
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters
from dfp.results.study import Study
from dfp.results.tables import Row
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer

from .pairs import Pairs, pair_ranges, random_pairs

#: cells × bins of memory that the exact posterior of a pair can hold
MOST_BITS = 16
LEVELS = (0.5, 0.9)


@dataclass
class CoupledInstances(Study):
    """C1, C4 and C5 on random pairs of coupled cells, parameters known, hard samples, held-out trials.

    All pairs are one block-diagonal network: no term, no weight and no loss reaches from one pair to another
    (recognition is per cell, coupling in a posterior is the model's own), gradients are not clipped, and
    Adam's steps do not see a factor of the loss, so that pairs train as they would alone.

    Attributes:
        ranges: of each cell's ``rate_hz``, ``noise``, ``decay``, ``history_1``, ``history_2`` and of both
            weights, ``coupling`` (logits at lag 1).
        seeds: a pair each.
        bin_rate: bins per second; bins, trials, test_trials: of the data.
        kernel_bins: cut of the calcium response, in simulator and model alike; 2 to 8.
        defaults, runs: posteriors and their trainings, as in other experiments.
        steps_scale: all phases' steps are multiplied by this.
        samples: hard samples a trial, of each posterior and of the exact one.

    Raises:
        UserError: for a setting without meaning, naming it.
    """

    ranges: dict[str, Any]
    seeds: list[int]
    runs: dict[str, dict[str, Any] | None]
    defaults: dict[str, Any] = field(default_factory=dict)
    bin_rate: float = 30.0
    bins: int = 60
    trials: int = 128
    test_trials: int = 12
    kernel_bins: int = 6
    steps_scale: float = 1.0
    samples: int = 200

    axes: ClassVar[dict[str, dict[str, dict[str, Any] | None]]] = {}
    only: ClassVar[dict[str, list[str]]] = {}
    skip: ClassVar[list[dict[str, str]]] = []

    def __post_init__(self) -> None:
        for name, lowest in (("bins", 3), ("trials", 1), ("test_trials", 1), ("samples", 2)):
            if getattr(self, name) < lowest:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least {lowest}")
        if not 2 <= self.kernel_bins <= MOST_BITS // 2:
            raise UserError(f"kernel_bins: found {self.kernel_bins}, expected 2 to {MOST_BITS // 2}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f"seeds: found {self.seeds[:10]}, expected different numbers of at least 0")
        if not (self.bin_rate > 0 and self.steps_scale > 0):
            raise UserError("bin_rate, steps_scale: expected numbers above 0")
        self._ranges = pair_ranges(self.ranges, self.bin_rate)
        named = {"": ["pairs"], "pairs": ["pairs"]}
        self._specs, _ = make_runs(raw_runs(self, "study"), named, "study")
        for run, spec in self._specs.items():
            _check_run(spec, f"runs.{run}")

    def rows(self, device: torch.device) -> Iterator[Row]:
        """One row a run, pair and metric; the true parameters stand under the run ``exact``."""
        pairs = random_pairs(self._ranges, self.seeds, self.bin_rate)
        data = simulate(
            pairs.network, self.seeds[:1], bin_rate=self.bin_rate, bins=self.bins, trials=self.trials,
            test_trials=self.test_trials, rise=0.0, decay=pairs.decay, amplitude=1.0, baseline=0.0,
            noise=pairs.noise, kernel_bins=self.kernel_bins, allow_supercritical=True,
        )  # fmt: skip
        exact = _Exact(data, self.samples, device)
        for metric, values in {**true_values(pairs), **exact.metrics}.items():
            yield from self._by_seed("exact", {"posterior": "exact"}, metric, values)
        trained: dict[str, Posterior] = {}
        for run, spec in self._specs.items():
            posterior = trained[run] = _trained(spec, data, trained, device)
            phase = make_phases(spec, run)[-1]
            labels = {"posterior": spec.posterior["kind"], "objective": phase.objective.name}
            labels |= {"sampler": phase.sampler.name, **spec.labels}
            for metric, values in _measured(posterior, data, exact, self.samples, device).items():
                yield from self._by_seed(run, labels, metric, values)

    def _by_seed(self, run: str, labels: dict[str, Any], metric: str, values: Tensor) -> Iterator[Row]:
        common = {"run": run, "dataset": "pairs", "bins": self.bins, **labels, "metric": metric}
        for seed, value in zip(self.seeds, values.tolist(), strict=True):
            yield {**common, "seed": seed, "value": value}


def _check_run(spec: RunSpec, where: str) -> None:
    """Refuse what would carry one pair's training to another."""
    if spec.model.learn:
        raise UserError(f"{where}.model.learn: found {spec.model.learn}, expected none: log p(x) is to stay")
    tiny = TraceSummary(2, torch.zeros(2), torch.ones(2))
    posterior = make_posterior(spec.posterior, tiny, torch.Generator(), f"{where}.posterior")
    config: Any = posterior.config
    if not config.recognition.per_cell or vars(config).get("coupling_lags"):
        raise UserError(
            f"{where}.posterior: found weights between pairs or shared by them, expected "
            "recognition.per_cell: true and tied_coupling in place of coupling_lags"
        )
    for phase in make_phases(spec, where):
        if phase.clip or phase.objective.name not in ("relaxed_pmf", "logistic_density", "wake_sleep"):
            raise UserError(
                f"{where}.training: found objective {phase.objective.name} and clip {phase.clip:g}, expected "
                "relaxed_pmf, logistic_density or wake_sleep, and clip: 0 (others mix the pairs)"
            )


def true_values(pairs: Pairs) -> dict[str, Tensor]:
    """The parameters of each pair as ``true_<name>``, ``(P,)``.

    They are means over its cells; of the weights the mean size, and their sum.
    """
    found = {f"true_{name}": values.mean(1) for name, values in pairs.drawn.items() if name != "coupling"}
    found["true_noise"] = np.exp(np.log(pairs.drawn["noise"]).mean(1))
    found["true_coupling"] = np.abs(pairs.drawn["coupling"]).mean(1)
    found["true_coupling_sum"] = pairs.drawn["coupling"].sum(1)
    return {name: torch.as_tensor(values) for name, values in found.items()}


def as_trial(z: Tensor) -> Tensor:
    """Both cells' spikes one after the other, ``(..., T, 2P)`` to ``(..., 2T, P)``: a pair as one cell."""
    return torch.cat([z[..., 0::2], z[..., 1::2]], -2)


def cross_covariance(z: Tensor) -> Tensor:
    """``cov(z_i[t], z_j[t + 1])`` of a pair's two cells, ``(P,)``, from samples ``(S, B, T, 2P)``.

    It is averaged over trials, bins and both directions.
    """
    total = z.new_zeros(z.shape[-1] // 2, dtype=torch.float64)
    for trial in z.unbind(1):
        values = trial.double()
        values = values - values.mean(0)
        first, second = values[..., 0::2], values[..., 1::2]
        for early, late in ((first, second), (second, first)):
            total += (early[:, :-1] * late[:, 1:]).sum(0).mean(0) / (len(values) - 1) / 2
    return total / z.shape[1]


class _Exact:
    """The exact posterior of every pair.

    It holds the log-evidence ``(B, P)``, samples ``(S, B, T, 2P)`` and their ``metrics``.
    """

    def __init__(self, data: Dataset, samples: int, device: torch.device) -> None:
        model = _model(data, device).double()
        x = torch.as_tensor(data.x_test, dtype=torch.float64, device=device)
        names = ("bias", "history", "amplitude", "baseline", "noise")
        with torch.no_grad():
            values = {name: model.value(name) for name in names} | {"kernel": model.kernel(x.shape[1])}
            coupling = model.value("coupling")
        evidence, drawn, covariance = [], [], []
        rng = generator(40_000, device)
        for first in range(0, x.shape[2], 2):
            cells = slice(first, first + 2)
            own = {name: value[cells] for name, value in values.items()}
            one = NetworkParameters(**own, coupling=coupling[:, cells, cells], basis=model.basis)
            exact = ExactNetworkPosterior(one, x[:, :, cells])
            evidence.append(exact.log_evidence)
            drawn.append(exact.sample(samples, rng))
            p = exact.marginals
            joint = exact.pairwise(1) - p[:, 1:, :, None] * p[:, :-1, None]
            covariance.append((joint[..., 0, 1] + joint[..., 1, 0]).mean() / 2)
        self.log_evidence = torch.stack(evidence, 1)
        self.z = torch.cat(drawn, -1)
        mean, sd = count_moments(as_trial(self.z))
        self.counts = mean
        self.metrics = {
            "log_evidence_per_bin": self.log_evidence.mean(0) / x.shape[1],
            "count_mean_exact": mean.mean(0),
            "count_sd_exact": sd.mean(0),
            "covariance_cross_exact": torch.stack(covariance),
        }


def _model(data: Dataset, device: torch.device) -> CalciumNetwork:
    return CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).to(device)


def _trained(spec: RunSpec, data: Dataset, trained: dict[str, Posterior], device: torch.device) -> Posterior:
    """A run's posterior for all pairs, from the weights of the run that it starts from."""
    summary = TraceSummary.of(torch.as_tensor(data.x))
    posterior = make_posterior(spec.posterior, summary, generator(spec.seed), "posterior").to(device)
    if spec.warm_start is not None:
        if spec.warm_start not in trained:
            raise UserError(f"warm_start: found {spec.warm_start!r}, expected a run that stands before it")
        posterior.load_state_dict(trained[spec.warm_start].state_dict())
    x = torch.as_tensor(data.x, device=device)
    for _ in Trainer(_model(data, device), posterior, x, make_phases(spec, "phases"), seed=spec.seed).run():
        pass
    return posterior


@torch.no_grad()
def _measured(
    posterior: Posterior, data: Dataset, exact: _Exact, samples: int, device: torch.device
) -> dict[str, Tensor]:
    """What hard samples on the held-out trials say of every pair, ``(P,)`` each."""
    model = _model(data, device).double()
    x = torch.as_tensor(data.x_test, dtype=torch.float64, device=device)
    q = copy.deepcopy(posterior).double().condition(x, None, model.prior(*x.shape[:2])).q
    # of a block-diagonal network a cell's terms are its own; a pair's weight is the sum of two
    rng = generator(30_000, device)
    # bin by bin the same samples as by sweeps, and of a twist in a fraction of the time
    drawn = sample_hard(model, q, x, samples, rng, independent=True, sampler=Sequential())
    weights = drawn.log_weights[..., 0::2] + drawn.log_weights[..., 1::2]
    gap = exact.log_evidence - weights.mean(0)
    z = as_trial(drawn.z)
    mean, sd = count_moments(z)
    assert data.z_test is not None
    truth = as_trial(torch.as_tensor(data.z_test, device=device))
    found = {
        "gap_per_bin": gap.mean(0) / x.shape[1],
        "count_sd": sd.mean(0),
        "count_bias": (mean.mean(0) - exact.counts.mean(0)) / exact.counts.mean(0),
        "covariance_cross": cross_covariance(drawn.z),
    }
    return found | {f"coverage_{round(100 * level)}": count_coverage(z, truth, level) for level in LEVELS}
