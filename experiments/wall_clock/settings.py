"""The typed settings of a wall-clock measurement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dfp.core.errors import UserError, suggest

METRICS = ("elbo_per_bin", "weight_correlation")


@dataclass(frozen=True)
class SizesSpec:
    """Sizes at which a time is measured: every T with every N.

    Attributes:
        bins, cells: lengths T and numbers of cells N.
        batch, samples: traces B and samples S of each; B·S·N chains are drawn side by side.
    """

    bins: list[int]
    cells: list[int] = field(default_factory=lambda: [1])
    batch: int = 16
    samples: int = 1

    def __post_init__(self) -> None:
        if not self.bins or not self.cells or min([*self.bins, *self.cells, self.batch, self.samples]) < 1:
            raise UserError("bins, cells, batch, samples: expected numbers of at least 1")


@dataclass(frozen=True)
class GibbsSpec:
    """Gibbs sampling on the clock: seconds a sweep beside seconds a training step on the same networks.

    Attributes:
        cells: sizes of the networks, each cell with three others that act on it.
        bins: of the one trace of each cell.
        runs: runs whose training step stands beside.
        rounds: of these measurements, and chains whose mixing is measured; a sweep of many cells takes
            seconds.
        mixing_cells, mixing_bins, mixing_sweeps: network and number of sweeps from which the effective sample
            size is estimated; 0 sweeps for none.
    """

    cells: list[int]
    bins: int = 10_000
    runs: list[str] = field(default_factory=list)
    rounds: int = 3
    mixing_cells: int = 10
    mixing_bins: int = 1000
    mixing_sweeps: int = 0

    def __post_init__(self) -> None:
        sizes = [*self.cells, self.rounds, self.mixing_cells]
        if not self.cells or min(sizes) < 1 or min(self.bins, self.mixing_bins) < 100:
            raise UserError(
                "cells, rounds, mixing_cells, bins, mixing_bins: expected numbers of at least 1, bins of 100"
            )
        if self.mixing_sweeps < 0 or 0 < self.mixing_sweeps < 8:
            raise UserError(f"mixing_sweeps: found {self.mixing_sweeps}, expected 0 or at least 8")


@dataclass(frozen=True)
class RaceSpec:
    """Runs trained side by side against the clock until they are as good as one another.

    Attributes:
        datasets: data sets (or their settings) to race on.
        runs: the runs that take part.
        metric: what is watched: ``elbo_per_bin`` (hard samples, held-out trials; parameters known) or
            ``weight_correlation``.
        levels: runs whose final value is a level; the time to reach it is in the table.
        slack: a level is reached within this of it.
        checkpoints: number of evaluations, evenly spread in the logarithm of the step; off the clock.
        samples: hard samples per trial of an ELBO.
        gibbs: sweeps of Gibbs sampling of spikes and weights together (``gibbs_posterior``) that race along,
            blocked or by particles as the memory asks; its weights at any time are the mean over the later
            half of its draws so far. 0 for none; of ``weight_correlation`` only.
        gibbs_prior_sd: of every weight there, logits.
        extrapolated: run → run with the same posterior and noise whose curve it follows step by step; only a
            few of its own steps are then timed.
    """

    datasets: list[str]
    runs: list[str]
    metric: str = "elbo_per_bin"
    levels: list[str] = field(default_factory=list)
    slack: float = 0.0
    checkpoints: int = 20
    samples: int = 50
    gibbs: int = 0
    gibbs_prior_sd: float = 0.6
    extrapolated: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(
                f"metric: found {self.metric!r}{suggest(self.metric, METRICS)}, expected one of "
                f"{', '.join(METRICS)}"
            )
        if min(self.checkpoints, self.samples) < 2 or self.slack < 0:
            raise UserError("checkpoints, samples, slack: expected at least 2, 2 and 0")
        if self.gibbs and (self.gibbs < 2 or self.metric != "weight_correlation"):
            raise UserError(
                f"gibbs: found {self.gibbs} sweeps in a race of {self.metric}, expected 0, or at least 2 in "
                "one of weight_correlation"
            )
        if not self.gibbs_prior_sd > 0:
            raise UserError(f"gibbs_prior_sd: found {self.gibbs_prior_sd}, expected a number above 0")
        check_names("levels", self.levels, self.runs)
        check_names("extrapolated", [*self.extrapolated, *self.extrapolated.values()], self.runs)


@dataclass(frozen=True)
class TimingSpec:
    """The wall-clock measurement.

    Attributes:
        sampling: sizes at which drawing hard samples is timed.
        training: sizes at which a training step is timed.
        steps: runs whose training step is timed, on their own data sets.
        races: by name.
        gibbs: Gibbs sampling beside training steps; none by default.
        rounds: how often everything is measured, the samplers in turn; each round is a row, under ``seed``.
        history: lags of the own-history filter of the grids.
        threads: CPU threads; 0 for all cores.
    """

    sampling: list[SizesSpec] = field(default_factory=list)
    training: list[SizesSpec] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    races: dict[str, RaceSpec] = field(default_factory=dict)
    gibbs: GibbsSpec | None = None
    rounds: int = 5
    history: int = 10
    threads: int = 1

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.history < 1 or self.threads < 0:
            raise UserError("rounds, history, threads: expected at least 1, 1 and 0")


def check_names(key: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ``UserError`` for a name that is not among the known ones."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UserError(
                f"{key}: unknown run {name!r}{suggest(name, known)}; known: {', '.join(known) or 'none'}"
            )
