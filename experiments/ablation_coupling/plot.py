"""Figure of `ablation_coupling`: connections of the posterior's own, free, tied to the model's, or none."""

from __future__ import annotations

from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Look, Panel, over_label
from dfp.results.tables import ResultTables

LOOKS = {
    "on": Look("With own history", style.colour("fixed_point")),
    "off": Look("Without own history", style.colour("factorised"), "s", "--"),
}
PANELS = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_correlation", "Change of the correlation", (0.0, "no change"), base="none"),
    Panel("weight_slope", "Change of the slope", (0.0, "no change"), base="none"),
    Panel("train_sweeps_mean", "Sweeps per training step", log=True),
)


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "coupling",
        "Coupling in the posterior",
        PANELS,
        "Does the posterior need connections of its own?",
        "Twenty coupled cells, slow rise; bias, history and coupling learned. Tied: the posterior's coupling "
        "is the model's, and learns from both sides of the bound. Without coupling and own history the "
        "posterior is factorised, and one sweep is all. Changes are paired by network.",
        by="own_history",
        looks=LOOKS,
    )
    return {"coupling": drawn}
