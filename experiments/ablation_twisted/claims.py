"""Judged here: the claims that a table of this experiment bears on."""

from __future__ import annotations

from ..uncertainty.claims import twisted_goal

JUDGES = {"G7": twisted_goal}
