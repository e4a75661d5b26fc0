"""The best member of a family for each trace by itself: what amortisation and training are held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from .members import FamilyMembers
from .minimise import minimise_each

Law = TypeVar("Law", bound=FamilyMembers)


def best_drives(log_p: Tensor, paths: Tensor, start: Law, steps: int = 200) -> tuple[Law, Tensor]:
    """Members with every trace's drive at its best and all other weights as they are; their ELBO, ``(M,)``.

    They lie between the best member, whose weights are a trace's own too, and the amortised posterior, whose
    drive comes from a network. What they lose against the best member is the price of shared weights; what
    the amortised posterior loses against them is the price of the network. Arguments as for ``best_members``.
    """

    def loss(values: Tensor, which: Tensor) -> Tensor:
        some = start.take(which)
        moved = replace(some, drive=values.reshape(some.drive.shape))
        return -moved.elbo(paths, log_p[:, which])

    found, reached = minimise_each(loss, start.drive.flatten(1), steps)
    return replace(start, drive=found.reshape(start.drive.shape)), -reached


def best_members(
    log_p: Tensor,
    paths: Tensor,
    starts: Iterable[Law],
    random_starts: int,
    rng: torch.Generator,
    steps: int = 200,
) -> tuple[Law, Tensor]:
    """For every instance the member with the highest exact ELBO that was found, and that ELBO, ``(M,)`` nats.

    ``max_q Σ_z q(z) (log p(x, z) − log q(z))`` over all weights of the family, each instance for itself, by
    BFGS from every start and from random ones. Not concave, so that ``log p(x)`` minus it is an upper
    estimate of the family's gap; never below the ELBO of any start.

    Args:
        log_p: ``(P, M)`` log p(x, z) of every path, float64.
        paths: ``(P, T, C)``.
        starts: members of one family (trained posteriors, say), at least one.
        random_starts: further starts, the first's weights with a standard normal drive instead of its own.
        rng: of the random starts.
        steps: of BFGS, at most.
    """
    given = list(starts)
    first = given[0]
    for _ in range(random_starts):
        drive = torch.randn(first.drive.shape, generator=rng, dtype=log_p.dtype, device=rng.device)
        given.append(replace(first, drive=drive.to(log_p.device)))

    count = log_p.shape[1]

    def loss(values: Tensor, which: Tensor) -> Tensor:
        return -first.take(which % count).unflat(values).elbo(paths, log_p[:, which % count])

    found, reached = minimise_each(loss, torch.cat([start.flat() for start in given]), steps)
    value, winner = reached.reshape(-1, count).min(0)
    chosen = found.reshape(-1, count, found.shape[1])[winner, torch.arange(count, device=found.device)]
    return first.unflat(chosen), -value
