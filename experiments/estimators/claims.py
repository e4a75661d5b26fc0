"""Claims about gradient estimators, from `estimators`: which are biased, and what temperature does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from dfp.results.judging import Finding, above, interval, judge
from dfp.results.tables import ResultTables

PARTS = {"phi": "∇φ", "theta": "∇θ"}
#: one value an instance at each of these
SETTING = ["family", "bins", "noise"]


def exact_samples(results: ResultTables, metric: str, **where: object) -> pd.DataFrame:
    """Rows of a metric with exact samples, q near the posterior."""
    results.need(*SETTING)
    return results.rows(metric, sweeps=0, point="near", **where)


def paired(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(setting, columns `first` and `second` by seed) for every setting that both frames have."""
    sides = {
        name: frame.set_index([*SETTING, "seed"])["value"]
        for name, frame in (("first", first), ("second", second))
    }
    for key, part in pd.concat(sides, axis=1, join="inner").groupby(level=SETTING, sort=False):
        yield text_of(key), part


def text_of(setting: Sequence[object]) -> str:
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
    results.need("family")
    for run in ("score_function", "disarm"):
        if not results.has_run(run=run):
            continue
        frame = results.rows("largest_z_ratio", run=run, sweeps=0)
        for family, part in frame.groupby("family"):
            worst = part.groupby("seed")["value"].max()
            measured = f"largest |z| ÷ threshold, {run.replace('_', ' ')}"
            yield _tested(worst, (-np.inf, 1.0), measured, f"{family} posterior")


def pooled(results: ResultTables, run: str, part: str) -> pd.Series[float]:
    """Root mean square of the relative bias over lengths and noise, by family, temperature and seed.

    It is the root of the mean of its unbiased squares, with that mean's sign, so that it scatters around 0
    without a bias.
    """
    results.need("temperature")
    frame = exact_samples(results, "squared_bias", run=run, part=part)
    mean = frame.groupby(["family", "temperature", "seed"], sort=True)["value"].mean()
    return mean.map(lambda value: math.copysign(abs(value) ** 0.5, value))


def _by_temperature(values: pd.Series[float]) -> Iterator[tuple[str, str, pd.Series[float]]]:
    """(family, temperature, values by seed)."""
    for key, part in values.groupby(level=["family", "temperature"]):
        found: Any = key
        yield str(found[0]), f"{float(found[1]):g}", part.droplevel(["family", "temperature"])


def biased(results: ResultTables) -> Iterator[Finding]:
    """Relative bias of ∇φ and of ∇θ with q near the exact posterior (root mean square over lengths and noise,
    from unbiased estimates of its square) above 0 at each temperature and for each family, over instances."""
    for part, name in PARTS.items():
        for family, temperature, values in _by_temperature(pooled(results, "relaxed_pmf", part)):
            where = f"temperature {temperature}, {family} posterior"
            yield above(values, 0.0, f"relative bias of {name}", "relative", where)


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
    """Relative bias of ∇φ and of ∇θ with q near the exact posterior (root mean square over lengths and noise)
    at each temperature minus that at the next lower one, paired by instance, above 0 for each family."""
    for part, name in PARTS.items():
        found = list(_by_temperature(pooled(results, "relaxed_pmf", part)))
        for (family, low, cooler), (other, high, warmer) in pairwise(found):
            if family == other:
                where = f"temperature {high} → {low}, {family} posterior"
                yield above(warmer - cooler, 0.0, f"fall of the relative bias of {name}", "relative", where)


def cooler_is_noisier(results: ResultTables) -> Iterator[Finding]:
    """Standard deviation of a draw of ∇φ at each temperature ÷ that at the next higher one, paired by
    instance, above 1 at each length, noise and posterior: geometric mean."""
    results.need("temperature")
    frame = exact_samples(results, "relative_sd", run="relaxed_pmf", part="phi")
    for where, part in _neighbours(frame):
        measured = "sd of a draw of ∇φ, lower ÷ higher temperature"
        yield _above_one(part["second"] / part["first"], measured, where)


def logistic_is_more_biased(results: ResultTables) -> Iterator[Finding]:
    """Relative bias of ∇φ and of ∇θ with q near the exact posterior (root mean square over lengths and
    noise), logistic density minus relaxed pmf at the same temperature, paired by instance, above 0 for each
    family."""
    for part, name in PARTS.items():
        difference = pooled(results, "logistic_density", part) - pooled(results, "relaxed_pmf", part)
        for family, temperature, values in _by_temperature(difference.dropna()):
            measured = f"relative bias of {name}, logistic density − relaxed pmf"
            where = f"temperature {temperature}, {family} posterior"
            yield above(values, 0.0, measured, "relative", where)


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


JUDGES = {
    "E1": unbiased,
    "E2": biased,
    "E3": cooler_is_less_biased,
    "E4": cooler_is_noisier,
    "E5": logistic_is_more_biased,
    "E6": antithetic_is_quieter,
}
