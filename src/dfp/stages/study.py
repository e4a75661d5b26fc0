"""Stage: a study, from its settings to its table."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd

from dfp.config import Experiment, load_experiment
from dfp.config.parse import build
from dfp.core.discovery import discover, pick
from dfp.core.errors import UserError
from dfp.core.files import write_json
from dfp.stages.aggregate import COLUMNS, write_table
from dfp.stages.fitted import choose_device
from dfp.stages.provenance import environment
from dfp.studies.base import Study


def make_study(exp: Experiment) -> Study:
    """The study of an experiment of that kind.

    Raises:
        UserError: naming the file and the key for a study or a setting that is not known.
    """
    where = f"{exp.path} ({exp.scale}): study"
    raw = exp.document.study
    if "kind" not in raw:
        raise UserError(f"{where}: the key 'kind' is missing, expected it in an experiment of kind study")
    # by name: a stage that reached all studies would rerun each of them for a change of any
    known = discover(importlib.import_module("dfp.studies"), Study)  # type: ignore[type-abstract]
    settings = {key: value for key, value in raw.items() if key != "kind"}
    return build(pick(known, raw["kind"], f"{where}.kind", "study"), settings, where)


def study(
    experiment: Path, scale: str, out: Path, device: str = "auto", overrides: Path | None = None
) -> None:
    """Make the tidy table ``out`` of an experiment of kind ``study``, with ``environment.json`` beside it."""
    exp = load_experiment(experiment, scale, overrides)
    if exp.kind != "study":
        raise UserError(f"{experiment}: found kind {exp.kind!r}, expected 'study'")
    made = make_study(exp)
    found = list(made.rows(choose_device(device)))
    empty = {"posterior": "", "objective": "", "sampler": ""}
    table = pd.DataFrame([empty | row | {"experiment": exp.name, "scale": exp.scale} for row in found])
    labels = [name for name in table.columns if name not in COLUMNS]
    write_json(out.with_name("environment.json"), environment())
    write_table(table[COLUMNS[:-2] + labels + COLUMNS[-2:]], out)
