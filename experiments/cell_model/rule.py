"""The rule that makes ``priors.csv``: how the response varies over cells, by indicator, from true spikes.

Cell i of an indicator has θ_i ~ N(μ, Σ), Σ diagonal; its trace says N(θ_i; m_i, H_i⁻¹), by Laplace's
approximation of the fit (the law that the fit itself was regularised by is divided out again). μ and Σ are
estimated by expectation maximisation, with the published row standing for ``PSEUDO`` cells more: an indicator
of few cells stays near what is published, and uncertain cells count for little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfp.amortised.datasets import left_in
from dfp.amortised.indicators import known
from dfp.amortised.priors import UNKNOWN, read_priors
from dfp.core.files import atomic_path
from dfp.data.recording import Recording

from .cells import Measured, cells_of
from .fit import RESPONSE, Fitted, Problem, fit_law, precision, published

#: how many cells the published row counts for (our choice)
PSEUDO = 2.0
ROUNDS = 200
#: the least sd of a log, and of the power, over cells (our choice: no cell is known that well)
NARROWEST = 0.1
#: the largest, in published sds (our choice: a normal law of few cells is stretched by one that stands apart)
WIDEST = 2.0
POWER = RESPONSE.index("power")


@dataclass(frozen=True, eq=False)
class Seen:
    """What one cell's trace and spikes say of its response.

    Attributes:
        fitted: of the whole trace, with the widened published law.
        precision: ``(5, 5)`` H.
    """

    cell: Measured
    fitted: Fitted
    precision: NDArray[np.float64]

    @property
    def theta(self) -> NDArray[np.float64]:
        """The fit, ``(5,)`` in the order of RESPONSE."""
        return np.array([self.fitted.constants[name] for name in RESPONSE])

    @property
    def pull(self) -> NDArray[np.float64]:
        """``pull`` of the fit by its trace alone."""
        mean, sd = np.transpose(list(published(self.cell.indicator).values()))
        return pull(self.theta, self.precision, mean, sd)


def pull(
    theta: NDArray[np.float64],
    precision: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
) -> NDArray[np.float64]:
    """H m of a trace, ``(D,)``, from the most probable θ under N(mean, sd²): that law is divided out again.

    ``m = θ + (H + Λ)⁻¹ Λ (θ − mean)``, Λ the law's precision. Where the trace says much this is where its
    likelihood is highest (there H (m − θ) = Λ (θ − mean)); where it says little, m stays within twice the
    distance of θ from the mean, so that an ascent that ended early, or at a bound, cannot run away.
    """
    law = np.diag(1 / sd**2)
    return np.asarray(precision @ (theta + np.linalg.solve(precision + law, law @ (theta - mean))))


def see(cell: Measured, steps: int) -> Seen:
    """Fit a cell's whole trace."""
    problem = Problem(cell.segments, published(cell.indicator), whole=True)
    fitted = fit_law(problem, steps)
    return Seen(cell, fitted, precision(problem, fitted))


def spread(
    precisions: Sequence[NDArray[np.float64]],
    pulls: Sequence[NDArray[np.float64]],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sd of θ over cells, each ``(D,)``, and the cells' posterior means ``(N, D)``.

    Args:
        precisions: H_i, ``(D, D)`` each; pulls: H_i m_i.
        mean, sd: what ``PSEUDO`` cells more would say.
    """
    mu, variance = mean, sd**2
    centres = np.tile(mean, (len(precisions), 1))
    for _ in range(ROUNDS):
        spreads = np.zeros_like(centres)
        for place, (curve, pull) in enumerate(zip(precisions, pulls, strict=True)):
            covariance = np.linalg.inv(curve + np.diag(1 / variance))
            centres[place] = covariance @ (pull + mu / variance)
            spreads[place] = np.diag(covariance)
        count = len(precisions) + PSEUDO
        before, mu = mu, (centres.sum(0) + PSEUDO * mean) / count
        squares = (spreads + (centres - mu) ** 2).sum(0) + PSEUDO * (sd**2 + (mean - mu) ** 2)
        variance = np.clip(squares / count, NARROWEST**2, np.maximum(NARROWEST, WIDEST * sd) ** 2)
        if np.abs(mu - before).max() < 1e-6:
            break
    return mu, np.sqrt(variance), centres


def priors(seen: Sequence[Seen]) -> pd.DataFrame:
    """The table: a row for each indicator known, and one for one that is not, in the order of the package.

    The last has the moments of an equal mixture of the others.
    """
    rows: list[dict[str, Any]] = []
    moments = []
    for name in known():
        own = [one for one in seen if one.cell.indicator == name]
        mean, sd = np.transpose(list(published(name, wider=1.0).values()))
        mu, found, _ = spread([one.precision for one in own], [one.pull for one in own], mean, sd)
        moments.append((mu, found))
        sets = ", ".join(sorted({one.cell.dataset for one in own}))
        source = f"published row and true spikes of {sets}" if own else "published row alone: no cell here"
        rows.append(_row(name, mu, found, len(own), source))
    means, sds = np.array([one for one, _ in moments]), np.array([one for _, one in moments])
    mixed = np.sqrt((sds**2).mean(0) + means.var(0))
    cells = sum(int(row["cells"]) for row in rows)
    rows.append(_row(UNKNOWN, means.mean(0), mixed, cells, "equal mixture of the rows above"))
    return pd.DataFrame(rows)


def _row(
    name: str, mu: NDArray[np.float64], sd: NDArray[np.float64], cells: int, source: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"indicator": name}
    for place, constant in enumerate(RESPONSE):
        if place == POWER:
            row |= {"power": mu[place], "power_sd": sd[place]}
        else:
            row |= {constant: np.exp(mu[place]), f"{constant}_log_sd": sd[place]}
    return {**row, "cells": cells, "source": source}


def correlations(seen: Sequence[Seen]) -> dict[tuple[str, str], float]:
    """Correlations over cells of pairs of constants, about the indicator's mean, all indicators pooled.

    Of the cells' posterior means, for indicators of three cells or more.
    """
    about = []
    for name in known():
        own = [one for one in seen if one.cell.indicator == name]
        if len(own) >= 3:
            mean, sd = np.transpose(list(published(name, wider=1.0).values()))
            centres = spread([one.precision for one in own], [one.pull for one in own], mean, sd)[2]
            about.append(centres - centres.mean(0))
    if not about:
        return {}
    found = np.corrcoef(np.concatenate(about).T)
    pairs = [(i, j) for i in range(len(RESPONSE)) for j in range(i)]
    return {(RESPONSE[j], RESPONSE[i]): float(found[i, j]) for i, j in pairs}


def priors_of(
    recordings: Sequence[Recording],
    leave_out: Sequence[str] = (),
    rate_hz: float = 30.0,
    seconds: float = 0.0,
    fewest: int = 5,
    steps: int = 80,
) -> pd.DataFrame:
    """The table from a folder of ground truth: ``priors_of(load_recordings(folder), ["DS09"])``.

    Args:
        leave_out: data sets, cells or indicators that take no part.
        rate_hz: frames that come faster are averaged to it; seconds: of each cell, 0 for all.
        fewest: spikes in each half of a cell that takes part.
        steps: of each ascent.

    Raises:
        UserError: for an entry that names no recording, or where none is left.
    """
    cells = cells_of(left_in(recordings, leave_out), rate_hz, seconds, fewest)
    return priors([see(one, steps) for one in cells if one.indicator])


def write_priors(table: pd.DataFrame, path: Path) -> None:
    """In the columns and the order of ``priors_published.csv``."""
    columns = ["indicator", *next(iter(read_priors("published").values())), "source"]
    with atomic_path(path) as temporary:
        table[columns].to_csv(temporary, index=False, float_format="%.3g")
