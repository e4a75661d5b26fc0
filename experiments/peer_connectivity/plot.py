"""Figure of `peer_connectivity`: connections found at three noise levels."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dfp.plotting import style
from dfp.plotting.over import Look, Panel, over_label
from dfp.results.tables import ResultTables

NAMES = {
    "fixed_point_indirect": "Autoregressive, fixed point, indirect inference",
    "gibbs_posterior": "Particle Gibbs, posterior mean",
}
LOOKS = {
    name: Look(
        NAMES.get(name) or style.family_name(name), style.colour(name.removesuffix("_indirect")), marker, line
    )
    for name, marker, line in (
        ("glm_true_spikes", "D", ":"),
        ("gibbs_posterior", "^", "-"),
        ("fixed_point", "o", "-"),
        ("factorised", "o", "-"),
        ("fixed_point_indirect", "h", "-"),
        ("oasis_glm", "s", "--"),
        ("oasis_correlation", "v", "--"),
    )
}
PANELS = (
    Panel("weight_correlation", style.METRICS["weight_correlation"]),
    Panel("weight_auc", style.METRICS["weight_auc"]),
    Panel("weight_ap", style.METRICS["weight_ap"]),
)


def by_noise(frame: pd.DataFrame) -> pd.DataFrame:
    """Settings by the noise that they stand for; a curve a run, since a family may be trained in two ways."""
    noise = frame["setting"].map(lambda name: style.SETTINGS.get(name, name))
    return frame.assign(setting=noise, family=frame["run"])


def figures(results: ResultTables) -> dict[str, Figure]:
    """Every figure of the experiment."""
    drawn = over_label(
        results,
        "setting",
        "Noise (sd, in units of a spike's amplitude)",
        PANELS,
        "Connections of forty cells, at three noise levels",
        "40 cells, 20,000 bins, uncut exponential decay. The penalty, the lag and the way of deconvolving "
        "were chosen on another network, for each noise level; so were the posteriors' settings, once.",
        looks=LOOKS,
        select=by_noise,
    )
    return {"noise": drawn}
