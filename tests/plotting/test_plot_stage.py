"""The plotting stage: every experiment's figures, byte for byte, and a sentence for every mistake."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from plot_tables import EXPERIMENTS, FIGURES

from dfp.core.errors import UserError
from dfp.plotting import style
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots, plot, save

Make = Callable[..., Path]


def drop(folder: Path, metric: str) -> None:
    """Take a metric out of a table."""
    table = pd.read_csv(folder / "table.csv")
    table[table["metric"] != metric].to_csv(folder / "table.csv", index=False)


def edit(folder: Path, run: str, metric: str, value: float) -> None:
    """Set a metric of a run, for all seeds."""
    table = pd.read_csv(folder / "table.csv")
    table.loc[(table["run"] == run) & (table["metric"] == metric), "value"] = value
    table.to_csv(folder / "table.csv", index=False)


def ticks_outside(figure: Figure) -> set[int]:
    """Labels of ticks beyond their axis's limits: they exist, but are never drawn."""
    found = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    found |= {id(tick.label1), id(tick.label2)}
    return found


@pytest.mark.parametrize("experiment", FIGURES)
def test_every_listed_figure_is_written(experiment: str, make_results: Make, tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    plot(EXPERIMENTS / experiment, make_results(experiment), tmp_path / "out", FIGURES[experiment])
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(f"{name}.{suffix}" for name in FIGURES[experiment] for suffix in ("png", "pdf"))
    for name in FIGURES[experiment]:
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "out" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert dict(mpl.rcParams) == before  # the look does not leak


@pytest.mark.parametrize("experiment", FIGURES)
@pytest.mark.parametrize("seeds", [1, 5])
def test_no_empty_panel_and_no_text_outside_or_on_other_text(
    experiment: str, seeds: int, make_results: Make
) -> None:
    with style.look():
        drawn = load_plots(EXPERIMENTS / experiment).figures(ResultTables(make_results(experiment, seeds)))
        assert set(drawn) == set(FIGURES[experiment])
        for name, figure in drawn.items():
            style.finish(figure, "smoke")
            figure.draw_without_rendering()
            renderer = figure.canvas.get_renderer()
            page = figure.bbox
            boxes = []
            for axes in figure.axes:
                assert axes.has_data() or axes.get_legend(), f"{name}: an empty panel"
            unseen = ticks_outside(figure)
            for text in figure.findobj(Text):
                if not text.get_visible() or not text.get_text().strip() or id(text) in unseen:
                    continue
                box = text.get_window_extent(renderer)
                assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1, (
                    f"{name}: '{text.get_text()}' leaves the page"
                )
                assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1, (
                    f"{name}: '{text.get_text()}' leaves the page"
                )
                boxes.append((text.get_text(), box.padded(-1.5)))
            for index, (text, box) in enumerate(boxes):
                for other_text, other in boxes[index + 1 :]:
                    assert not box.overlaps(other), f"{name}: '{text}' lies on '{other_text}'"


def test_the_same_tables_give_the_same_bytes_in_another_process(make_results: Make, tmp_path: Path) -> None:
    results = make_results("uncertainty")
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        code = (
            "from pathlib import Path; from dfp.stages.plot import plot\n"
            f"plot(Path({str(EXPERIMENTS / 'uncertainty')!r}), Path({str(results)!r}), Path({str(out)!r}), "
            f"{FIGURES['uncertainty']!r})"
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        environment.pop("SOURCE_DATE_EPOCH", None)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        digests.append(
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}
        )
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2 * len(FIGURES["uncertainty"])


def test_a_gap_at_or_below_zero_is_drawn_at_the_edge(make_results: Make, tmp_path: Path) -> None:
    results = make_results("uncertainty")
    edit(results, "fixed_point_nonlinear", "gap_per_bin", -1e-4)
    with style.look():
        gap = load_plots(EXPERIMENTS / "uncertainty").figures(ResultTables(results))["gap"]
        save(gap, tmp_path / "out", "gap")
    assert (tmp_path / "out" / "gap.png").is_file()


def test_a_listed_figure_that_is_not_drawn(make_results: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lists the figure 'gaps', but .*did you mean 'gap'"):
        plot(
            EXPERIMENTS / "uncertainty",
            make_results("uncertainty"),
            tmp_path / "out",
            [*FIGURES["uncertainty"], "gaps"],
        )
    assert not (tmp_path / "out").exists()


def test_a_drawn_figure_that_is_not_listed(make_results: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="draws the figure 'training', which the configuration does not list"):
        plot(
            EXPERIMENTS / "uncertainty",
            make_results("uncertainty"),
            tmp_path / "out",
            FIGURES["uncertainty"][:-1],
        )
    assert not (tmp_path / "out").exists()


def test_training_is_not_drawn_without_history(make_results: Make, tmp_path: Path) -> None:
    results = make_results("uncertainty")
    (results / "history.csv").unlink()
    plot(EXPERIMENTS / "uncertainty", results, tmp_path / "out", FIGURES["uncertainty"][:-1])
    assert not (tmp_path / "out" / "training.png").exists()


@pytest.mark.parametrize(
    ("experiment", "metric"),
    [
        ("uncertainty", "gap_per_bin"),
        ("uncertainty", "two_sample_accuracy"),
        ("bias", "count_bias"),
        ("wall_clock", "seconds_per_step"),
        ("connectivity", "weight_slope"),
        ("refinement", "gap_per_bin"),
        ("ablation_coupling", "weight_slope"),
        ("ablation_sweeps", "gap_per_bin"),
        ("ablation_temperature", "gap_per_bin"),
    ],
)
def test_a_missing_metric_is_one_sentence(
    experiment: str, metric: str, make_results: Make, tmp_path: Path
) -> None:
    results = make_results(experiment)
    drop(results, metric)
    with pytest.raises(UserError, match=rf"table\.csv: no metric '{metric}'") as error:
        plot(EXPERIMENTS / experiment, results, tmp_path / "out", FIGURES[experiment])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_experiment_without_plots(make_results: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plot\.py: no such file"):
        plot(tmp_path / "nowhere", make_results("wall_clock"), tmp_path / "out", ["step_time"])
    (tmp_path / "plot.py").write_text("x = 1\n")
    with pytest.raises(UserError, match=r"expected a function 'figures\(results\)', found none"):
        plot(tmp_path, make_results("wall_clock"), tmp_path / "out", ["step_time"])


def test_pairs_are_as_good_as_a_mapping(make_results: Make, tmp_path: Path) -> None:
    (tmp_path / "plot.py").write_text(
        "from dfp.plotting import style\n"
        "def figures(results):\n"
        "    figure = style.figure(2, 2)\n"
        "    figure.add_subplot().plot([0, 1])\n"
        "    yield 'line', figure\n"
    )
    plot(tmp_path, make_results("wall_clock"), tmp_path / "out", ["line"])
    assert (tmp_path / "out" / "line.pdf").is_file()


def test_two_trainings_of_one_family_are_two_curves(make_results: Make) -> None:
    """`fixed_point` and `fixed_point_indirect` share a family; one must not be averaged into the other."""
    folder = make_results("peer_connectivity", 5)
    drawn = load_plots(EXPERIMENTS / "peer_connectivity").figures(ResultTables(folder))["noise"]
    legend = next(axes.get_legend() for axes in drawn.axes if axes.get_legend())
    names = {text.get_text() for text in legend.get_texts()}
    assert {"Autoregressive, fixed point", "Autoregressive, fixed point, indirect inference"} <= names
    table = pd.read_csv(folder / "table.csv")
    wanted = table[
        (table["run"] == "fixed_point")
        & (table["setting"] == "noise05")
        & (table["metric"] == "weight_correlation")
    ]["value"].mean()
    ends = [float(line.get_ydata()[-1]) for line in drawn.axes[0].lines if len(line.get_ydata()) == 3]
    assert min(abs(end - wanted) for end in ends) < 1e-9


def test_plots_may_have_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "plot.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Row:\n    name: str\n"
        "def figures(results):\n    return {}\n"
    )
    assert load_plots(tmp_path).Row("one").name == "one"


def test_torch_is_never_imported() -> None:
    code = "import sys\nfrom pathlib import Path\n"
    code += "import dfp.stages.claims\nfrom dfp.stages.plot import load_plots\n"
    code += "".join(f"load_plots(Path({str(EXPERIMENTS / experiment)!r}))\n" for experiment in FIGURES)
    code += "print(sorted(name for name in sys.modules if name.split('.')[0] == 'torch'))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
