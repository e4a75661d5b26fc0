"""The simulator: spikes and fluorescence drawn from the generative model itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from dfp.core.noise import generator, logistic_noise
from dfp.data.dataset import Dataset
from dfp.data.networks import Network
from dfp.data.stability import check_stability, simulate_logits, spectral_radius
from dfp.models.base import NoSettings
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.models.kinds import Observation
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard

#: what is simulated where nothing else is asked for: Gaussian noise
CALCIUM = Observation(CalciumNetwork, NoSettings())


def simulate(
    network: Network,
    seeds: Sequence[int],
    *,
    bin_rate: float,
    bins: int,
    trials: int = 1,
    test_trials: int = 0,
    rise: float = 0.05,
    decay: ArrayLike = 0.4,
    amplitude: float = 1.0,
    baseline: float = 0.0,
    noise: ArrayLike = 0.3,
    kernel_bins: int = 0,
    allow_supercritical: bool = False,
    observation: Observation = CALCIUM,
) -> Dataset:
    """Draw trials of ``network`` and their traces, by fixed-point sweeps until nothing changes (exact).

    Args:
        network: N cells; without any coupling they are a panel of N one-cell problems.
        seeds: one for the whole network, or one per cell of a panel: a cell's data then depend on its own
            seed only.
        bin_rate: bins per second.
        bins, trials, test_trials: T, and the numbers of training and held-out trials.
        rise, decay: seconds; amplitude, baseline, noise: fluorescence; the same for all cells, but for decay
            and noise, which may be ``(N,)``. By default an indicator like GCaMP6f, as in recordings; a
            configuration's data sets have the one-cell experiments' defaults (``SimulationSpec``: no rise,
            decay 0.15 s, noise 0.5).
        kernel_bins: cut of the calcium response, 0 for none.
        allow_supercritical: accept a network whose spectral radius is 1 or more.
        observation: the kind of model, of ``dfp.models.kinds.observation``; what it has beyond these
            constants, its settings or defaults tell.

    Raises:
        UserError: for a supercritical network, unless allowed.

    Example:
        >>> network = dfp.sparse_random(3, np.random.default_rng(0), density=0.5)
        >>> data = dfp.simulate(network, [0], bin_rate=30, bins=300, trials=2)
        >>> data.x.shape, data.z.shape  # traces and spikes
        ((2, 300, 3), (2, 300, 3))
    """
    radius = radius_of(network, seeds, allow_supercritical)
    constants = parameters_of(
        network, rise=rise, decay=decay, amplitude=amplitude, baseline=baseline, noise=noise
    )
    parameters = observation.parameters(constants)
    model = observation.model(parameters, bin_rate, kernel_bins=kernel_bins)
    z, x = [], []
    with torch.no_grad():
        for trial in range(trials + test_trials):
            spikes, measurement = _noise(seeds, network.cells, bins, trial)
            draw = model.prior(1, bins).draw(spikes, FixedPoint(), Hard())
            z.append(draw.z[0, 0])
            x.append(model.observe(draw.z, measurement)[0, 0])
    traces, truth = torch.stack(x).numpy(), torch.stack(z).to(torch.int8).numpy()
    return Dataset(
        x=traces[:trials],
        z=truth[:trials],
        x_test=traces[trials:],
        z_test=truth[trials:],
        bin_rate=bin_rate,
        seed=seed_by_cell(network, seeds),
        names=network.names,
        start=parameters,
        known=True,
        kernel_bins=kernel_bins,
        facts={"spectral_radius": float(radius), "mean_rate_hz": float(truth.mean() * bin_rate)},
    )


def radius_of(network: Network, seeds: Sequence[int], allow_supercritical: bool) -> float:
    """The spectral radius ρ. Raises ``UserError`` where it is 1 or more, unless allowed."""
    _, logits = simulate_logits(network, 500, 8, np.random.default_rng([seeds[0], 7]))
    radius = spectral_radius(network, logits)
    check_stability(radius, allow_supercritical)
    return radius


def parameters_of(
    network: Network,
    *,
    rise: float,
    decay: ArrayLike,
    amplitude: float,
    baseline: float,
    noise: ArrayLike,
) -> CalciumParameters:
    """The generating parameters, ``(N,)`` each; units as in ``simulate``."""
    coupled = bool(np.any(network.coupling))
    each = np.ones(network.cells)
    return CalciumParameters(
        bias=network.bias,
        history=network.history,
        coupling=network.coupling if coupled else np.zeros((0, network.cells, network.cells)),
        basis=network.basis if coupled else np.zeros((0, 1)),
        rise=rise * each,
        decay=np.asarray(decay) * each,
        amplitude=amplitude * each,
        baseline=baseline * each,
        noise=np.asarray(noise) * each,
    )


def seed_by_cell(network: Network, seeds: Sequence[int]) -> np.ndarray:
    """``(N,)``: each cell's own seed, or the network's."""
    return np.array(seeds if len(seeds) == network.cells else [seeds[0]] * network.cells)


def _noise(seeds: Sequence[int], cells: int, bins: int, trial: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logistic and standard normal noise of one trial, ``(1, 1, T, N)`` each."""
    if len(seeds) == 1:
        rng = generator(_mixed(seeds[0], trial))
        return logistic_noise((1, 1, bins, cells), rng), torch.randn(1, 1, bins, cells, generator=rng)
    rngs = [generator(_mixed(seed, trial)) for seed in seeds]
    spikes = torch.cat([logistic_noise((1, 1, bins, 1), rng) for rng in rngs], -1)
    return spikes, torch.cat([torch.randn(1, 1, bins, 1, generator=rng) for rng in rngs], -1)


def _mixed(seed: int, trial: int) -> int:
    """A seed that differs for every (seed, trial)."""
    return int(np.random.SeedSequence([seed, trial]).generate_state(1, np.uint64)[0] >> np.uint64(1))
