"""Figures of `calibration`: whether what each posterior says of its own uncertainty comes true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dfp.plotting import marks, style
from dfp.plotting.marks import Group
from dfp.results.tables import ResultTables

from .claims import SAMPLER_NAMES, SAMPLERS, WEIGHT_RUNS, windows

POSTERIORS = (
    "exact",
    "factorised",
    "fixed_point",
    "fixed_point_score",
    "fixed_point_nonlinear",
    "logistic_flow",
)
LINES = ("-", "--", ":")
WEIGHT_COLOURS = {
    "gibbs": style.colour("exact"),
    "laplace": style.colour("oasis_glm"),
    "laplace_naive": style.colour("oasis_correlation"),
    "fixed_point_naive": style.colour("fixed_point"),
}
COLUMNS = 3


def name(run: str) -> str:
    """The name of a posterior on an axis."""
    return "Exact posterior" if run == "exact" else style.run_name(run)


def found(results: ResultTables) -> list[str]:
    """The posteriors of the panel, in the order of the figures."""
    present = set(results.rows("ece")["run"])
    return [run for run in POSTERIORS if run in present] + sorted(present - set(POSTERIORS))


def look(results: ResultTables, run: str) -> tuple[str, str]:
    """Colour and marker of a posterior."""
    row = results.table[results.table["run"] == run].iloc[0]
    if row["posterior"] == "exact":
        return style.colour("exact"), "o"
    # whichever sampler it was trained with: the posterior is the same
    family = "fixed_point" if row["posterior"] == "autoregressive" else style.family(row)
    return style.colour(family), style.marker(str(row["objective"]), family)


def text_of(window: float) -> str:
    """A stretch in a legend."""
    return f"{style.number(window)} bins" if window else "whole trial"


def grid(count: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of small panels, three in a row; the panels that are used."""
    rows = -(-count // COLUMNS)
    figure = style.figure(width, height * rows + 1.1)
    axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for spare in axes.ravel()[count:]:
        spare.remove()
    return figure, axes


def ranks(results: ResultTables) -> Figure:
    """Distribution function of the ranks minus the uniform one, with its simultaneous band."""
    runs, stretches = found(results), windows(results)
    figure, axes = grid(len(runs), 10.6, 2.1)
    for one, run in zip(axes.ravel(), runs, strict=False):
        colour, _ = look(results, run)
        low, high = (
            results.rows(f"ecdf_{end}", run=run, window=0).sort_values("at") for end in ("low", "high")
        )
        one.fill_between(low["at"], low["value"], high["value"], color="#dcdcdc", lw=0, zorder=0)
        one.axhline(0, color=style.GUIDE, lw=0.8, zorder=1)
        for window, line in zip(stretches, LINES, strict=False):
            rows = results.rows("ecdf_difference", run=run, window=window).sort_values("at")
            one.plot(rows["at"], rows["value"], line, color=colour, lw=1.6, zorder=3)
        one.set_title(name(run))
    for one in axes[:, 0]:
        if one.figure is not None:
            one.set_ylabel("ECDF of the ranks\n− uniform")
    for one in axes[-1]:
        if one.figure is not None:
            one.set_xlabel("Rank of the true count (share)")
            one.set_xticks([0, 0.5, 1])
    handles: list[Artist] = [
        Line2D([], [], color=style.INK, ls=line, lw=1.6, label=f"counts, {text_of(window)}")
        for window, line in zip(stretches, LINES, strict=False)
    ]
    handles.append(Patch(color="#dcdcdc", label="95% band, simultaneous"))
    figure.legend(handles=handles, loc="outside right center")
    style.title(figure, "Ranks of true spike counts among posterior samples")
    count = len(results.values("rank_excess", run=runs[0], dataset="panel", window=0))
    style.caption(
        figure,
        "Simulation-based calibration: a calibrated posterior stays in the band. First below 0, then above: "
        "ranks near the middle, the posterior is too wide; the other way round: too narrow; below 0 "
        "throughout: it counts too few spikes; above: too many. One stretch a trial, ties broken at random, "
        f"{count} cells together, parameters known.",
    )
    return figure


def coverage(results: ResultTables) -> Figure:
    """Coverage of central intervals of counts."""
    runs, stretches = found(results), windows(results)
    levels = (("coverage_50", 0.5, "50%"), ("coverage_90", 0.9, "90%"))
    figure = style.figure(9.2, 1.3 + 2 * (0.42 + 0.27 * len(runs)))
    axes = figure.subplots(len(levels), len(stretches), sharey=True, sharex="row", squeeze=False)
    drawn: list[Group] = []
    for number, (metric, nominal, level) in enumerate(levels):
        for one, window in zip(axes[number], stretches, strict=True):
            groups = []
            for run in runs:
                values = results.values(metric, run=run, window=window).to_numpy()
                groups.append(Group(name(run), values, *look(results, run)))
            marks.rows(one, groups, within=style.bounds(metric))
            marks.guide(one, nominal, "" if number else "nominal")
            one.axvspan(nominal - 0.05, nominal + 0.05, color="#efefef", lw=0, zorder=-1)
            one.set_xlabel(f"Coverage of the {level} interval")
            one.locator_params(axis="x", nbins=4)
            if not number:
                one.set_title(f"Counts, {text_of(window)}", pad=16)
            drawn += groups
    for one in axes[:, 1:].ravel():
        one.tick_params(axis="y", labelleft=False)
    style.title(figure, "How often the true spike count lies in a posterior's interval")
    style.caption(
        figure,
        "Right of the line: intervals too wide; left of it: too narrow or off centre. Both can cancel, "
        "so see the ranks too. Central intervals of sampled counts, membership averaged over random breaking "
        "of ties, so that a calibrated posterior covers exactly the nominal share. Grey: five points around "
        "nominal. "
        f"{marks.interval_note([len(group.values) for group in drawn], 'cell')}",
    )
    return figure


def reliability(results: ResultTables) -> Figure:
    """Share of spikes minus P(spike), by group of P(spike)."""
    runs = found(results)
    figure, axes = grid(len(runs), 8.6, 2.1)
    for one, run in zip(axes.ravel(), runs, strict=False):
        colour, marker = look(results, run)
        columns = {
            end: results.rows(f"reliability_{end}", run=run).set_index("group")["value"].sort_index()
            for end in ("said", "happened", "low", "high")
        }
        frame = pd.DataFrame(columns)
        said = frame["said"]
        one.axhline(0, color=style.GUIDE, lw=1.0, ls=(0, (4, 3)), zorder=1)
        one.vlines(said, frame["low"] - said, frame["high"] - said, color=colour, lw=2.0, zorder=2)
        difference = frame["happened"] - said
        one.plot(said, difference, marker=marker, ms=5, mec="white", mew=0.7, color=colour, lw=1, zorder=3)
        mean, low, high = marks.interval(results.values("ece", run=run))
        spread = f" [{100 * low:.2g}, {100 * high:.2g}]" if np.isfinite(low) else ""
        one.set_title(name(run))
        one.annotate(
            f"ECE {100 * mean:.2g}{spread} %",
            (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", fontsize=7.5,
        )  # fmt: skip
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, high + 0.22 * (high - low))
    for one in axes[:, 0]:
        if one.figure is not None:
            one.set_ylabel("Share of spikes\n− P(spike)")
    for one in axes[-1]:
        if one.figure is not None:
            one.set_xlabel("P(spike) of the posterior")
            one.set_xlim(0, 1)
    style.title(figure, "Reliability of P(spike)")
    style.caption(
        figure,
        "Bins of time in ten groups of equal width of P(spike), all cells together: above 0, spikes are more "
        "frequent than the posterior says. Bars: 95% intervals by resampling whole trials. ECE: expected "
        f"calibration error, mean over {len(results.values('ece', run=runs[0]))} cells and its 95% interval.",
    )
    return figure


def joint(results: ResultTables) -> Figure:
    """Largest score of the joint test for right samplers and for those with a planted error."""
    frame = results.rows("joint_largest")
    runs = [run for run in SAMPLER_NAMES if run in set(frame["run"])]
    groups = []
    for run in runs:
        colour = style.colour("exact") if run in SAMPLERS else style.colour("factorised")
        label = SAMPLER_NAMES[run]
        groups.append(
            Group(label[0].upper() + label[1:], results.values("joint_largest", run=run).to_numpy(), colour)
        )
    edge = float(results.rows("joint_threshold")["value"].mean())
    figure = style.figure(8.2, 1.5 + 0.36 * len(runs))
    axes = figure.add_subplot()
    marks.rows(axes, groups, log=True)
    marks.guide(axes, edge, "threshold (1%)")
    axes.set_xlabel("Largest difference of a moment of the joint law (standard errors)")
    style.title(figure, "Simulator against posterior samplers, and filters one bin late")
    null, low, high = marks.interval(_null(results))
    style.caption(
        figure,
        "Joint test (Geweke 2004): spikes and traces drawn by the simulator alone, against chains in which "
        "the simulator draws the trace and the sampler the spikes. Black: samplers as they are; coloured: a "
        "filter shifted by one bin in the sampler only. The threshold holds for all moments and seeds at "
        f"once. {marks.interval_note([len(group.values) for group in groups])} Two-sample test, exact "
        f"against exact samples: accuracy {null:.4f} [{low:.4f}, {high:.4f}].",
    )
    return figure


def _null(results: ResultTables) -> pd.Series[float]:
    """Accuracies of the two-sample test between exact samples."""
    return results.values("two_sample_null", run="exact")


def weights(results: ResultTables) -> Figure:
    """Coverage of the weights' intervals, and their width against Gibbs sampling."""
    runs = [run for run in WEIGHT_RUNS if results.has("weight_coverage_90", run=run)]
    figure = style.figure(9.6, 1.7 + 0.4 * len(runs))
    panels = figure.subplots(1, 3, sharey=True)
    labels = {run: text[0].upper() + text[1:].replace(", ", ",\n") for run, text in WEIGHT_RUNS.items()}
    count = len(results.values("weight_coverage_90", run=runs[0]))
    shown = (
        ("weight_coverage_50", 0.5, "Weights in their\n50% interval", "nominal"),
        ("weight_coverage_90", 0.9, "Weights in their\n90% interval", "nominal"),
        ("weight_sd_ratio", 1.0, "Sd of a weight ÷ sd by Gibbs\n(geometric mean)", "Gibbs"),
    )
    for axes, (metric, value, text, guide) in zip(panels, shown, strict=True):
        groups = []
        for run in runs:
            known = results.has(metric, run=run)  # Gibbs is its own reference
            values = results.values(metric, run=run) if known else pd.Series(dtype=float)
            groups.append(Group(labels[run], values.to_numpy(), WEIGHT_COLOURS[run]))
        marks.rows(axes, groups, within=style.bounds(metric))
        marks.guide(axes, value, guide)
        axes.set_xlabel(text)
    for axes in panels[1:]:
        axes.tick_params(axis="y", labelleft=False)
    style.title(figure, "Intervals of the weights between cells, spikes unobserved")
    slope = marks.interval(results.values("weight_slope", run="fixed_point_naive"))[0]
    style.caption(
        figure,
        "Small networks, weights drawn from the prior. Left of the line: intervals too narrow or beside the "
        "truth. What the unseen spikes take away of the information is counted by Louis' identity. The fixed "
        f"point learned the weights itself and shrinks them (slope on the truth {slope:.2f}). "
        f"{marks.interval_note([count], 'network')}",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {
        "ranks": ranks(results),
        "coverage": coverage(results),
        "reliability": reliability(results),
        "joint": joint(results),
        "weights": weights(results),
    }
