"""The response to one spike by indicator: what is known before a trace is seen, as tables in the package.

``priors_published.csv`` is made of published figures, and the weights ``simulations`` rest on it alone;
``priors.csv`` of fits to the true spikes of open recordings (``experiments/cell_model``). A row has the
median and the sd of the logarithm of amplitude (dF/F), decay and rise (s) and saturation, and mean and sd
of the power.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

import numpy as np

from dfp.core.errors import UserError

#: the tables, by the names that settings use
TABLES = ("published", "open")
#: the share of cells of any indicator whose response is linear, and of those that do not saturate (our
#: choice: a
#: user's own simulation, and the told constants of a linear model, are then not strange to the posterior)
LINEAR, UNSATURATED = 0.3, 0.5
#: bounds of decay and rise in seconds and of the power (rise also at most 0.6 of the decay)
DECAYS, RISES, POWERS = (0.04, 4.0), (0.002, 0.5), (1.0, 2.8)
#: the row of an indicator that is not told
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Response:
    """Constants of a cell's response; see ``simulate``."""

    amplitude: float
    decay: float
    rise: float
    power: float
    saturation: float


@dataclass(frozen=True)
class Prior:
    """The law of the response over cells of one indicator, or of any.

    Attributes:
        indicator: None where it is not known.
        table: one of ``TABLES``.
    """

    indicator: str | None = None
    table: str = "published"

    def row(self) -> Mapping[str, float]:
        """Medians and spreads by the names of the table's columns."""
        rows = read_priors(self.table)
        return rows.get(self.indicator or UNKNOWN, rows[UNKNOWN])

    def draw(self, rng: np.random.Generator) -> Response:
        """The response of one cell."""
        row, e = self.row(), rng.standard_normal(5)
        decay = float(np.clip(row["decay"] * np.exp(row["decay_log_sd"] * e[1]), *DECAYS))
        rise = float(np.clip(row["rise"] * np.exp(row["rise_log_sd"] * e[2]), *RISES))
        power = float(np.clip(row["power"] + row["power_sd"] * e[3], *POWERS))
        saturation = float(row["saturation"] * np.exp(row["saturation_log_sd"] * e[4]))
        linear, unsaturated = rng.random(2) < (LINEAR, UNSATURATED)
        return Response(
            amplitude=float(row["amplitude"] * np.exp(row["amplitude_log_sd"] * e[0])),
            decay=decay,
            rise=min(rise, 0.6 * decay),
            power=1.0 if linear else power,
            saturation=0.0 if unsaturated else saturation,
        )


@cache
def read_priors(table: str) -> Mapping[str, Mapping[str, float]]:
    """Rows of a table by indicator.

    Raises:
        UserError: for a name that is none of ``TABLES``.
    """
    if table not in TABLES:
        raise UserError(f"prior: found '{table}', expected one of {', '.join(TABLES)}")
    name = "priors.csv" if table == "open" else "priors_published.csv"
    text = (resources.files("dfp.amortised") / name).read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return MappingProxyType(
        {
            row["indicator"]: {
                key: float(value) for key, value in row.items() if key not in ("indicator", "source")
            }
            for row in rows
        }
    )
