"""A panel with ranges, from configuration to table: what was drawn is simulated, and told beside scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.instances import draw_instance
from dfp.results.tables import ResultTables
from dfp.stages.run import run
from dfp.stages.simulate import simulate

RANGES = {"rate_hz": [2, 9], "noise": [0.3, 1.2], "decay": [0.06, 0.3], "history_2": [-2, 1]}
PANEL = {"network": {"kind": "independent", "bias_sd": 0.0, "ranges": RANGES}, "seeds": [3, 8]}
SMALL = {"bins": 20, "trials": 2, "test_trials": 1, "kernel_bins": 4}
DOCUMENT = {
    "question": "Where does it fail?",
    "datasets": {"panel": {**PANEL, **SMALL}},
    "defaults": {
        "recognition": {"window": 2, "hidden": 2, "per_cell": True},
        "training": {"steps": 1, "batch": 2},
        "evaluation": {"samples": 4, "iwae_samples": 2, "examples": 0},
    },
    "runs": {"factorised": {"posterior": {"kind": "factorised"}}},
}


def written(root: Path, document: dict) -> Path:
    path = root / "experiments" / "where" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(document))
    return path


def test_what_was_drawn_is_simulated_and_told(tmp_path: Path) -> None:
    written(tmp_path, DOCUMENT)
    run(tmp_path, "default", wandb="disabled", figures=False)
    folder = tmp_path / "results" / "default" / "where"
    truth = Dataset.load(folder / "data" / "panel.npz").start
    tables = ResultTables(folder)
    for n, seed in enumerate(PANEL["seeds"]):
        drawn = draw_instance({name: (low, high) for name, (low, high) in RANGES.items()}, seed)
        assert (truth.noise[n], truth.decay[n]) == (drawn["noise"], drawn["decay"])
        assert truth.history[n].tolist() == [-2.0, drawn["history_2"]]
        for name, value in drawn.items():  # tables hold eight digits
            assert tables.values(f"true_{name}").loc["panel", seed] == pytest.approx(value, rel=1e-7)
    assert len(np.unique(tables.values("gap_per_bin"))) == 2


def test_a_wrong_range_is_told_with_its_file(tmp_path: Path) -> None:
    network = {**PANEL["network"], "ranges": {"noise": [2, 1]}}
    path = written(tmp_path, {**DOCUMENT, "datasets": {"panel": {**PANEL, **SMALL, "network": network}}})
    with pytest.raises(UserError) as refused:
        simulate(path, "default", "panel", tmp_path / "panel.npz")
    told = str(refused.value)
    assert "config.yaml" in told and "datasets.panel.network: ranges.noise: found low 2 above high 1" in told
