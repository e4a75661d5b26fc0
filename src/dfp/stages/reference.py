"""Stage: keep the tables and figures of a scale as the reference that is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

from dfp.core.errors import UserError
from dfp.core.files import atomic_path, write_json
from dfp.stages.provenance import environment


def reference(results: Path, figures: Path, root: Path) -> None:
    """Copy tables, claims and PNG figures to ``results/reference`` and ``figures/reference`` below ``root``.

    ``results/reference/<scale>/environment.json`` says on which device, with which versions and from which
    commit.

    Raises:
        UserError: when ``results`` holds no table.
    """
    tables = sorted(results.glob("*/table.csv"))
    if not tables:
        raise UserError(f"{results}: found no table.csv below it, expected the results of a scale")
    kept = root / "results" / "reference" / results.name
    beside = (path for name in ("environment.json", "curves.csv") for path in results.glob(f"*/{name}"))
    wanted = [*tables, *results.glob("claims.*"), *beside]
    for path in wanted:
        _copy(path, kept / path.relative_to(results))
    for path in sorted(figures.glob("*/*.png")):
        _copy(path, root / "figures" / "reference" / path.relative_to(figures))
    write_json(kept / "environment.json", environment())


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
