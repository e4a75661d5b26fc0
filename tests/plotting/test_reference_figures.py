"""Every figure of every experiment, drawn from the reference tables: print, targets, bounds, counts, runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from plot_tables import EXPERIMENTS, traces, write

from dfp.plotting import edges, style
from dfp.results.tables import COLUMNS, ResultTables
from dfp.stages.plot import load_plots

REFERENCE = EXPERIMENTS.parent / "results" / "reference" / "default"
NAMES = sorted(path.name for path in REFERENCE.iterdir() if (path / "table.csv").is_file())
#: tables beside `table.csv` that the reference leaves out: made up
MADE_UP = {"connectivity": "weights.csv", "recordings": "examples.csv", "uncertainty": "examples.csv"}
#: pixels of the page that README and docs are read on, and of the smallest print on it
PAGE, PRINT = 900, 8.0


@cache
def figures(folder: Path) -> dict[str, Figure]:
    tables = ResultTables(folder)
    with style.look():
        made = dict(load_plots(EXPERIMENTS / folder.name).figures(tables))
        for figure in made.values():
            style.finish(figure, tables.scale)
    return made


@cache
def folder_of(experiment: str, root: Path) -> Path:
    folder = root / experiment
    shutil.copytree(REFERENCE / experiment, folder)
    if experiment == "real_cells":
        traces(np.random.default_rng(1)).to_csv(folder / "traces_cell_indicator.csv", index=False)
    if experiment in MADE_UP:
        shutil.copy(write(root / "made_up", experiment) / MADE_UP[experiment], folder)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reference")


@pytest.fixture(scope="module", params=NAMES)
def drawn(request: pytest.FixtureRequest, root: Path) -> Iterator[dict[str, Figure]]:
    yield figures(folder_of(request.param, root))


def said(figure: Figure) -> str:
    """Every text of a figure, on one line."""
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


def axes_named(figure: Figure, pattern: str) -> Iterator[tuple[Axes, str, tuple[float, float]]]:
    """Axes whose label matches, with their limits."""
    for axes in figure.axes:
        for label, limits in ((axes.get_xlabel(), axes.get_xlim()), (axes.get_ylabel(), axes.get_ylim())):
            if re.search(pattern, label.replace("\n", " ")):
                yield axes, label, limits


def test_print_is_legible_on_a_page(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        for text in figure.findobj(Text):
            if text.get_text().strip():
                pixels = text.get_fontsize() / 72 * PAGE / figure.get_figwidth()
                assert pixels >= PRINT, f"{name}: '{text.get_text()}' is {pixels:.1f} pixels high"


@pytest.mark.parametrize(
    ("pattern", "targets"),
    [
        (r"^Slope\b(?!.*(nearer|wrong))", [1.0]),
        (r"^Coverage of the 50%|in their 50%", [0.5]),
        (r"^Coverage of the 90%|in their 90%", [0.9]),
        (r"posterior ÷ exact$", [1.0]),
        (r"÷ sd by Gibbs|÷ fixed point$", [1.0]),
        (r"[cC]lassifier", [0.5]),
        (r"learned − true|^History at lag 1 \(", [0.0]),
        (r"[cC]hange of the|wrong − right|fixed point − factorised", [0.0]),
    ],
)
def test_an_axis_with_a_target_shows_it(drawn: dict[str, Figure], pattern: str, targets: list[float]) -> None:
    for name, figure in drawn.items():
        for _, label, (low, high) in axes_named(figure, pattern):
            assert all(low <= target <= high for target in targets if "|" not in label), f"{name}: {label}"


def test_no_bar_of_a_share_or_correlation_passes_its_bound(drawn: dict[str, Figure]) -> None:
    pattern = r"^Correlation (of|with)|^AUC|^Average precision|^Signs right|[cC]overage|^Effective size"
    for name, figure in drawn.items():
        for axes, label, _ in axes_named(figure, pattern):
            low = -1 if "orrelation" in label else 0
            across = axes.get_xlabel() == label
            for line in axes.lines:
                if line.get_linewidth() >= 1.6 and len(line.get_xdata()) == 2:
                    ends = np.asarray(line.get_xdata() if across else line.get_ydata(), dtype=float)
                    assert np.all((ends >= low) & (ends <= 1)), f"{name}, {label}: a bar to {ends}"


def test_a_figure_with_intervals_tells_of_how_many(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        text = said(figure)
        if re.search(r"[iI]nterval of the mean|[mM]ean over|95%", text):
            assert re.search(r"n = \d|\b\d+ (random )?(cells|seeds|pairs|networks)", text), name


def test_triangles_are_explained_where_there_are_any(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        lines = [line for axes in figure.axes for line in axes.lines]
        shown = any(isinstance(one, edges.Beyond) and one.beyond.any() for one in lines)
        assert shown == ("A triangle at an edge" in said(figure)), name


#: experiments whose runs are lists in their configuration, to which a user may add, and a run to copy
TRAINED = {
    "ablation_coupling": "free_on",
    "ablation_cross_cells": "fixed_point_4",
    "ablation_history": "5",
    "ablation_objective": "fixed_point_score_function",
    "ablation_recognition": "fixed_point_5",
    "ablation_sweeps": "4",
    "ablation_temperature": "1_fixed",
    "ablation_training": "fixed_point_600",
    "ablation_twisted": "2000",
    "bias": "fixed_point_025_learned",
    "connectivity": "fixed_point",
    "instances": "fixed_point",
    "misspecified": "relaxed_right",
    "peer_connectivity": "fixed_point",
    "recordings": "fixed_point",
    "refinement": "factorised_mean_passing_0_steps",
    "shrinkage": "fixed_point",
    "uncertainty": "fixed_point",
}


@pytest.mark.parametrize("experiment", TRAINED)
def test_runs_that_a_user_adds_are_drawn_or_said_to_be_missing(
    experiment: str, root: Path, tmp_path: Path
) -> None:
    """One with the labels of a run that is there, one without any."""
    folder = tmp_path / experiment
    shutil.copytree(folder_of(experiment, root), folder)
    table = pd.read_csv(folder / "table.csv", dtype={"run": str}, keep_default_na=False)
    run = TRAINED[experiment]
    like = table[table["run"] == run].assign(run="my_own")
    assert len(like), f"{experiment}: no run {run}, found {', '.join(table['run'].unique())}"
    plain = like.assign(run="my_other", **{name: "" for name in table.columns if name not in COLUMNS})
    plain = plain.drop_duplicates(["run", "dataset", "seed", "metric"])
    pd.concat([table, like, plain]).to_csv(folder / "table.csv", index=False)
    made = figures(folder)
    assert any("My own" in said(figure) for figure in made.values())
    assert any("My other" in said(figure) for figure in made.values())
    assert counts(made) == counts(figures(folder_of(experiment, root)))  # nor averaged into another's points


def counts(made: dict[str, Figure]) -> dict[str, list[str]]:
    """What captions say of how many."""
    return {name: re.findall(r"n = \d+(?: to \d+)?", said(figure)) for name, figure in made.items()}
