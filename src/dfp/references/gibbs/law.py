"""The spiking law drawn given the spikes: a Bayesian logistic regression for each cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dfp.references.regression import lagged

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


def draw_law(
    z: NDArray[np.int8],
    basis: Array,
    theta: dict[str, Array],
    prior_sd: float,
    other_sd: float,
    rng: np.random.Generator,
) -> tuple[dict[str, Array], NDArray[np.bool_]]:
    """One Metropolis–Hastings step for the law of each cell, given the spikes.

    The prior is that of ``learning.weight_posterior``.

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
    """Log density of Student's t, up to a constant."""
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
