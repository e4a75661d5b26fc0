"""A small configuration, and ways to change, write and load it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dfp.config import Experiment, load_experiment
from dfp.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "experiments").glob("*/config.yaml"))

BASE: dict[str, Any] = {
    "question": "Does it load?",
    "datasets": {
        "panel": {
            "network": {"kind": "independent", "rate_hz": 4, "history": [-2.0]},
            "seeds": [0, 1],
            "bins": 50,
            "kernel_bins": 5,
        },
        "other": {"network": {"kind": "independent", "rate_hz": 3}, "seeds": [3]},
    },
    "defaults": {
        "recognition": {"window": 3, "hidden": 4},
        "training": {"steps": 200, "batch": 4, "objective": {"kind": "relaxed_pmf"}},
    },
    "runs": {
        "plain": {"posterior": {"kind": "factorised"}},
        "flow": {"posterior": {"kind": "autoregressive", "history": 5, "recognition": {"window": 7}}},
        "score": {
            "posterior": {"kind": "autoregressive", "history": 5},
            "warm_start": "flow",
            "datasets": ["panel"],
            "phases": [
                {},
                {"objective": {"kind": "score_function", "samples": 4}, "relaxation": "hard", "steps": 30},
            ],
        },
    },
    "scales": {"smoke": {"steps_scale": 0.01, "datasets": {"panel": {"seeds": [0]}}}},
}


def write(tmp_path: Path, document: Any, name: str = "question") -> Path:
    path = tmp_path / "experiments" / name / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return path


def changed(*keys: Any, to: Any) -> dict[str, Any]:
    """The document above with one entry changed; the whole file's where no key is given."""
    document = copy.deepcopy(BASE)
    inner: Any = document
    for key in keys[:-1]:
        inner = inner[key] if isinstance(inner, list) else inner.setdefault(key, {})
    inner[keys[-1]] = to
    return document


def load(tmp_path: Path, document: Any, scale: str = "default") -> Experiment:
    return load_experiment(write(tmp_path, document), scale)


def refusal(tmp_path: Path, document: Any, scale: str = "default") -> str:
    with pytest.raises(UserError) as told:
        load(tmp_path, document, scale)
    return str(told.value)
