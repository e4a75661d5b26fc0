"""What true spikes ask of the law of a real cell, part by part, and the priors that they give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dfp.amortised.datasets import left_in
from dfp.config.experiment import Experiment, recordings_folder
from dfp.core.errors import UserError
from dfp.data.recordings import load_recordings
from dfp.results.study import RunStudy
from dfp.results.tables import Row

from .cells import Measured, cells_of
from .firing import firing, statistics
from .fit import NO_DELAY, RESPONSE, WITHOUT, Problem, fit, fit_law, published
from .rule import Seen, correlations, priors, see, write_priors

#: what a cell is called whose indicator the package does not know
OTHER = "other"


@dataclass(frozen=True)
class CellModel(RunStudy):
    """Settings of ``cell_model``.

    Attributes:
        rate_hz: frames that come faster are averaged to it.
        seconds: of the beginning of each cell; 0 for all.
        cells: of each data set that are scored; 0 for all. The priors rest on the same.
        fewest: spikes in each half of a cell.
        steps: of each ascent.
        leave_out: data sets, cells or indicators that take no part.
    """

    rate_hz: float = 30.0
    seconds: float = 240.0
    cells: int = 0
    fewest: int = 5
    steps: int = 80
    leave_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.rate_hz > 0 or self.seconds < 0 or self.cells < 0:
            raise UserError(
                f"rate_hz, seconds, cells: found {self.rate_hz:g}, {self.seconds:g}, {self.cells}, expected "
                "a rate above 0 and the others at least 0"
            )
        if self.fewest < 1 or self.steps < 1:
            raise UserError(f"fewest, steps: found {self.fewest}, {self.steps}, expected at least 1")

    def check(self, exp: Experiment) -> None:
        """Nothing: it has no runs."""

    def measure(self, exp: Experiment, device: torch.device, folder: Path) -> Iterator[Row]:
        """Held-out scores of the law without each of its parts, by cell; ``priors.csv`` by the rule.

        ``log_density`` is in nats a frame, of the frames after half of a cell's spikes, each given those
        before it, by constants learned from the first half: run ``law`` has all parts, ``no_<part>`` all but
        one, ``delay`` a time shift of the spikes besides. ``log_density`` of the runs ``firing_<kind>`` is
        in nats a spike.
        """
        recordings = left_in(load_recordings(recordings_folder()), self.leave_out)
        cells = _first(list(cells_of(recordings, self.rate_hz, self.seconds, self.fewest)), self.cells)
        if not cells:
            raise UserError(f"fewest: found no cell with {2 * self.fewest} spikes, expected some")
        numbers: dict[str, int] = {}
        seen: list[Seen] = []
        for one in cells:
            numbers[one.dataset] = numbers.get(one.dataset, -1) + 1
            own: Row = {"dataset": one.dataset, "seed": numbers[one.dataset], "cell": one.name}
            own["indicator"] = one.indicator or OTHER
            for run, value in held_out(one, self.steps).items():
                yield {"run": run, **own, "metric": "log_density", "value": value}
            for kind, value in firing(one.segments).items():
                yield {"run": f"firing_{kind}", **own, "metric": "log_density", "value": value}
            for name, value in statistics(one.segments).items():
                yield {"run": "cell", **own, "metric": name, "value": value}
            if one.indicator:
                seen.append(see(one, self.steps))
                for name in (*RESPONSE, "slow_seconds", "tail"):
                    yield {"run": "cell", **own, "metric": name, "value": seen[-1].fitted.plain(name)}
        for (a, b), value in correlations(seen).items():
            labels = {"run": "over_cells", "dataset": "all", "seed": 0}
            yield {**labels, "metric": f"correlation_{a}_{b}", "value": value}
        write_priors(priors(seen), folder / "priors.csv")


def _first(cells: Sequence[Measured], count: int) -> list[Measured]:
    """The first ``count`` cells of each data set."""
    taken: dict[str, int] = {}
    kept = []
    for one in cells:
        taken[one.dataset] = taken.get(one.dataset, 0) + 1
        if not count or taken[one.dataset] <= count:
            kept.append(one)
    return kept


def held_out(cell: Measured, steps: int) -> dict[str, float]:
    """Log density of the cell's second part in nats a frame, by run; see ``measure``."""
    problem = Problem(cell.segments, published(cell.indicator))
    frames = problem.held_out_frames
    law = fit(problem, NO_DELAY, fit_law(problem, steps).constants, steps)  # as many steps as the others get
    found = {"law": problem.log_likelihood(law.constants, first=False) / frames}
    for part, fixed in WITHOUT.items():
        one = fit(problem, {**NO_DELAY, **fixed}, law.constants, steps)
        found[f"no_{part}"] = problem.log_likelihood(one.constants, first=False) / frames
    one = fit(problem, {}, law.constants, steps)
    found["delay"] = problem.log_likelihood(one.constants, first=False) / frames
    return found
