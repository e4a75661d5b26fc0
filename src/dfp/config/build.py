"""The only place that turns names into classes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

import dfp.objectives
import dfp.posteriors
import dfp.samplers
from dfp.config.schema import RunSpec
from dfp.core.discovery import discover, pick
from dfp.core.errors import UserError
from dfp.core.parse import build, convert
from dfp.models.base import require_kind
from dfp.models.served import EXACT, GIBBS
from dfp.objectives.base import Objective
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.samplers.base import Sampler
from dfp.training.phase import Phase


@cache
def posteriors() -> dict[str, type[Posterior]]:
    """All posterior families by name."""
    return discover(dfp.posteriors, Posterior)  # type: ignore[type-abstract]


@cache
def objectives() -> dict[str, type[Objective]]:
    """All objectives by name."""
    return discover(dfp.objectives, Objective)  # type: ignore[type-abstract]


@cache
def samplers() -> dict[str, type[Sampler]]:
    """All samplers by name."""
    return discover(dfp.samplers, Sampler)  # type: ignore[type-abstract]


def _kind(raw: dict[str, Any], where: str) -> tuple[Any, dict[str, Any]]:
    if "kind" not in raw:
        raise UserError(f"{where}: the key 'kind' is missing")
    return raw["kind"], {key: value for key, value in raw.items() if key != "kind"}


def make_objective(raw: dict[str, Any], where: str) -> Objective:
    """An objective from its ``kind`` and settings."""
    kind, rest = _kind(raw, where)
    return build(pick(objectives(), kind, f"{where}.kind", "objective"), rest, where)


def make_sampler(raw: dict[str, Any], where: str) -> Sampler:
    """A sampler from its ``kind`` and settings."""
    kind, rest = _kind(raw, where)
    return build(pick(samplers(), kind, f"{where}.kind", "sampler"), rest, where)


def make_posterior(raw: dict[str, Any], summary: TraceSummary, rng: torch.Generator, where: str) -> Posterior:
    """A posterior, with initial weights drawn from ``rng``."""
    cls, config = posterior_config(raw, where)
    return cls(config, summary, rng)


def posterior_config(raw: dict[str, Any], where: str) -> tuple[type[Posterior], Any]:
    """A posterior's class and its typed settings."""
    kind, rest = _kind(raw, where)
    cls = pick(posteriors(), kind, f"{where}.kind", "posterior")
    return cls, build(cls.Config, rest, where)


def make_phase(raw: dict[str, Any], where: str) -> Phase:
    """A phase with its objective and sampler; by default the relaxed pmf and the fastest sampler."""
    objective = make_objective(_settings(raw, "objective", "relaxed_pmf", where), f"{where}.objective")
    sampler = make_sampler(_settings(raw, "sampler", "auto", where), f"{where}.sampler")
    return build(Phase, {**raw, "objective": objective, "sampler": sampler}, where)


def _settings(raw: dict[str, Any], key: str, default: str, where: str) -> dict[str, Any]:
    return convert(dict[str, Any], raw.get(key, {"kind": default}), f"{where}.{key}")


def make_phases(spec: RunSpec, where: str) -> list[Phase]:
    """All phases of a run."""
    return [make_phase(phase, f"{where}.phases[{index}]") for index, phase in enumerate(spec.phases)]


def check_run(spec: RunSpec, where: str) -> None:
    """Refuse, before anything is computed, a run whose names, settings or combination have no meaning."""
    phases = make_phases(spec, where)
    tiny = TraceSummary(1, torch.zeros(1), torch.ones(1))
    posterior = make_posterior(spec.posterior, tiny, torch.Generator(), f"{where}.posterior")
    for index, phase in enumerate(phases):
        try:
            phase.check(posterior)
        except UserError as error:
            raise UserError(f"{where}.phases[{index}]: {error}") from None
    if spec.evaluation.exact:
        require_kind(spec.model.kind, EXACT, f"{where}.evaluation.exact", "exact: false does without")
    if spec.evaluation.gibbs_sweeps:
        require_kind(spec.model.kind, GIBBS, f"{where}.evaluation.gibbs_sweeps", "0 does without")
