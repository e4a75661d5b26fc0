"""From an experiment's defaults, axes and runs to the settings of every run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Protocol

from dfp.config.build import check_run
from dfp.config.schema import RunSpec
from dfp.core.errors import UserError, suggest
from dfp.core.parse import build, convert, merge
from dfp.core.parse import settings as keys


class Runs(Protocol):
    """The keys of an experiment's document that its runs are made from."""

    @property
    def defaults(self) -> dict[str, Any]:
        """What every run starts from."""

    @property
    def runs(self) -> dict[str, dict[str, Any] | None]:
        """Runs by name."""

    @property
    def axes(self) -> dict[str, dict[str, dict[str, Any] | None]]:
        """Runs made by combination."""

    @property
    def only(self) -> dict[str, list[str]]:
        """The values of an axis that are kept."""

    @property
    def skip(self) -> list[dict[str, str]]:
        """Combinations of the axes' values that are left out."""

    @property
    def steps_scale(self) -> float:
        """What all phases' steps are multiplied by."""


def raw_runs(document: Runs, where: str) -> dict[str, dict[str, Any]]:
    """Every run's settings: defaults, then the settings of its place on each axis, then its own."""
    combined: dict[str, dict[str, Any]] = {}
    for label in document.only:
        if label not in document.axes:
            raise UserError(f"{where}: only: unknown axis {label!r}{suggest(label, document.axes)}")
    _check_skip(document, where)
    if document.axes:
        labels = list(document.axes)
        kept = [_kept(document, label, where) for label in labels]
        for values in itertools.product(*kept):
            place = dict(zip(labels, values, strict=True))
            if any(all(place[label] == value for label, value in left.items()) for left in document.skip):
                continue
            settings: dict[str, Any] = {"labels": place}
            for label, value in zip(labels, values, strict=True):
                settings = merge(settings, document.axes[label][value] or {})
            run = "_".join(slug(value) for value in values)
            if run in combined:
                raise UserError(
                    f"{where}: axes: found two runs named '{run}', expected values that differ in more than "
                    "dots and spaces"
                )
            combined[run] = settings
    for run, own in document.runs.items():
        if run in combined:
            raise UserError(
                f"{where}: runs.{run}: found a run of that name made by the axes too, expected different "
                "names"
            )
        combined[run] = dict(own or {})
    return {
        run: _scaled(
            flatten(merge(document.defaults, settings), f"{where}: runs.{run}"), document.steps_scale
        )
        for run, settings in combined.items()
    }


def left_out(document: Runs) -> dict[str, str]:
    """Runs that the axes would make, were it not for ``only`` and ``skip``.

    By run, the key that leaves it out.
    """
    found = {}
    for values in itertools.product(*document.axes.values()):
        place = dict(zip(document.axes, values, strict=True))
        narrowed = [label for label, value in place.items() if value not in document.only.get(label, [value])]
        skipped = any(all(place[label] == value for label, value in left.items()) for left in document.skip)
        if document.axes and (narrowed or skipped):
            found["_".join(slug(value) for value in values)] = f"only.{narrowed[0]}" if narrowed else "skip"
    return found


def _check_skip(document: Runs, where: str) -> None:
    for index, left in enumerate(document.skip):
        for label, value in left.items():
            if label not in document.axes or value not in document.axes[label]:
                known = document.axes.get(label, document.axes)
                raise UserError(
                    f"{where}: skip[{index}]: unknown {label}: {value!r}; known: {', '.join(known)}"
                )


def _kept(document: Runs, label: str, where: str) -> list[str]:
    """The values of an axis that ``only`` leaves."""
    axis = document.axes[label]
    for value in document.only.get(label, []):
        if value not in axis:
            raise UserError(f"{where}: only.{label}: unknown value {value!r}; known: {', '.join(axis)}")
    return document.only.get(label) or list(axis)


def slug(value: object) -> str:
    """A label's value as a part of a run's name."""
    return str(value).replace(".", "").replace(" ", "_")


def flatten(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Fold ``training`` into the phases and ``recognition`` into the posterior.

    Only the keys of ``RunSpec`` remain.
    """
    settings = dict(settings)
    known = ("training", "recognition", *keys(RunSpec))
    for key in settings:
        if key not in known:
            hint = suggest(str(key), known)
            raise UserError(f"{where}: unknown key {key!r}{hint}; known: {', '.join(sorted(known))}")
    training = convert(dict[str, Any], settings.pop("training", None) or {}, f"{where}.training")
    phases = convert(list[dict[str, Any]], settings.get("phases") or [{}], f"{where}.phases")
    settings["phases"] = [merge(training, phase) for phase in phases]
    recognition = settings.pop("recognition", None)
    posterior = convert(dict[str, Any], settings.get("posterior") or {}, f"{where}.posterior")
    if recognition:
        shared = convert(dict[str, Any], recognition, f"{where}.recognition")
        posterior = _with_recognition(posterior, shared, f"{where}.posterior")
    settings["posterior"] = posterior
    return settings


def _with_recognition(posterior: dict[str, Any], recognition: dict[str, Any], where: str) -> dict[str, Any]:
    """The shared recognition network, laid under the posterior's own settings."""
    refined = posterior.get("kind") == "refined"
    key = str(posterior.get("of", "factorised")) if refined else "recognition"
    own = convert(dict[str, Any], posterior.get(key) or {}, f"{where}.{key}")
    laid = _with_recognition(own, recognition, f"{where}.{key}") if refined else merge(recognition, own)
    return merge(posterior, {key: laid})


def _scaled(settings: dict[str, Any], factor: float) -> dict[str, Any]:
    cost = settings.get("cost", 1.0)
    if settings.get("equal_time") is True and isinstance(cost, (int, float)) and cost > 0:
        factor /= cost  # anything else is refused later, by its name
    if factor == 1.0:
        return settings
    phases = [dict(phase) for phase in settings["phases"]]
    for phase in phases:
        steps = phase.get("steps", 1000)
        if isinstance(steps, int) and steps > 0:  # anything else is refused later, by its name
            phase["steps"] = max(1, round(steps * factor))
    return {**settings, "phases": phases}


def make_runs(
    raw: Mapping[str, dict[str, Any]],
    data: Mapping[str, list[str]],
    where: str,
    removed: Mapping[str, str] | None = None,
) -> tuple[dict[str, RunSpec], dict[str, list[str]]]:
    """Every run's settings, typed and checked, and the names of the data sets that it is trained on.

    Args:
        raw: plain settings by run.
        data: data sets by the name that a run may call them by: their own, or that of their setting; under
            the empty name, all.
        removed: runs that the configuration leaves out, and by which key (``left_out``).
    """
    removed = removed or {}
    runs: dict[str, RunSpec] = {}
    used: dict[str, list[str]] = {}
    for name, settings in raw.items():
        spec = build(RunSpec, settings, f"{where}: runs.{name}")
        for dataset in spec.datasets:
            if dataset not in data or not dataset:
                raise UserError(
                    f"{where}: runs.{name}.datasets: unknown data set {dataset!r}{suggest(dataset, data)}"
                )
        if spec.warm_start is not None and spec.warm_start not in raw:
            if spec.warm_start in removed:
                raise UserError(
                    f"{where}: runs.{name}.warm_start: found the run {spec.warm_start!r}, which "
                    f"{removed[spec.warm_start]} leaves out, expected one that is kept: keep "
                    f"{spec.warm_start!r}, or start {name!r} from another run"
                )
            hint = suggest(spec.warm_start, raw)
            raise UserError(f"{where}: runs.{name}.warm_start: unknown run {spec.warm_start!r}{hint}")
        check_run(spec, f"{where}: runs.{name}")
        runs[name] = spec
        used[name] = list(dict.fromkeys(one for called in spec.datasets or [""] for one in data[called]))
    for name in runs:
        _check_no_cycle(name, runs, where)
        _check_start_has_data(name, runs, used, where)
        _check_told(name, runs, where)
    return runs, used


def _check_start_has_data(
    name: str, runs: Mapping[str, RunSpec], used: Mapping[str, list[str]], where: str
) -> None:
    start = runs[name].warm_start
    for dataset in used[name] if start is not None else ():
        if dataset not in used[str(start)]:
            raise UserError(
                f"{where}: runs.{name}.warm_start: '{start}' is not trained on '{dataset}', expected a run "
                "on the same data sets"
            )


def _check_told(name: str, runs: Mapping[str, RunSpec], where: str) -> None:
    """Refuse constants, or a kind, that the model of a warm start would override."""
    run, start = runs[name], runs[name].warm_start
    if start is not None and run.warm_start_model and run.model.kind != runs[start].model.kind:
        raise UserError(
            f"{where}: runs.{name}.model.kind: found '{run.model.kind}', but it starts from the model of "
            f"'{start}', expected that model's '{runs[start].model.kind}' or warm_start_model: false"
        )
    if start is not None and run.warm_start_model and run.model.told != runs[start].model.told:
        raise UserError(
            f"{where}: runs.{name}.model.told: found other constants than '{start}' is told, from whose "
            "model it starts; expected the same or warm_start_model: false"
        )


def _check_no_cycle(name: str, runs: Mapping[str, RunSpec], where: str) -> None:
    seen, now = [name], runs[name].warm_start
    while now is not None:
        if now in seen:
            raise UserError(
                f"{where}: runs.{name}.warm_start: found a circle ({' → '.join([*seen, now])}), expected a "
                "start"
            )
        seen.append(now)
        now = runs[now].warm_start
