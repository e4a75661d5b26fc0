"""Judged here: the claims that a table of this experiment bears on."""

from __future__ import annotations

from ..connectivity.claims import trained

JUDGES = {"C6": trained}
