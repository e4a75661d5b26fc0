"""Claims about gradient estimators, from `estimators`: which are biased, and what temperature does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from dfp.claims.base import GOAL, PAPER, Claim, Finding, interval, judge
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


def _tested(values: pd.Series[float], bounds: tuple[float, float], measured: str, where: str) -> Finding:
    """Judge by the whole range over instances in place of an interval."""
    ends = (float(values.mean()), float(values.min()), float(values.max()))
    return judge(*ends, len(values), bounds, measured=measured, unit="ratio", where=where)


def unbiased(results: ResultTables) -> Iterator[Finding]:
    """The largest |z| over the coordinates of ∇φ and ∇θ against the exact gradient, over lengths, noise and
    points, ÷ its Bonferroni threshold (0.1% for all tests of the study), below 1 in every instance: given are
    the mean over instances and their whole range."""
    for run in ("score_function", "disarm"):
        if not results.has("largest_z_ratio", run=run):
            continue
        frame = results.rows("largest_z_ratio", run=run, sweeps=0)
        for family, part in frame.groupby("family"):
            worst = part.groupby("seed")["value"].max()
            measured = f"largest |z| ÷ threshold, {run.replace('_', ' ')}"
            yield _tested(worst, (-np.inf, 1.0), measured, f"{family} posterior")


def biased(results: ResultTables) -> Iterator[Finding]:
    """By the same test: the largest |z| over the coordinates of ∇φ and over noise, ÷ its threshold, above 1
    in every instance, at each temperature, length and posterior: given are the mean over instances and their
    whole range."""
    frame = exact_samples(results, "largest_z_ratio", run="relaxed_pmf", part="phi")
    for (temperature, family, bins), part in frame.groupby(["temperature", "family", "bins"], sort=False):
        worst = part.groupby("seed")["value"].max()
        where = f"temperature {float(str(temperature)):g}, {family} posterior, T = {bins}"
        yield _tested(worst, (1.0, np.inf), "largest |z| ÷ threshold, relaxed pmf", where)


def biases(results: ResultTables, **where: object) -> pd.DataFrame:
    """Relative biases, at least the error by chance, so that ratios of unseen ones are near 1."""
    found, floor = (exact_samples(results, metric, **where) for metric in ("relative_bias", "resolution"))
    keys = ["run", "part", "temperature", *SETTING, "seed"]
    both = found.merge(floor[[*keys, "value"]], on=keys, suffixes=("", "_floor"), validate="one_to_one")
    return both.assign(value=both[["value", "value_floor"]].max(axis=1))


def _above_one(ratio: pd.Series[float], measured: str, where: str) -> Finding:
    found = interval(ratio, log=True)
    return judge(*found, len(ratio), (1.0, np.inf), measured=measured, unit="times", where=where)


def _neighbours(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(setting, higher temperature first and the next lower one second)."""
    for low, high in pairwise(sorted(frame["temperature"].unique())):
        both = (frame[frame["temperature"] == value] for value in (high, low))
        for where, part in paired(*both):
            yield f"temperature {high:g} → {low:g}, {where}", part


def cooler_is_less_biased(results: ResultTables) -> Iterator[Finding]:
    """Relative bias of ∇φ at each temperature ÷ that at the next lower one, paired by instance, above 1 at
    each length, noise and posterior: geometric mean. A bias below the error by chance counts as that
    error."""
    for where, part in _neighbours(biases(results, run="relaxed_pmf", part="phi")):
        measured = "bias of ∇φ, higher ÷ lower temperature"
        yield _above_one(part["first"] / part["second"], measured, where)


def cooler_is_noisier(results: ResultTables) -> Iterator[Finding]:
    """Standard deviation of a draw of ∇φ at each temperature ÷ that at the next higher one, paired by
    instance, above 1 at each length, noise and posterior: geometric mean."""
    frame = exact_samples(results, "relative_sd", run="relaxed_pmf", part="phi")
    for where, part in _neighbours(frame):
        measured = "sd of a draw of ∇φ, lower ÷ higher temperature"
        yield _above_one(part["second"] / part["first"], measured, where)


def logistic_is_more_biased(results: ResultTables) -> Iterator[Finding]:
    """Relative bias of the logistic density's gradient ÷ that of the relaxed pmf's at the same temperature,
    paired by instance, above 1 at each length, noise and posterior, for ∇φ and ∇θ: geometric mean. A bias
    below the error by chance counts as that error."""
    for part, name in PARTS.items():
        sides = [biases(results, run=run, part=part) for run in ("logistic_density", "relaxed_pmf")]
        for temperature in sorted(sides[0]["temperature"].unique()):
            for where, values in paired(*(side[side["temperature"] == temperature] for side in sides)):
                measured = f"bias of {name}, logistic density ÷ relaxed pmf"
                yield _above_one(
                    values["first"] / values["second"], measured, f"temperature {temperature:g}, {where}"
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
