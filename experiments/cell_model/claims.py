"""What is claimed of the law of a cell: each of its parts is asked for by true spikes, on held-out frames."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dfp.results.judging import Finding, above, below
from dfp.results.tables import UNIT, ResultTables

#: the parts of the response and of the noise, and how a sentence says them
RESPONSE = {
    "rise": "a rise of its own",
    "power": "a supralinear response",
    "saturation": "saturation",
}
NOISE = {
    "slow": "a slow part of the baseline",
    "tails": "heavy tails",
    "shot": "noise that grows with the signal",
}
#: kinds of firing by what they have, as a sentence says it
FIRING = {"bursts": "bursts", "waves": "waves", "both": "bursts and waves"}
#: nats a frame that a shift in time may bring, for the law to do without it (our choice)
SMALL = 0.02
#: the fewest cells of an indicator that are judged
FEWEST = 3


def gains(results: ResultTables, part: str) -> pd.DataFrame:
    """What a part adds to the log density of held-out frames, in nats a frame: ``gain`` by cell."""
    return _paired(results, "law", f"no_{part}")


def shifts(results: ResultTables) -> pd.DataFrame:
    """What a shift of the spikes in time adds, by cell."""
    return _paired(results, "delay", "law")


def firings(results: ResultTables, kind: str) -> pd.DataFrame:
    """What a kind of firing adds to a Poisson process's, in nats a spike, by cell."""
    return _paired(results, f"firing_{kind}", "firing_poisson")


def _paired(results: ResultTables, run: str, other: str) -> pd.DataFrame:
    results.rows("log_density")  # the one metric: a table without it lacks its runs too
    first, second = (results.rows("log_density", run=name) for name in (run, other))
    both = first.merge(second[[*UNIT, "value"]], on=UNIT, suffixes=("", "_second"), validate="one_to_one")
    return both.assign(gain=both["value"] - both["value_second"])


def noise_asked_for(results: ResultTables) -> Iterator[Finding]:
    """Over all cells, each part of baseline and noise: the log density of held-out frames with all parts less
    that without this one, above 0 nats a frame."""
    for part, name in NOISE.items():
        yield above(gains(results, part)["gain"], 0.0, f"gain by {name}", "nats a frame", name)


def response_asked_for(results: ResultTables) -> Iterator[Finding]:
    """The same difference for each part of the response, over all cells, above 0 nats a frame."""
    for part, name in RESPONSE.items():
        yield above(gains(results, part)["gain"], 0.0, f"gain by {name}", "nats a frame", name)


def no_shift(results: ResultTables) -> Iterator[Finding]:
    """For each indicator of three cells or more: what a shift of the spikes in time adds to the log density
    of held-out frames, below 0.02 nats a frame."""
    for indicator, part in shifts(results).groupby("indicator"):
        if len(part) >= FEWEST:
            yield below(part["gain"], SMALL, "gain by a shift in time", "nats a frame", str(indicator))


def fires_in_bursts(results: ResultTables) -> Iterator[Finding]:
    """Over all cells: the log likelihood of later spikes by a rate with bursts, with waves, and with both,
    less that of a Poisson process, above 0 nats a spike."""
    for kind, name in FIRING.items():
        yield above(firings(results, kind)["gain"], 0.0, f"gain by {name}", "nats a spike", name)


JUDGES = {"M1": response_asked_for, "M2": noise_asked_for, "M3": no_shift, "M4": fires_in_bursts}
