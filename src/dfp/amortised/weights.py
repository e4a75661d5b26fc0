"""Weights as files: arrays and sizes in ``NAME.npz`` (no pickle), what they are made of in ``NAME.json``."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfp.amortised.network import Network, Sizes
from dfp.core.errors import UserError, suggest
from dfp.core.files import atomic_path, read_json, write_json
from dfp.core.parse import build

#: those shipped: learned from simulated cells and true recordings, and from simulated cells alone
SHIPPED = ("cells", "simulations")
_SIZES = "sizes"
_MAKE = "`dfp pretrain` makes them"
#: what reading an archive of other things may raise
_NO_WEIGHTS = (
    LookupError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, OSError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def shipped(name: str) -> Path:
    """The file of shipped weights."""
    return Path(str(resources.files("dfp.amortised") / "weights" / f"{name}.npz"))


def find(weights: str | Path) -> Path:
    """A path, or that of shipped weights by their name; raises ``UserError`` where there is none."""
    path = shipped(str(weights)) if str(weights) in SHIPPED else Path(weights)
    if not path.is_file():
        raise UserError(
            f"{weights}: no such weights{suggest(str(weights), SHIPPED)}, "
            f"expected {' or '.join(SHIPPED)}, or a file of weights (.npz); {_MAKE}"
        )
    return path


def save(network: Network, provenance: dict[str, Any], path: Path) -> None:
    """Write weights, and ``provenance`` with their digest beside them."""
    arrays = {name: value.detach().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    arrays[_SIZES] = np.array(json.dumps(network.sizes.as_dict()))
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    write_json(path.with_suffix(".json"), {**provenance, "sha256": digest(path)})


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network of a file of weights, and its provenance.

    Raises:
        UserError: where the file beside is missing, the digest is another, or the arrays are not those of a
            network.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise UserError(
            f"{beside}: no such file, expected it beside the weights: it says what they are; {_MAKE}"
        )
    provenance = read_json(beside)
    said = provenance.get("sha256") if isinstance(provenance, dict) else None
    if not isinstance(said, str):
        raise UserError(f"{beside}: found no 'sha256', expected that of {path.name}; {_MAKE}")
    found = digest(path)
    if found != said:
        raise UserError(
            f"{path}: its SHA-256 is {found[:12]}…, expected {said[:12]}… as {beside.name} says; {_MAKE}"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            raw = json.loads(str(file[_SIZES]))
            with torch.random.fork_rng(devices=[]):  # what it is made with is overwritten
                network = Network(build(Sizes, raw, _SIZES))
            state = {name: torch.from_numpy(file[name]) for name in file.files if name != _SIZES}
        network.load_state_dict(state)
    except (*_NO_WEIGHTS, UserError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not weights of this version of dfp ({reason}); {_MAKE}") from error
    return network.eval().requires_grad_(False), provenance


def describe(provenance: dict[str, Any]) -> str:
    """One line on weights: their digest, what they were learned from, where and when they were made.

    Args:
        provenance: of ``load``; ``Pretrained.provenance``.
    """
    parts = [f"SHA-256 {str(provenance.get('sha256'))[:12]}"]
    learned = str(provenance.get("learned_from", "what is not told"))
    sets = [one for step in _lineage(provenance) for one in step.get("data_sets", [])]
    if sets:
        names = sorted({str(one["data_set"]) for one in sets})
        learned += f" ({', '.join(names)})"
    parts.append(f"learned from {learned}")
    if provenance.get("start"):
        parts.append(f"from {provenance['start'].get('weights')} on")
    commit = provenance.get("commit")
    if commit:
        commit = f", commit {commit}{' with changes' if provenance.get('changed') else ''}"
    parts.append(f"dfp {provenance.get('dfp')}{commit or ''}, {provenance.get('made')}")
    return "; ".join(parts)


def _lineage(provenance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A provenance, and those of the weights that it started from."""
    now: dict[str, Any] | None = provenance
    while now:
        yield now
        now = now.get("start")
