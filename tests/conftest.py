"""Settings of the whole test run. Shared small problems are in ``cases.py``, beside this file."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

# one thread: small tensors are faster so, and sums then have one order
torch.set_num_threads(1)
# the same examples at every run; what hypothesis finds by chance is found by its author, not by whoever runs
# the tests next
settings.register_profile("dfp", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("dfp")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several workers one starts with the longest file; the others go through the rest meanwhile."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name != "test_workflow.py")
