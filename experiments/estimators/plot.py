"""Figures of `estimators`: an atlas of bias and spread, and what temperature, sweeps and averaging change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.results.tables import ResultTables

NAMES = {
    "mean_passing": "mean-passing",
    "straight_through": "straight-through",
    "straight_through_sigma": "straight-through σ′",
    "relaxed_pmf": "relaxed pmf",
    "logistic_density": "logistic density",
    "score_window_2": "score function, rewards of 2 bins",
    "score_window_5": "score function, rewards of 5 bins",
    "score_function": "score function",
    "disarm": "DisARM",
}
COLOURS = {
    "mean_passing": style.colour("refined"),
    "straight_through": style.GUIDE,
    "straight_through_sigma": style.colour("factorised"),
    "relaxed_pmf": style.colour("fixed_point"),
    "logistic_density": style.colour("logistic_flow"),
    "score_function": style.INK,
    "disarm": style.colour("sequential"),
}
MARKERS = {"relaxed_pmf": "o", "logistic_density": "s", "score_function": "D", "straight_through_sigma": "^"}
WIDE = (0.01, 10.0)
SPREAD = (0.3, 30.0)
#: an instance's bias is seen where it exceeds the error by chance so many times
SEEN = 2.0


class Heat(NamedTuple):
    """One panel of an atlas: what is shown of which part of the gradient."""

    title: str
    part: str
    metric: str
    limits: tuple[float, float]
    colours: str


HEATS = (
    Heat("Bias of ∇φ (posterior)", "phi", "bias", WIDE, "rocket_r"),
    Heat("Bias of ∇θ (model)", "theta", "bias", WIDE, "rocket_r"),
    Heat("Spread of one draw, ∇φ", "phi", "relative_sd", SPREAD, "mako_r"),
)


def wide(results: ResultTables) -> pd.DataFrame:
    """One row for every estimator, setting, instance and part, metrics as columns.

    `bias` is the relative bias, but at least the error by chance, and `seen` says whether it clearly exceeds
    that.
    """
    labels = [
        "run",
        "posterior",
        "bins",
        "noise",
        "temperature",
        "sweeps",
        "point",
        "part",
        "unbiased",
        "seed",
    ]
    frame = results.table[results.table["part"] != "both"].fillna({"temperature": 0.0})
    found = frame.pivot_table(index=labels, columns="metric", values="value").reset_index()
    found["bias"] = np.maximum(found["relative_bias"], found["resolution"])
    found["seen"] = found["relative_bias"] > SEEN * found["resolution"]
    return found


def rows_of(frame: pd.DataFrame) -> list[tuple[str, float]]:
    """Estimators in the order of `NAMES`, with their temperatures (0 for none)."""
    present = frame[["run", "temperature"]].drop_duplicates()
    return [
        (run, temperature)
        for run in NAMES
        for temperature in sorted(present[present["run"] == run]["temperature"])
    ]


def geometric(values: Sequence[float] | pd.Series[float] | np.ndarray) -> tuple[float, float, float]:
    """Geometric mean and its 95% interval."""
    return marks.ratio_interval(np.asarray(values, dtype=float))


def heat(
    axes: Axes, frame: pd.DataFrame, panel: Heat, rows: list[tuple[str, float]]
) -> mpl.cm.ScalarMappable:
    """Geometric means over instances, a cell for every estimator (rows) and length × noise (columns)."""
    columns = sorted(
        {(int(bins), float(noise)) for bins, noise in zip(frame["bins"], frame["noise"], strict=True)}
    )
    scale = mpl.cm.ScalarMappable(LogNorm(*panel.limits), mpl.colormaps[panel.colours])
    keys = ["run", "temperature", "bins", "noise"]
    cells = {key: part for key, part in frame[frame["part"] == panel.part].groupby(keys)}
    for y, (run, temperature) in enumerate(rows):
        for x, (bins, noise) in enumerate(columns):
            part = cells[(run, temperature, bins, noise)]
            text, face = cell_of(part, panel, scale)
            dark = sum(mpl.colors.to_rgb(face)) < 1.35
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=face, ec="white", lw=0.8))
            ink = "#1a7f37" if text == "✓" else ("white" if dark else style.INK)
            axes.text(x, y, text, ha="center", va="center", fontsize=7 if text != "✓" else 9, color=ink)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), [style.number(noise) for _, noise in columns], fontsize=7.5)
    axes.set_xlabel("Measurement noise (amplitudes of a spike)")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    lengths = [bins for bins, _ in columns]
    for bins in dict.fromkeys(lengths):
        places = [place for place, length in enumerate(lengths) if length == bins]
        axes.text(float(np.mean(places)), -0.62, f"T = {bins}", ha="center", va="bottom", fontsize=8)
        if places[0]:
            axes.axvline(places[0] - 0.5, color="white", lw=4)
    for y in range(1, len(rows)):
        if rows[y][0] != rows[y - 1][0]:
            axes.axhline(y - 0.5, color="white", lw=4)
    axes.set_title(panel.title, pad=18)
    return scale


def cell_of(part: pd.DataFrame, panel: Heat, scale: mpl.cm.ScalarMappable) -> tuple[str, str]:
    """A cell's text and colour."""
    if panel.metric == "bias" and bool(part["unbiased"].all()):
        return "✓", "#e8f3ea"
    if panel.metric == "relative_sd" and bool((part["relative_sd"] < 1e-6).all()):
        return "0", "#f4f4f4"
    value = geometric(part[panel.metric])[0] if len(part) > 1 else float(part[panel.metric].iloc[0])
    hidden = panel.metric == "bias" and part["seen"].mean() < 0.5
    text = f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}".lstrip("0")
    colour: Any = scale.to_rgba(np.asarray(value))
    return ("<" if hidden else "") + text, mpl.colors.to_hex(colour)


def atlas(results: ResultTables, frame: pd.DataFrame, posterior: str) -> Figure:
    """Bias and spread of every estimator over length and noise."""
    frame = frame[(frame["posterior"] == posterior) & (frame["sweeps"] == 0) & (frame["point"] == "near")]
    rows = rows_of(frame)
    figure = style.figure(10.9, 1.9 + 0.27 * len(rows))
    panels = figure.subplots(1, len(HEATS), sharey=True)
    for axes, panel in zip(panels, HEATS, strict=True):
        scale = heat(axes, frame, panel, rows)
        bar = figure.colorbar(
            scale, ax=axes, location="bottom", aspect=45, pad=0.02, shrink=0.9, extend="both"
        )
        of = "‖E g − g*‖ ÷ ‖g*‖" if panel.metric == "bias" else "sd of a draw ÷ ‖g*‖"
        bar.set_label(of, fontsize=8)
        bar.ax.tick_params(labelsize=7.5)
    labels = [NAMES[run] + (f", τ = {temperature:g}" if temperature else "") for run, temperature in rows]
    panels[0].set_yticks(range(len(rows)), labels)
    seconds = results.rows("seconds_per_draw", posterior=posterior, sweeps=0, point="near")
    seconds = seconds[seconds["bins"] == seconds["bins"].max()].fillna({"temperature": 0.0})
    cost = seconds.groupby(["run", "temperature"])["value"].median() * 1e6
    marks.row_texts(panels[-1], [f"{cost[row]:.1f}" for row in rows], "µs")
    known = {"autoregressive": "with own history", "factorised": "without history"}
    style.title(figure, f"Bias and spread of each gradient estimator, posterior {known[posterior]}")
    count = frame["seed"].nunique()
    style.caption(
        figure,
        f"Geometric means over {count} random cells. ✓: unbiased by theory, and every coordinate's z-test "
        "against the exact gradient (enumeration of all paths) passed. <: no bias seen in most cells, a "
        "bound. 0: the same in every draw. Two samples a draw (mean-passing: the means). µs: time for a draw "
        f"of both gradients at T = {int(seconds['bins'].max())}, thousands drawn at once; it depends on the "
        "machine.",
    )
    return figure


def setting(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Rows whose columns equal `where`."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return frame


def middle(frame: pd.DataFrame) -> tuple[int, float]:
    """The length at which sweeps and points were varied, and the noise level in the middle."""
    varied = frame[(frame["sweeps"] > 0) | (frame["point"] != "near")]
    levels = sorted(frame["noise"].unique())
    return int((varied if len(varied) else frame)["bins"].iloc[0]), float(levels[len(levels) // 2])


DODGE = 0.08


def over(frame: pd.DataFrame, run: str, column: str, metric: str, places: dict[float, float]) -> Curve:
    """One estimator's geometric mean along a column, whose values stand at `places`."""
    parts = {places[float(str(value))]: part.sort_values("seed") for value, part in frame.groupby(column)}
    points = [(place, parts[place][metric].to_numpy()) for place in sorted(parts)]
    return Curve(
        style_name(run),
        points,
        COLOURS[run],
        MARKERS.get(run, "v"),
        means=[geometric(values) for _, values in points],
    )


def hollow(
    axes: Axes, frame: pd.DataFrame, drawn: Sequence[Curve], column: str, places: dict[float, float]
) -> None:
    """White markers where no bias was seen in most cells, so that the point is a bound."""
    for number, curve in enumerate(drawn):
        own = frame[[style_name(run) == curve.label for run in frame["run"]]]
        seen = own.groupby(column)["seen"].mean()
        for (place, _), (mean, _, _) in zip(curve.points, curve.summary(), strict=True):
            value = next(value for value, where in places.items() if where == place)
            if seen[value] < 0.5:
                x = place + (number - (len(drawn) - 1) / 2) * DODGE
                axes.plot(x, mean, curve.marker, ms=6, mfc="white", mec=curve.colour, mew=1.2, zorder=5)


def style_name(run: str) -> str:
    """A name that starts a legend's line."""
    return NAMES[run][0].upper() + NAMES[run][1:]


def temperature(results: ResultTables, frame: pd.DataFrame) -> Figure:
    """What a lower temperature buys and costs."""
    bins, noise = middle(frame)
    own = setting(frame, posterior="autoregressive", bins=bins, noise=noise, sweeps=0, part="phi")
    figure = style.figure(8.4, 7.0)
    *panels, beside = figure.subplots(2, 2).flat
    shown = (
        ("near", "bias", "Bias, q near the posterior", "Relative bias of ∇φ"),
        ("prior", "bias", "Bias, q = prior", "Relative bias of ∇φ"),
        ("near", "relative_sd", "Spread, q near the posterior", "Relative sd of one draw of ∇φ"),
    )
    drawn: list[Curve] = []
    for axes, (point, metric, text, label) in zip(panels, shown, strict=True):
        here = setting(own, point=point)
        warm = [value for value in sorted(here["temperature"].unique()) if value]
        places = {value: float(place) for place, value in enumerate(warm)}
        made = [
            over(setting(here, run=run), run, "temperature", metric, places)
            for run in ("relaxed_pmf", "logistic_density")
        ]
        marks.curves(axes, made, dodge=DODGE, log=True)
        if metric == "bias":
            hollow(axes, here, made, "temperature", places)
        axes.set_xticks(range(len(warm)), [f"{value:g}" for value in warm])
        axes.set_xlim(-0.4, len(warm) - 0.6)
        axes.set_xlabel("Temperature τ")
        axes.set_ylabel(label)
        axes.set_title(text)
        if metric == "relative_sd":
            exact = geometric(setting(here, run="score_function")["relative_sd"])[0]
            axes.axhline(exact, color=COLOURS["score_function"], lw=1.2, ls=(0, (4, 3)))
        drawn += made
    limits = [axes.get_ylim() for axes in panels[:2]]
    for axes in panels[:2]:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    drawn.append(Curve("Score function (no bias)", [], COLOURS["score_function"], "", "--"))
    beside.set_axis_off()
    beside.legend(handles=marks.legend_handles(drawn), loc="center left")
    style.title(figure, "What a lower temperature buys and costs")
    style.caption(
        figure,
        f"T = {bins}, noise {noise:g}, posterior with own history, exact samples. "
        f"{marks.interval_note([own['seed'].nunique()], 'cell')} Means are geometric; a hollow point is a "
        "bound: no bias seen in most cells. Intervals are wide because cells differ; the claims compare "
        "within a cell. Dashed: the score function on exact hard samples, with as many samples a draw.",
    )
    return figure


def sweeps(results: ResultTables, frame: pd.DataFrame) -> Figure:
    """What stopping the fixed point early does to the gradient, and how long averaging helps."""
    bins, noise = middle(frame)
    own = setting(frame, posterior="autoregressive", bins=bins, noise=noise, point="near", part="phi")
    cool = sorted(value for value in own["temperature"].unique() if value)
    tau = cool[min(1, len(cool) - 1)]
    own = own[own["temperature"].isin([0.0, tau])]
    figure = style.figure(10.9, 4.3)
    left, right = figure.subplots(1, 2)
    counts = sorted(value for value in own["sweeps"].unique() if value)
    places = {0.0: float(len(counts))} | {float(count): float(place) for place, count in enumerate(counts)}
    runs = ["relaxed_pmf", "logistic_density", "straight_through_sigma", "score_function"]
    made = [over(setting(own, run=run), run, "sweeps", "bias", places) for run in runs]
    marks.curves(left, made, dodge=DODGE, log=True)
    hollow(left, own, made, "sweeps", places)
    left.set_xticks(range(len(counts) + 1), [f"{count:g}" for count in counts] + ["until\nexact"])
    left.set_xlim(-0.4, len(counts) + 0.4)
    left.set_xlabel("Fixed-point sweeps")
    left.set_ylabel("Relative bias of ∇φ")
    left.set_title("Bias over sweeps")
    exact = setting(own, sweeps=0)
    draws = np.logspace(0, 5, 61)
    for run in [*runs, "mean_passing"]:
        part = setting(exact, run=run)
        found = bool(part["unbiased"].all())
        bias = np.zeros(len(part)) if found else part["relative_bias"].to_numpy()
        errors = np.sqrt(bias[:, None] ** 2 + part["relative_sd"].to_numpy()[:, None] ** 2 / draws)
        summary = np.array([geometric(errors[:, k]) for k in range(len(draws))])
        right.plot(draws, summary[:, 0], color=COLOURS[run], lw=1.6)
        if len(part) > 1:
            right.fill_between(draws, summary[:, 1], summary[:, 2], color=COLOURS[run], alpha=0.1, lw=0)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(0.01, 12)
    style.log_axis(right, "y")
    right.set_xlabel("Draws averaged, n")
    right.set_ylabel("Relative error of the mean of n draws")
    right.set_title("Averaging helps until the bias is left")
    made.append(Curve(style_name("mean_passing"), [], COLOURS["mean_passing"], ""))
    marks.legend_beside(figure, made)
    style.title(figure, "How many sweeps, and how many draws")
    style.caption(
        figure,
        f"T = {bins}, noise {noise:g}, posterior with own history, τ = {tau:g}. Left: gradients unrolled "
        "through exactly so many sweeps; a hollow point is a bound: no bias seen in most cells. Right: "
        f"√(bias² + sd² ÷ n), exact samples. {marks.interval_note([own['seed'].nunique()], 'cell')} Means "
        "are geometric; bands as the bars.",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    frame = wide(results)
    return {
        "atlas": atlas(results, frame, "autoregressive"),
        "atlas_factorised": atlas(results, frame, "factorised"),
        "temperature": temperature(results, frame),
        "sweeps": sweeps(results, frame),
    }
