"""Judged here: the claims that a table of this experiment bears on."""

from __future__ import annotations

from ..connectivity.claims import peers
from ..shrinkage.claims import peer_setting

JUDGES = {"C6": peers, "G6": peer_setting}
