"""R-hat and effective sample size against their definition, without Fourier transforms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dfp.references.gibbs.chains import diagnostics


def by_definition(chains: np.ndarray) -> tuple[float, float]:
    """R-hat and effective size of draws ``(C, S)``: Vehtari et al. 2021, eqs. 3, 4, 10 and 13, sum by sum."""
    halves = np.concatenate([chains[:, : chains.shape[1] // 2], chains[:, chains.shape[1] // 2 :]])

    def scores(values: np.ndarray) -> np.ndarray:
        ranks = stats.rankdata(values).reshape(values.shape)
        return np.asarray(stats.norm.ppf((ranks - 3 / 8) / (values.size + 1 / 4)))

    def parts(z: np.ndarray) -> tuple[float, float]:
        within = float(np.mean([np.var(one, ddof=1) for one in z]))
        return within, (z.shape[1] - 1) / z.shape[1] * within + float(
            np.var([one.mean() for one in z], ddof=1)
        )

    rhat = 0.0
    for z in (scores(halves), scores(np.abs(halves - np.median(halves)))):
        within, total = parts(z)
        rhat = max(rhat, (total / within) ** 0.5)
    z = scores(halves)
    within, total = parts(z)
    m = z.shape[1]
    rho = [1.0]
    for lag in range(1, m):
        products = [np.sum((one[: m - lag] - one.mean()) * (one[lag:] - one.mean())) / (m - 1) for one in z]
        rho.append(1 - (within - float(np.mean(products))) / total)
    tau, smallest = -1.0, np.inf
    for k in range(m // 2):
        pair = rho[2 * k] + rho[2 * k + 1]
        if pair < 0:
            break
        smallest = min(smallest, pair)
        tau += 2 * smallest
    return rhat, z.size / max(tau, 1 / np.log10(z.size))


@pytest.mark.parametrize(
    ("chains", "draws", "step"), [(1, 16, 0.3), (2, 24, 0.8), (4, 40, 0.0), (3, 30, -0.7)]
)
def test_diagnostics_are_those_of_their_definition(chains: int, draws: int, step: float) -> None:
    rng = np.random.default_rng(chains)
    values = np.zeros((chains, draws))
    for t in range(draws):
        values[:, t] = step * values[:, t - 1] * (t > 0) + rng.standard_normal(chains)
    found = [float(value) for value in diagnostics(values)]
    assert found == pytest.approx(list(by_definition(values)), rel=1e-10)
