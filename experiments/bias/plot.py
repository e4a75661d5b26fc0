"""Figures of `bias`: what the relaxation's temperature does to each posterior, parameters known and
parameters learned."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.plotting.over import left_out, own_runs
from dfp.results.tables import MissingResult, ResultTables

PANELS = {"known": "Parameters known", "learned": "Parameters learned"}
BIASES = ("rate_bias", "history_bias_1", "history_bias_2", "amplitude_bias", "noise_bias")


def curve_set(frame: pd.DataFrame, column: str, scale: float = 1.0) -> list[Curve]:
    """A curve per family and objective over the temperatures; runs without a temperature are left out."""
    frame = frame.assign(kind=[style.family(row) for _, row in frame.iterrows()])
    frame = own_runs(frame, ["kind", "objective", "temperature", "parameters"], "kind")
    known = [*style.FAMILIES, *frame["kind"]]
    kinds = sorted(
        {
            (str(kind), str(objective))
            for kind, objective in zip(frame["kind"], frame["objective"], strict=True)
        },
        key=lambda pair: (known.index(pair[0]), pair[1]),
    )
    several = {kind for kind, _ in kinds if sum(other == kind for other, _ in kinds) > 1}
    made = []
    for kind, objective in kinds:
        rows = frame[
            (frame["kind"] == kind) & (frame["objective"] == objective) & frame["temperature"].notna()
        ]
        points = [
            (float(str(temperature)), scale * part.sort_values(["dataset", "seed"])[column].to_numpy())
            for temperature, part in rows.groupby("temperature")
        ]
        if points:
            known_name = style.family_name(kind) if kind in style.FAMILIES else style.run_name(kind)
            name = known_name + (f",\n{style.objective_name(objective)}" if kind in several else "")
            line = "--" if objective == "logistic_density" else "-"
            made.append(Curve(name, points, style.colour(kind), style.marker(objective, kind), line))
    return made


def constant_runs(frame: pd.DataFrame, column: str, scale: float = 1.0) -> list[Curve]:
    """Runs without a temperature, as curves of one point whose place means nothing."""
    frame = frame[frame["temperature"].isna()]
    made = []
    for _, rows in frame.groupby("run", sort=False):
        row = rows.iloc[0]
        values = scale * rows.sort_values(["dataset", "seed"])[column].to_numpy()
        name = f"{style.family_name(style.family(row))}\n(no temperature)"
        made.append(Curve(name, [(np.nan, values)], style.colour(style.family(row)), "", ":"))
    return made


def temperature_axis(axes: Axes, frame: pd.DataFrame) -> float:
    """Set up the temperature axis; return a dodge that keeps curves apart and temperatures recognisable."""
    places = np.sort(frame["temperature"].dropna().unique().astype(float))
    step = float(np.min(np.diff(places))) if len(places) > 1 else 0.2
    axes.set_xlim(places[0] - 0.6 * step, places[-1] + 0.6 * step)
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlabel("Temperature of the relaxation")
    return 0.09 * step


def with_temperature(results: ResultTables, metric: str) -> pd.DataFrame:
    frame = results.wide([metric])
    for column in ("temperature", "parameters"):
        if column not in frame.columns:
            raise MissingResult(
                f"{results.path}: no label column '{column}', which the figures of 'bias' are drawn over"
            )
    if frame["temperature"].notna().sum() == 0:
        raise MissingResult(f"{results.path}: no run with a temperature has the metric '{metric}'")
    return frame


def over_temperature(
    results: ResultTables,
    metric: str,
    label: str,
    title: str,
    caption: str,
    log: bool = False,
    scale: float = 1.0,
) -> Figure:
    """A metric over temperature, a panel for parameters known and one for parameters learned."""
    frame = with_temperature(results, metric)
    present = [name for name in PANELS if (frame["parameters"] == name).any()]
    figure = style.figure(3.9 * len(present) + 2.3, 4.2)
    panels = np.atleast_1d(figure.subplots(1, len(present), sharey=True))
    everything: list[Curve] = []
    limits = []
    for axes, name in zip(panels, present, strict=True):
        part = frame[frame["parameters"] == name]
        dodge = temperature_axis(axes, frame)
        drawn = curve_set(part, metric, scale)
        flat = constant_runs(part, metric, scale)
        marks.curves(axes, drawn, dodge, log=log)
        for curve in flat:
            mean, low, high = marks.interval(curve.points[0][1])
            axes.axhline(mean, color=curve.colour, lw=1.2, ls=(0, (1, 1.5)), zorder=1)
            if np.isfinite(low):
                axes.axhspan(low, high, color=curve.colour, alpha=0.12, lw=0, zorder=0)
        axes.set_title(PANELS[name])
        everything += [*drawn, *flat]
        limits.append(axes.get_ylim())
    if log:
        values = [values for curve in everything for _, values in curve.points]
        panels[0].set_ylim(
            min(low for low, _ in limits), max(marks.log_limits(values)[1], *(high for _, high in limits))
        )
        style.log_axis(panels[0], "y")
    else:
        for axes in panels:
            marks.guide(axes, 0.0, which="y")
    panels[0].set_ylabel(label)
    for axes in panels[1:]:
        axes.tick_params(axis="y", labelleft=False)
    marks.legend_beside(figure, everything)
    style.title(figure, title)
    counts = [count for curve in everything for count in curve.counts]
    style.caption(
        figure,
        f"{caption} {marks.interval_note(counts)} Curves are shifted sideways to keep them apart."
        + left_out(results, frame.loc[frame["parameters"].isin(present), "run"]),
    )
    return figure


def parameters(results: ResultTables) -> Figure:
    """The bias of each learned parameter over temperature."""
    present = [metric for metric in BIASES if results.has(metric, parameters="learned")]
    if not present:
        raise MissingResult(f"{results.path}: no metric '{BIASES[0]}' for parameters 'learned'")
    columns = min(3, len(present))
    figure = style.figure(
        3.0 * columns + (0.4 if len(present) == 5 else 2.2), 0.9 + 2.9 * -(-len(present) // columns)
    )
    grid = list(figure.subplots(-(-len(present) // columns), columns, squeeze=False).flat)
    panels, spare = grid[: len(present)], grid[len(present) :]
    everything: list[Curve] = []
    shown: set[str] = set()
    for axes, metric in zip(panels, present, strict=True):
        frame = with_temperature(results, metric)
        frame = frame[frame["parameters"] == "learned"]
        shown |= set(frame.loc[frame["temperature"].notna(), "run"])
        relative = metric in ("amplitude_bias", "noise_bias")
        dodge = temperature_axis(axes, frame)
        axes.set_xlabel("Temperature")
        drawn = curve_set(frame, metric, 100.0 if relative else 1.0)
        marks.curves(axes, drawn, dodge)
        marks.guide(axes, 0.0, which="y")
        axes.set_title(style.METRICS[metric], fontweight="normal", fontsize=9)
        everything += drawn
    for axes in spare:
        axes.set_axis_off()
    if spare:
        spare[0].legend(handles=marks.legend_handles(everything), loc="center left")
    else:
        marks.legend_beside(figure, everything)
    style.title(figure, "What each posterior makes of the model's parameters")
    counts = [count for curve in everything for count in curve.counts]
    style.caption(
        figure,
        "Parameters learned together with the posterior, minus those that made the data (amplitude and "
        f"noise: relative to them); dashed line: no bias. {marks.interval_note(counts)}"
        + left_out(results, shown, _not_known(results)),
    )
    return figure


def _not_known(results: ResultTables) -> set[str]:
    """Runs that are not said to know the parameters."""
    table = results.table
    return set(table.loc[table["parameters"] != "known", "run"])


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment; `parameters` where any run learned them."""
    drawn = {
        "gap_temperature": over_temperature(
            results,
            "gap_per_bin",
            style.METRICS["gap_per_bin"],
            "Temperature and the distance from the exact posterior",
            "Hard-sample ELBO against the exact log-evidence under the same parameters (true or learned); "
            "lower is better."
            + (
                " Planar and radial flows: bound over continuous latents, looser than one over spikes."
                if "bound" in results.labels
                else ""
            ),
            log=True,
        ),
        "count_temperature": over_temperature(
            results,
            "count_bias",
            "Bias of the mean spike count (%)",
            "Temperature and the number of spikes",
            "Mean spike count of hard posterior samples, relative to the exact posterior's under the true "
            "parameters; dashed line: "
            "no bias.",
            scale=100.0,
        ),
    }
    if any(results.has(metric) for metric in BIASES):
        drawn["parameters"] = parameters(results)
    return drawn
