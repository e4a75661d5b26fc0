"""What a checkpoint says of the run that made it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dfp.core.errors import UserError
from dfp.core.parse import build
from dfp.data.own import Preparation


@dataclass(frozen=True)
class Facts:
    """Which run a model and a posterior are of, and what inference on further traces has to know.

    Attributes:
        experiment, scale, run, dataset: names; ``fit`` and ``own`` for a user's own traces.
        settings: the run's plain settings, of which its parts are made again.
        setting: that the data set is a network of; empty where it is of none.
        preparation: what was done to the traces before the model saw them.
        cells: names, where they are known.
    """

    experiment: str
    scale: str
    run: str
    dataset: str
    settings: dict[str, Any]
    setting: str = ""
    preparation: Preparation = field(default_factory=Preparation)
    cells: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The facts as mappings, lists, text and numbers, for files."""
        return {**asdict(self), "settings": self.settings, "cells": list(self.cells)}

    @staticmethod
    def read(raw: object, path: object) -> Facts:
        """Facts of a checkpoint. Raises ``UserError`` for an unknown or missing key, or another type."""
        try:
            return build(Facts, raw, f"{path}: facts")
        except UserError as error:
            raise UserError(f"{error}; expected a checkpoint of this version of dfp") from None
