"""The workflow's own settings: what ``snakemake --config`` may say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dfp.config.schema import SCALES
from dfp.core.errors import UserError, suggest
from dfp.core.parse import build
from dfp.data.cascade import datasets, recordings_in

TRACKING = ("offline", "online", "disabled")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Settings:
    """Settings of a run of the workflow.

    Attributes:
        scale: ``smoke``, ``default`` or ``paper``.
        wandb: ``offline``, ``online`` or ``disabled``.
        device: ``auto``, ``cpu`` or ``cuda``.
        recordings: folder of real recordings.
        overrides: YAML file laid over the experiments' configurations; empty for none.
    """

    scale: str = "default"
    wandb: str = "offline"
    device: str = "auto"
    recordings: str = "recordings"
    overrides: str = ""

    def __post_init__(self) -> None:
        for name, known in (("scale", SCALES), ("wandb", TRACKING), ("device", DEVICES)):
            found = getattr(self, name)
            if found not in known:
                raise UserError(
                    f"{name}: found {found!r}{suggest(found, known)}, expected one of {', '.join(known)}"
                )


def read_settings(raw: Mapping[str, Any]) -> Settings:
    """Settings from ``--config``; the recordings' folder also from DFP_RECORDINGS.

    Raises:
        UserError: for anything else, and for a folder said on the command line that holds no recordings (one
            that the environment names may be missing: what needs it is skipped).
    """
    given = dict(raw)
    if "recordings" in given:
        datasets(recordings_in(str(given["recordings"])))
    given.setdefault("recordings", os.environ.get("DFP_RECORDINGS", "recordings"))
    return build(Settings, given, "--config")
