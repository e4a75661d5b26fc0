"""Every claim, in the order in which they are reported."""

from __future__ import annotations

from dfp.claims import (
    bias,
    calibration,
    connectivity,
    estimators,
    families,
    flows,
    instances,
    ledger,
    shrinkage,
    uncertainty,
    wall_clock,
)
from dfp.claims.base import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (
            *bias.CLAIMS,
            *calibration.CLAIMS,
            *connectivity.CLAIMS,
            *estimators.CLAIMS,
            *families.CLAIMS,
            *flows.CLAIMS,
            *instances.CLAIMS,
            *ledger.CLAIMS,
            *shrinkage.CLAIMS,
            *uncertainty.CLAIMS,
            *wall_clock.CLAIMS,
        ),
        key=lambda claim: claim.id,
    )
)
