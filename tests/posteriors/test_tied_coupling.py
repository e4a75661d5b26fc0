"""A posterior that shares the model's coupling."""

from __future__ import annotations

import pytest
import torch
from cases import model, traces

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.posteriors.autoregressive import Autoregressive, AutoregressiveConfig
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.recognition import RecognitionConfig

X = traces(0, bins=6, cells=3)


def tied(per_cell: bool = False) -> Autoregressive:
    config = AutoregressiveConfig(
        RecognitionConfig(window=2, hidden=4, per_cell=per_cell), history=2, tied_coupling=True
    )
    return Autoregressive(config, TraceSummary.of(X), generator(0)).double()


def test_its_logits_are_the_drive_and_the_models_coupling_alone() -> None:
    """Of the prior, the coupling and neither bias nor history; own history starts at zero."""
    posterior, network = tied(), model(3, basis=2)
    q = posterior.condition(X, prior=network.prior(*X.shape[:2])).q
    z = (torch.rand(2, *X.shape, generator=generator(1)) < 0.4).double()
    taps = torch.einsum("rij,rl->lij", network.value("coupling"), network.basis.double())
    expected = q.drive.expand_as(z).clone()
    for lag in range(1, 4):
        expected[:, :, lag:] += z[:, :, :-lag] @ taps[lag - 1].t()
    assert torch.allclose(q.logits(z), expected, atol=1e-12)


def test_the_weights_learn_from_both_sides_of_the_bound() -> None:
    posterior, network = tied(), model(3, basis=2)
    q = posterior.condition(X, prior=network.prior(*X.shape[:2])).q
    q.log_prob(torch.ones(1, *X.shape, dtype=torch.float64)).sum().backward()
    assert network.raw_coupling.grad is not None and bool(network.raw_coupling.grad.abs().sum() > 0)
    assert network.raw_bias.grad is None


def test_cells_are_no_longer_problems_of_their_own() -> None:
    assert not tied(per_cell=True).per_cell


def test_without_a_prior_it_says_so() -> None:
    with pytest.raises(UserError, match="tied_coupling: found no prior"):
        tied().condition(X)
