"""Weights as files: arrays and sizes in ``NAME.npz`` (no pickle), where they come from in ``NAME.json`` beside it."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfp.amortised.network import Network, Sizes
from dfp.core.errors import UserError
from dfp.core.files import atomic_path, read_json, write_json

#: those shipped: learned from simulated cells and true recordings, and from simulated cells alone
SHIPPED = ("cells", "simulations")
_SIZES = "sizes"
_MAKE = "`dfp pretrain` makes them"


def shipped(name: str) -> Path:
    """The file of shipped weights."""
    return Path(str(resources.files("dfp.amortised") / "weights" / f"{name}.npz"))


def find(weights: str | Path) -> Path:
    """A path, or that of shipped weights by their name; raises ``UserError`` where there is none."""
    path = shipped(str(weights)) if str(weights) in SHIPPED else Path(weights)
    if not path.is_file():
        raise UserError(
            f"{weights}: no such weights, expected {' or '.join(SHIPPED)}, or a file of weights (.npz); {_MAKE}"
        )
    return path


def save(network: Network, provenance: dict[str, Any], path: Path) -> None:
    """Write weights, and ``provenance`` with their digest beside them."""
    arrays = {name: value.detach().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    arrays[_SIZES] = np.array(json.dumps(network.sizes.as_dict()))
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
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
        raise UserError(f"{beside}: no such file, expected it beside the weights: it says what they are; {_MAKE}")
    provenance = read_json(beside)
    found, said = digest(path), provenance.get("sha256") if isinstance(provenance, dict) else None
    if found != said:
        raise UserError(f"{path}: its SHA-256 is {found[:12]}…, expected {str(said)[:12]}… as {beside.name} says; {_MAKE}")
    try:
        with np.load(path, allow_pickle=False) as file:
            raw = json.loads(str(file[_SIZES]))
            sizes = Sizes(**{key: tuple(v) if isinstance(v, list) else v for key, v in raw.items()})
            network = Network(sizes)
            state = {name: torch.from_numpy(file[name]) for name in file.files if name != _SIZES}
        network.load_state_dict(state)
    except (KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not weights of this version of dfp ({said}); {_MAKE}") from error
    return network.eval().requires_grad_(False), provenance
