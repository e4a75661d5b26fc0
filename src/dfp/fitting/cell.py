"""One cell by a posterior that was trained once for all: its spikes, its constants, what is doubtful."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import NumericalError, UserError
from dfp.data.preprocess import noise_sd
from dfp.data.traces import Traces
from dfp.results.formats.base import KEYS

#: constants of a cell that are told in `cells.csv`, and what they are called there
CONSTANTS = {"amplitude": "amplitude", "rise": "rise_s", "decay": "decay_s"}
#: what a user may tell of a cell
TOLD = ("indicator", "amplitude", "rise", "decay")
#: joint samples, so that their numbers fit into two bytes
MOST = 65535
#: of ``Cell.held``: arrays of ``Cell.events``, and what stands before the name of a constant
EVENTS, CONSTANT = ("frame", "sample", "count"), "constant_"

#: ``(y, frame rate, told, draws)`` → columns of quality, and names of what is doubtful with their sentences
Doubts = Callable[[NDArray[Any], float, Any, Any], tuple[Mapping[str, float], Sequence[tuple[str, str]]]]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of every cell of a recording.

    Attributes:
        posterior: of ``dfp.amortised``: ``condition(y, frame rate, told).sample(samples, seed)``.
        told: of ``dfp.amortised``.
        samples: joint samples of a cell's spikes, at least 2.
        seed: of the recording; every cell has one of its own (``cell_seed``).
        doubts: finds what is doubtful of a cell.
    """

    posterior: Any
    told: Any
    samples: int = 100
    seed: int = 0
    doubts: Doubts | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.samples <= MOST:
            raise UserError(f"samples: found {self.samples}, expected 2 to {MOST}")

    def plain(self) -> dict[str, Any]:
        """All that the result depends on besides the traces, as plain values."""
        told = {name: getattr(self.told, name) for name in TOLD}
        return {"told": told, "samples": self.samples, "seed": self.seed, "weights": self.posterior.digest}


@dataclass(frozen=True, eq=False)
class Cell:
    """What is inferred of one cell.

    Attributes:
        arrays: ``(T,)`` each, by the names of ``KEYS``.
        row: of ``cells.csv``.
        totals: ``(S,)`` spikes in each joint sample of the recording.
        constants: name → ``(S,)``, of the same samples.
        doubts: sentences.
        events: where the samples have spikes, sorted by frame: frames, samples, counts, ``(K,)`` each.
    """

    arrays: dict[str, NDArray[Any]]
    row: dict[str, Any]
    totals: NDArray[np.int64]
    constants: dict[str, NDArray[np.float64]]
    doubts: tuple[str, ...]
    events: tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint16]] | None = None

    def held(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, by name: what a cell is kept as until the recording is done."""
        events: dict[str, Any] = {}
        if self.events is not None:
            events = dict(zip(EVENTS, self.events, strict=True))
        constants = {f"{CONSTANT}{name}": values for name, values in self.constants.items()}
        told = {"row": json.dumps(self.row), "doubts": json.dumps(self.doubts)}
        texts = {name: np.array(text) for name, text in told.items()}
        return {**self.arrays, **texts, "totals": self.totals, **constants, **events}


def cell_seed(seed: int, cell: int) -> int:
    """The seed of a cell: a hash, so that neither cells nor seeds that are neighbours share any noise."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{cell}".encode()).digest()[:7], "little")


def draw_cell(asked: Asked, traces: Traces, cell: int) -> Any:
    """Joint samples of a cell's spikes and constants; the same for the same seed, whatever is drawn beside.

    Raises:
        UserError: for a trace that says nothing, by the name of its cell.
        NumericalError: for constants that are not finite.
    """
    y = np.asarray(traces.x[:, cell], dtype=np.float64)
    try:
        conditioned = asked.posterior.condition(y, traces.frame_rate, asked.told)
    except UserError as error:  # which knows a trace, and not whose it is
        raise UserError(f"{traces.names[cell]}: {error}") from None
    drawn = conditioned.sample(asked.samples, cell_seed(asked.seed, cell))
    for name, values in drawn.constants.items():
        if not np.isfinite(values).all():
            raise NumericalError(f"{traces.names[cell]}: found a {name} that is not finite, expected numbers")
    return drawn


def infer_cell(asked: Asked, traces: Traces, cell: int, keep_samples: bool = False) -> Cell:
    """Everything about one cell, drawn and summed up.

    The interval at a frame is of the spikes in the second around it, as everywhere in dfp; the rate is that
    of the frames that were measured, the total that of all frames.

    Args:
        keep_samples: keep where the samples have spikes.

    Raises:
        NumericalError: for constants that are not finite.
    """
    from dfp.metrics.windows import windowed  # numba: half a second that a fit need not wait

    y, rate = np.asarray(traces.x[:, cell], dtype=np.float64), traces.frame_rate
    drawn = draw_cell(asked, traces, cell)
    observed = np.isfinite(y)
    mean, low, high = windowed(drawn.counts, max(1, round(rate)))
    made = (drawn.probability, drawn.expected, mean, low, high, observed)
    arrays = {key: value.astype(KEYS[key][0]) for key, value in zip(KEYS, made, strict=True)}
    totals = drawn.counts.sum(1, dtype=np.int64)
    measured = totals if observed.all() else drawn.counts[:, observed].sum(1, dtype=np.int64)
    columns, doubtful = asked.doubts(y, rate, asked.told, drawn) if asked.doubts else ({}, ())
    row = {
        "cell": traces.names[cell],
        **_with_interval("rate_hz", measured * (rate / max(1, int(observed.sum()))), middle=np.mean),
        **_with_interval("spikes", totals, middle=np.mean),
    }
    known = [name for name in CONSTANTS if name in drawn.constants]
    for name in [*known, *(one for one in drawn.constants if one not in known)]:
        if name != "rate_hz":  # the law's own; what is told is the rate of the spikes
            row |= _with_interval(CONSTANTS.get(name, name), drawn.constants[name], middle=np.median)
    row |= {
        "noise": noise_sd(y),
        "missing_frames": int((~observed).sum()),
        **columns,
        "doubts": ", ".join(name for name, _ in doubtful),
    }
    return Cell(
        arrays,
        row,
        totals,
        {name: np.asarray(values, dtype=np.float64) for name, values in drawn.constants.items()},
        tuple(f"{traces.names[cell]}: {sentence}" for _, sentence in doubtful),
        _events(drawn.counts) if keep_samples else None,
    )


def identity(asked: Asked, traces: Traces) -> str:
    """Hash of all that a result depends on: the traces, what is told of them, the weights, the seed."""
    held = hashlib.sha256(np.ascontiguousarray(traces.x, dtype=np.float32).tobytes())
    if traces.times is not None:
        held.update(np.ascontiguousarray(traces.times).tobytes())
    about = {**asked.plain(), "frame_rate": traces.frame_rate, "names": traces.names}
    held.update(json.dumps(about, sort_keys=True).encode())
    return held.hexdigest()


def _with_interval(name: str, values: NDArray[Any], middle: Callable[[Any], Any]) -> Mapping[str, float]:
    low, high = np.quantile(values, [0.05, 0.95])
    return {name: float(middle(values)), f"{name}_low": float(low), f"{name}_high": float(high)}


def _events(counts: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint16]]:
    frames, samples = np.nonzero(counts.T)
    return frames.astype(np.int32), samples.astype(np.uint16), counts[samples, frames].astype(np.uint16)
