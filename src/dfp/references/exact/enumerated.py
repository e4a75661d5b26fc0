"""Exact bounds of small problems: every path is visited, nothing is sampled.

A *group* is what is enumerated together: each cell of a panel is a group of its own (G = N groups of C = 1
cell), the cells of a coupled network are one (G = 1, C = N). There are P = 2^(T·C) paths; bit ``t · C + c``
of a path's number is the spike of cell c in bin t (``distributions/enumeration.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.distributions.law import SpikeLaw, pmf_of
from dfp.distributions.terms import Coupling, NonlinearHistory, OwnHistory
from dfp.objectives.base import Loss, Model, Objective, Problem
from dfp.samplers.base import Sampler
from dfp.samplers.relaxations import Hard, Relaxation

#: terms whose parallel form takes the same paths ``(P, 1, T, N)`` for all trials
_SHARED = (OwnHistory, Coupling, NonlinearHistory)


def paths_of(x: Tensor, independent: bool) -> Tensor:
    """All paths of one group, the same for every cell of a panel, ``(P, 1, T, N)`` in the precision of x."""
    _, bins, cells = x.shape
    if independent:
        return all_paths(bins, 1, x.dtype).to(x.device).expand(-1, -1, -1, cells)
    return all_paths(bins, cells, x.dtype).to(x.device)


def per_group(terms: Tensor, independent: bool) -> Tensor:
    """Sum over bins, and over cells unless each is a group: ``(P, B, T, N)`` to ``(P, B, G)``."""
    summed = terms.sum(2)
    return summed if independent else summed.sum(-1, keepdim=True)


def path_logits(q: CausalBernoulli, paths: Tensor) -> Tensor:
    """All logits of q on paths ``(P, 1, T, N)``: ``(P or 1, B, T, N)``.

    History filters see the path only and are applied once for all trials; where nothing looks at the path
    the first dimension stays 1.
    """
    if not all(isinstance(term, _SHARED) for term in q.terms):
        return q.logits(paths.expand(-1, q.drive.shape[-3], -1, -1))
    total = q.drive[None]
    for term in q.terms:
        total = total + term(paths)
    return total


def log_probability(q: CausalBernoulli, paths: Tensor, independent: bool) -> Tensor:
    """``log q(z)`` of every path ``(P, 1, T, N)``: ``(P, B, G)`` nats."""
    logits = path_logits(q, paths)
    return per_group(paths * logits, independent) - per_group(softplus(logits), independent)


def log_joint(model: Model, x: Tensor, paths: Tensor, independent: bool) -> Tensor:
    """``log p(x, z)`` of every path ``(P, 1, T, N)`` for traces ``(B, T, N)``: ``(P, B, G)`` nats."""
    prior = model.prior(1, x.shape[1]).log_prob(paths)
    return per_group(model.log_likelihood(x, paths) + prior, independent)


def exact_elbo(log_q: Tensor, log_p: Tensor) -> Tensor:
    """``Σ_z q(z) (log p(x, z) − log q(z))`` over the first dimension, nats.

    Args:
        log_q: ``log q(z)``, ``(P, ...)``; −inf where a path is impossible, which then adds nothing.
        log_p: ``log p(x, z)``, of the same shape, finite.
    """
    surplus = torch.where(log_q.isneginf(), torch.zeros_like(log_q), log_p - log_q)
    return (log_q.exp() * surplus).sum(0)


def tree_elbo(q: CausalBernoulli, paths: Tensor, log_p: Tensor, independent: bool) -> Tensor:
    """The same bound ``(B, G)`` from the last bin backward, at a fraction of the cost and with a gradient.

    ``V_t(past) = Σ_z q(z | past) (V_(t+1)(past, z) − log q(z | past))`` with ``V_T = log p(x, z)``: bin t has
    2^(t·C) pasts only, where the paths have 2^(T·C) logits each bin.

    Args:
        paths: ``(P, 1, T, N)`` of ``paths_of``.
        log_p: ``(P, B, G)``.
    """
    count = 1 if independent else paths.shape[-1]
    now = all_paths(1, count, paths.dtype).to(paths.device)[..., 0, :]  # what a bin can hold, (2^C, 1, C)
    shared = all(isinstance(term, _SHARED) for term in q.terms)
    value = log_p
    for t in reversed(range(paths.shape[2])):
        window = pad(paths[: 2 ** (t * count), :, max(t - q.memory, 0) : t], (0, 0, max(q.memory - t, 0), 0))
        logits = q.drive[None, :, t]
        if not shared:
            logits = q.step(window.expand(-1, q.drive.shape[0], -1, -1), t)
        for term in q.terms if shared else ():
            logits = logits + term.step(window[:, :, window.shape[2] - term.memory :], t)
        log_q = now[:, :, None] * logits - softplus(logits)  # (2^C, R, B, N)
        log_q = log_q if independent else log_q.sum(-1, keepdim=True)
        value = (log_q.exp() * (value.unflatten(0, (len(now), -1)) - log_q)).sum(0)
    return value[0]


def enumerated_elbo(problem: Problem, q: CausalBernoulli) -> Tensor:
    """``Σ_z q(z) (log p(x, z) − log q(z))`` of whole trials, ``(B, G)`` nats, with gradient.

    Raises:
        UserError: for windows with a burn-in, a q that couples the cells of a panel, or T·C beyond what
            ``all_paths`` enumerates.
    """
    if bool((problem.weights != 1).any()):
        raise UserError("enumerated_elbo: found a burn-in, expected whole trials")
    if problem.independent and q.couples_cells:
        raise UserError("enumerated_elbo: found coupled cells, expected cells that share nothing")
    paths = paths_of(problem.x, problem.independent)
    log_p = log_joint(problem.model, problem.x, paths, problem.independent)
    return tree_elbo(q, paths, log_p, problem.independent)


def chained_elbo(model: Model, q: CausalBernoulli, x: Tensor, independent: bool) -> Tensor:
    """The same bound by another route, ``(B, G)`` nats: bin by bin, with q's incremental step.

    ``Σ_t E_{q(z[≤t])} [log p(x[t], z[t] | past) − log q(z[t] | z[<t])]``: the 2^(t·C) pasts carry their
    probabilities from bin to bin, and every bin's terms are averaged by themselves. No path probability is
    formed and no logarithm of one taken, so that errors of ``exact_elbo`` or of a law that is not normalised
    do not cancel.

    Args:
        model, q: in float64.
        x: ``(B, T, N)``.
    """
    trials, bins, cells = x.shape
    count = 1 if independent else cells
    past = x.new_zeros(1, trials, 0, cells)
    weight = x.new_ones(1, trials, cells if independent else 1)
    total = torch.zeros_like(weight[0])
    values = all_paths(1, count, x.dtype).to(x.device)  # what a bin can hold, (2^C, 1, 1, C)
    for t in range(bins):
        pasts = past.shape[0]
        window = pad(past, (0, 0, max(q.memory - t, 0), 0))
        logits = q.step(window[:, :, window.shape[2] - q.memory :], t)  # (pasts, B, N)
        now = values.expand(-1, trials, -1, cells)
        z = torch.cat([past.repeat(len(values), 1, 1, 1), now.repeat_interleave(pasts, 0)], 2)
        log_q = (now[:, None, :, 0] * logits - softplus(logits)).flatten(0, 1)
        whole = pad(z, (0, 0, 0, bins - t - 1))  # what is to come changes nothing up to now
        log_p = (model.log_likelihood(x, whole) + model.prior(trials, bins).log_prob(whole))[:, :, t]
        if not independent:
            log_q, log_p = log_q.sum(-1, keepdim=True), log_p.sum(-1, keepdim=True)
        weight = weight.repeat(len(values), 1, 1) * log_q.exp()
        total = total + (weight * (log_p - log_q)).sum(0)
        past = z
    return total


@dataclass(frozen=True)
class EnumeratedElbo(Objective):
    """Minus the exact ELBO, ``−Σ_z q(z) (log p(x, z) − log q(z))``, by enumeration, without samples.

    What an objective with samples would reach without variance and without bias: the reference that a
    posterior's own objective is held against. Of small problems only (T·C ≤ 20, see ``all_paths``), of whole
    trials only, and so not among the objectives that an experiment can name.

    Raises:
        UserError: as ``enumerated_elbo``.
    """

    samples: int = 1
    name: ClassVar[str] = "enumerated_elbo"

    def check(self, relaxation: Relaxation) -> None:
        if not isinstance(relaxation, Hard):
            raise UserError("objective enumerated_elbo: found a relaxation, expected 'hard'")

    def loss(
        self,
        problem: Problem,
        q: SpikeLaw,
        sampler: Sampler,
        relaxation: Relaxation,
        rng: torch.Generator,
    ) -> Loss:
        """The loss, nats per bin; sampler and generator are not used."""
        bins, cells = problem.x.shape[1:]
        elbo = enumerated_elbo(problem, pmf_of(q)).mean(0) / bins
        total = -elbo.sum()
        shares = -elbo.detach() if problem.independent else (total.detach() / cells).expand(cells)
        paths = paths_of(problem.x, problem.independent)
        still = torch.zeros_like(paths)
        return Loss(total, shares, {}, Draw(paths, still, still, sweeps=0, residual=0.0, converged=True))
