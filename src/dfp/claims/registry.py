"""Every claim, in the order in which they are reported."""

from __future__ import annotations

from dfp.claims import (
    belief_network,
    bias,
    calibration,
    connectivity,
    convergence,
    coupled_instances,
    estimators,
    families,
    flows,
    hundred_cells,
    instances,
    ledger,
    linear_gaussian,
    misspecified,
    shrinkage,
    uncertainty,
    unrolled,
    wall_clock,
)
from dfp.claims.base import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (
            *belief_network.CLAIMS,
            *bias.CLAIMS,
            *calibration.CLAIMS,
            *connectivity.CLAIMS,
            *convergence.CLAIMS,
            *coupled_instances.CLAIMS,
            *estimators.CLAIMS,
            *families.CLAIMS,
            *flows.CLAIMS,
            *hundred_cells.CLAIMS,
            *instances.CLAIMS,
            *ledger.CLAIMS,
            *linear_gaussian.CLAIMS,
            *misspecified.CLAIMS,
            *shrinkage.CLAIMS,
            *uncertainty.CLAIMS,
            *unrolled.CLAIMS,
            *wall_clock.CLAIMS,
        ),
        key=lambda claim: (claim.id[0], int(claim.id[1:].rstrip("abcdefghijklmnopqrstuvwxyz")), claim.id),
    )
)
