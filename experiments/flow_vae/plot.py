"""The figure of `flow_vae`: a VAE's bound against the length of its posterior's flow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfp.plotting import marks, style
from dfp.plotting.marks import Curve
from dfp.results.tables import ResultTables

LOOKS = {
    "planar": ("planar flow", style.colour("fixed_point"), "o"),
    "radial": ("radial flow", style.colour("refined"), "s"),
}
PLAIN = "none"


def by_seed(results: ResultTables, metric: str, run: str, length: float) -> pd.Series[float]:
    """Values of a posterior, by seed."""
    return results.rows(metric, run=run, length=length).set_index("seed")["value"].sort_index()


def own(results: ResultTables, metric: str, run: str, length: float) -> np.ndarray:
    """A metric as it is."""
    return by_seed(results, metric, run, length).to_numpy()


def gain(results: ResultTables, metric: str, run: str, length: float) -> np.ndarray:
    """A metric less that of the posterior without flows, paired by seed."""
    plain = by_seed(results, metric, PLAIN, 0)
    return (by_seed(results, metric, run, length) - plain).dropna().to_numpy()


def curves(
    axes: Axes,
    results: ResultTables,
    metric: str,
    value: Callable[[ResultTables, str, str, float], np.ndarray],
    plain: bool,
) -> list[Curve]:
    """A curve a kind of flow; with `plain`, the posterior without flows at the left."""
    frame = results.rows(metric)
    lengths = sorted(length for length in frame["length"].unique() if length)
    drawn = [
        Curve(
            name,
            [(place + 1.0, value(results, metric, run, length)) for place, length in enumerate(lengths)],
            colour,
            marker,
        )
        for run, (name, colour, marker) in LOOKS.items()
        if (frame["run"] == run).any()
    ]
    names = [f"{length:g}" for length in lengths]
    if plain:
        drawn.append(Curve("no flow", [(0.0, value(results, metric, PLAIN, 0))], style.INK, "D"))
        marks.guide(axes, float(drawn[-1].points[0][1].mean()), which="y")
    marks.curves(axes, drawn, dodge=0.0 if len(drawn) == 1 else 0.2)
    first = 0 if plain else 1
    axes.set_xticks(range(first, len(lengths) + 1), [*(["none"] if plain else []), *names])
    axes.set_xlim(first - 0.5, len(lengths) + 0.5)
    axes.set_xlabel("Flow length K")
    return drawn


def bound(results: ResultTables) -> Figure:
    """The bound on test images, its gain over no flow, and how loose it is."""
    figure = style.figure(10.6, 3.9)
    left, middle, right = figure.subplots(1, 3)
    drawn = curves(left, results, "bound", own, True)
    curves(middle, results, "bound", gain, False)
    marks.guide(middle, 0.0, which="y")
    curves(right, results, "gap", own, True)
    left.set_title("Bound")
    middle.set_title("Gain over no flow")
    right.set_title("Looseness")
    left.set_ylabel("ELBO on test images\n(nats per image)")
    middle.set_ylabel("ELBO − ELBO without flow, paired\n(nats per image)")
    right.set_ylabel("importance-weighted bound − ELBO\n(nats per image)")
    marks.legend_beside(figure, drawn)
    images = " / ".join(str(name) for name in results.rows("bound")["dataset"].unique())
    style.title(figure, f"Flow posteriors in a VAE ({images})")
    counts = [count for curve in drawn for count in curve.counts]
    where = "scikit-learn's 8 × 8 digits, not comparable with MNIST. " if images == "digits" else ""
    style.caption(
        figure,
        f"Binarised test images; {where}A seed's first weights, minibatches and noise are the same for all "
        f"posteriors. Dashed: mean without flow. {marks.interval_note(counts)}",
    )
    return figure


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    return {"bound": bound(results)}
