"""Laplace's approximation of the posterior of the spiking law, the spikes unobserved (Louis' identity)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dfp.core.errors import NumericalError, UserError
from dfp.models.calcium import CalciumParameters
from dfp.references.gibbs.base import GibbsChain
from dfp.references.gibbs.law import START_BIAS
from dfp.references.regression import lagged

Array = NDArray[np.float64]

#: bins of a block of the score: spikes farther apart than two blocks are taken as independent given the trace
BLOCK = 60
#: longest Newton step, logits; the first steps of a stochastic Newton method can overshoot
LONGEST_STEP = 0.5


@dataclass(frozen=True)
class Prior:
    """``W_r[i, j] ~ N(0, weight_sd²)``, ``h ~ N(0, other_sd²)``, ``b ~ N(−3, other_sd²)``, independent.

    The prior of ``evaluation.gibbs.learning.weight_posterior``.
    """

    weight_sd: float
    other_sd: float = 3.0

    def __post_init__(self) -> None:
        if not self.weight_sd > 0 or not self.other_sd > 0:
            raise UserError(
                f"prior of the weights: found sd {self.weight_sd} and {self.other_sd}, expected both above 0"
            )


@dataclass(frozen=True, eq=False)
class Curvature:
    """Derivatives of the log posterior of the law at one law, from samples of the spikes there.

    A law is ``(N, P)``, a row a receiving cell: bias, own history, weights from the other cells, function by
    function; P = 1 + Lh + R (N − 1). Flat it is ``(N P,)``.

    Attributes:
        gradient: ``(N P,)`` of the log posterior, by Fisher's identity.
        complete: ``(N P, N P)`` expected negative Hessian of log p(z | law) + log prior, spikes known.
        missing: ``(N P, N P)`` variance of the score of the spikes given the trace.
    """

    gradient: Array
    complete: Array
    missing: Array

    def covariance(self, louis: bool = True) -> Array:
        """Of the law: inverse of ``complete − missing``, or without Louis' term of ``complete`` alone.

        Raises:
            NumericalError: where that is no curvature of a maximum (too few samples, or not at the mode).
        """
        information = self.complete - self.missing if louis else self.complete
        try:
            np.linalg.cholesky(information)
        except np.linalg.LinAlgError:
            raise NumericalError(
                "Laplace: the observed information is not positive definite; draw more samples of the spikes"
            ) from None
        return np.asarray(np.linalg.inv(information))


@dataclass(frozen=True, eq=False)
class Laplace:
    """``N(mode, covariance)`` of the law.

    Attributes:
        weights: ``(R, N, N)`` modes of the couplings.
        sd: ``(R, N, N)`` standard deviations with the missing information, 0 on the diagonal.
        naive_sd: the same without it: what would hold if one drawn raster were the truth.
        parameters: the law at the mode, with the calcium constants.
    """

    weights: Array
    sd: Array
    naive_sd: Array
    parameters: CalciumParameters


def curvature(samples: NDArray, parameters: CalciumParameters, prior: Prior, block: int = BLOCK) -> Curvature:
    """Gradient and curvature of the log posterior of the law at ``parameters``.

    With score s(z) = ∂ log p(z | law) and information I(z) = −∂² log p(z | law) of complete spikes, over
    ``z ~ p(z | x, law)``:

        ``∂ log p(x | law) = E s``, ``−∂² log p(x | law) = E I − Var s`` (Louis 1982, JRSS B 44:226);

    the prior adds its own to both. I is a block a receiving cell (the law is one logistic regression each);
    Var s is not: what the trace leaves open of a spike blurs all cells that it is in the regression of.
    Var s is a sum over pairs of bins, of which those far apart have no covariance given the trace: with s_k
    the sum over a block of bins, it is estimated as Σ_k Var s_k + Σ_k (Cov(s_k, s_{k+1}) + transposed). The
    plain covariance of s would need many more samples than N P to be usable. *Our choice.*

    Args:
        samples: ``(S, B, T, N)`` of 0 and 1, S ≥ 2. Samples of a variational posterior give the derivatives
            of its own bound in place of the likelihood's, and ``missing`` as that posterior sees it.
        block: bins; should be longer than the memory of the posterior.

    Raises:
        UserError: for shapes that disagree or a block below 2 bins.
    """
    z = np.asarray(samples)
    if z.ndim != 4 or z.shape[0] < 2 or z.shape[3] != parameters.cells or block < 2:
        raise UserError(
            f"curvature: found samples of shape {z.shape} and blocks of {block} bins, expected (at least 2, "
            f"trials, bins, {parameters.cells} cells) and at least 2 bins"
        )
    count, cells = z.shape[0], parameters.cells
    law = pack(parameters)
    size = law.shape[1]
    complete = np.zeros((cells, size, size))
    blocks = []
    for raster in z:
        own = design(raster, parameters)  # (N, B, T, P)
        probability = expit(np.einsum("nbtp,np->nbt", own, law))
        residual = raster.transpose(2, 0, 1) - probability
        flat = own.reshape(cells, -1, size)
        weight = (probability * (1 - probability)).reshape(cells, -1, 1)
        complete += (flat * weight).transpose(0, 2, 1) @ flat / count
        blocks.append(_blocked(residual[..., None] * own, block))
    scores = np.stack(blocks)  # (S, B, K, N P)
    centred = scores - scores.mean(0)
    missing = np.einsum("sbkp,sbkq->pq", centred, centred, optimize=True)
    beside = np.einsum("sbkp,sbkq->pq", centred[:, :, :-1], centred[:, :, 1:], optimize=True)
    missing = (missing + beside + beside.T) / (count - 1)
    centre, precision = _prior(parameters, prior)
    whole = np.zeros((cells * size, cells * size))
    for i in range(cells):
        whole[i * size : (i + 1) * size, i * size : (i + 1) * size] = complete[i]
    gradient = scores.mean(0).sum((0, 1)) - (precision * (law - centre)).ravel()
    return Curvature(gradient, whole + np.diag(precision.ravel()), missing)


def laplace(
    chain: GibbsChain, parameters: CalciumParameters, prior: Prior, steps: int, samples: int, thin: int = 1
) -> Laplace:
    """Laplace's approximation about the mode of ``p(law | x)``, the spikes summed over by Gibbs sampling.

    Newton's method on the exact log posterior's derivatives as ``samples`` sweeps see them (stochastic: the
    mode is found to about sd / √samples); each step runs the chain under the law found so far. The law moves
    by at most half a logit a step. Averaged are the last half of the steps; curvature is taken there, from
    three times as many samples.

    Args:
        chain: of the network's traces; it is left at the mode.
        parameters: where to start; the calcium constants are kept.
        steps: Newton steps, at least 2.
        samples: rasters a step; thin: sweeps between them.

    Raises:
        UserError: for fewer steps or samples than 2; NumericalError as ``Curvature.covariance``.
    """
    if steps < 2 or samples < 2:
        raise UserError(f"laplace: found {steps} steps of {samples} samples, expected at least 2 of each")
    law, kept = pack(parameters), []
    for step in range(steps):
        chain.set_parameters(unpack(law, parameters))
        rasters = chain.run(samples * thin, burn_in=2, thin=thin)
        found = curvature(rasters, unpack(law, parameters), prior)
        move = np.linalg.solve(_safe(found), found.gradient).reshape(law.shape)
        law = law + np.clip(move, -LONGEST_STEP, LONGEST_STEP)
        if step >= steps // 2:
            kept.append(law)
    return _at_mode(chain, unpack(np.mean(kept, 0), parameters), prior, 3 * samples, thin)


def _at_mode(chain: GibbsChain, mode: CalciumParameters, prior: Prior, samples: int, thin: int) -> Laplace:
    chain.set_parameters(mode)
    found = curvature(chain.run(samples * thin, burn_in=4, thin=thin), mode, prior)
    return summarise(mode, found.covariance(), found.covariance(louis=False))


def laplace_of_samples(
    samples: NDArray, parameters: CalciumParameters, prior: Prior, steps: int = 12, louis: bool = True
) -> Laplace:
    """The same about the mode of ``E_q log p(z | law) + log prior``, the samples of q kept as they are.

    What a variational posterior q says of the law: its M-step, and the curvature there.

    Args:
        samples: ``(S, B, T, N)`` hard samples of q.
        steps: of Newton's method on a concave function.
        louis: take off the variance of the score under q; a NumericalError where nothing is left.
    """
    law = pack(parameters)
    for _ in range(steps):
        found = curvature(samples, unpack(law, parameters), prior)
        move = np.linalg.solve(found.complete, found.gradient).reshape(law.shape)
        law = law + np.clip(move, -LONGEST_STEP, LONGEST_STEP)
        if np.abs(move).max() < 1e-6:
            break
    mode = unpack(law, parameters)
    found = curvature(samples, mode, prior)
    return summarise(mode, found.covariance(louis), found.covariance(louis=False))


def summarise(mode: CalciumParameters, covariance: Array, naive: Array) -> Laplace:
    """The couplings' part of covariances ``(N P, N P)``."""
    shape = pack(mode).shape
    sds = [unpack(np.sqrt(np.diag(value)).reshape(shape), mode).coupling for value in (covariance, naive)]
    return Laplace(mode.coupling, sds[0], sds[1], mode)


def pack(parameters: CalciumParameters) -> Array:
    """The law of a network as ``(N, P)``; the layout is at ``Curvature``."""
    cells = parameters.cells
    apart = ~np.eye(cells, dtype=bool)
    weights = [parameters.coupling[:, i, apart[i]].reshape(-1) for i in range(cells)]
    return np.concatenate([parameters.bias[:, None], parameters.history, np.stack(weights)], axis=1)


def unpack(law: Array, parameters: CalciumParameters) -> CalciumParameters:
    """``parameters`` with the law ``(N, P)``."""
    cells, lags = parameters.cells, parameters.history.shape[1]
    functions = parameters.basis.shape[0]
    coupling = np.zeros((functions, cells, cells))
    apart = ~np.eye(cells, dtype=bool)
    for i in range(cells):
        coupling[:, i, apart[i]] = law[i, 1 + lags :].reshape(functions, cells - 1)
    return replace(parameters, bias=law[:, 0].copy(), history=law[:, 1 : 1 + lags].copy(), coupling=coupling)


def design(z: NDArray, parameters: CalciumParameters) -> Array:
    """Regressors ``(N, B, T, P)`` of every receiving cell, from spikes ``(B, T, N)``."""
    values = np.asarray(z, dtype=np.float64)
    trials, bins, cells = values.shape
    lags, functions = parameters.history.shape[1], parameters.basis.shape[0]
    own = lagged(values, np.eye(lags)) if lags else np.zeros((0, trials, bins, cells))
    others = lagged(values, parameters.basis)
    apart = ~np.eye(cells, dtype=bool)
    out = np.ones((cells, trials, bins, 1 + lags + functions * (cells - 1)))
    for i in range(cells):
        out[i, ..., 1 : 1 + lags] = np.moveaxis(own[..., i], 0, -1)
        out[i, ..., 1 + lags :] = np.moveaxis(others[..., apart[i]], 0, 2).reshape(trials, bins, -1)
    return out


def _blocked(values: Array, block: int) -> Array:
    """Sums over blocks of bins: ``(B, K, N P)`` from ``(N, B, T, P)``; the last block may be shorter."""
    cells, trials, bins, size = values.shape
    starts = np.arange(0, bins, block)
    summed = np.add.reduceat(values, starts, axis=2)
    return np.asarray(summed.transpose(1, 2, 0, 3).reshape(trials, len(starts), cells * size))


def _prior(parameters: CalciumParameters, prior: Prior) -> tuple[Array, Array]:
    """Means and precisions ``(N, P)``."""
    law, lags = pack(parameters), parameters.history.shape[1]
    centre, precision = np.zeros(law.shape), np.full(law.shape, prior.weight_sd**-2.0)
    centre[:, 0] = START_BIAS
    precision[:, : 1 + lags] = prior.other_sd**-2.0
    return centre, precision


def _safe(found: Curvature) -> Array:
    """Observed information where it is one of a maximum, else that of complete spikes (a step of EM)."""
    information = found.complete - found.missing
    return information if np.linalg.eigvalsh(information)[0] > 0 else found.complete
