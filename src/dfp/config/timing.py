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
class RaceSpec:
    """Runs trained side by side against the clock until they are as good as one another.

    Attributes:
        datasets: data sets (or their settings) to race on.
        runs: the runs that take part.
        metric: what is watched: ``elbo_per_bin`` (hard samples, held-out trials; parameters known) or
            ``weight_correlation``.
        levels: runs whose final value is a level that the time to reach is told for.
        slack: a level is reached within this of it.
        checkpoints: number of evaluations, evenly spread in the logarithm of the step; off the clock.
        samples: hard samples per trial of an ELBO.
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
    extrapolated: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UserError(
                f"metric: found {self.metric!r}{suggest(self.metric, METRICS)}, expected one of "
                f"{', '.join(METRICS)}"
            )
        if min(self.checkpoints, self.samples) < 2 or self.slack < 0:
            raise UserError("checkpoints, samples, slack: expected at least 2, 2 and 0")
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
        rounds: how often everything is measured, the samplers in turn; each round is a row, under ``seed``.
        history: lags of the own-history filter of the grids.
        threads: CPU threads; 0 for all cores.
    """

    sampling: list[SizesSpec] = field(default_factory=list)
    training: list[SizesSpec] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    races: dict[str, RaceSpec] = field(default_factory=dict)
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
