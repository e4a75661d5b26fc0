"""What suites of exact posteriors share."""

from __future__ import annotations

import pytest

from dfp.references.exact import network_steps


@pytest.fixture(params=["whole", "in factors"])
def step_table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of keeping the probabilities of a step."""
    if request.param == "in factors":
        monkeypatch.setattr(network_steps, "_TABLE", 1)
