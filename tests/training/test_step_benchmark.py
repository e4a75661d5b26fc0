"""The benchmark of a training step: its parts make up the step, and it leaves nothing behind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.training.optimiser import Adam
from dfp.training.windows import Windows

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "training_step.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(PATH.parent)
    spec = importlib.util.spec_from_file_location("training_step", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["training_step"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("run", ["fixed_point", "factorised_indirect"])
def test_parts_make_up_the_step_and_watching_changes_nothing(benchmark: ModuleType, run: str) -> None:
    watched = (Windows.cut, Adam.step, CausalBernoulli.log_prob, torch.Tensor.backward)
    rows, losses = benchmark.measure("20_cells", run, "plain", 3)
    assert watched == (Windows.cut, Adam.step, CausalBernoulli.log_prob, torch.Tensor.backward)
    parts = {row["part"]: row["value"] for row in rows if row["measure"] == "cpu_seconds"}
    assert {"recognition", "sampling", "prior", "likelihood", "backward", "optimiser", "batch"} <= set(parts)
    whole = parts.pop("whole")
    assert all(value >= 0 for value in parts.values())
    assert sum(parts.values()) == pytest.approx(whole, rel=0.5)
    steps = benchmark.trainer("20_cells", run).run()
    assert [float(row["loss"]) for row in losses] == [next(steps)["loss"] for _ in losses]


def test_a_part_within_a_part_is_taken_off_it(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(benchmark, "now", lambda: torch.full((2,), next(ticks) ** 2).numpy())
    clock = benchmark.Clock()
    with clock.part("outer"):  # from 0
        with clock.part("inner"):  # 1 to 4
            pass
        with clock.part("inner"):  # 9 to 16
            pass
    assert clock.spent["inner"].tolist() == [10, 10] and clock.spent["outer"].tolist() == [15, 15]  # to 25
