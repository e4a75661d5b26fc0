"""Trainings against the clock: curves of what is watched in a race."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.results.tables import MissingResult, ResultTables

WATCHED = {"elbo_per_bin": "ELBO (nats per bin)", "weight_correlation": "Correlation of the weights"}


def races(results: ResultTables, titles: Mapping[str, str]) -> Figure:
    """What is watched, over the seconds on the clock, a panel a race; ``titles`` by name of the race."""
    path = results.folder / "curves.csv"
    if not path.is_file():
        raise MissingResult(f"{path}: no such table (run the experiment first)")
    curves = pd.read_csv(path)
    present = list(dict.fromkeys(curves["race"]))
    figure = style.figure(3.9 * len(present) + 3.0, 4.4)
    drawn: list[Curve] = []
    for axes, race in zip(np.atleast_1d(figure.subplots(1, len(present))), present, strict=True):
        part = curves[curves["race"] == race]
        if part["reference"].notna().all():
            marks.guide(axes, float(part.groupby("seed")["reference"].first().mean()), "exact", which="y")
        for name in style.in_order(part["family"]):
            rows = part[part["family"] == name]
            dashed = bool(rows["extrapolated"].all())
            drawn.append(race_curve(axes, rows, name, dashed))
        axes.set_xscale("log")
        axes.set_xlabel("Time on the clock (s)")
        axes.set_ylabel(WATCHED.get(str(part["metric"].iloc[0]), str(part["metric"].iloc[0])))
        axes.set_title(titles.get(str(race), str(race)))
        style.log_axis(axes, "x")
    marks.legend_beside(figure, drawn)
    style.title(figure, "Trainings against the clock")
    # a checkpoint counts once for a seed, however often it was written
    curves = curves.groupby(["race", "family", "dataset", "seed", "step"], sort=False).tail(1)
    sizes = curves.groupby(["race", "family", "step"])["value"].size()
    says = "Thin lines: {unit}s ({number}). Thick line and band: mean and {kind} of the mean."
    notes = [marks.interval_note(sizes, says=says), "Evaluation off the clock."]
    if (curves["metric"] == "elbo_per_bin").any():
        notes.append("ELBOs from hard samples of held-out traces.")
    if curves["extrapolated"].any():
        notes.append(
            "Dashed: extrapolated from measured steps of the sequential training along the curve of the "
            "fixed point, which draws the same samples."
        )
    if (curves["family"] == "gibbs_posterior").any():
        notes.append("Gibbs: mean of the weights over the later half of its draws.")
    style.caption(figure, " ".join([*notes, where(results)]))
    return figure


def race_curve(axes: Axes, rows: pd.DataFrame, name: str, dashed: bool) -> Curve:
    """One family's curve: its seeds, their mean and interval at each checkpoint."""
    by = rows.sort_values(["dataset", "seed"]).groupby("step")
    seconds = by["seconds"].mean().to_numpy()
    found = np.array([marks.interval(one["value"]) for _, one in by])
    line = "--" if dashed else "-"
    within = style.bounds(str(rows["metric"].iloc[0])) or (-np.inf, np.inf)
    for _, one in rows.groupby(["dataset", "seed"]):
        one = one.sort_values("step")
        axes.plot(one["seconds"], one["value"], line, color=style.colour(name), lw=0.6, alpha=0.5, zorder=2)
    axes.plot(seconds, found[:, 0], line, color=style.colour(name), lw=1.6, zorder=3)
    axes.fill_between(
        seconds, *np.clip(found[:, 1:].T, *within), color=style.colour(name), alpha=0.15, lw=0, zorder=2
    )
    return Curve(
        style.family_name(name) + (", extrapolated" if dashed else ""), [], style.colour(name), "", line
    )


def where(results: ResultTables) -> str:
    """Device and threads, as a sentence."""
    row = results.table.iloc[0]
    setting = style.setting(["device", "threads"], [row["device"], style.number(row["threads"])])
    return f"Competitors in turn on one machine: {setting}."
