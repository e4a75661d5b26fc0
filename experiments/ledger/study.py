"""The gap ledger: where the nats between log p(x) and a posterior's bound go, step by step and exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from dfp.config.build import make_posterior, posterior_config
from dfp.config.networks import check_network, simulated
from dfp.config.runs import make_runs, raw_runs
from dfp.config.schema import RunSpec, SimulationSpec
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.posteriors.autoregressive import Autoregressive
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.factorised import Factorised
from dfp.posteriors.refined import Refined
from dfp.posteriors.twisted import Twisted
from dfp.results.study import Study
from dfp.results.tables import Row

from .problems import Effort, Problems

#: the largest T·N of what is enumerated together
LARGEST = 12


@dataclass
class Ledger(Study):
    """``log p(x) − ELBO`` of every posterior as a sum of four differences of exact bounds, in nats a trial.

    ``log p(x) → best member of the family, found for each trace by itself with the exact bound`` (an upper
    estimate of the family's gap) ``→ the recognition network trained on the exact bound → the posterior
    trained by its own objective → its law at its own number of sweeps``. The first two differences cannot be
    negative, the others can. All bounds are enumerated in float64 on held-out trials. ``gap_sharing`` is the
    part of the second that comes of weights shared by all traces (history, say): lost even with a drive that
    is each trace's best.

    Attributes:
        datasets: simulated, small enough to enumerate: ``kind: independent`` is a panel of cells, any other
            network one problem for each of its seeds.
        defaults, runs: posteriors and their trainings, as in other experiments; a run's own number of sweeps
            is that of its last phase's sampler.
        steps_scale: all phases' steps are multiplied by this.
        starts: random starts of the search for the best member, beside all trained posteriors.
        search_steps: of that search, at most.
        samples: hard samples a trial by which production code checks the last bound.
        sweeps: numbers of sweeps at which every posterior with a past is evaluated besides.

    Raises:
        UserError: for a setting without meaning, naming it.
    """

    datasets: dict[str, SimulationSpec]
    runs: dict[str, dict[str, Any] | None]
    defaults: dict[str, Any] = field(default_factory=dict)
    steps_scale: float = 1.0
    starts: int = 2
    search_steps: int = 200
    samples: int = 200
    sweeps: list[int] = field(default_factory=list)

    axes: ClassVar[dict[str, dict[str, dict[str, Any] | None]]] = {}
    only: ClassVar[dict[str, list[str]]] = {}
    skip: ClassVar[list[dict[str, str]]] = []

    def __post_init__(self) -> None:
        for name, lowest in (("starts", 0), ("search_steps", 1), ("samples", 2)):
            if getattr(self, name) < lowest:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least {lowest}")
        if any(count < 1 for count in self.sweeps):
            raise UserError(f"sweeps: found {self.sweeps}, expected numbers of at least 1")
        if not self.steps_scale > 0:
            raise UserError(f"steps_scale: found {self.steps_scale}, expected a number above 0")
        for name, spec in self.datasets.items():
            _check_data(spec, f"datasets.{name}")
        if not self.datasets or not self.runs:
            raise UserError("datasets, runs: found none, expected at least one of each")
        raw = raw_runs(self, "ledger")
        named = {name: [name] for name in self.datasets} | {"": list(self.datasets)}
        self._specs, self._used = make_runs(raw, named, "ledger")
        for run, settings in self._specs.items():
            panels = [self.datasets[name].network["kind"] == "independent" for name in self._used[run]]
            _check_run(settings, any(panels), f"runs.{run}")

    def rows(self, device: torch.device) -> Iterator[Row]:
        """The ledgers of every data set; one row a run, cell or network, and metric.

        Raises:
            NumericalError: when a ledger does not close to ``CLOSES``, a bound is above the one before it
                where that cannot be, or hard samples disagree with the enumeration.
        """
        effort = Effort(self.starts, self.search_steps, self.samples, tuple(self.sweeps))
        for name, spec in self.datasets.items():
            specs = {run: found for run, found in self._specs.items() if name in self._used[run]}
            for data in _simulated(name, spec):
                for row in Problems(effort, data, specs, device).rows():
                    yield {"dataset": name, **row}


def _check_data(spec: SimulationSpec, where: str) -> None:
    check_network(spec, where)
    panel = spec.network["kind"] == "independent"
    cells = 1 if panel else int(spec.network.get("cells", LARGEST))
    if spec.bins * cells > LARGEST:
        raise UserError(
            f"{where}.bins: found {spec.bins} bins × {cells} cells, expected at most "
            f"{LARGEST} spikes to enumerate"
        )
    if not 1 <= spec.kernel_bins * cells <= LARGEST:
        raise UserError(
            f"{where}.kernel_bins: found {spec.kernel_bins}, expected 1 to "
            f"{LARGEST // cells} for the exact log p(x)"
        )
    if spec.test_trials < 1:
        raise UserError(f"{where}.test_trials: found {spec.test_trials}, expected at least 1")


def _check_run(spec: RunSpec, panel: bool, where: str) -> None:
    cls, config = posterior_config(spec.posterior, f"{where}.posterior")
    if not issubclass(cls, (Factorised, Autoregressive, Refined, Twisted)):
        raise UserError(
            f"{where}.posterior.kind: found {cls.name!r}, expected factorised, autoregressive, "
            "logistic_flow, refined or twisted, whose best member can be looked for"
        )
    if getattr(getattr(config, "autoregressive", config), "tied_coupling", False):
        raise UserError(
            f"{where}.posterior.tied_coupling: found true, expected a coupling of the posterior's own"
        )
    tiny = TraceSummary(1, torch.zeros(1), torch.ones(1))
    if panel and not make_posterior(spec.posterior, tiny, torch.Generator(), where).per_cell:
        raise UserError(
            f"{where}.posterior: found weights shared by cells, expected recognition.per_cell: true and no "
            "coupling for a panel"
        )
    if spec.model.learn:
        raise UserError(f"{where}.model.learn: found {spec.model.learn}, expected none: log p(x) is to stay")


def _simulated(name: str, spec: SimulationSpec) -> Iterator[Dataset]:
    """A panel of all seeds, or the networks one by one."""
    panel = spec.network["kind"] == "independent"
    for seeds in [spec.seeds] if panel else [[seed] for seed in spec.seeds]:
        made = simulated(replace(spec, seeds=seeds), f"datasets.{name}")
        if not panel and not made.start.basis.shape[0]:
            raise UserError(
                f"datasets.{name}: found no coupling with seed {seeds[0]}, expected coupled cells (a panel "
                "is of kind independent)"
            )
        yield made
