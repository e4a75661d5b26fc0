"""Stage `plot`: an experiment's tables to its figures, PNG and PDF, the same bytes for the same tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from matplotlib.figure import Figure

from dfp.core.errors import UserError, suggest
from dfp.core.files import atomic_path
from dfp.core.folders import load_part
from dfp.plotting import style
from dfp.results.tables import ResultTables

EPOCH = "1527206400"  # a fixed date wherever a file format insists on one


def load_plots(experiment_dir: Path) -> ModuleType:
    """Load `<experiment_dir>/plot.py`. Raises `UserError` when it is missing or has no function `figures`."""
    path = Path(experiment_dir) / "plot.py"
    if not path.is_file():
        raise UserError(
            f"{path}: no such file (an experiment's figures are made by the function 'figures' of its "
            "plot.py)"
        )
    module = load_part(path.parent, "plot")
    if not callable(getattr(module, "figures", None)):
        raise UserError(f"{path}: expected a function 'figures(results)', found none")
    return module


@contextmanager
def _fixed_date() -> Iterator[None]:
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = EPOCH
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before


def save(figure: Figure, out: Path, name: str) -> list[Path]:
    """Write `out/name.png` (150 dpi) and `out/name.pdf`, each whole or not at all, without a date inside."""
    written = []
    for suffix in ("png", "pdf"):
        path = Path(out) / f"{name}.{suffix}"
        metadata: dict[str, Any] = (
            {"Software": None} if suffix == "png" else {"CreationDate": None, "Producer": None}
        )
        with atomic_path(path) as temporary, _fixed_date():
            figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)
        written.append(path)
    return written


def plot(experiment_dir: Path, results: Path, out: Path, names: list[str]) -> None:
    """Draw the figures `names` of an experiment.

    `experiment_dir/plot.py` holds `figures(results: ResultTables)`, which returns a mapping from name to
    figure or yields `(name, figure)` pairs. `results` is `results/<scale>/<experiment>`, `out` is
    `figures/<scale>/<experiment>`. Raises `UserError` when the names drawn are not the names asked for, or a
    table lacks what a figure needs; then nothing is written.
    """
    module = load_plots(experiment_dir)
    source = Path(experiment_dir) / "plot.py"
    tables = ResultTables(results)
    with style.look():
        made: Any = module.figures(tables)
        pairs: Iterable[tuple[str, Figure]] = made.items() if isinstance(made, dict) else made
        drawn = dict(pairs)
        for name in names:
            if name not in drawn:
                found = ", ".join(drawn) or "none"
                raise UserError(
                    f"{source}: the configuration lists the figure '{name}', but the figures drawn are "
                    f"{found}{suggest(name, drawn)}"
                )
        for name in drawn:
            if name not in names:
                raise UserError(
                    f"{source}: draws the figure '{name}', which the configuration does not list under "
                    f"'figures'{suggest(name, names)}"
                )
        for name in names:
            style.finish(drawn[name], tables.scale)
            save(drawn[name], out, name)
