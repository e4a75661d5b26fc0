"""Stage: a study, from its settings to its table."""

from __future__ import annotations

import inspect
from pathlib import Path

import pandas as pd

from dfp.config import Experiment, load_experiment
from dfp.core.errors import UserError
from dfp.core.files import write_json
from dfp.core.folders import has_part, load_part
from dfp.core.parse import build
from dfp.fitting.fitted import choose_device
from dfp.results.study import RunStudy, Study
from dfp.results.tables import in_order, write_table
from dfp.stages.provenance import environment


def make_study(exp: Experiment) -> Study:
    """The study of an experiment of that kind, its settings read.

    Raises:
        UserError: naming the file and the key for a missing ``study.py``, one without a study or with
            several, or a setting that is not known.
    """
    found = study_class(exp.path.parent)
    made = build(found, exp.document.study, f"{exp.path} ({exp.scale}): study")
    if isinstance(made, RunStudy):
        made.check(exp)
    return made


def study_class(folder: Path) -> type[Study]:
    """The one concrete study that ``<folder>/study.py`` defines, or imports where it defines none."""
    path = Path(folder) / "study.py"
    if not has_part(folder, "study"):
        raise UserError(
            f"{path}: no such file, expected one that defines a study (docs/architecture.md), as the "
            "experiment is of kind study"
        )
    module = load_part(folder, "study")
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Study) and not inspect.isabstract(member)
    ]
    own = [member for member in found if member.__module__ == module.__name__] or found
    if len(own) != 1:
        raise UserError(
            f"{path}: found {', '.join(member.__name__ for member in own) or 'no study'}, expected one class "
            "derived from dfp.results.study.Study"
        )
    return own[0]


def study(
    experiment: Path, scale: str, out: Path, device: str = "auto", overrides: Path | None = None
) -> None:
    """Make the tidy table ``out`` of an experiment of kind ``study``, with ``environment.json`` beside it."""
    exp = load_experiment(experiment, scale, overrides)
    if exp.kind != "study":
        raise UserError(f"{experiment}: found kind {exp.kind!r}, expected 'study'")
    made = make_study(exp)
    where = choose_device(device)
    rows = made.measure(exp, where, out.parent) if isinstance(made, RunStudy) else made.rows(where)
    empty = {"posterior": "", "objective": "", "sampler": ""}
    table = pd.DataFrame([empty | row | {"experiment": exp.name, "scale": exp.scale} for row in rows])
    write_json(out.with_name("environment.json"), environment())
    write_table(in_order(table), out)
