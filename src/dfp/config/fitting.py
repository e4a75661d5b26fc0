"""The settings of `dfp fit`: the package's own `fit.yaml`, with a user's file laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from dfp.config.build import check_run
from dfp.config.runs import flatten
from dfp.config.schema import RunSpec
from dfp.core.errors import UserError, suggest
from dfp.core.parse import build, convert, merge
from dfp.core.read import read_yaml
from dfp.data.own import OwnSpec, Response

SETTINGS = Path(__file__).with_name("fit.yaml")


@dataclass(frozen=True)
class FitDocument:
    """The keys of ``fit.yaml``.

    Attributes:
        cells, connections: settings of the two fits: ``data``, ``posterior``, ``recognition``, ``model``,
            ``training`` (or ``phases``), ``evaluation``.
        data: ``OwnSpec``'s settings that both start from.
        indicators: name → [rise, decay] in seconds.
    """

    cells: dict[str, Any]
    connections: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    indicators: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, times in self.indicators.items():
            if len(times) != 2:
                raise UserError(f"indicators.{name}: found {times}, expected [rise, decay] in seconds")


@dataclass(frozen=True)
class Fit:
    """How own traces are fitted.

    Attributes:
        name: ``cells`` or ``connections``.
        raw: the run's plain settings, as a checkpoint keeps them.
        data: of the data set.
        indicators: name → [rise, decay] in seconds.
        before: the fit whose amplitude, baseline and noise this one starts from; None for own guesses.
    """

    name: str
    raw: dict[str, Any]
    data: OwnSpec
    indicators: Mapping[str, list[float]]
    before: Fit | None = None

    @property
    def coupled(self) -> bool:
        """Whether weights between cells are learned."""
        return "coupling" in (self.raw.get("model") or {}).get("learn", [])

    def response(
        self,
        indicator: str | None = None,
        rise: float | None = None,
        decay: float | None = None,
        amplitude: float | None = None,
    ) -> Response:
        """The response to one spike: as told, else the indicator's times.

        Raises:
            UserError: for an unknown indicator, no decay, or numbers that are no response.
        """
        known = {name.lower(): times for name, times in self.indicators.items()}
        if indicator is not None and str(indicator).lower() not in known:
            raise UserError(
                f"indicator: unknown {indicator!r}{suggest(str(indicator), self.indicators)}; known: "
                f"{', '.join(self.indicators)} (or say rise and decay in seconds)"
            )
        if indicator is not None:
            own = known[str(indicator).lower()]
            rise, decay = (own[0] if rise is None else rise), (own[1] if decay is None else decay)
        if decay is None:
            raise UserError(
                "decay: found none, expected the decay of the response to one spike in seconds, or an "
                f"indicator ({', '.join(self.indicators)})"
            )
        return Response(rise or 0.0, decay, amplitude)

    def told(self, response: Response) -> Fit:
        """The same fit, which no longer learns what the response gives."""
        if response.amplitude is None:
            return self
        model = dict(self.raw.get("model") or {})
        model["learn"] = [name for name in model.get("learn", []) if name != "amplitude"]
        return replace(self, raw={**self.raw, "model": model})


def load_fit(name: str, overrides: str | PathLike[str] | Mapping[str, Any] | None = None) -> Fit:
    """The fit called ``name``, ``cells`` or ``connections``.

    Args:
        overrides: settings laid over those of ``fit.yaml``, or the file that holds them.

    Raises:
        UserError: naming the file and the key for anything that is not understood.
    """
    raw = read_yaml(SETTINGS)
    where = "dfp fit"
    if isinstance(overrides, Mapping):
        raw, where = merge(raw, overrides), "settings"
    elif overrides is not None:
        raw, where = merge(raw, read_yaml(Path(overrides))), str(overrides)
    document = build(FitDocument, raw, where)
    before = _fit(document, "cells", where) if name == "connections" else None
    return replace(_fit(document, name, where), before=before)


def _fit(document: FitDocument, name: str, where: str) -> Fit:
    own = dict(getattr(document, name))
    data = convert(dict[str, Any], own.pop("data", None) or {}, f"{where}: {name}.data")
    spec = build(OwnSpec, merge(document.data, data), f"{where}: {name}.data")
    settings = flatten(own, f"{where}: {name}")
    check_run(build(RunSpec, settings, f"{where}: {name}"), f"{where}: {name}")
    return Fit(name, settings, spec, document.indicators)
