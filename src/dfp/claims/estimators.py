"""Claims about gradient estimators, from `estimators`: which are biased, and what temperature does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from dfp.claims.base import GOAL, PAPER, Claim, Finding, above, interval, judge
from dfp.plotting.tables import ResultTables

EXPERIMENT = "estimators"
CONCRETE = "Maddison, Mnih, Teh 2017 (The concrete distribution)"
ANTITHETIC = "Dong, Mnih, Tucker 2020 (DisARM)"
PARTS = {"phi": "∇φ", "theta": "∇θ"}
#: one value an instance at each of these
SETTING = ["family", "bins", "noise"]


def exact_samples(results: ResultTables, metric: str, **where: object) -> pd.DataFrame:
    """Rows of a metric with exact samples, q near the posterior."""
    return results.rows(metric, sweeps=0, point="near", **where)


def paired(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(setting, columns `first` and `second` by seed) for every setting that both frames have."""
    sides = {
        name: frame.set_index([*SETTING, "seed"])["value"]
        for name, frame in (("first", first), ("second", second))
    }
    for key, part in pd.concat(sides, axis=1, join="inner").groupby(level=SETTING, sort=False):
        yield told(key), part


def told(setting: Sequence[object]) -> str:
    """The text of a setting: family, bins, noise."""
    family, bins, noise = setting
    return f"{family} posterior, T = {bins}, noise {float(str(noise)):g}"


def unbiased(results: ResultTables) -> Iterator[Finding]:
    """The largest |z| over the coordinates of ∇φ and ∇θ against the exact gradient, ÷ its Bonferroni
    threshold (0.1% for all tests of the study), must be below 1 in every instance at every setting: what is
    given is the mean over instances with their whole range in place of an interval."""
    for run in ("score_function", "disarm"):
        if not results.has("largest_z_ratio", run=run):
            continue
        frame = results.rows("largest_z_ratio", run=run).sort_values("value")
        worst = frame.groupby(["family", "seed"], sort=True)["value"].max()
        for family, values in worst.groupby(level="family"):
            yield judge(
                float(values.mean()),
                float(values.min()),
                float(values.max()),
                len(values),
                (-np.inf, 1.0),
                measured=f"largest |z| ÷ threshold, {run.replace('_', ' ')}",
                unit="ratio",
                where=f"{family} posterior",
            )


def biased(results: ResultTables) -> Iterator[Finding]:
    """Squared relative bias of ∇φ (its unbiased estimate, which scatters around 0 where there is no bias)
    above 0 at each temperature, length, noise and posterior, over instances."""
    frame = exact_samples(results, "squared_bias", run="relaxed_pmf", part="phi")
    for (temperature, *key), part in frame.groupby(["temperature", *SETTING], sort=False):
        where = f"temperature {float(str(temperature)):g}, {told(key)}"
        yield above(part["value"], 0.0, "squared relative bias of ∇φ, relaxed pmf", "relative", where)


def _neighbours(results: ResultTables, metric: str, run: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """(setting, higher temperature first and the next lower one second)."""
    frame = exact_samples(results, metric, run=run, part="phi")
    temperatures = sorted(frame["temperature"].unique())
    for low, high in pairwise(temperatures):
        both = (frame[frame["temperature"] == value] for value in (high, low))
        for where, part in paired(*both):
            yield f"temperature {high:g} → {low:g}, {where}", part


def cooler_is_less_biased(results: ResultTables) -> Iterator[Finding]:
    """Relative bias of ∇φ at each temperature minus that at the next lower one, paired by instance, above 0
    at each length, noise and posterior."""
    for where, part in _neighbours(results, "relative_bias", "relaxed_pmf"):
        yield above(part["first"] - part["second"], 0.0, "fall of the relative bias of ∇φ", "relative", where)


def cooler_is_noisier(results: ResultTables) -> Iterator[Finding]:
    """Standard deviation of a draw of ∇φ at each temperature ÷ that at the next higher one, paired by
    instance, above 1 at each length, noise and posterior: geometric mean."""
    for where, part in _neighbours(results, "relative_sd", "relaxed_pmf"):
        ratio = part["second"] / part["first"]
        found = interval(ratio, log=True)
        measured = "sd of a draw of ∇φ, lower ÷ higher temperature"
        yield judge(*found, len(ratio), (1.0, np.inf), measured=measured, unit="times", where=where)


def logistic_is_more_biased(results: ResultTables) -> Iterator[Finding]:
    """Relative bias of the logistic density's gradient minus that of the relaxed pmf's at the same
    temperature, paired by instance, above 0 at each length, noise and posterior, for ∇φ and ∇θ."""
    for part, name in PARTS.items():
        sides = [
            exact_samples(results, "relative_bias", run=run, part=part)
            for run in ("logistic_density", "relaxed_pmf")
        ]
        for temperature in sorted(sides[0]["temperature"].unique()):
            both = (side[side["temperature"] == temperature] for side in sides)
            for where, values in paired(*both):
                yield above(
                    values["first"] - values["second"],
                    0.0,
                    f"relative bias of {name}, logistic density − relaxed pmf",
                    "relative",
                    f"temperature {temperature:g}, {where}",
                )


def antithetic_is_quieter(results: ResultTables) -> Iterator[Finding]:
    """Variance of a draw from DisARM's pair ÷ that of the score function with two samples and leave-one-out
    baseline, paired by instance, below 1 at each length and noise, for ∇φ and ∇θ: geometric mean."""
    for part, name in PARTS.items():
        sides = [
            exact_samples(results, "relative_sd", run=run, part=part, family="factorised")
            for run in ("disarm", "score_function")
        ]
        for where, values in paired(*sides):
            ratio = (values["first"] / values["second"]) ** 2
            yield judge(
                *interval(ratio, log=True),
                len(ratio),
                (-np.inf, 1.0),
                measured=f"variance of {name}, DisARM ÷ score function",
                unit="times",
                where=where,
            )


CLAIMS = (
    Claim("E1", "Score function and DisARM on exact hard samples are unbiased", GOAL, EXPERIMENT, unbiased),
    Claim("E2", "The relaxed pmf's gradient is biased at every temperature", GOAL, EXPERIMENT, biased),
    Claim("E3", "Its bias falls with the temperature", CONCRETE, EXPERIMENT, cooler_is_less_biased),
    Claim("E4", "Its variance grows as the temperature falls", CONCRETE, EXPERIMENT, cooler_is_noisier),
    Claim(
        "E5",
        "Gradients of the logistic density are more biased than those of the relaxed pmf",
        PAPER,
        EXPERIMENT,
        logistic_is_more_biased,
    ),
    Claim(
        "E6",
        "An antithetic pair has less variance than two samples with a leave-one-out baseline",
        ANTITHETIC,
        EXPERIMENT,
        antithetic_is_quieter,
    ),
)
