"""Members of a family of posteriors, one for each trace, with weights of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.enumeration import all_paths
from dfp.distributions.terms import Coupling, NonlinearHistory, OwnHistory


@dataclass(frozen=True)
class FamilyMembers(ABC):
    """M laws of one family over the spikes of C cells in T bins, every weight of which may be free.

    Attributes:
        drive: ``(M, T, C)``, the part of the logits that ignores the spikes.
    """

    drive: Tensor

    @abstractmethod
    def take(self, which: Tensor) -> Self:
        """Those of the instances with the given numbers."""

    @abstractmethod
    def fits_in(self, larger: FamilyMembers) -> bool:
        """Whether ``larger`` is of a family that has all of this one's weights."""

    @abstractmethod
    def within(self, larger: Self) -> Self:
        """The same laws as members of a family that has all of this one's weights, and more."""

    @abstractmethod
    def flat(self) -> Tensor:
        """All that is free, ``(M, D)``."""

    @abstractmethod
    def unflat(self, values: Tensor) -> Self:
        """Members of the same family, of the same traces, from ``(M, D)``."""

    @abstractmethod
    def bin(self, pasts: Tensor, t: int) -> Tensor:
        """Logits of bin t after pasts ``(R, T, C)``: ``(R, M, C)``."""

    def elbo(self, paths: Tensor, log_p: Tensor) -> Tensor:
        """``Σ_z q(z) (log p(x, z) − log q(z))``, ``(M,)`` nats, bin by bin from the last (see ``tree_elbo``).

        Args:
            paths: all paths ``(P, T, C)``.
            log_p: ``(P, M)``.
        """
        cells = paths.shape[2]
        now = all_paths(1, cells, paths.dtype).to(paths.device)[..., 0, :]
        value = log_p
        for t in reversed(range(paths.shape[1])):
            logits = self.bin(paths[: 2 ** (t * cells)], t)
            log_q = (now[:, :, None] * logits - softplus(logits)).sum(-1)  # (2^C, R, M)
            value = (log_q.exp() * (value.unflatten(0, (len(now), -1)) - log_q)).sum(0)
        return value[0]

    def logits(self, paths: Tensor) -> Tensor:
        """On all paths ``(P, T, C)``: ``(P, M, T, C)``."""
        count, bins, cells = paths.shape
        # what comes before bin t recurs with every later value
        each = [self.bin(paths[: 2 ** (t * cells)], t) for t in range(bins)]
        return torch.stack([u.repeat(count // len(u), 1, 1) for u in each], 2)


@dataclass(frozen=True)
class Members(FamilyMembers):
    """A member of a family for each of M instances, whose weights are its own.

    ``u[t, i] = drive[t, i] + Σ_{l,j} linear[l, i, j] z[t − 1 − l, j]
    + Σ_h outward[i, h] tanh(context[t, i, h] + Σ_l inward[i, l, h] z[t − 1 − l, i])``.
    Entries of ``linear`` outside of ``free`` are 0.

    Attributes:
        drive: ``(M, T, C)``.
        linear: ``(M, L, C, C)``, ``[m, l, i, j]`` from cell j onto cell i at lag l + 1; L may be 0.
        inward, context, outward: ``(M, C, L', H)``, ``(M, T, C, H)``, ``(M, C, H)``; H may be 0.
        free: ``(L, C, C)`` bool, the linear weights that the family has.
    """

    drive: Tensor
    linear: Tensor
    inward: Tensor
    context: Tensor
    outward: Tensor
    free: Tensor

    @staticmethod
    def of(q: CausalBernoulli, independent: bool) -> Members:
        """A posterior for traces ``(B, T, N)`` as members, one an instance: B · N of a panel, else B.

        Raises:
            UserError: for terms other than own history, coupling lag by lag and nonlinear history.
        """
        trials, bins, cells = q.drive.shape[-3:]
        lags = max((t.memory for t in q.terms if isinstance(t, (OwnHistory, Coupling))), default=0)
        linear = q.drive.new_zeros(lags, cells, cells)
        free = torch.zeros(lags, cells, cells, dtype=torch.bool, device=q.drive.device)
        own = torch.eye(cells, dtype=torch.bool, device=q.drive.device)
        hidden = (
            q.drive.new_zeros(cells, 1, 0),
            q.drive.new_zeros(trials, bins, cells, 0),
            q.drive.new_zeros(cells, 0),
        )
        for term in q.terms:
            if isinstance(term, OwnHistory):
                linear[: term.memory, own] += term.taps.t()
                free[: term.memory] |= own
            elif (
                isinstance(term, Coupling) and term.basis.shape[0] == term.basis.shape[1] and not independent
            ):
                linear[: term.memory] += torch.einsum("rij,rl->lij", term.weights, term.basis)
                free[: term.memory] |= ~own
            elif isinstance(term, NonlinearHistory) and not hidden[0].shape[-1]:
                hidden = (
                    term.inward.expand(cells, -1, -1),
                    term.context,
                    term.outward.expand(cells, -1),
                )
            else:
                raise UserError(
                    f"best member: found the term {type(term).__name__}, expected own history, free coupling "
                    "of coupled cells or one nonlinear history"
                )
        inward, context, outward = hidden
        drive = q.drive.expand(trials, bins, cells)
        if not independent:
            each = [w.expand(trials, *w.shape) for w in (linear, inward, outward)]
            return Members(drive, each[0], each[1], context, each[2], free)
        diagonal = linear.diagonal(dim1=1, dim2=2).t()[..., None, None]  # (N, L, 1, 1)
        return Members(
            drive.transpose(1, 2).reshape(-1, bins, 1),
            diagonal.repeat(trials, 1, 1, 1),
            inward[:, None].repeat(trials, 1, 1, 1),
            context.transpose(1, 2).reshape(trials * cells, bins, 1, -1),
            outward[:, None].repeat(trials, 1, 1),
            free[:, :1, :1],
        )

    def take(self, which: Tensor) -> Members:
        """Those of the instances with the given numbers."""
        whole = (self.drive, self.linear, self.inward, self.context, self.outward)
        drive, linear, inward, context, outward = (part[which] for part in whole)
        return Members(drive, linear, inward, context, outward, self.free)

    def within(self, larger: Members) -> Members:
        """The same laws as members of a family that has all of this one's weights, and more.

        Weights that are new are 0, but for those inside the nonlinear term, which are ``larger``'s: its
        readout is 0, and could not leave 0 if they were too.
        """
        lags = larger.free.shape[0] - self.free.shape[0]
        linear = pad(self.linear, (0, 0, 0, 0, 0, lags))
        inward, context, outward = self.inward, self.context, self.outward
        if not outward.shape[-1]:
            inward, context, outward = larger.inward, larger.context, torch.zeros_like(larger.outward)
        return Members(self.drive, linear, inward, context, outward, larger.free)

    def fits_in(self, larger: FamilyMembers) -> bool:
        """Whether ``larger`` is of a family that has all of this one's weights."""
        if not isinstance(larger, Members):
            return False
        mine, theirs = self.free, larger.free
        nested = len(mine) <= len(theirs) and not bool((mine & ~theirs[: len(mine)]).any())
        return nested and (not self.outward.shape[-1] or self.inward.shape == larger.inward.shape)

    def bin(self, pasts: Tensor, t: int) -> Tensor:
        """Logits of bin t after pasts ``(R, T, C)``: ``(R, M, C)``."""
        total = self.drive[:, t]
        lags = min(self.linear.shape[1], t)
        if lags:
            weights = self.linear[:, :lags].permute(1, 3, 0, 2).reshape(lags * pasts.shape[2], -1)
            total = total + (last_values(pasts, t, lags).flatten(1) @ weights).unflatten(-1, (len(total), -1))
        if self.outward.shape[-1]:
            lags = min(self.inward.shape[2], t)
            inward = torch.einsum("plc,mclh->pmch", last_values(pasts, t, lags), self.inward[:, :, :lags])
            total = total + (torch.tanh(inward + self.context[:, t]) * self.outward).sum(-1)
        return total.expand(len(pasts), -1, -1)

    def flat(self) -> Tensor:
        """All that is free, ``(M, D)``."""
        rest = [w.flatten(1) for w in (self.inward, self.context, self.outward)]
        return torch.cat([self.drive.flatten(1), self.linear[:, self.free], *rest], 1)

    def unflat(self, values: Tensor) -> Members:
        """Members of the same family, of the same traces, from ``(M, D)``."""
        count = len(values)
        sizes = [self.drive[0].numel(), int(self.free.sum())]
        sizes += [w[0].numel() for w in (self.inward, self.context, self.outward)]
        drive, linear, inward, context, outward = values.split(sizes, 1)
        whole = values.new_zeros(count, *self.free.shape)
        whole[:, self.free] = linear
        rest = zip((inward, context, outward), (self.inward, self.context, self.outward), strict=True)
        shaped = [w.reshape(count, *like.shape[1:]) for w, like in rest]
        inward, context, outward = shaped
        first = drive.reshape(count, *self.drive.shape[1:])
        return Members(first, whole, inward, context, outward, self.free)


def last_values(pasts: Tensor, t: int, lags: int) -> Tensor:
    """The last values before bin t, ``(R, L, C)``, lag 1 first."""
    return pasts[:, t - lags : t].flip(1)
