"""Two laws of one posterior, for different trials, as one law of all trials."""

from __future__ import annotations

from dataclasses import replace

import torch

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, LowRankCoupling, NonlinearHistory, OwnHistory
from dfp.distributions.twist import Twist


def joined(first: CausalBernoulli, second: CausalBernoulli) -> CausalBernoulli | None:
    """The law of ``first``'s trials followed by ``second``'s, of one posterior (or prior) and one length.

    What does not depend on the trial is taken from ``first``. None where a term is of a kind that is not
    known here: which of its tensors belong to trials is unknown.
    """
    terms = [_joined_term(one, other) for one, other in zip(first.terms, second.terms, strict=True)]
    known = [term for term in terms if term is not None]
    if len(known) < len(terms):
        return None
    return CausalBernoulli(torch.cat([first.drive, second.drive]), tuple(known))


def _joined_term(one: CausalTerm, other: CausalTerm) -> CausalTerm | None:
    match one, other:
        case (OwnHistory(), OwnHistory()) | (Coupling(), Coupling()) | (LowRankCoupling(), LowRankCoupling()):
            return one  # the same for every trial
        case NonlinearHistory(), NonlinearHistory():
            return replace(one, context=torch.cat([one.context, other.context]))
        case Twist(), Twist():
            prior = joined(one.prior, other.prior)
            context = torch.cat([one.context, other.context])
            return None if prior is None else replace(one, prior=prior, context=context)
    return None
