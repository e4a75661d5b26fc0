"""Exact posteriors made of a model: its own parameters, and no other law of the frames."""

from __future__ import annotations

import cases
import pytest
import torch

from dfp.core.errors import UserError
from dfp.models.kinds import observation
from dfp.references.exact.network import ExactNetworkPosterior
from dfp.references.exact.one_cell import ExactPosterior

X = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0))


def test_a_pair_without_coupling_is_two_cells() -> None:
    model = cases.model(2, kernel_bins=4)
    pair, cells = ExactNetworkPosterior.of(model, X), ExactPosterior.of(model, X)
    assert torch.allclose(pair.log_evidence, cells.log_evidence.sum(1), atol=1e-9)
    assert torch.allclose(pair.marginals, cells.marginals, atol=1e-9)


def test_coupling_counts() -> None:
    model = cases.model(2, kernel_bins=4, basis=1)
    pair, cells = ExactNetworkPosterior.of(model, X), ExactPosterior.of(model, X)
    assert not torch.allclose(pair.marginals, cells.marginals, atol=1e-4)


@pytest.mark.parametrize("kind", [ExactPosterior, ExactNetworkPosterior])
def test_another_law_of_the_frames_is_refused(
    kind: type[ExactPosterior] | type[ExactNetworkPosterior],
) -> None:
    heavy = observation("calcium_heavy_tailed", {"freedom": 2.0}, "")
    model = heavy.model(cases.parameters(2), 10.0, kernel_bins=4)
    with pytest.raises(
        UserError, match="exact posterior: found the observation model 'calcium_heavy_tailed'"
    ):
        kind.of(model, X)
