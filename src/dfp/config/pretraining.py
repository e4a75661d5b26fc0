"""The settings of `dfp pretrain`: the package's own `pretrain.yaml`, with a user's file laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfp.amortised.network import Sizes
from dfp.amortised.priors import TABLES
from dfp.amortised.training import LENGTHS, Schedule
from dfp.core.errors import UserError, suggest
from dfp.core.parse import build, merge
from dfp.core.read import read_yaml

SETTINGS = Path(__file__).with_name("pretrain.yaml")
NAMES = ("cells", "simulations")


@dataclass(frozen=True)
class PretrainDocument:
    """The keys of ``pretrain.yaml``.

    Attributes:
        simulations, cells: settings (``amortised.training.Schedule``) without and with recordings.
        smoke: laid over either at the smallest scale.
    """

    simulations: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, Any] = field(default_factory=dict)
    smoke: dict[str, Any] = field(default_factory=dict)


def load_pretrain(
    name: str,
    overrides: str | Path | Mapping[str, Any] | None = None,
    scale: str = "default",
    seed: int | None = None,
) -> Schedule:
    """The training called ``name``, ``cells`` or ``simulations``.

    Args:
        overrides: settings laid over those of ``pretrain.yaml`` and of the scale, or the file
            that holds them.
        scale: ``smoke`` lays the settings of that name over it.
        seed: in place of the settings' own.

    Raises:
        UserError: naming the file and the key for anything that is not understood.
    """
    if name not in NAMES:
        raise UserError(
            f"pretrain: unknown training {name!r}{suggest(name, NAMES)}, expected {' or '.join(NAMES)}"
        )
    document = build(PretrainDocument, read_yaml(SETTINGS), str(SETTINGS))
    raw, where = getattr(document, name), "dfp pretrain"
    if scale == "smoke":
        raw = merge(raw, document.smoke)
    if overrides is not None:
        own, where = (
            (overrides, "settings")
            if isinstance(overrides, Mapping)
            else (read_yaml(overrides), str(overrides))
        )
        raw = merge(raw, getattr(build(PretrainDocument, own, where), name))
    if seed is not None:
        raw = merge(raw, {"seed": seed})
    schedule = build(Schedule, raw, f"{where}: {name}")
    check_schedule(schedule, f"{where}: {name}")
    return schedule


def check_schedule(schedule: Schedule, where: str) -> None:
    """Refuse, before anything is computed, settings that have no meaning."""
    shortest = min(LENGTHS)
    for ok, key, expected in (
        (schedule.steps >= 1, "steps", "at least 1"),
        (schedule.bins >= shortest, "bins", f"at least {shortest}, the shortest window"),
        (0 < schedule.learning_rate <= 1, "learning_rate", "above 0 and at most 1"),
        (0 <= schedule.recorded <= 1, "recorded", "a share from 0 to 1"),
        (schedule.constants_weight >= 0, "constants_weight", "at least 0"),
        (schedule.draws >= 1, "draws", "at least 1"),
        (schedule.clip > 0, "clip", "above 0"),
        (schedule.seed >= 0, "seed", "at least 0"),
    ):
        if not ok:
            raise UserError(f"{where}.{key}: found {getattr(schedule, key):g}, expected {expected}")
    if schedule.prior not in TABLES:
        hint = suggest(schedule.prior, TABLES)
        raise UserError(f"{where}.prior: found {schedule.prior!r}{hint}, expected {' or '.join(TABLES)}")
    _check_sizes(schedule.sizes, f"{where}.sizes")


def _check_sizes(sizes: Sizes, where: str) -> None:
    channels, kernels = sizes.channels, sizes.kernels
    if len(channels) < 2 or min(channels) < 1:
        raise UserError(
            f"{where}.channels: found {list(channels)}, expected at least two levels of 1 or more"
        )
    if len(kernels) != len(channels) or any(one < 1 or one % 2 == 0 for one in kernels):
        raise UserError(
            f"{where}.kernels: found {list(kernels)}, expected {len(channels)} odd widths, one a level"
        )
    for key, least in (("basis", 1), ("scale_basis", 1), ("hidden", 1), ("context", 1), ("components", 1)):
        if getattr(sizes, key) < least:
            raise UserError(f"{where}.{key}: found {getattr(sizes, key)}, expected at least {least}")
