"""Figures of `connectivity`: learned weights against the true ones."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Group
from dfp.plotting.over import Look, Panel, grouped, labelled, left_out, rows_of, with_others
from dfp.results.tables import UNIT, MissingResult, ResultTables

LEARNED = (
    "factorised",
    "factorised_score",
    "fixed_point",
    "fixed_point_score",
    "fixed_point_indirect",
    "logistic_flow",
    "planar_latents",
    "refined",
    "refined_fixed_point",
)
#: runs that other figures show
ELSEWHERE = ("factorised_longer", "fixed_point_longer")
PEERS = ("glm_true_spikes", "oasis_glm", "oasis_correlation")
NAMES = {
    "glm_true_spikes": "True spikes, regression",
    "oasis_glm": "OASIS, regression",
    "oasis_correlation": "OASIS, lagged correlation",
    "fixed_point": "Fixed point",
    "fixed_point_score": "Fixed point, score function",
    "fixed_point_indirect": "Fixed point, indirect inference",
    "factorised": "Factorised",
    "factorised_score": "Factorised, score function",
    "logistic_flow": "Logistic flow",
    "planar_latents": "Planar flow of latents",
    "refined": "Gradient-refined",
    "refined_fixed_point": "Refined fixed point",
}
#: by how a posterior was trained
MARKERS = {"score": "s", "indirect": "h"}
LOOKS: dict[Hashable, Look] = {
    name: Look(
        NAMES[name],
        style.colour(name.removesuffix("_score").removesuffix("_indirect")),
        "D" if name in PEERS else MARKERS.get(name.rsplit("_", 1)[-1], "o"),
    )
    for name in ("glm_true_spikes", *LEARNED, *PEERS[1:])
}
MEASURES = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_slope", style.METRICS["weight_slope"]),
    Panel("weight_rmse", style.METRICS["weight_rmse"]),
    Panel("history_bias_1", style.METRICS["history_bias_1"], (0.0, "no bias")),
    Panel("weight_auc", style.METRICS["weight_auc"]),
    Panel("weight_ap", style.METRICS["weight_ap"]),
    Panel("weight_sign_accuracy", style.METRICS["weight_sign_accuracy"]),
    Panel("rate_bias", style.METRICS["rate_bias"], (0.0, "no bias")),
)
MAIN = "slow"


def learned(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with learned parameters, and the peers."""
    peers = frame["family"].isin(PEERS)
    return frame[peers | (frame["parameters"] == "learned")]


def accuracy(results: ResultTables) -> Figure:
    """Every measure of the weights in the main setting, a row a method."""
    panels = []
    main = learned(labelled(results, MEASURES[0].metric, "setting", "family"))
    main = main[(main["setting"] == MAIN) & ~main["run"].isin(ELSEWHERE)]
    looks = with_others(LOOKS, main, "run")
    for panel in MEASURES:
        frame = learned(labelled(results, panel.metric, "setting", "family"))
        groups = grouped(frame[frame["setting"] == MAIN], looks, "run")
        absent = [Group(look.name, np.array([]), look.colour) for look in looks.values()]
        by_name = {group.label: group for group in groups}
        panels.append((panel, [by_name.get(group.label, group) for group in absent]))
    figure = style.figure(10.9, 2.0 + 0.38 * len(looks))
    for _ in rows_of(figure, panels, 4):
        pass
    style.title(figure, "Connections learned from calcium traces with a slow rise")
    counts = [len(group.values) for _, groups in panels for group in groups if len(group.values)]
    style.caption(
        figure,
        "Twenty coupled cells, noise 0.4, rise 0.1 s; a seed is a network. Bias, history and coupling are "
        "learned, the calcium constants known to all methods. Settings of all methods were chosen on other "
        "networks. An empty row: the method does not estimate it. Sign accuracy: true connections only. "
        + marks.interval_note(counts)
        + left_out(results, main["run"], _learned_runs(results)),
    )
    return figure


def _learned_runs(results: ResultTables) -> set[str]:
    """Runs that learned the weights of the main setting, or of a setting that the table does not name."""
    frame = results.rows("weight_correlation")
    return {*learned(frame).query("setting == @MAIN")["run"], *frame.loc[frame["setting"].isna(), "run"]}


def difference(results: ResultTables, metric: str, distance_to: float | None) -> pd.DataFrame:
    """Fixed point less factorised, paired by network: a row a network, with its setting.

    With ``distance_to`` it is the difference of the distances to that value, factorised less fixed point.
    """
    frame = learned(labelled(results, metric, "setting", "family"))
    sides = [
        frame[frame["run"] == name].set_index([*UNIT, "setting"])["value"]
        for name in ("fixed_point", "factorised")
    ]
    both = pd.concat(sides, axis=1, join="inner", keys=["fixed_point", "factorised"])
    if distance_to is None:
        value = both["fixed_point"] - both["factorised"]
    else:
        value = (both["factorised"] - distance_to).abs() - (both["fixed_point"] - distance_to).abs()
    return value.rename("value").reset_index()


def settings(results: ResultTables) -> Figure:
    """Fixed point against factorised in every setting: values, and paired differences."""
    frame = learned(labelled(results, "weight_correlation", "setting", "family"))
    compared = frame[frame["run"].isin(["factorised", "fixed_point"])]
    names = [name for name in style.SETTINGS if name in set(compared["setting"])]
    looks: dict[Hashable, Look] = {
        name: Look(style.SETTINGS[name].replace("\n", " "), style.INK) for name in names
    }
    figure = style.figure(9.6, 2.6 + 0.95 * len(names))
    parts = list(figure.subplots(2, 2).flat)
    groups = []
    for name in names:
        for family in ("fixed_point", "factorised"):
            part = compared[(compared["setting"] == name) & (compared["run"] == family)]
            text = f"{looks[name].name}: {NAMES[family].lower()}"
            groups += grouped(part, {family: Look(text, style.colour(family))}, "run")
    marks.rows(parts[0], groups, within=style.bounds("weight_correlation"))
    parts[0].set_xlabel(style.METRICS["weight_correlation"])
    counts = [len(group.values) for group in groups]
    for axes, (metric, distance_to, label) in zip(
        parts[1:],
        (
            ("weight_correlation", None, "Correlation,\nfixed point − factorised"),
            ("weight_slope", 1.0, "Slope,\nhow much nearer 1"),
            (
                "history_bias_1",
                0.0,
                "History at lag 1, how much\nnearer the truth (logits)",
            ),
        ),
        strict=True,
    ):
        made = grouped(difference(results, metric, distance_to), looks, "setting")
        marks.rows(axes, made)
        marks.guide(axes, 0.0, "no difference")
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=4)
    style.title(figure, "Where a correlated posterior helps the weights, and where it does not")
    style.caption(
        figure,
        "First: values. Others: differences paired by network, right of the dashed line the fixed point is "
        "better. " + marks.interval_note(counts),
    )
    return figure


def weights(results: ResultTables) -> Figure:
    """Learned against true weights of one network, a panel a posterior."""
    path = results.folder / "weights.csv"
    if not path.is_file():
        raise MissingResult(f"{path}: no such table (run the experiment first)")
    table = pd.read_csv(path)
    table = table[(table["setting"] == MAIN) & (table["parameters"] == "learned")]
    table = table[table["run"] != "factorised_score"]
    table = table[table["dataset"] == sorted(table["dataset"])[0]]
    present = [name for name in LEARNED if (table["run"] == name).any()]
    present += [name for name in table["run"].unique() if name not in (*LEARNED, *ELSEWHERE)]
    if not present:
        raise MissingResult(f"{path}: no learned weights of the setting '{MAIN}'")
    columns = min(len(present), 4)
    lines = -(-len(present) // columns)
    figure = style.figure(2.55 * columns + 0.6, 3.0 * lines + 0.6)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)[: len(present)]
    for axes in panels[-columns:]:
        axes.tick_params(labelbottom=True)
    for spare in list(grid.flat)[len(present) :]:
        spare.remove()
    most = 1.1 * float(table[["true", "learned"]].abs().to_numpy().max())
    for axes, name in zip(panels, present, strict=True):
        part = table[table["run"] == name]
        colour = LOOKS[name].colour if name in LOOKS else style.colour(name)
        axes.plot([-most, most], [-most, most], color=style.GUIDE, lw=1.0, ls=(0, (4, 3)), zorder=1)
        axes.plot(part["true"], part["learned"], "o", ms=3.2, mew=0, alpha=0.5, color=colour, zorder=2)
        slope = float((part["true"] * part["learned"]).sum() / (part["true"] ** 2).sum())
        correlation = float(np.corrcoef(part["true"], part["learned"])[0, 1])
        axes.plot([-most, most], [-most * slope, most * slope], color=colour, lw=1.3, zorder=3)
        axes.set_title(NAMES.get(name, style.run_name(name)).replace(", ", ",\n"))
        axes.text(
            0.04, 0.96, f"r = {correlation:.2f}\nline: {slope:.2f} × true",
            transform=axes.transAxes, va="top", fontsize=8,
        )  # fmt: skip
        axes.set_xlim(-most, most)
        axes.set_ylim(-most, most)
        axes.set_aspect("equal")
        axes.set_xlabel("True weight (logits)")
    for axes in grid[:, 0]:
        axes.set_ylabel("Learned weight (logits)")
    style.title(figure, "The weights of one network")
    style.caption(
        figure,
        "A point is an ordered pair of cells of the first network of the slow setting; dashed: learned = "
        "true. Line: least squares through the origin. Indirect inference alone does not shrink them."
        + left_out(results, present, table["run"]),
    )
    return figure


def m_step(results: ResultTables) -> Figure:
    """A regression on the posterior's hard samples, with q trained at the true parameters."""
    measures = (
        Panel("m_step_slope", "Slope of the regressed weights"),
        Panel("m_step_correlation", "Correlation with the true weights"),
        Panel("m_step_history_1", "History at lag 1\n(regressed − true, logits)", (0.0, "exact")),
    )
    panels = []
    whole = labelled(results, measures[0].metric, "setting", "family")
    regressed = whole.loc[(whole["setting"] == MAIN) & whole["parameters"].isin(["learned", "truth"]), "run"]
    for panel in measures:
        frame = labelled(results, panel.metric, "setting", "family")
        frame = frame[(frame["setting"] == MAIN) & frame["parameters"].isin(["learned", "truth"])]
        groups = []
        for name in LEARNED:
            for run, marker, text in ((f"{name}_truth", "o", "true parameters"), (name, "s", "learned")):
                look = Look(f"{NAMES[name]}: {text}", LOOKS[name].colour, marker)
                groups += grouped(frame, {run: look}, "run")
        panels.append((panel, groups))
    figure = style.figure(10.9, 1.8 + 0.34 * len(panels[0][1]))
    for _ in rows_of(figure, panels, 3):
        pass
    style.title(figure, "What is left of the weights in each posterior's samples")
    counts = [len(group.values) for _, groups in panels for group in groups]
    style.caption(
        figure,
        "The model's spiking law fitted by logistic regression to hard samples of q (an M-step). With q "
        "trained at the true parameters the exact posterior gives the true weights back; what is missing is "
        "what q lost. "
        + marks.interval_note(counts)
        + left_out(results, [*LEARNED, *(f"{name}_truth" for name in LEARNED), *ELSEWHERE], regressed),
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {
        "accuracy": accuracy(results),
        "settings": settings(results),
        "weights": weights(results),
        "m_step": m_step(results),
    }
