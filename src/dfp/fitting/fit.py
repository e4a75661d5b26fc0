"""A model and a posterior for a user's own recording, in memory: of the cells, and of their connections."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from dfp.config.experiment import fingerprint
from dfp.config.fitting import Fit, load_fit
from dfp.config.schema import RunSpec
from dfp.core.parse import build
from dfp.data.dataset import Dataset
from dfp.data.doubts.admit import admit_array
from dfp.data.doubts.base import Expected
from dfp.data.doubts.mend import Trials
from dfp.data.own import Response, own_dataset
from dfp.data.traces import Orientation, Traces
from dfp.fitting.facts import Facts
from dfp.fitting.fitted import choose_device, fresh, restored
from dfp.fitting.result import Result
from dfp.fitting.start import learned_amplitudes
from dfp.fitting.tables import cells_table, connections_table, spikes_table
from dfp.fitting.training import entry, shown, summary_of, trainer_of
from dfp.models.calcium import CalciumParameters


def fit(
    x: Any,
    frame_rate: float | None = None,
    indicator: str | None = None,
    *,
    rise: float | None = None,
    decay: float | None = None,
    amplitude: float | None = None,
    connections: bool = False,
    names: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    cells: str | Sequence[str] | None = None,
    allow_nan: bool = False,
    confirm: str | Sequence[str] = (),
    trials: Trials | None = None,
    blank: str | Sequence[str] = (),
    settings: Mapping[str, Any] | str | PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Result:
    """Find the spikes in a recording and, where asked, the connections between its cells.

    It does what the command ``dfp fit`` does, number by number, without a file. The same call gives the same
    result.

    Args:
        x: traces ``(T, N)``, T frames of N cells in any unit, dF/F is usual: an array, a tensor, a DataFrame
            (a column a cell), an xarray DataArray, see ``dfp.data.arrays``.
        frame_rate: Hz.
        indicator: ``GCaMP6f``, ``GCaMP6s``, …: rise and decay of the response to one spike.
        rise, decay: seconds, in place of the indicator's.
        amplitude: peak of the response to one spike in the traces' unit, where it is known; else it is
            learned, and then *how many* spikes there were is not known (docs/recordings.md).
        connections: learn the weights between the cells too, all cells at once.
        names: of the cells; otherwise those of the columns, else ``cell0``, ``cell1``, …
        orientation: ``"cells_first"`` where rows are cells.
        cells: names of those to take; all where none are named.
        allow_nan: take NaN frames as not observed.
        confirm: names of doubts (docs/doubts.md) that are no faults here; without them a doubtful recording
            is refused, and a doubtful cell left out with a warning.
        trials: first frames of trials, each with a baseline of its own, or ``"found"``.
        blank: ``outliers``, ``frozen``: frames to take as missing.
        settings: laid over the package's ``config/fit.yaml``; a mapping of its form, or a YAML file.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a bar on stderr.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> brief = {"cells": {"phases": [{"steps": 2}], "evaluation": {"samples": 4, "iwae_samples": 4}}}
        >>> result = dfp.fit(x, frame_rate=30, indicator="GCaMP6f", settings=brief, progress=False)
        >>> list(result.cells["cell"]), len(result.spikes), result.connections
        (['cell0', 'cell1'], 200, None)

    Raises:
        UserError: for traces that cannot be made sense of, no decay, or settings that are not understood.
        NumericalError: when training meets a number that is not finite.
    """
    plan = load_fit("connections" if connections else "cells", settings)
    response = plan.response(indicator, rise, decay, amplitude)
    traces = admit_array(
        x, frame_rate, names=names, orientation=orientation, cells=cells, allow_nan=allow_nan,
        confirm=confirm, trials=trials, blank=blank, expected=Expected(response.amplitude, response.decay),
    )  # fmt: skip
    where = str(choose_device(device))
    *_, result = fits(
        traces, plan, response, lambda job: train_in_memory(job, where, progress), device=where, source="x"
    )
    return result


@dataclass(frozen=True)
class Job:
    """One training of a fit.

    Attributes:
        plan: its settings.
        traces: without their slow baseline.
        data: what it trains on.
        facts: what its checkpoint says of it.
    """

    plan: Fit
    traces: Traces
    data: Dataset
    facts: Facts

    @property
    def identity(self) -> str:
        """Hash of all that the result depends on."""
        start = self.data.start
        started = {name: getattr(start, name).tolist() for name in start.constants}
        held = hashlib.sha256(np.ascontiguousarray(self.data.x).tobytes()).hexdigest()
        return fingerprint(
            [
                self.plan.raw,
                asdict(self.plan.data),
                started,
                self.data.bin_rate,
                held,
                list(self.traces.names),
            ]
        )

    def after(self, before: Result) -> Job:
        """The same fit, started from the measurement that another fit found.

        That is amplitude, baseline, noise and what else the observation model has, to the digits of
        ``cells.csv``.
        """
        known = [name for name in self.data.start.constants if name in before.cells]
        found = {name: _printed(before.cells[name].to_numpy(float)) for name in known}
        return replace(self, data=replace(self.data, start=replace(self.data.start, **found)))


def fits(
    traces: Traces,
    plan: Fit,
    response: Response,
    train: Callable[[Job], dict[str, Any]],
    *,
    device: str = "auto",
    recording: str = "recording",
    source: str = "traces",
) -> Iterator[Result]:
    """The fits of a recording in their order, each when it is done.

    The cells come first. Where the plan asks for weights between cells, a fit of all cells together follows;
    it starts from what the first found of the measurement.

    Args:
        traces: as a user has them.
        plan: the settings, of ``load_fit``.
        response: to one spike, of ``plan.response``; an amplitude that is told is not learned.
        train: makes a job's checkpoint (``Fitted.payload``), in memory or beside files.
        recording: what the checkpoint calls the traces.
        source: what messages call them.

    Raises:
        UserError: before anything is trained, for traces that cannot be made sense of.
    """
    before: Result | None = None
    for job in _jobs(traces, plan, response, recording, source):
        now = job if before is None else job.after(before)
        before = _result(now, train(now), device, before)
        yield before


def train_in_memory(job: Job, device: str = "auto", progress: bool = True) -> dict[str, Any]:
    """A job's checkpoint, trained here and now."""
    where = choose_device(device)
    fitted = fresh(job.facts, job.data, where)
    trainer = trainer_of(fitted, job.data, where)
    history = [entry(metrics) for metrics in (shown(trainer) if progress else trainer.run())]
    return fitted.payload(summary_of(history, trainer, where))


def _jobs(traces: Traces, plan: Fit, response: Response, recording: str, source: str) -> list[Job]:
    """The trainings of a plan, in order: first the one that the other starts from.

    A slow baseline is taken away once for all of them.
    """
    plans = [plan.told(response)]
    while (first := plans[0].before) is not None:
        plans.insert(0, first.told(response))
    levelled: dict[float, Traces] = {}
    jobs = []
    for one in plans:
        preparation = one.data.preparation(traces.frame_rate)
        width = preparation.baseline_seconds
        levelled[width] = flat = levelled[width] if width in levelled else preparation.levelled(traces)
        facts = Facts(
            experiment="fit",
            scale="own",
            run=one.name,
            dataset=recording,
            settings=one.raw,
            preparation=preparation,
            cells=traces.names,
        )
        data = own_dataset(flat, one.data, response, one.coupled, source)
        if response.amplitude is None and one.before is None and isinstance(data.start, CalciumParameters):
            guess = learned_amplitudes(flat, response)
            guess = np.where(np.isfinite(guess), guess, data.start.amplitude)
            data = replace(data, start=replace(data.start, amplitude=guess))
        observation = build(RunSpec, one.raw, one.name).model.observation()
        jobs.append(Job(one, flat, replace(data, start=observation.parameters(data.start)), facts))
    return jobs


def _result(job: Job, payload: dict[str, Any], device: str, before: Result | None) -> Result:
    """What a checkpoint says of the traces that it was trained on."""
    fitted = restored(payload, "the fit", choose_device(device)).double()
    spikes = spikes_table(fitted, job.traces)
    return Result(
        spikes=spikes,
        cells=cells_table(fitted, job.traces, spikes),
        connections=connections_table(fitted, job.traces) if job.plan.coupled else None,
        frame_rate=job.traces.frame_rate,
        payload=payload,
        before=before,
    )


def _printed(values: np.ndarray) -> np.ndarray:
    """Numbers rounded to the digits that a table of them is written with."""
    return np.array([float(f"{value:.8g}") for value in values])
