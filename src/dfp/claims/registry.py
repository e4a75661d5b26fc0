"""Every claim, in the order in which they are reported."""

from __future__ import annotations

from dfp.claims import bias, connectivity, timing, uncertainty
from dfp.claims.base import Claim

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (*uncertainty.CLAIMS, *bias.CLAIMS, *timing.CLAIMS, *connectivity.CLAIMS), key=lambda claim: claim.id
    )
)
