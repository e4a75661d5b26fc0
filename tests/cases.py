"""Small problems that the suites share: processes, models, and every discovered posterior in small settings.

Everything is float64 unless asked otherwise, so that comparisons with enumeration are exact to rounding.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfp.config.build import posteriors
from dfp.core.noise import generator
from dfp.core.parse import build
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import (
    CausalTerm,
    Coupling,
    LowRankCoupling,
    NonlinearHistory,
    OwnHistory,
)
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.objectives.base import Problem
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.posteriors.base import Conditioned, Posterior, TraceSummary
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer
from dfp.training.step import bound_for

ALL_PARAMETERS = CalciumParameters.names
KINDS = ("own_history", "coupled", "nonlinear", "all_terms", "low_rank")


def normal(rng: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=rng, dtype=dtype)


def process(
    kind: str,
    seed: int,
    trials: int = 2,
    bins: int = 8,
    cells: int = 2,
    strength: float = 1.5,
    lags: int = 3,
    dtype: torch.dtype = torch.float64,
) -> CausalBernoulli:
    """A random causal Bernoulli process whose tensors require gradients; see ``leaves`` for them."""
    rng = generator(seed)

    def leaf(*shape: int) -> Tensor:
        return (strength * normal(rng, *shape, dtype=dtype)).requires_grad_()

    terms: list[CausalTerm] = []
    if kind in ("own_history", "all_terms"):
        terms.append(OwnHistory(leaf(cells, lags)))
    if kind in ("coupled", "all_terms"):
        basis = torch.rand(2, max(1, lags - 1), generator=rng, dtype=dtype)
        terms.append(Coupling(leaf(2, cells, cells), basis))
    if kind == "low_rank":
        basis = torch.rand(2, max(1, lags - 1), generator=rng, dtype=dtype)
        terms.append(LowRankCoupling(leaf(2, cells, 1), leaf(2, 1, cells), basis))
    if kind in ("nonlinear", "all_terms"):
        groups = 1 if seed % 2 else cells
        terms.append(NonlinearHistory(leaf(groups, lags, 3), leaf(trials, bins, cells, 3), leaf(groups, 3)))
    return CausalBernoulli(normal(rng, trials, bins, cells, dtype=dtype).requires_grad_(), tuple(terms))


def leaves(q: CausalBernoulli) -> list[Tensor]:
    """The drive and every tensor of every term that requires a gradient."""
    found = [q.drive]
    for term in q.terms:
        found += [getattr(term, field.name) for field in fields(term)]  # type: ignore[arg-type]
    return [tensor for tensor in found if tensor.requires_grad]


def parameters(
    cells: int = 2, seed: int = 0, history: int = 2, basis: int = 0, rise: float = 0.05, strength: float = 1.0
) -> CalciumParameters:
    """Random parameters in a sane range; ``basis`` functions of three lags couple the cells."""
    rng = np.random.default_rng(seed)
    return CalciumParameters(
        bias=rng.normal(-0.5, 0.5, cells),
        history=strength * rng.normal(0, 1, (cells, history)),
        coupling=strength * rng.normal(0, 1, (basis, cells, cells)),
        basis=rng.random((basis, 3)),
        rise=np.full(cells, rise) * rng.uniform(0.8, 1.2, cells),
        decay=rng.uniform(0.2, 0.5, cells),
        amplitude=rng.uniform(0.6, 1.4, cells),
        baseline=rng.normal(0, 0.3, cells),
        noise=rng.uniform(0.3, 0.7, cells),
    )


def model(
    cells: int = 2,
    seed: int = 0,
    learn: tuple[str, ...] = ALL_PARAMETERS,
    kernel_bins: int = 0,
    **settings: Any,
) -> CalciumNetwork:
    """A float64 network at 10 bins per second; without a basis it has no coupling to learn."""
    start = parameters(cells, seed, **settings)
    names = [name for name in learn if name != "coupling" or start.basis.shape[0]]
    return CalciumNetwork(start, bin_rate=10.0, learn=names, kernel_bins=kernel_bins).double()


def traces(
    seed: int, trials: int = 2, bins: int = 5, cells: int = 2, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Noise with a few bumps; any trace will do for identities."""
    rng = generator(seed)
    bumps = (torch.rand(trials, bins, cells, generator=rng, dtype=dtype) < 0.3).to(dtype)
    return bumps + 0.4 * normal(rng, trials, bins, cells, dtype=dtype)


def problem(
    network: CalciumNetwork, x: Tensor, weights: Tensor | None = None, independent: bool = False
) -> Problem:
    """Traces that all count, unless weights say otherwise."""
    return Problem(network, x, torch.ones_like(x[..., :1]) if weights is None else weights, independent)


@dataclass(frozen=True)
class Family:
    """A discovered posterior in one small setting."""

    name: str
    settings: dict[str, Any]

    def __str__(self) -> str:
        return "-".join([self.name, *_words(self.settings)])

    @property
    def cls(self) -> type[Posterior]:
        """The posterior's class."""
        return posteriors()[self.name]

    def fresh(self, cells: int = 2, seed: int = 0) -> Posterior:
        """As a run would make it, float32."""
        summary = TraceSummary(cells, torch.linspace(0.1, 0.3, cells), torch.linspace(0.6, 0.9, cells))
        config = build(self.cls.Config, self.settings, str(self))
        return self.cls(config, summary, generator(seed))  # type: ignore[call-arg]

    def trained(self, cells: int = 2, seed: int = 0) -> Posterior:
        """Float64, with every weight moved off its start, so that no term is zero by initialisation."""
        posterior = self.fresh(cells, seed).double()
        shake(posterior, seed + 1)
        return posterior


def shake(module: nn.Module, seed: int, scale: float = 0.4) -> None:
    """Add normal noise to every parameter."""
    rng = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)


# small values for settings that any family may have, by name; a family's configuration is varied over those
# that it has
_SMALL: dict[str, tuple[Any, ...]] = {
    "recognition": (
        {"window": 2, "hidden": 4},
        {"window": 1, "hidden": 4, "per_cell": True},
        {"window": 2, "hidden": 4, "cross_channels": 2},
    ),
    "history": (0, 3),
    "coupling_lags": (0, 2),
    "tied_coupling": (False, True),
    "nonlinear_hidden": (0, 3),
    "nonlinear_history": (2,),
    "steps": (2,),
    "hidden": (3,),
    "rounds": (0, 2),
    "channels": (0, 2),
    "estimator": ("mean_passing", "straight_through_sigma"),
    "through": (False, True),
    "flow": ("planar", "radial"),
    "length": (3,),
    "block": (4,),
}


def families(pmf: bool = True) -> list[Family]:
    """Every discovered posterior that gives spikes a probability (or that does not), in every combination of
    the small settings that it has.
    """
    return [
        Family(name, settings)
        for name, cls in posteriors().items()
        for settings in _variants(cls.Config)
        if cls.has_pmf == pmf
    ]


def _variants(config: type) -> list[dict[str, Any]]:
    names = [field.name for field in fields(config)]  # type: ignore[arg-type]
    varied = {name: _SMALL[name] for name in names if name in _SMALL}
    combined = [dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]
    if "of" not in names:
        return combined
    # a family that refines others: each of them in one small setting that uses all that it has
    of = {base: _variants(posteriors()[base].Config) for base in names if base in posteriors()}
    return [{**own, "of": base, base: inner[-1]} for own in combined for base, inner in of.items()]


def _words(settings: dict[str, Any]) -> list[str]:
    words = []
    for key, value in settings.items():
        if isinstance(value, dict):
            words += _words(value)
        elif value is True or isinstance(value, str):
            words.append(str(key if value is True else value))
        elif value and key in (
            "history",
            "coupling_lags",
            "nonlinear_hidden",
            "cross_channels",
            "rounds",
            "channels",
        ):
            words.append(key)
    return words


def condition(posterior: Posterior, x: Tensor, seed: int = 0) -> Conditioned:
    """The posterior for ``x``, with a bound of a fixed model and
    fixed noise at hand for those that refine.
    """
    network = model(x.shape[2], seed=7, learn=(), basis=1).to(x.dtype)
    bound = bound_for(problem(network, x), RelaxedPmf(), Sequential(), generator(seed))
    return posterior.condition(x, bound, network.prior(*x.shape[:2]))


def metrics_of(trainer: Trainer, steps: int | None = None) -> list[dict[str, Any]]:
    """Metrics of the next steps, wall-clock times left out."""
    found = []
    for metrics in trainer.run():
        found.append({key: value for key, value in metrics.items() if key != "seconds"})
        if len(found) == steps:
            break
    return found
