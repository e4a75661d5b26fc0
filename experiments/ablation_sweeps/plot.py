"""Figure of `ablation_sweeps`: how many sweeps a training step needs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.over import first_runs, left_out
from dfp.results.tables import MissingResult, ResultTables

MEASURES = {
    "gap_per_bin": ("evaluated with converged samples", "o", "-"),
    "gap_at_k_per_bin": ("evaluated with the same number of sweeps", "s", "--"),
}
#: nats per bin within which the axis is linear
LINEAR = 0.01


def place(sweeps: object) -> float:
    """The order of a `sweeps` label: numbers by size, words (`converged`) last."""
    try:
        return float(str(sweeps))
    except ValueError:
        return np.inf


def tick(sweeps: object) -> str:
    value = place(sweeps)
    return f"{value:g}" if np.isfinite(value) else str(sweeps)


def gap_at_k(results: ResultTables) -> pd.DataFrame | None:
    """The gap measured with K sweeps; None where the table does not give it.

    It is in the table, or the evidence minus the bound with K sweeps.
    """
    if results.has("gap_at_k_per_bin"):
        return results.rows("gap_at_k_per_bin")
    if results.has("elbo_at_k_per_bin") and results.has("log_evidence_per_bin"):
        frame = results.wide(["log_evidence_per_bin", "elbo_at_k_per_bin"])
        return frame.assign(value=frame["log_evidence_per_bin"] - frame["elbo_at_k_per_bin"])
    return None


def sweeps(results: ResultTables) -> Figure:
    """The gap over the number of sweeps in training, by converged samples and by K sweeps."""
    frames = {"gap_per_bin": results.rows("gap_per_bin")}
    same = gap_at_k(results)
    if same is not None:
        frames["gap_at_k_per_bin"] = same
    if "sweeps" not in results.labels:
        raise MissingResult(f"{results.path}: no label column 'sweeps', which the figure is drawn over")
    frames = {
        metric: first_runs(frame[frame["sweeps"].notna()], ["sweeps"]) for metric, frame in frames.items()
    }
    labels = sorted({tick(value) for frame in frames.values() for value in frame["sweeps"]}, key=place)
    drawn = []
    for metric, frame in frames.items():
        text, marker, line = MEASURES[metric]
        by: dict[str, pd.DataFrame] = {
            label: part for label, part in frame.groupby(frame["sweeps"].map(tick))
        }
        points = [
            (float(index), by[label].sort_values(["dataset", "seed"])["value"].to_numpy())
            for index, label in enumerate(labels)
            if label in by
        ]
        drawn.append(Curve(text[0].upper() + text[1:], points, style.colour("fixed_point"), marker, line))
    shown = {run for frame in frames.values() for run in frame["run"]}
    figure = style.figure(7.4, 4.6)
    axes = figure.add_subplot()
    marks.curves(axes, drawn, dodge=0.12)
    least = _axis(axes, drawn)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_xlabel("Fixed-point sweeps in every training step")
    axes.set_ylabel("Exact log-evidence − estimate\n(nats per bin)")
    axes.legend(handles=marks.legend_handles(drawn), loc="lower right")
    style.title(figure, "How many sweeps training needs")
    counts = [count for curve in drawn for count in curve.counts]
    beyond = (
        "Below 0 (shaded) an estimate is no bound: it promises more than the exact log-evidence, since "
        "samples after so few sweeps do not follow the law that weighs them, and lower is no better there. "
        if least < 0
        else ""
    )
    style.caption(
        figure,
        "Hard samples. Of converged samples the estimate is a bound: the lower its distance, the better. "
        f"{beyond}A posterior trained with too few sweeps is trained on samples that are not its own. The "
        f"axis is linear within ±{LINEAR:g}. {marks.interval_note(counts)}{left_out(results, shown)}",
    )
    return figure


def _axis(axes: Axes, drawn: list[Curve]) -> float:
    """Signed decades, what is below 0 shaded and named; returns the least value."""
    seen = np.concatenate([values for curve in drawn for _, values in curve.points])
    ends = np.concatenate([seen, *(curve.summary().ravel() for curve in drawn)])
    least, most = float(np.nanmin(ends)), float(np.nanmax(ends))
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.4)
    axes.set_ylim(2 * least if least < 0 else 0, 2 * most)
    ticks = [tick for power in range(-2, 4) for tick in (10.0**power, -(10.0**power))]
    axes.set_yticks([0.0, *(tick for tick in ticks if 2 * min(least, 0) <= tick <= 2 * most)])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    if least < 0:
        axes.axhspan(2 * least, 0, color="#f0f0f0", lw=0, zorder=0)
        axes.axhline(0, color=style.GUIDE, lw=1, zorder=1)
        axes.text(0.99, -0.5 * LINEAR, "no bound", transform=axes.get_yaxis_transform(), ha="right", va="top",
                  fontsize=8, color="#5a5a5a")  # fmt: skip
    return least


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"sweeps": sweeps(results)}
