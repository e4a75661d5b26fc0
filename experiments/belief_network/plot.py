"""Figures of `belief_network`: what refinement steps buy in training and in test, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve, Group
from dfp.plotting.over import tick, values
from dfp.results.tables import ResultTables

from .claims import (
    ITERATIONS,
    LATE,
    SECONDS,
    bound_metric,
    difference,
    iterations,
    longest,
    scores,
)

VARIANTS = {
    "gaussian": ("Gaussian", style.colour("fixed_point"), "o"),
    "gaussian_through": ("Gaussian, semi-amortised", style.colour("sequential"), "o"),
    "mean_passing": ("Mean-passing", style.colour("refined"), "^"),
    "straight_through": ("Straight-through", style.colour("logistic_flow"), "s"),
    "straight_through_sigma": ("Straight-through σ′", style.colour("factorised"), "v"),
    "score_function": ("Score function", style.INK, "D"),
    "importance": ("Importance (AIR)", style.colour("twisted"), "h"),
}
BARS = ("#c9c9c9", "#7fa8c9")
COLUMNS = 4
#: bounds of a gap
GAP = (0.0, float("inf"))


def first_column(axes: Axes) -> bool:
    """Whether axes stand at the left edge of their grid."""
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def runs(results: ResultTables) -> list[str]:
    """The variants of the table, in order."""
    return [name for name in VARIANTS if name in results.runs]


def panels(figure: Figure, names: Sequence[str], share: bool = True) -> Iterable[tuple[str, Axes]]:
    """A panel a variant, titled with its name; the last place of a grid that is not full stays empty."""
    columns = min(COLUMNS, len(names))
    grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False, sharey=share, sharex=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(names):
            axes.set_axis_off()
            continue
        axes.set_title(VARIANTS[names[number]][0])
        axes.tick_params(labelbottom=True)
        yield names[number], axes


def low_edge(axes: Axes, drawn: Sequence[Curve], low: float) -> None:
    """The least mean at each place that is below the axis, above its triangles."""
    places = {place for curve in drawn for place, _ in curve.points}
    for place in places:
        least = min(float(value.mean()) for curve in drawn for at, value in curve.points if at == place)
        if least < low:
            axes.annotate(
                f"{least:.1f}".replace("-", "−"),
                (place, low),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color="#5a5a5a",
            )


def tested_curves(frame: pd.DataFrame, colour: str, most: int) -> list[Curve]:
    """Curves over the steps in training: none, as many or most steps in test."""
    made = []
    for what, own, marker in (("none", "#a6a6a6", "s"), ("train", "#5a5a5a", "D"), ("most", colour, "o")):
        points = []
        for place, n in enumerate(sorted(frame["train_steps"].unique())):
            tested = {"none": 0, "train": n, "most": most}[what]
            part = frame[(frame["train_steps"] == n) & (frame["test_steps"] == tested)]
            points.append((float(place), values(part)))
        made.append(Curve(what, points, own, marker))
    return made


def tested_handles(most: int, exact: bool) -> list[Line2D]:
    """What the legend says of ``tested_curves``."""
    looks = [
        ("#a6a6a6", "s", "q_φ as it is"),
        ("#5a5a5a", "D", "n steps, as in training"),
        (style.colour("fixed_point"), "o", f"{most} steps (in colour)"),
    ]
    handles = [Line2D([], [], color=c, marker=m, lw=1.3, mec="white", label=text) for c, m, text in looks]
    return [*handles, *([Line2D([], [], color=style.INK, ls=":", label="exact log p(x)")] if exact else [])]


def over_training(
    results: ResultTables, metrics: dict[str, str], label: str, title: str, note: str, exact: bool = False
) -> Figure:
    """A metric over the steps in training, a panel a variant, curves by the steps in test."""
    figure = style.figure(10.4, 5.4)
    everything: list[tuple[Axes, list[Curve]]] = []
    most = int(max(results.rows("bound")["test_steps"]))
    for name, axes in panels(figure, runs(results)):
        frame = scores(results, metrics[name], name)
        made = tested_curves(frame, VARIANTS[name][1], most)
        marks.curves(axes, made, dodge=0.16)
        if exact and results.has("exact_log_likelihood", run=name):
            known = scores(results, "exact_log_likelihood", name).groupby("train_steps")["value"].mean()
            axes.plot(range(len(known)), known.sort_index(), ":", color=style.INK, lw=1.3, zorder=1)
        steps = sorted(frame["train_steps"].unique())
        axes.set_xticks(range(len(steps)), [tick(n) for n in steps])
        axes.set_xlabel("Steps n in training")
        if first_column(axes):
            axes.set_ylabel(label)
        everything.append((axes, made))
    means = [float(value.mean()) for _, made in everything for curve in made for _, value in curve.points]
    low, high = np.quantile(means, 0.05), max(means)
    low, high = low - 0.06 * (high - low), high + 0.12 * (high - low)
    for axes, made in everything:
        axes.set_ylim(low, high)
        low_edge(axes, made, low)
    handles = tested_handles(most, exact)
    figure.legend(
        handles=handles, loc="lower right", title="In test", alignment="left", bbox_to_anchor=(0.985, 0.17)
    )
    style.title(figure, title)
    counts = [count for _, made in everything for curve in made for count in curve.counts]
    style.caption(figure, f"{note} {marks.interval_note(counts)}")
    return figure


def trained(results: ResultTables) -> str:
    """The number of iterations that all trainings had, as text."""
    return f"{iterations(results, SECONDS, runs(results)[0], longest(results)):,.0f} iterations"


def steps(results: ResultTables) -> Figure:
    """The bound over the steps in training."""
    return over_training(
        results,
        {name: bound_metric(results, name) for name in runs(results)},
        "Bound (nats an image)",
        f"Bound against refinement steps in training, after {trained(results)} each",
        "Test images. Bernoulli units: all states enumerated, where that can be; else by samples. n = 0 is "
        "ordinary amortised training.",
    )


def likelihood(results: ResultTables) -> Figure:
    """The importance-sampled log-likelihood over the steps in training."""
    return over_training(
        results,
        dict.fromkeys(runs(results), "log_likelihood"),
        "log p(x) (nats an image)",
        f"Log-likelihood by importance sampling, after {trained(results)} each",
        "Test images; the samples are those of the posterior that is named, so that a poor one "
        "underestimates log p(x).",
        exact=results.has("exact_log_likelihood"),
    )


def effective(results: ResultTables) -> Figure:
    """Effective sample size over the steps in test."""
    names = runs(results)
    figure = style.figure(10.4, 5.2)
    drawn: list[Curve] = []
    for name, axes in panels(figure, names):
        frame = scores(results, "effective", name)
        tested = sorted(frame["test_steps"].unique())
        made = []
        for n, colour, line in ((0, "#8a8a8a", "--"), (longest(results), VARIANTS[name][1], "-")):
            part = frame[frame["train_steps"] == n]
            points = [(float(i), values(part[part["test_steps"] == m])) for i, m in enumerate(tested)]
            made.append(Curve(f"trained with n = {n}", points, colour, VARIANTS[name][2], line))
        marks.curves(axes, made, dodge=0.12, within=style.bounds("effective"))
        axes.set_ylim(0, 1.04)
        axes.set_xticks(range(len(tested)), [tick(m) for m in tested])
        axes.set_xlabel("Steps in test")
        if first_column(axes):
            axes.set_ylabel("Effective size ÷ samples")
        drawn += made
    handles = [
        Line2D([], [], color="#8a8a8a", ls="--", label="n = 0"),
        Line2D([], [], color=style.colour("fixed_point"), label=f"n = {longest(results)} (in colour)"),
    ]
    figure.legend(
        handles=handles, loc="lower right", title="In training", alignment="left", bbox_to_anchor=(0.95, 0.2)
    )
    style.title(figure, "Effective sample size against refinement steps")
    style.caption(
        figure,
        "(Σ w)² ÷ (K Σ w²), w = p(x, h) ÷ q(h | x), mean over test images. An effective size near 1 is no "
        "sign of a good "
        "model: it is 1 where the latents are not used at all. "
        + marks.interval_note([count for curve in drawn for count in curve.counts]),
    )
    return figure


def gaps(results: ResultTables) -> Figure:
    """The gap to log p(x), split; where refinement takes the amortised part."""
    frame = results.rows("gap_approximation")
    trained = sorted(frame["train_steps"].unique())
    figure = style.figure(4.0 * len(trained) + 2.6, 4.3)
    names = runs(results)
    made = np.atleast_1d(figure.subplots(1, len(trained), sharey=True, sharex=True))
    counts = []
    for axes, n in zip(made, trained, strict=True):
        for place, name in enumerate(names):
            labels = {"run": name, "train_steps": n}
            family = values(results.rows("gap_approximation", **labels))
            amortised = values(results.rows("gap_amortisation", **labels))
            left = family + values(results.rows("gap_left", **labels))
            axes.barh(place, family.mean(), color=BARS[0], height=0.6)
            axes.barh(place, amortised.mean(), left=family.mean(), color=BARS[1], height=0.6)
            marks.bar(
                axes, marks.interval(family + amortised)[1:], place + 0.16, "x", GAP, color="#2f5d80", lw=1.6
            )
            mean, *ends = marks.interval(left)
            marks.bar(axes, ends, place - 0.12, "x", GAP, color=style.INK, lw=1.6)
            axes.plot(mean, place - 0.12, "D", color=style.INK, ms=5, mec="white", mew=0.7)
            counts.append(len(left))
        axes.set_yticks(range(len(names)), [VARIANTS[name][0] for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("log p(x) − bound (nats an image)")
        axes.set_title(f"Trained with n = {tick(n)}")
        axes.set_xlim(0, None)
    handles = [
        Patch(color=BARS[0], label="approximation: best factorial q"),
        Patch(color=BARS[1], label="amortisation: q_φ"),
        Line2D(
            [],
            [],
            color=style.INK,
            marker="D",
            ms=5,
            mec="white",
            label=f"after {longest(results)} steps in test",
        ),
    ]
    figure.legend(handles=handles, loc="outside right center")
    style.title(figure, "Where the nats below log p(x) go")
    style.caption(
        figure,
        "Bernoulli units: exact, the best q of each image by a quasi-Newton search on the enumerated bound; "
        "Gaussian: by "
        "samples, best q from a long refinement. Bars: 95% t-intervals of the whole gap and of what "
        "refinement leaves, n = "
        f"{max(counts)} seeds.",
    )
    return figure


def training(results: ResultTables) -> Figure:
    """The longest refinement against none, at equal iterations, early and late, and at equal seconds."""
    names = [name for name in runs(results) if results.has("bound", run=name, train_steps=0, budget=SECONDS)]
    n = longest(results)
    kinds = [kind for kind in (ITERATIONS, LATE, SECONDS) if results.has("bound", budget=kind)]
    figure = style.figure(2.8 * len(kinds) + 2.5, 4.2)
    counts = []
    made = np.atleast_1d(figure.subplots(1, len(kinds), sharey=True))
    for axes, kind in zip(made, kinds, strict=True):
        groups = [_group(results, name, kind) for name in names]
        counts += [len(group.values) for group in groups if len(group.values)]
        marks.rows(axes, groups)
        marks.guide(axes, 0.0)
        axes.set_title(_kind(results, names, kind), pad=14)
        axes.set_xlabel(f"Bound, n = {n} − n = 0 (nats an image)")
        if axes is not made[0]:
            axes.tick_params(axis="y", labelleft=False)
    marks.row_texts(made[-1], [_iterations(results, name) for name in names], f"iterations, n = 0 | {n}")
    style.title(figure, "Refinement in training at equal iterations, early and late, and at equal time")
    style.caption(
        figure,
        f"Both refined by {n} steps in test. Right of 0: training with refinement is ahead. Late: some "
        f"variants only. Seconds of CPU, one thread, that training with n = {n} took early. "
        f"{marks.interval_note(counts)}",
    )
    return figure


def _group(results: ResultTables, name: str, kind: str) -> Group:
    there = results.has("bound", run=name, train_steps=0, budget=kind)
    found = difference(results, name, kind).to_numpy() if there else np.empty(0)
    return Group(VARIANTS[name][0], found, *VARIANTS[name][1:])


def _kind(results: ResultTables, names: Sequence[str], kind: str) -> str:
    if kind == SECONDS:
        return "Equal CPU seconds"
    own = [name for name in names if results.has("bound", run=name, budget=kind)]
    made = iterations(results, LATE if kind == LATE else SECONDS, own[0], longest(results))
    return f"{made:,.0f} iterations each"


def _iterations(results: ResultTables, name: str) -> str:
    return " | ".join(f"{iterations(results, SECONDS, name, n):,.0f}" for n in (0, longest(results)))


def figures(results: ResultTables) -> dict[str, Figure]:
    """All figures by name."""
    return {
        "steps": steps(results),
        "likelihood": likelihood(results),
        "effective": effective(results),
        "gaps": gaps(results),
        "training": training(results),
    }
