"""One recording under a condition: its frame rate lowered, its noise raised, its beginning taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.preprocess import add_noise_to_level, noise_level
from dfp.data.recording import Recording, resample_recording

#: how much noisier than the level wanted a recording may be on its own, as in the peers' scores
TOO_NOISY = 1.25
#: the fewest spikes and seconds that are scored, as in the peers' scores
SPIKES, SECONDS = 3, 10.0


@dataclass(frozen=True)
class Condition:
    """Attributes: ``rate_hz``, 0 for the recording's own; ``noise``, ν in %/√Hz, 0 for its own."""

    rate_hz: float = 30.0
    noise: float = 2.0

    def __post_init__(self) -> None:
        if self.rate_hz < 0 or self.noise < 0:
            raise UserError(f"rate_hz, noise: found {self.rate_hz:g}, {self.noise:g}, expected at least 0")


@dataclass(frozen=True, eq=False)
class Scored:
    """What is scored: trace and true counts ``(T,)``, and what they belong to."""

    name: str
    cell: str
    dataset: str
    indicator: str
    trace: NDArray[np.float64]
    counts: NDArray[np.int64]
    frame_rate: float


def under(recording: Recording, condition: Condition, seconds: float) -> Scored | None:
    """The recording under a condition; None where it cannot be had: too slow, too noisy, too short, NaN."""
    one = recording
    if condition.rate_hz:
        if one.frame_rate < 0.98 * condition.rate_hz:
            return None
        one = resample_recording(one, condition.rate_hz)
    frames = min(len(one.dff), round(seconds * one.frame_rate))
    trace, counts = one.dff[:frames].astype(np.float64), one.spike_counts[:frames]
    if frames < SECONDS * one.frame_rate or counts.sum() < SPIKES or not np.isfinite(trace).all():
        return None
    if condition.noise:
        now = noise_level(trace, one.frame_rate)
        if now > TOO_NOISY * condition.noise:
            return None
        if now < condition.noise:
            noise = np.random.default_rng(crc32(recording.name.encode()))
            trace = add_noise_to_level(trace, condition.noise, one.frame_rate, noise).astype(np.float64)
    dataset = recording.name.split("_")[0]
    return Scored(recording.name, recording.cell, dataset, recording.indicator, trace, counts, one.frame_rate)


def fold_of(cell: str, folds: int = 3) -> int:
    """The fold that leaves a cell out: by its name alone, so that it stays whatever else there is."""
    return crc32(cell.encode()) % folds


def keyed(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Keys with a prefix."""
    return {f"{prefix}{key}": value for key, value in values.items()}
