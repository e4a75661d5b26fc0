"""The spiking law of a coupled network learned from fluorescence, by Gibbs sampling of the spikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.models.base import Parameters
from dfp.models.calcium import CalciumParameters
from dfp.references.gibbs.base import GibbsChain
from dfp.references.gibbs.law import LAW, START_BIAS, draw_law
from dfp.references.gibbs.particles import gibbs_chain
from dfp.references.regression import regress

Array = NDArray[np.float64]

#: nats per bin and squared logit, of EM's regressions: enough for a finite estimate
RIDGE = 1e-6
#: EM's steps fall as the number of sweeps after the burn-in to this power, between 0.5 and 1
POWER = 0.7


class Recorded(Protocol):
    """What is used of a data set (``dfp.data.dataset.Dataset`` is one, but on the same floor)."""

    @property
    def x(self) -> NDArray[np.floating]:
        """``(B, T, N)`` traces, NaN where not observed."""

    @property
    def bin_rate(self) -> float:
        """Bins per second."""

    @property
    def start(self) -> Parameters:
        """Calcium constants and coupling basis; the shapes of the rest."""

    @property
    def kernel_bins(self) -> int:
        """Cut of the calcium response, 0 for none."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What ``em`` found.

    Attributes:
        parameters: the estimates, with the data set's calcium constants.
        trace: the estimates after each sweep, by name: bias ``(K, N)``, history ``(K, N, Lh)``, coupling
            ``(K, R, N, N)``.
        chain: the sampler where it ended, under the estimates: ``chain.run`` goes on from there.
    """

    parameters: CalciumParameters
    trace: dict[str, Array]
    chain: GibbsChain


def em(
    data: Recorded,
    sweeps: int,
    burn_in: int,
    seed: int,
    particles: int = 0,
) -> Fit:
    """Stochastic-approximation EM for the spiking law, calcium constants as in ``data.start``.

    Sweep k draws the spikes under θ_{k−1}; ``regress`` gives the estimates θ̂_k of its raster alone; then

        θ_k = θ_{k−1} + γ_k (θ̂_k − θ_{k−1}), γ_k = 1 for k ≤ burn_in, then (k − burn_in)^−0.7.

    Starts from no spikes, a bias of −3, no history and no coupling, whatever ``data.start`` has there: on
    simulated data that is the truth. Averaged are the estimates, as a logistic regression has no sufficient
    statistics to average: they differ from the maximum by the order of 1 / (number of bins). (Delyon,
    Lavielle & Moulines 1999; with γ = 1 throughout it is stochastic EM, Celeux & Diebolt 1985.)

    Args:
        data: its training traces are used.
        sweeps: in all, burn-in included.
        particles: of particle Gibbs; 0 takes it only where the memory is too long for ``BlockedGibbs``.

    Raises:
        UserError: for settings outside these ranges, or those of ``gibbs_chain``.
    """
    start = data.start
    if not 0 <= burn_in < sweeps:
        raise UserError(f"em: found {sweeps} sweeps, burn-in {burn_in}; expected 0 ≤ burn-in < sweeps")
    theta = _at_rest(start)
    chain = gibbs_chain(
        replace(start, **theta), data.bin_rate, data.kernel_bins, data.x, seed, particles=particles
    )
    assert isinstance(start, CalciumParameters)  # the sampler refuses others
    trace = {name: np.empty((sweeps, *theta[name].shape)) for name in LAW}
    for k in range(1, sweeps + 1):
        chain.sweep()
        found = regress(chain.z, start.basis, start.history.shape[1], RIDGE)
        size = 1.0 if k <= burn_in else (k - burn_in) ** -POWER
        for name in LAW:
            theta[name] = theta[name] + size * (getattr(found, name) - theta[name])
            trace[name][k - 1] = theta[name]
        chain.set_parameters(replace(start, **theta))
    return Fit(replace(start, **theta), trace, chain)


def _at_rest(start: Parameters) -> dict[str, Array]:
    """A law of ``start``'s shapes with a bias of −3 and no weights."""
    theta = {name: np.zeros(getattr(start, name).shape) for name in LAW}
    theta["bias"] += START_BIAS
    return theta


@dataclass(frozen=True, eq=False)
class WeightPosterior:
    """Draws of the spiking law from its posterior given the traces.

    Attributes:
        bias, history, coupling: ``(S, N)``, ``(S, N, Lh)``, ``(S, R, N, N)``, logits.
        acceptance: ``(N,)`` share of accepted proposals for each receiving cell, after the burn-in.
        chain: the sampler where it ended.
    """

    bias: Array
    history: Array
    coupling: Array
    acceptance: Array
    chain: GibbsChain


def weight_posterior(
    data: Recorded,
    sweeps: int,
    burn_in: int,
    seed: int,
    prior_sd: float,
    other_sd: float = 3.0,
    particles: int = 0,
) -> WeightPosterior:
    """Gibbs sampling of spikes and spiking law together, calcium constants as in ``data.start``.

    Prior: W_r[i, j] ~ N(0, prior_sd²), h_iτ ~ N(0, other_sd²), b_i ~ N(−3, other_sd²), all independent. A
    sweep over the spikes and one ``draw_law`` alternate, from no spikes, a bias of −3, no history and no
    coupling; the draws of ``sweeps`` turns after ``burn_in`` are kept. They are correlated: see ``chains``.

    Raises:
        UserError: for settings outside their ranges, or those of ``gibbs_chain``.
    """
    start = data.start
    if sweeps < 1 or burn_in < 0 or not prior_sd > 0 or not other_sd > 0:
        raise UserError(
            f"weight posterior: found {sweeps} sweeps, burn-in {burn_in}, sd {prior_sd} and {other_sd}; "
            "expected at least 1, at least 0, above 0"
        )
    kept = {name: np.empty((sweeps, *getattr(start, name).shape)) for name in LAW}
    acceptance = np.zeros(start.cells)
    drawn = law_draws(data, seed, prior_sd, other_sd, particles)
    for k, draw in zip(range(-burn_in, sweeps), drawn, strict=False):
        chain = draw.chain
        if k >= 0:
            acceptance += draw.accepted / sweeps
            for name in LAW:
                kept[name][k] = draw.theta[name]
    return WeightPosterior(kept["bias"], kept["history"], kept["coupling"], acceptance, chain)


@dataclass(frozen=True, eq=False)
class LawDraw:
    """One turn of ``law_draws``.

    It holds the law drawn, by name, whether each cell's proposal was accepted, ``(N,)``, and the sampler of
    the spikes, under that law.
    """

    theta: dict[str, Array]
    accepted: NDArray[np.bool_]
    chain: GibbsChain


def law_draws(
    data: Recorded, seed: int, prior_sd: float, other_sd: float = 3.0, particles: int = 0
) -> Iterator[LawDraw]:
    """The turns of ``weight_posterior``, without end and from the first on, none left out."""
    start = data.start
    theta = _at_rest(start)
    chain = gibbs_chain(
        replace(start, **theta), data.bin_rate, data.kernel_bins, data.x, seed, particles=particles
    )
    rng = np.random.default_rng([seed, 1])
    while True:
        chain.sweep()
        theta, accepted = draw_law(chain.z, start.basis, theta, prior_sd, other_sd, rng)
        chain.set_parameters(replace(start, **theta))
        yield LawDraw(theta, accepted, chain)
