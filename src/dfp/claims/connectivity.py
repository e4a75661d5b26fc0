"""The claim that the experiment `connectivity` tests, once its table exists (C6)."""

from __future__ import annotations

from collections.abc import Iterator

from dfp.claims.base import PAPER, Claim, Finding, above
from dfp.plotting.tables import ResultTables

ACCURATE = 0.8


def accuracy(results: ResultTables) -> Iterator[Finding]:
    """Correlation of the learned weights with the true ones off the diagonal, paired by network: fixed point
    minus factorised above 0, and the fixed point's own correlation above 0.8."""
    both = results.pair("weight_correlation", {"run": "fixed_point"}, {"run": "factorised"})
    where = "many cells"
    yield above(
        both["first"] - both["second"],
        0.0,
        "correlation of weights, fixed point − factorised",
        "correlation",
        where,
    )
    yield above(
        both["first"],
        ACCURATE,
        "correlation of the fixed point's weights with the true ones",
        "correlation",
        where,
    )


CLAIMS = (
    Claim(
        "C6",
        "Correlated posteriors give accurate connectivity for many cells",
        PAPER,
        "connectivity",
        accuracy,
    ),
)
