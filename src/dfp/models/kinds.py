"""Observation models by name: what files of data, checkpoints and configurations call them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import dfp.models
from dfp.core.discovery import discover, pick
from dfp.core.parse import build
from dfp.models.base import ObservationModel, Parameters

#: what is meant where no kind is named
DEFAULT = "calcium"


@cache
def kinds() -> dict[str, type[ObservationModel]]:
    """All observation models by name."""
    return discover(dfp.models, ObservationModel)  # type: ignore[type-abstract]


@dataclass(frozen=True)
class Observation:
    """A kind of observation model, with its settings."""

    kind: type[ObservationModel]
    settings: Any

    def parameters(self, given: Parameters) -> Parameters:
        """``given`` as this kind's own, see ``ObservationModel.adopt``."""
        return self.kind.adopt(given, self.settings)

    def model(
        self, given: Parameters, bin_rate: float, learn: Collection[str] = (), kernel_bins: int = 0
    ) -> ObservationModel:
        """A model that starts from ``given``, adopted where they are of another kind."""
        return self.kind(self.parameters(given), bin_rate, learn, kernel_bins)


def observation(kind: object, settings: Mapping[str, Any], where: str) -> Observation:
    """A kind by its name and plain settings.

    Raises:
        UserError: naming ``where`` for an unknown kind, or a setting that it does not have.
    """
    found = pick(kinds(), kind, f"{where}kind", "observation model")
    return Observation(found, build(found.Config, settings, f"{where}settings"))
