"""What the ledger does to laws and posteriors: cut to trials, freed of gradients, weights handed on."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, NonlinearHistory
from dfp.distributions.twist import Twist
from dfp.posteriors.base import Posterior


def detached(q: CausalBernoulli) -> CausalBernoulli:
    """The same law without gradients."""
    found: CausalBernoulli = _detached(q)
    return found


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple):
        return tuple(_detached(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: _detached(getattr(value, part.name)) for part in fields(value)})
    return value


def of_trials(q: CausalBernoulli, some: slice) -> CausalBernoulli:
    """The law of some of the trials."""
    return CausalBernoulli(q.drive[some], tuple(_of_trials(term, some) for term in q.terms))


def _of_trials(term: CausalTerm, some: slice) -> CausalTerm:
    if isinstance(term, NonlinearHistory):
        return replace(term, context=term.context[some])
    if isinstance(term, Twist):
        return replace(term, context=term.context[some], prior=of_trials(term.prior, some))
    return term


def take_weights(posterior: Posterior, start: Posterior) -> None:
    """All weights that ``start`` has under the same name and shape, also for a refined posterior's base."""
    theirs = start.state_dict()
    theirs |= {f"base.{name}": value for name, value in start.state_dict().items()}
    own = posterior.state_dict()
    taken = {name: theirs[name] for name in own if name in theirs and theirs[name].shape == own[name].shape}
    posterior.load_state_dict({**own, **taken})
