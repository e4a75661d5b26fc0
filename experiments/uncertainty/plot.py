"""Figures of `uncertainty`: what each posterior does to one cell's spikes, against the exact posterior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfp.plotting import marks, style, traces
from dfp.plotting.marks import Group
from dfp.results.tables import ResultTables

BASELINE = "factorised"
EXAMPLE_BINS = 120
LATENTS = (
    "*: bound over continuous latents, looser than one over spikes; the bound that is known of theirs over "
    "spikes (docs/method.md) leaves gaps of {gaps}. "
)
LINES = ("-", "--", ":", "-.")
EXAMPLE_RUNS = ("factorised", "logistic_flow", "refined_mean", "fixed_point", "fixed_point_nonlinear")


def run_families(results: ResultTables) -> dict[str, str]:
    """The family of each run, in the order of the table."""
    first = results.table.drop_duplicates("run")
    return {str(row["run"]): style.family(row) for _, row in first.iterrows()}


def ordered(frame: pd.DataFrame, families: dict[str, str]) -> list[str]:
    """Runs by family, in the order of the legend, then as in the table."""
    present = set(frame["run"])
    known = list(style.FAMILIES)
    return sorted((run for run in families if run in present), key=lambda run: known.index(families[run]))


def groups(
    frame: pd.DataFrame, column: str | pd.Series, families: dict[str, str], runs: list[str]
) -> list[Group]:
    """A group per run from a wide table; `column` names a metric or is a series computed from it."""
    values = frame[column] if isinstance(column, str) else column
    made = []
    for run in runs:
        rows = frame[frame["run"] == run].sort_values(["dataset", "seed"])
        marker = style.marker(str(rows["objective"].iloc[0]), families[run])
        made.append(
            Group(style.run_name(run), values.loc[rows.index].to_numpy(), style.colour(families[run]), marker)
        )
    return made


def count_note(drawn: list[Group]) -> str:
    return marks.interval_note([len(group.values) for group in drawn])


def over_latents(results: ResultTables) -> list[str]:
    """Runs whose bound is one over continuous latents (label `bound`)."""
    if "bound" not in results.labels:
        return []
    table = results.table
    return list(table.loc[table["bound"] == "latents", "run"].unique())


def over_spikes(results: ResultTables, runs: list[str]) -> str:
    """What is known of these runs' gap over spikes, as text."""
    gaps = []
    for run in runs:
        mean, low, high = marks.interval(results.values("spike_gap_per_bin", run=run))
        spread = f" [{marks.number(low)}, {marks.number(high)}]" if np.isfinite(low) else ""
        gaps.append(f"{style.run_name(run).lower()} {marks.number(mean)}{spread}")
    return ", ".join(gaps)


def gap(results: ResultTables) -> Figure:
    """Gap to the exact log-evidence per run, and the share of the factorised gap that each closes."""
    families = run_families(results)
    frame = results.wide(["gap_per_bin"])
    runs = ordered(frame, families)
    drawn = groups(frame, "gap_per_bin", families, runs)
    latents = over_latents(results)
    drawn = [
        replace(group, label=f"{group.label}*") if run in latents else group
        for run, group in zip(runs, drawn, strict=True)
    ]
    figure = style.figure(8.2, 1.5 + 0.34 * len(runs))
    axes = figure.add_subplot()
    marks.rows(axes, drawn, log=True)
    axes.set_xlabel(style.METRICS["gap_per_bin"])
    note = ""
    if BASELINE in runs:
        reference = float(frame.loc[frame["run"] == BASELINE, "gap_per_bin"].mean())
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.07 * reference), high)
        for share in (0.7, 0.9):
            marks.guide(axes, (1 - share) * reference, f"{share:.0%}\nclosed")
        note = (
            "Dashed: the gap that is left when 70% or 90% of the factorised posterior's mean gap is "
            "closed. Right: that share, paired by seed, with its interval."
        )
        texts = []
        for run in runs:
            if run == BASELINE:
                texts.append("reference")
                continue
            pair = results.pair("gap_per_bin", {"run": run}, {"run": BASELINE})
            mean, bottom, top = marks.interval(1 - pair["first"] / pair["second"])
            places = 1 if mean > 0.97 else 0
            spread = f"  [{bottom:.{places}%}, {top:.{places}%}]" if np.isfinite(bottom) else ""
            texts.append(f"{mean:.{places}%}{spread}")
        marks.row_texts(
            axes, [text.replace("-", "−") for text in texts], "share of the\nfactorised gap closed"
        )
    style.title(figure, "How far each posterior is from the exact one")
    style.caption(
        figure,
        "Hard-sample ELBO against the exact log-evidence, held-out traces of one cell, parameters known; "
        "left is better. "
        + count_note(drawn)
        + " "
        + (LATENTS.format(gaps=over_spikes(results, latents)) if latents else "")
        + note,
    )
    return figure


def count(results: ResultTables) -> Figure:
    """Mean and standard deviation of the spike count, divided by the exact posterior's."""
    families = run_families(results)
    frame = results.wide(["count_mean", "count_mean_exact", "count_sd", "count_sd_exact"])
    runs = ordered(frame, families)
    figure = style.figure(8.6, 1.45 + 0.34 * len(runs))
    left, right = figure.subplots(1, 2, sharey=True)
    exact_mean, exact_sd = frame["count_mean_exact"].mean(), frame["count_sd_exact"].mean()
    drawn = groups(frame, frame["count_mean"] / frame["count_mean_exact"], families, runs)
    for axes, name, made, exact in (
        (left, "Mean spike count", drawn, exact_mean),
        (
            right,
            "Sd of the spike count",
            groups(frame, frame["count_sd"] / frame["count_sd_exact"], families, runs),
            exact_sd,
        ),
    ):
        marks.rows(axes, made)
        marks.guide(axes, 1.0, f"exact ({exact:.1f} spikes)")
        axes.set_xlabel(f"{name}, posterior ÷ exact")
    right.tick_params(axis="y", labelleft=False)
    style.title(figure, "The spike count of a trace under each posterior")
    style.caption(
        figure,
        "Number of spikes in a trace under the posterior, averaged over held-out traces and divided by "
        "the exact posterior's; a standard deviation above 1 is too uncertain, below 1 too sure. In "
        "brackets: the exact value averaged over seeds. " + count_note(drawn),
    )
    return figure


def dependencies(results: ResultTables) -> Figure:
    """Neighbour covariance, two-sample test and interval coverage per run."""
    families = run_families(results)
    metrics = [
        "covariance_lag1",
        "covariance_lag1_exact",
        "two_sample_accuracy",
        "coverage_50",
        "coverage_90",
    ]
    frame = results.wide(metrics)
    runs = ordered(frame, families)
    figure = style.figure(10.6, 1.75 + 0.34 * len(runs))
    panels = figure.subplots(1, 4, sharey=True)
    difference = 1e3 * (frame["covariance_lag1"] - frame["covariance_lag1_exact"])
    drawn = groups(frame, difference, families, runs)
    for axes, made, label, within in zip(
        panels,
        [drawn, *(groups(frame, metric, families, runs) for metric in metrics[2:])],
        [
            "Covariance of neighbouring bins,\nposterior − exact (10⁻³)",
            "Accuracy of a classifier,\nposterior or exact",
            "Coverage of the\n50% interval",
            "Coverage of the\n90% interval",
        ],
        [None, *(style.bounds(metric) for metric in metrics[2:])],
        strict=True,
    ):
        marks.rows(axes, made, within=within)
        axes.set_xlabel(label)
    exact = 1e3 * frame.drop_duplicates(["dataset", "seed"])["covariance_lag1_exact"].mean()
    for axes, value, text in zip(
        panels, (0.0, 0.5, 0.5, 0.9), ("exact", "chance", "nominal", "nominal"), strict=True
    ):
        marks.guide(axes, value, text)
    for axes in panels[1:]:
        axes.tick_params(axis="y", labelleft=False)
        low, high = axes.get_xlim()
        axes.set_xlim(low - 0.02, high + 0.02)
    style.title(figure, "Which dependencies each posterior keeps, and whether its uncertainty can be trusted")
    style.caption(
        figure,
        "Covariance between the spikes of neighbouring bins, minus the exact posterior's, which is "
        + f"{exact:.2g}".replace("-", "−")
        + " × 10⁻³ (mean over seeds). Accuracy with which a classifier tells a posterior's samples from "
        "exact ones (0.5: it cannot). Share of held-out traces whose true spike count lies in the "
        "posterior's 50% and 90% interval. " + count_note(drawn),
    )
    return figure


def example(results: ResultTables) -> Figure:
    """One held-out trace: fluorescence, true spikes, exact marginal, and each posterior's probability."""
    families = run_families(results)
    trial = traces.first_trial(results.examples())
    found = set(trial["run"])
    runs = [run for run in EXAMPLE_RUNS if run in found]
    runs += sorted(run for run in found if run not in (style.RUNS if runs else ()))
    base = trial[trial["run"] == runs[0]].sort_values("time_s")
    window = traces.busiest_window(base["time_s"].to_numpy(), base["spike"].to_numpy(), EXAMPLE_BINS)
    figure = style.figure(8.6, 2.6 + 0.72 * len(runs))
    panels = figure.subplots(1 + len(runs), 1, sharex=True, height_ratios=[1.7, *([1.0] * len(runs))])
    traces.fluorescence(panels[0], traces.cut(base, window), "Fluorescence\n(a.u.)")
    panels[0].set_title("Trace and true spikes (ticks)")
    for axes, run in zip(panels[1:], runs, strict=True):
        rows = traces.cut(trial[trial["run"] == run], window)
        traces.probability(axes, rows, traces.run_colour(run, families))
        axes.set_title(style.run_name(run))
    for axes in panels[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
    panels[1 + len(runs) // 2].set_ylabel("P(spike)")
    panels[-1].set_xlabel("Time (s)")
    half = traces.bin_width(base["time_s"].to_numpy()) / 2
    panels[-1].set_xlim(window[0] - half, window[1] + half)
    figure.align_ylabels(panels)
    style.title(figure, "One trace under some posteriors")
    first = trial.iloc[0]
    style.caption(
        figure,
        f"Held-out trace {first['trial']} of seed {first['seed']}, the stretch with most spikes. Colour: "
        "marginal probability of a spike under the posterior. Black line: exact marginal by "
        f"forward-backward. {len(runs)} of {len(found)} posteriors.",
    )
    return figure


def training(results: ResultTables, history: pd.DataFrame) -> Figure:
    """The training curves, against steps and against seconds."""
    families = run_families(results)
    column, label = next(
        (
            (name, text)
            for name, text in (
                ("gap_per_bin", style.METRICS["gap_per_bin"]),
                ("elbo_per_bin", "Training ELBO (nats per bin)"),
                ("elbo", "Training ELBO (nats)"),
                ("loss", "Training loss (nats per bin)"),
            )
            if name in history.columns
        ),
        ("loss", "Training loss (nats per bin)"),
    )
    history = history[history["run"].isin(families)].dropna(subset=[column])
    runs = ordered(history, families)
    kinds = loss_kinds(results, runs) if column != "gap_per_bin" else {label: runs}
    timed = "seconds" in history.columns and history["seconds"].notna().any()
    figure = style.figure(10.4 if timed else 7.2, 1.2 + 2.3 * len(kinds))
    grid = figure.subplots(len(kinds), 2 if timed else 1, squeeze=False, sharey="row", sharex="col")
    for line, (kind, members) in zip(grid, kinds.items(), strict=True):
        _losses(line, history, members, column, families)
        line[0].set_title(kind)
        line[0].set_ylabel(style.two_lines(label))
        line[-1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        if timed:
            line[1].tick_params(axis="y", labelleft=False)
    grid[-1][0].set_xlabel("Training step")
    if timed:
        style.log_axis(grid[-1][1], "x")
        grid[-1][1].set_xlabel("Training time (s)")
    style.title(figure, "Training curves")
    shown = results.table[results.table["run"].isin(history["run"].unique())]
    seeds = shown.groupby("run")["seed"].nunique()  # a panel's curve is the mean over its cells
    number = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    style.caption(
        figure,
        f"Mean over seeds (n = {number}), running median over 4% of the curve; an axis a kind of loss, since "
        "losses of different objectives do not compare. Nor are values from relaxed samples bounds: the gap "
        "figure, from hard samples, compares. Times are of runs that shared the machine.",
    )
    return figure


def loss_kinds(results: ResultTables, runs: list[str]) -> dict[str, list[str]]:
    """Runs by the kind of loss that they were trained with, as a title says it."""
    first = results.table.drop_duplicates("run").set_index("run")
    found: dict[str, list[str]] = {}
    for run in runs:
        refined = style.family({"run": run, **first.loc[run]}).startswith("refined")
        name = (
            "bound of the refined posterior" if refined else style.objective_name(first.loc[run, "objective"])
        )
        found.setdefault(name[0].upper() + name[1:], []).append(run)
    return found


def _losses(
    panels: np.ndarray, history: pd.DataFrame, runs: list[str], column: str, families: dict[str, str]
) -> None:
    """Curves of one kind of loss, over steps and over seconds."""
    seen: dict[str, int] = {}
    settled: list[np.ndarray] = []
    for run in runs:
        family = families[run]
        line = LINES[seen.get(family, 0) % len(LINES)]
        seen[family] = seen.get(family, 0) + 1
        mean = history[history["run"] == run].groupby("step").mean(numeric_only=True)
        smooth = mean.rolling(max(1, len(mean) // 25), center=True, min_periods=1).median()
        values = smooth[column].to_numpy()
        settled.append(values[len(smooth) // 20 :])
        look = {"linestyle": line, "color": style.colour(family), "lw": 1.5, "label": style.run_name(run)}
        panels[0].plot(mean.index.to_numpy(), values, **look)
        if len(panels) > 1:
            seconds = mean["seconds"].to_numpy()
            panels[1].plot(seconds[seconds > 0], values[seconds > 0], **look)
    if column == "gap_per_bin":
        panels[0].set_ylim(*marks.log_limits(settled))
        style.log_axis(panels[0], "y")
        return
    ends = np.concatenate(settled)
    low, high = np.nanmin(ends), np.nanmax(ends)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    panels[0].set_ylim(low - room, high + room)


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment; `training` where training curves were aggregated."""
    drawn = {
        "gap": gap(results),
        "count": count(results),
        "dependencies": dependencies(results),
        "example": example(results),
    }
    history = results.history()
    if history is not None:
        drawn["training"] = training(results, history)
    return drawn
