"""The spiking law of a coupled network learned from fluorescence, by Gibbs sampling of the spikes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dfp.core.errors import UserError
from dfp.evaluation.gibbs.base import GibbsChain
from dfp.evaluation.gibbs.particles import gibbs_chain
from dfp.evaluation.regression import lagged, regress
from dfp.models.calcium import CalciumParameters

Array = NDArray[np.float64]

#: what can be learned
LAW = ("bias", "history", "coupling")
#: logits at which every cell starts: about one spike in twenty bins
START_BIAS = -3.0
#: largest change of a logit parameter at which Newton's method stops, and its most steps
NEWTON_TOLERANCE = 1e-8
NEWTON_STEPS = 50
#: degrees of freedom of the proposals
FREEDOM = 20.0


class Recorded(Protocol):
    """What is used of a data set (``dfp.data.dataset.Dataset`` is one, but on the same floor)."""

    @property
    def x(self) -> NDArray[np.floating]:
        """``(B, T, N)`` traces, NaN where not observed."""

    @property
    def frame_rate(self) -> float:
        """Bins per second."""

    @property
    def start(self) -> CalciumParameters:
        """Calcium constants and coupling basis; the shapes of the rest."""

    @property
    def kernel_bins(self) -> int:
        """Cut of the calcium response, 0 for none."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What ``em`` found.

    Attributes:
        parameters: the estimates; what was not learned is as in the data set.
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
    learn: Collection[str] = LAW,
    ridge: float = 1e-6,
    power: float = 0.7,
    kernel_bins: int | None = None,
    particles: int = 0,
) -> Fit:
    """Stochastic-approximation EM for the spiking law, calcium constants as in ``data.start``.

    Sweep k draws the spikes under θ_{k−1}; ``regress`` gives the estimates θ̂_k of its raster alone; then

        θ_k = θ_{k−1} + γ_k (θ̂_k − θ_{k−1}), γ_k = 1 for k ≤ burn_in, then (k − burn_in)^−power.

    Starts from no spikes, a bias of −3, no history and no coupling, whatever ``data.start`` has there: on
    simulated data that is the truth. Averaged are the estimates, as a logistic regression has no sufficient
    statistics to average: they differ from the maximum by the order of 1 / (number of bins). (Delyon,
    Lavielle & Moulines 1999; with γ = 1 throughout it is stochastic EM, Celeux & Diebolt 1985.)

    Args:
        data: its training traces are used.
        sweeps: in all, burn-in included.
        learn: of ``LAW``; the bias always, and what is left out must be 0 in ``data.start``.
        ridge: of ``regress``, nats per bin and squared logit.
        power: 0.5 < power ≤ 1.
        kernel_bins: as ``data.kernel_bins`` by default; another cut is another model.
        particles: of particle Gibbs; 0 takes it only where the memory is too long for ``BlockedGibbs``.

    Raises:
        UserError: for settings outside these ranges, or those of ``gibbs_chain``.
    """
    start, known = data.start, set(LAW)
    if not 0 <= burn_in < sweeps or not 0.5 < power <= 1:
        raise UserError(
            f"em: found {sweeps} sweeps, burn-in {burn_in}, power {power}; "
            "expected 0 ≤ burn-in < sweeps, 0.5 < power ≤ 1"
        )
    if not set(learn) <= known or "bias" not in learn:
        raise UserError(f"learn: found {', '.join(learn)}; expected bias, and any of history, coupling")
    for name in known - set(learn):
        if np.any(getattr(start, name)):
            raise UserError(
                f"learn: found no '{name}', which is not 0 at the start; expected it to be learned"
            )
    lags = start.history.shape[1] if "history" in learn else 0
    basis = start.basis if "coupling" in learn else np.zeros((0, 1))
    theta = {name: np.zeros(getattr(start, name).shape) for name in LAW}
    theta["bias"] += START_BIAS
    parameters = replace(start, **theta)
    cut = data.kernel_bins if kernel_bins is None else kernel_bins
    chain = gibbs_chain(parameters, data.frame_rate, cut, data.x, seed, particles=particles)
    trace = {name: np.empty((sweeps, *theta[name].shape)) for name in learn}
    for k in range(1, sweeps + 1):
        chain.sweep()
        found = regress(chain.z, basis, lags, ridge)
        size = 1.0 if k <= burn_in else (k - burn_in) ** -power
        for name in learn:
            theta[name] = theta[name] + size * (getattr(found, name) - theta[name])
            trace[name][k - 1] = theta[name]
        parameters = replace(start, **theta)
        chain.set_parameters(parameters)
    return Fit(parameters, trace, chain)


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
    kernel_bins: int | None = None,
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
    drawn = law_draws(data, seed, prior_sd, other_sd, kernel_bins, particles)
    for k, draw in zip(range(-burn_in, sweeps), drawn, strict=False):
        chain = draw.chain
        if k >= 0:
            acceptance += draw.accepted / sweeps
            for name in LAW:
                kept[name][k] = draw.theta[name]
    return WeightPosterior(kept["bias"], kept["history"], kept["coupling"], acceptance, chain)


@dataclass(frozen=True, eq=False)
class LawDraw:
    """One turn of ``law_draws``: the law drawn, by name, whether each cell's proposal was accepted, ``(N,)``,
    and the sampler of the spikes, under that law.
    """

    theta: dict[str, Array]
    accepted: NDArray[np.bool_]
    chain: GibbsChain


def law_draws(
    data: Recorded,
    seed: int,
    prior_sd: float,
    other_sd: float = 3.0,
    kernel_bins: int | None = None,
    particles: int = 0,
) -> Iterator[LawDraw]:
    """The turns of ``weight_posterior``, without end, from its first: nothing is left out."""
    start = data.start
    theta = {name: np.zeros(getattr(start, name).shape) for name in LAW}
    theta["bias"] += START_BIAS
    cut = data.kernel_bins if kernel_bins is None else kernel_bins
    chain = gibbs_chain(replace(start, **theta), data.frame_rate, cut, data.x, seed, particles=particles)
    rng = np.random.default_rng([seed, 1])
    while True:
        chain.sweep()
        theta, accepted = draw_law(chain.z, start.basis, theta, prior_sd, other_sd, rng)
        chain.set_parameters(replace(start, **theta))
        yield LawDraw(theta, accepted, chain)


def draw_law(
    z: NDArray[np.int8],
    basis: Array,
    theta: dict[str, Array],
    prior_sd: float,
    other_sd: float,
    rng: np.random.Generator,
) -> tuple[dict[str, Array], NDArray[np.bool_]]:
    """One Metropolis–Hastings step for the law of each cell, given the spikes, under the prior above.

    The proposal does not depend on where the chain is: Student's t about the posterior's mode, scaled by the
    inverse Hessian there (Laplace's approximation with wider tails). Of many bins it is nearly the posterior.

    Args:
        z: ``(B, T, N)`` spikes; basis: ``(R, L)``, lag 1 first.
        theta: bias ``(N,)``, history ``(N, Lh)``, coupling ``(R, N, N)``; a new one is returned.

    Returns:
        The next law, and ``(N,)`` whether each cell's proposal was accepted.
    """
    values = np.asarray(z, dtype=np.float64)
    count, lags, cells = basis.shape[0], theta["history"].shape[1], values.shape[2]
    own = lagged(values, np.eye(lags)) if lags else np.zeros((0, *values.shape))
    others = lagged(values, basis).reshape(count, -1, cells)
    following = {name: theta[name].copy() for name in LAW}
    accepted = np.zeros(cells, dtype=np.bool_)
    for i in range(cells):
        senders = np.arange(cells) != i
        columns = [
            np.ones((others.shape[1], 1)),
            own[..., i].reshape(lags, others.shape[1]).T,
            *others[..., senders],
        ]
        design = np.concatenate(columns, axis=1)
        now = np.concatenate(
            [theta["bias"][[i]], theta["history"][i], theta["coupling"][:, i, senders].ravel()]
        )
        centre = np.zeros(len(now))
        centre[0] = START_BIAS
        precision = np.full(len(now), prior_sd**-2.0)
        precision[: 1 + lags] = other_sd**-2.0
        problem = _Logistic(design, values[..., i].ravel(), centre, precision)
        mode, root = problem.mode(now)
        normal = rng.standard_normal(len(now)) / np.sqrt(rng.chisquare(FREEDOM) / FREEDOM)
        proposed = mode + np.linalg.solve(root.T, normal)
        gain = problem.log_density(proposed) - problem.log_density(now)
        gain += _log_student(root.T @ (now - mode)) - _log_student(normal)
        if np.log1p(-rng.random()) < gain:
            accepted[i] = True
            following["bias"][i] = proposed[0]
            following["history"][i] = proposed[1 : 1 + lags]
            following["coupling"][:, i, senders] = proposed[1 + lags :].reshape(count, cells - 1)
    return following, accepted


def _log_student(scaled: Array) -> float:
    """Up to a constant."""
    return float(-0.5 * (FREEDOM + len(scaled)) * np.log1p(scaled @ scaled / FREEDOM))


@dataclass(frozen=True, eq=False)
class _Logistic:
    """Regression of ``target (n,)`` on ``design (n, F)``, logistic, with normal priors ``(F,)``."""

    design: Array
    target: Array
    centre: Array
    precision: Array

    def log_density(self, w: Array) -> float:
        """Log posterior density of the weights w ``(F,)``, up to a constant."""
        u = self.design @ w
        return float(
            self.target @ u - np.logaddexp(0, u).sum() - 0.5 * self.precision @ (w - self.centre) ** 2
        )

    def mode(self, w: Array) -> tuple[Array, Array]:
        """By Newton's method from w: the mode, and the Cholesky root C of the Hessian C Cᵀ there."""
        height = self.log_density(w)
        for _ in range(NEWTON_STEPS):
            p = expit(self.design @ w)
            hessian = (self.design * (p * (1 - p))[:, None]).T @ self.design + np.diag(self.precision)
            gradient = self.design.T @ (self.target - p) - self.precision * (w - self.centre)
            root = np.linalg.cholesky(hessian)
            step = np.linalg.solve(hessian, gradient)
            if np.abs(step).max() < NEWTON_TOLERANCE:
                break
            # far from the mode a whole step may overshoot
            while (new := self.log_density(w + step)) < height - 1e-9 * abs(height):
                step = step / 2
            w, height = w + step, new
        return w, root
