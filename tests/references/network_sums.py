"""Random networks, and slow sums over every path written independently of the exact posterior."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from dfp.distributions.enumeration import all_paths
from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters

#: cells, history lags, basis functions, basis lags, kernel bins
Sizes = tuple[int, int, int, int, int]
#: the state's oldest bin matters for the spikes, or not; one function or two; no history, coupling or memory
SIZES: list[tuple[Sizes, int]] = [
    ((2, 2, 1, 3, 2), 6),
    ((2, 1, 2, 2, 3), 6),
    ((3, 1, 1, 2, 1), 4),
    ((3, 0, 2, 1, 3), 4),
    ((2, 3, 1, 2, 1), 5),
    ((2, 1, 1, 1, 1), 5),
    ((2, 1, 1, 2, 5), 3),
    ((1, 2, 0, 0, 3), 9),
    ((2, 0, 0, 0, 1), 4),
]


def network(sizes: Sizes, seed: int, noise: float = 0.7) -> NetworkParameters:
    """Random cells, couplings of both signs; numbers on the diagonal, which must not matter."""
    cells, history, functions, lags, kernel = sizes
    rng = np.random.default_rng(seed)
    return NetworkParameters(
        bias=torch.as_tensor(rng.normal(-0.7, 0.8, cells)),
        history=torch.as_tensor(rng.normal(-0.5, 1.2, (cells, history))),
        coupling=torch.as_tensor(rng.normal(0, 1.5, (functions, cells, cells))),
        basis=torch.as_tensor(rng.uniform(0.2, 1.2, (functions, lags))),
        kernel=torch.as_tensor(rng.uniform(0.1, 1, (cells, kernel))),
        amplitude=torch.as_tensor(rng.uniform(0.5, 2, cells)),
        baseline=torch.as_tensor(rng.normal(0, 1, cells)),
        noise=torch.as_tensor(noise * rng.uniform(0.5, 1.5, cells)),
    )


def traces(trials: int, bins: int, cells: int, seed: int, missing: float = 0.0) -> Tensor:
    """Random frames; about the share ``missing`` of them is not observed, as NaN or as infinity."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.7, 1.2, (trials, bins, cells))
    lost = rng.random(x.shape) < missing
    x[lost] = rng.choice([np.nan, np.inf], lost.sum())
    return torch.as_tensor(x)


def log_joint(z: np.ndarray, x: np.ndarray, parameters: NetworkParameters) -> np.ndarray:
    """``log p(x, z)`` of paths ``(paths, T, N)``, written out term by term."""
    p = {field.name: getattr(parameters, field.name).numpy() for field in fields(parameters)}
    total = np.zeros(len(z))
    for t, i in np.ndindex(x.shape):
        u = np.full(len(z), p["bias"][i])
        for lag in range(1, t + 1):
            if lag <= p["history"].shape[1]:
                u += p["history"][i, lag - 1] * z[:, t - lag, i]
            for r, j in itertools.product(range(len(p["basis"])), range(x.shape[1])):
                if j != i and lag <= p["basis"].shape[1]:
                    u += p["coupling"][r, i, j] * p["basis"][r, lag - 1] * z[:, t - lag, j]
        total += np.where(z[:, t, i] == 1, -np.logaddexp(0, -u), -np.logaddexp(0, u))
        calcium = sum(p["kernel"][i, k] * z[:, t - k, i] for k in range(p["kernel"].shape[1]) if t >= k)
        if math.isfinite(x[t, i]):
            mean = p["baseline"][i] + p["amplitude"][i] * calcium
            deviation = (x[t, i] - mean) / p["noise"][i]
            total += -0.5 * deviation**2 - math.log(p["noise"][i] * math.sqrt(2 * math.pi))
    return total


def brute_force(x: np.ndarray, parameters: NetworkParameters) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-evidence, all paths ``(2^(TN), T, N)`` and their posterior probabilities, for one trial."""
    paths = all_paths(*x.shape)[:, 0].numpy()
    joint = log_joint(paths, x, parameters)
    top = joint.max()
    evidence = top + math.log(np.exp(joint - top).sum())
    return evidence, paths, np.exp(joint - evidence)


def assert_exact(posterior: ExactNetworkPosterior, parameters: NetworkParameters, x: Tensor) -> None:
    """Every number of the posterior, to 1e-10."""
    bins = x.shape[1]
    for b in range(len(x)):
        evidence, paths, weight = brute_force(x[b].numpy(), parameters)
        assert posterior.log_evidence[b].item() == pytest.approx(evidence, abs=1e-10, rel=1e-12)
        marginals = np.einsum("p,pti->ti", weight, paths)
        np.testing.assert_allclose(posterior.marginals[b].numpy(), marginals, rtol=0, atol=1e-10)
        for lag in range(min(posterior.memory, bins)):
            both = np.einsum("p,pti,ptj->tij", weight, paths[:, lag:], paths[:, : bins - lag])
            np.testing.assert_allclose(posterior.pairwise(lag)[b].numpy(), both, rtol=0, atol=1e-10)
