"""Twisted posteriors as members of their family: the prior stays, all that twists it is a trace's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import Coupling
from dfp.distributions.twist import Twist

from .members import FamilyMembers, Members, last_values


@dataclass(frozen=True)
class TwistedMembers(FamilyMembers):
    """A twisted law for each of M instances: the logits of ``Twist`` plus ``drive``.

    Free are drive, context and every weight of the twist, each instance's own; weights that cells share in
    the posterior (G = 1) they share here. Where cells hear each other, each word counts a free number for
    each pair that the model couples: what a learned function f of the weights could make of them, at most.
    The prior is the model's and not free.

    Attributes:
        prior: of each instance.
        context: ``(M, T, C, H)``.
        inward: ``(M, G, L, H)``, G = C, or 1 where the cells share a network.
        drift, outward: ``(M, G, H)``.
        mixing, mixing_bias: ``(M, 1 + R, G, H, H)``, ``(M, 1 + R, G, H)``.
        heard: f(W), ``(M, R, W, C, C)``; 0 outside of ``pairs``.
        speaking, listening, direct: ``(M, R, H, W)``, ``(M, R, W, H)``, ``(M, R, W)``.
        pairs: ``(R, W, C, C)`` bool.
    """

    prior: Members
    context: Tensor
    inward: Tensor
    drift: Tensor
    outward: Tensor
    mixing: Tensor
    mixing_bias: Tensor
    heard: Tensor
    speaking: Tensor
    listening: Tensor
    direct: Tensor
    pairs: Tensor

    #: what is free besides the drive and ``heard``
    _FREE = (
        "context", "inward", "drift", "outward", "mixing", "mixing_bias", "speaking", "listening", "direct",
    )  # fmt: skip

    @staticmethod
    def of(q: CausalBernoulli, independent: bool) -> TwistedMembers:
        """A twisted posterior for traces ``(B, T, N)``, one member an instance: B · N of a panel, else B."""
        (twist,) = q.terms
        assert isinstance(twist, Twist)
        trials, bins, cells = q.drive.shape[-3:]
        messages, rounds = twist.messages, len(twist.mixing) - 1
        talks = messages.weights.shape[1] > 0
        # of each instance by itself: a cell of a panel has the networks of its own
        own = {
            "inward": twist.inward[:, None] if independent else twist.inward[None],
            "drift": twist.drift[:, None] if independent else twist.drift[None],
            "outward": twist.outward[:, None] if independent else twist.outward[None],
            "mixing": twist.mixing.movedim(1, 0)[:, :, None] if independent else twist.mixing[None],
            "mixing_bias": twist.mixing_bias.movedim(1, 0)[:, :, None]
            if independent
            else twist.mixing_bias[None],
        }
        count, hidden = trials * (cells if independent else 1), twist.context.shape[-1]
        each = {name: w.repeat(count // len(w), *[1] * (w.dim() - 1)) for name, w in own.items()}
        words = {
            "heard": messages.weights,
            "speaking": messages.speaking if talks else q.drive.new_zeros(rounds, hidden, 0),
            "listening": messages.listening if talks else q.drive.new_zeros(rounds, 0, hidden),
            "direct": messages.direct if talks else q.drive.new_zeros(rounds, 0),
        }
        each |= {name: w.repeat(count, *[1] * w.dim()) for name, w in words.items()}
        drive, context = q.drive.expand(trials, bins, cells), twist.context
        if independent:
            drive = drive.transpose(1, 2).reshape(-1, bins, 1)
            context = context.transpose(1, 2).reshape(-1, bins, 1, hidden)
        prior = Members.of(_lag_by_lag(twist.prior), independent)
        return TwistedMembers(drive, prior, context, pairs=messages.weights != 0, **each)

    def take(self, which: Tensor) -> Self:
        parts = {name: getattr(self, name)[which] for name in ("drive", "heard", *self._FREE)}
        return replace(self, prior=self.prior.take(which), **parts)

    def fits_in(self, larger: FamilyMembers) -> bool:
        """Whether ``larger`` is of the same family: none of another size is taken to hold this one."""
        return isinstance(larger, TwistedMembers) and all(
            getattr(self, name).shape[1:] == getattr(larger, name).shape[1:]
            for name in ("heard", *self._FREE)
        )

    def within(self, larger: Self) -> Self:
        """Itself, as families of twisted laws that are taken to hold each other are the same."""
        return self

    def bin(self, pasts: Tensor, t: int) -> Tensor:
        """Logits of bin t after pasts ``(R, T, C)``: ``(R, M, C)``."""
        prior = self.prior.bin(pasts, t)
        unexplained = self.context[:, t] + prior[..., None] * self.drift
        lags = min(self.inward.shape[2], t)
        if lags:
            unexplained = unexplained + self._past(last_values(pasts, t, lags), lags)
        hidden = torch.tanh(self._mixed(torch.tanh(unexplained), 0))
        total = prior + self.drive[:, t]
        for r in range(self.heard.shape[1]):
            mixed = self._mixed(hidden, 1 + r)
            if self.heard.shape[2]:
                spoken = torch.einsum("pmih,mhc->pmic", hidden, self.speaking[:, r])
                heard = torch.einsum("pmic,mcij->pmjc", spoken, self.heard[:, r])
                mixed = mixed + torch.einsum("pmjc,mch->pmjh", heard, self.listening[:, r])
                total = total + torch.einsum("pmjc,mc->pmj", heard, self.direct[:, r])
            hidden = torch.tanh(mixed)
        return total + (hidden * self.outward).sum(-1)

    def _past(self, past: Tensor, lags: int) -> Tensor:
        """``Σ_l inward[l] z[t − 1 − l]`` of pasts ``(R, L, C)``: ``(R, M, C, H)``."""
        inward = self.inward[:, :, :lags]
        if inward.shape[1] == 1:
            return torch.einsum("plc,mlh->pmch", past, inward[:, 0])
        return torch.einsum("plc,mclh->pmch", past, inward)

    def _mixed(self, hidden: Tensor, layer: int) -> Tensor:
        """One layer without its bend, ``(R, M, C, H)`` to the same."""
        weights, bias = self.mixing[:, layer], self.mixing_bias[:, layer]
        if weights.shape[1] == 1:
            return torch.einsum("pmch,mhk->pmck", hidden, weights[:, 0]) + bias
        return torch.einsum("pmch,mchk->pmck", hidden, weights) + bias

    def flat(self) -> Tensor:
        whole = [getattr(self, name).flatten(1) for name in self._FREE]
        return torch.cat([self.drive.flatten(1), self.heard[:, self.pairs], *whole], 1)

    def unflat(self, values: Tensor) -> Self:
        """Members of the same family, of the same traces, from ``(M, D)``."""
        count = len(values)
        sizes = [self.drive[0].numel(), int(self.pairs.sum())]
        sizes += [getattr(self, name)[0].numel() for name in self._FREE]
        drive, pairs, *rest = values.split(sizes, 1)
        heard = values.new_zeros(count, *self.pairs.shape)
        heard[:, self.pairs] = pairs
        shaped = {
            name: part.reshape(count, *getattr(self, name).shape[1:])
            for name, part in zip(self._FREE, rest, strict=True)
        }
        first = drive.reshape(count, *self.drive.shape[1:])
        return replace(self, drive=first, heard=heard, **shaped)


def members_of(q: CausalBernoulli, independent: bool) -> FamilyMembers:
    """A posterior for traces ``(B, T, N)`` as members of its family, one an instance.

    Raises:
        UserError: for a term that no family has, see ``Members.of``.
    """
    twisted = len(q.terms) == 1 and isinstance(q.terms[0], Twist)
    return TwistedMembers.of(q, independent) if twisted else Members.of(q, independent)


def _lag_by_lag(prior: CausalBernoulli) -> CausalBernoulli:
    """The same law, its coupling with a weight for each lag."""
    terms = []
    for term in prior.terms:
        if isinstance(term, Coupling):
            weights = torch.einsum("rij,rl->lij", term.weights, term.basis)
            term = Coupling(weights, torch.eye(term.memory, dtype=weights.dtype, device=weights.device))
        terms.append(term)
    return prior.with_terms(terms)
