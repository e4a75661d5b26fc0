"""The fixture of the plotting tests: an experiment's tables on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from plot_tables import write


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., Path]:
    """Write an experiment's tables under the test's folder: `make_results("bias", seeds=3)` returns where
    they are."""

    def make(experiment: str, seeds: int = 5) -> Path:
        return write(tmp_path / "results" / "default", experiment, seeds)

    return make
