"""Twisted laws as members of their family: the same law trace by trace, and no bound above the evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import model, traces

from dfp.core.noise import generator
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.recognition import RecognitionConfig
from dfp.posteriors.twisted import Twisted, TwistedConfig
from dfp.references.exact.enumerated import exact_elbo, log_joint, log_probability, path_logits, paths_of
from experiments.ledger.best import best_drives, best_members
from experiments.ledger.members import Members
from experiments.ledger.twisted import TwistedMembers, members_of

BINS = 4


def law(
    alone: bool, seed: int, per_cell: bool | None = None
) -> tuple[CausalBernoulli, torch.Tensor, torch.Tensor]:
    """A twisted posterior with random weights for two trials and cells, its traces and log p(x, z)."""
    x, made = traces(seed, bins=BINS), model(2, seed, basis=0 if alone else 2)
    recognition = RecognitionConfig(window=1, hidden=3, per_cell=alone if per_cell is None else per_cell)
    config = TwistedConfig(recognition, history=2, hidden=3, rounds=2, channels=2)
    posterior = Twisted(config, TraceSummary.of(x), generator(seed)).double().requires_grad_(False)
    rng = generator(100 + seed)
    with torch.no_grad():
        for weight in posterior.parameters():
            weight += 0.4 * torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
        q = posterior.condition(x, None, made.prior(*x.shape[:2])).q
        log_p = log_joint(made, x, paths_of(x, alone), alone).flatten(1)
    return q, x, log_p


@pytest.mark.parametrize(("alone", "per_cell"), [(True, True), (False, False), (False, True)])
@pytest.mark.parametrize("seed", [0, 1])
def test_members_are_the_posterior_trace_by_trace(alone: bool, per_cell: bool, seed: int) -> None:
    q, x, log_p = law(alone, seed, per_cell)
    paths = paths_of(x, alone)
    group = paths[:, 0, :, :1] if alone else paths[:, 0]
    members = members_of(q, alone)
    assert isinstance(members, TwistedMembers)
    with torch.no_grad():
        wanted = exact_elbo(log_probability(q, paths, alone).flatten(1), log_p)
        logits = path_logits(q, paths).expand(len(paths), -1, -1, -1)
    assert torch.allclose(members.elbo(group, log_p), wanted, atol=1e-10)
    assert torch.allclose(members.unflat(members.flat()).elbo(group, log_p), wanted, atol=1e-10)
    if alone:
        logits = logits.transpose(2, 3).reshape(len(group), -1, BINS, 1)
    assert torch.allclose(members.logits(group), logits, atol=1e-10)
    # the cells of a network hear each other unless each has a network of its own
    assert members.heard.numel() == 0 if per_cell else bool(members.pairs.any())


@pytest.mark.parametrize("alone", [True, False])
def test_never_below_a_start_nor_above_the_evidence(alone: bool) -> None:
    q, x, log_p = law(alone, 2)
    paths = paths_of(x, alone)
    group = paths[:, 0, :, :1] if alone else paths[:, 0]
    members, evidence = members_of(q, alone), log_p.logsumexp(0)
    first = members.elbo(group, log_p)
    start, drives = best_drives(log_p, group, members, steps=60)
    found, reached = best_members(log_p, group, [members, start], 1, generator(0), steps=60)
    assert (drives >= first - 1e-12).all() and (reached >= drives - 1e-12).all()
    assert (reached <= evidence + 1e-9).all()
    assert torch.allclose(found.elbo(group, log_p), reached, atol=1e-10)
    # a context for every bin and a bend in the past: nearly all of the gap is closed
    assert ((evidence - reached) < 0.1 * (evidence - first)).all()


def test_some_instances_keep_their_own_prior() -> None:
    q, x, log_p = law(True, 3)
    members, group = members_of(q, True), paths_of(x, True)[:, 0, :, :1]
    which = torch.tensor([3, 0, 3])
    assert torch.equal(members.take(which).elbo(group, log_p[:, which]), members.elbo(group, log_p)[which])
    again = members.take(which)
    assert torch.equal(
        again.unflat(again.flat()).elbo(group, log_p[:, which]), again.elbo(group, log_p[:, which])
    )


def test_families_of_other_sizes_do_not_hold_it() -> None:
    members = members_of(law(True, 4)[0], True)
    assert isinstance(members, TwistedMembers)
    linear = members_of(CausalBernoulli(law(True, 4)[0].drive), True)
    assert isinstance(linear, Members)
    assert members.fits_in(members) and not members.fits_in(linear) and not linear.fits_in(members)
    assert not members.fits_in(replace(members, context=members.context[..., :2]))
