"""Claims about normalizing flows (F1, F2), from `flows` and `flow_vae`: what length buys."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from dfp.results.judging import Finding, above
from dfp.results.tables import ResultTables

ENERGIES, VAE = "flows", "flow_vae"
PLAIN = "none"


def _by_seed(frame: pd.DataFrame, length: float) -> pd.Series[float]:
    return frame[frame["length"] == length].set_index("seed")["value"]


def longer_is_closer(results: ResultTables) -> Iterator[Finding]:
    """KL (in nats) of the density within the box to the boxed target, at each length minus at the next longer
    one, paired by seed, above 0 for each energy and kind of flow."""
    # the target itself is a run too, without a length
    flows = [name for name in results.runs if results.conditions("length", run=name)]
    for run, energy in [
        (name, energy) for name in flows for energy in results.conditions("dataset", run=name)
    ]:
        part = results.rows("kl", dataset=energy, run=run)
        for short, long in pairwise(sorted(part["length"].unique())):
            fall = (_by_seed(part, short) - _by_seed(part, long)).dropna()
            yield above(fall, 0.0, f"fall of KL from K = {short:g} to {long:g}", "nats", f"{energy}, {run}")


def flow_posterior_gains(results: ResultTables) -> Iterator[Finding]:
    """Bound on test images with a flow minus that without one, paired by seed, above 0 for each kind of flow
    and length."""
    results.need("length")
    plain = _by_seed(results.rows("bound", run=PLAIN), 0)
    for run in results.runs:
        if run == PLAIN:
            continue
        for length, part in results.rows("bound", run=run).groupby("length", sort=False):
            gain = (part.set_index("seed")["value"] - plain).dropna()
            yield above(gain, 0.0, "ELBO with a flow − without", "nats per image", f"{run}, K = {length:g}")


JUDGES = {"F1": longer_is_closer}
