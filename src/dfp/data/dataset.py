"""The file that data travel in, from simulator or recordings to training and evaluation."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from dfp.core.errors import UserError
from dfp.core.files import atomic_path
from dfp.models.base import Parameters
from dfp.models.kinds import DEFAULT, kinds


@dataclass(frozen=True, eq=False)
class Dataset:
    """Traces, with the truth where it is known.

    Attributes:
        x: ``(B, T, N)`` float32 training traces, NaN where not observed.
        bin_rate: bins per second.
        seed: ``(N,)`` the seed of each cell (all equal for one network).
        names: N cell names.
        start: the generating parameters, or for recordings the estimates that a model starts from.
        known: whether ``start`` is the truth.
        kernel_bins: the calcium response is cut after this many bins; 0 for uncut.
        z: ``(B, T, N)`` int8 true spikes, or None.
        x_test, z_test: held-out trials ``(B', T, N)``; B' may be 0, in which case evaluation uses the
            training traces.
        facts: further plain facts (spectral radius, mean rate, …).
    """

    x: np.ndarray
    bin_rate: float
    seed: np.ndarray
    names: tuple[str, ...]
    start: Parameters
    known: bool
    kernel_bins: int
    x_test: np.ndarray
    z: np.ndarray | None = None
    z_test: np.ndarray | None = None
    facts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.x.ndim != 3:
            raise UserError(f"traces: found {self.x.ndim} dimensions, expected three: trials, bins, cells")
        cells = self.x.shape[2]
        if self.start.cells != cells or len(self.names) != cells or self.seed.shape != (cells,):
            raise UserError(
                f"data set: found parameters, names or seeds that do not match the {cells} cells of its "
                "traces"
            )

    @property
    def evaluation(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Held-out traces and spikes, or the training ones where nothing was held out."""
        return (self.x_test, self.z_test) if self.x_test.shape[0] else (self.x, self.z)

    def save(self, path: Path | str) -> None:
        """Write the data set as one ``.npz``, whole or not at all."""
        arrays: dict[str, Any] = {"x": self.x.astype(np.float32), "x_test": self.x_test.astype(np.float32)}
        for name in ("z", "z_test"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name).astype(np.int8)
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays, **self.described())

    def described(self) -> dict[str, Any]:
        """What the file holds beside traces and spikes."""
        arrays: dict[str, Any] = {
            "bin_rate": self.bin_rate,
            "seed": self.seed,
            "names": np.array(self.names),
            "known": self.known,
            "kernel_bins": self.kernel_bins,
            "kind": self.start.kind,
        }
        for entry in fields(self.start):
            arrays[f"{_prefix(self.known)}_{entry.name}"] = getattr(self.start, entry.name)
        for fact, value in self.facts.items():
            arrays[f"fact_{fact}"] = value
        return arrays

    @staticmethod
    def load(path: Path | str) -> Dataset:
        """Read a data set. Raises ``UserError`` when the file is missing or is not one."""
        try:
            stored = np.load(path, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise UserError(f"{path}: found a single array, expected a data set made by `dfp simulate`")
            with stored:
                arrays = {key: stored[key] for key in stored.files}
        except FileNotFoundError:
            raise UserError(f"{path}: no such data set (make it with `dfp simulate`)") from None
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
            raise UserError(
                f"{path}: not a data set, or a damaged one (make it with `dfp simulate`)"
            ) from None
        needed = ["x", "x_test", "bin_rate", "seed", "names", "known", "kernel_bins"]
        record, prefix = _record(arrays, path), _prefix(bool(arrays.get("known", True)))
        needed += [f"{prefix}_{entry.name}" for entry in fields(record)]
        missing = [key for key in needed if key not in arrays]
        if missing:
            raise UserError(
                f"{path}: found no '{missing[0]}' in it, expected a data set made by `dfp simulate`"
            )
        return Dataset(
            x=arrays["x"],
            bin_rate=float(arrays["bin_rate"]),
            seed=arrays["seed"],
            names=tuple(str(name) for name in arrays["names"]),
            start=record(**{entry.name: arrays[f"{prefix}_{entry.name}"] for entry in fields(record)}),
            known=bool(arrays["known"]),
            kernel_bins=int(arrays["kernel_bins"]),
            x_test=arrays["x_test"],
            z=arrays.get("z"),
            z_test=arrays.get("z_test"),
            facts={key[5:]: float(value) for key, value in arrays.items() if key.startswith("fact_")},
        )


def _prefix(known: bool) -> str:
    """What parameters are called in a file: a simulation's are the truth, a recording's are estimates."""
    return "truth" if known else "estimate"


def _record(arrays: dict[str, np.ndarray], path: Path | str) -> type[Parameters]:
    """The record of the observation model that a data set names; older files name none."""
    kind = str(arrays.get("kind", DEFAULT))
    if kind not in kinds():
        raise UserError(
            f"{path}: found the observation model '{kind}', expected one of {', '.join(sorted(kinds()))}"
        )
    return kinds()[kind].Record
