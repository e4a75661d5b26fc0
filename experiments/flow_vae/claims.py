"""Judged here: the claims that a table of this experiment bears on."""

from __future__ import annotations

from ..flows.claims import flow_posterior_gains

JUDGES = {"F2": flow_posterior_gains}
