"""The reference is a copy of a scale's tables and pictures, with the machine that made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfp.core.errors import UserError
from dfp.core.files import read_json, write_text
from dfp.stages.reference import reference


def test_tables_pictures_and_environment_are_kept(tmp_path: Path) -> None:
    results, figures = tmp_path / "results" / "default", tmp_path / "figures" / "default"
    write_text(results / "bias" / "table.csv", "a\n1\n")
    write_text(results / "bias" / "runs" / "x" / "history.csv", "not kept")
    write_text(results / "claims.md", "# claims")
    write_text(figures / "bias" / "gap.png", "picture")
    write_text(figures / "bias" / "gap.pdf", "not kept")
    reference(results, figures, tmp_path)
    kept = tmp_path / "results" / "reference" / "default"
    assert (kept / "bias" / "table.csv").read_text() == "a\n1\n"
    assert (kept / "claims.md").read_text() == "# claims"
    assert (tmp_path / "figures" / "reference" / "bias" / "gap.png").read_text() == "picture"
    assert {"device", "threads", "torch", "commit"} <= set(read_json(kept / "environment.json"))
    names = {path.name for path in (tmp_path / "results" / "reference").rglob("*") if path.is_file()}
    assert names == {"table.csv", "claims.md", "environment.json"}


def test_results_without_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found no table"):
        reference(tmp_path, tmp_path, tmp_path)
