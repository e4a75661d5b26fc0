"""How fast a flipped spike spreads through a network, and setting a network's mean rate.

The fixed-point sampler settles in a few sweeps when a flipped spike makes, on average, fewer than one other
spike flip, and needs as many sweeps as there are bins when it makes more. The number that decides is the
spectral radius ρ of

    A_ij = Σ_τ E|σ(u_i + w_ij,τ) − σ(u_i)|,

the expected number of spikes of cell i that flip, later on, when one spike of cell j flips. Inhibition and
refractoriness flip spikes too, so they count with their absolute size (an excitatory branching ratio
underpredicts the sweeps).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from dfp.core.errors import UserError
from dfp.data.networks import Network, rate_per_bin

Array = NDArray[np.float64]

# Below this share of non-zero weights, and above this many cells, a sparse product is the faster one.
_SPARSE_BELOW = 0.05
_SPARSE_CELLS = 200
# Values handled at once in the spectral radius: 4 million doubles are 32 MB.
_CHUNK = 4_000_000


def _bins(
    network: Network, bins: int, trials: int, generator: np.random.Generator
) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
    """Yield (logits, spikes), each ``(B, N)``, bin after bin, from silence; no two bins share noise."""
    memory, cells = network.memory, network.cells
    length, lags = network.basis.shape[1], network.history.shape[1]
    coupled = bool(np.any(network.coupling))
    is_sparse = (
        cells >= _SPARSE_CELLS and np.count_nonzero(network.coupling) < _SPARSE_BELOW * network.coupling.size
    )
    dense = network.coupling.transpose(0, 2, 1).copy()
    compressed = [sparse.csr_array(weights) for weights in network.coupling] if is_sparse else []
    # A ring written twice, at k and k + memory, so that the last `memory` bins are always one contiguous
    # slice.
    ring = np.zeros((2 * memory, trials, cells))
    backwards = network.basis[:, ::-1].copy()
    own = network.history[:, ::-1].T.copy()
    for t in range(bins):
        start = t % memory
        window = ring[start : start + memory]
        logits = np.broadcast_to(network.bias, (trials, cells)).copy()
        if lags:
            logits += np.einsum("lbn,ln->bn", window[memory - lags :], own)
        if coupled:
            filtered = np.tensordot(backwards, window[memory - length :], axes=1)
            for r, features in enumerate(filtered):
                logits += (compressed[r] @ features.T).T if is_sparse else features @ dense[r]
        spikes = generator.random((trials, cells)) < expit(logits)
        ring[start] = ring[start + memory] = spikes
        yield logits, spikes


def default_burn_in(network: Network) -> int:
    """Bins to throw away after the silent start: 50, or three times the memory if that is longer."""
    return max(50, 3 * network.memory)


def simulate_logits(
    network: Network, bins: int, trials: int, generator: np.random.Generator, burn_in: int | None = None
) -> tuple[NDArray[np.int8], Array]:
    """A short simulation, bin by bin, for measuring a network; data sets have a simulator of their own.

    Args:
        bins: T, after the burn-in.
        trials: B.
        burn_in: bins thrown away first; by default ``default_burn_in``.

    Returns:
        spikes ``(B, T, N)`` int8 and the logits ``(B, T, N)`` that they were drawn with.
    """
    skip = default_burn_in(network) if burn_in is None else burn_in
    spikes = np.zeros((trials, bins, network.cells), dtype=np.int8)
    logits = np.zeros((trials, bins, network.cells))
    for t, (u, z) in enumerate(_bins(network, skip + bins, trials, generator)):
        if t >= skip:
            logits[:, t - skip], spikes[:, t - skip] = u, z
    return spikes, logits


def spectral_radius(network: Network, logits: Array) -> float:
    """ρ of A_ij = Σ_τ E|σ(u_i + w_ij,τ) − σ(u_i)|, own history on the diagonal.

    The expectation is over the rows of ``logits``: samples of u from ``simulate_logits``, or a mean-field
    value of one row. A few thousand samples a cell are enough; of longer arrays an even selection of 2,000
    rows is used. The logits are samples *with* the spikes in them, so w_ij,τ is added to a state that may
    already hold it: an approximation that is good while spikes are rare.

    Args:
        logits: ``(…, N)``.

    Returns:
        ρ ≥ 0; below 1 a disturbance dies out.

    Raises:
        UserError: when ``logits`` does not have one column a cell.
    """
    samples = np.asarray(logits, dtype=float)
    if samples.ndim == 0 or samples.shape[-1] != network.cells or samples.size == 0:
        raise UserError(
            f"spectral_radius: logits have shape {samples.shape}, expected (..., {network.cells})"
        )
    samples = samples.reshape(-1, network.cells)
    if len(samples) > 2000:
        samples = samples[np.linspace(0, len(samples) - 1, 2000).astype(int)]
    weights = network.lag_weights()
    reach = np.zeros((network.cells, network.cells))
    for i in range(network.cells):
        lags, senders = np.nonzero(weights[:, i, :])
        values, index = np.unique(weights[lags, i, senders], return_inverse=True)
        flips = _flip_probability(samples[:, i], values)
        np.add.at(reach[i], senders, flips[index])
    return float(np.max(np.abs(np.linalg.eigvals(reach))))


def _flip_probability(logits: Array, weights: Array) -> Array:
    """E|σ(u + w) − σ(u)| for each w: ``logits (M,)``, ``weights (K,)``, result ``(K,)``.

    For one w the difference has the same sign at every u, so it is |E σ(u + w) − E σ(u)|.
    """
    before = expit(logits).mean()
    step = max(1, _CHUNK // len(logits))
    after = [
        expit(logits[:, None] + weights[None, k : k + step]).mean(axis=0)
        for k in range(0, len(weights), step)
    ]
    return np.abs(np.concatenate(after) - before) if after else np.zeros(0)


def check_stability(rho: float, allow_supercritical: bool = False) -> None:
    """Refuse a network in which a disturbance grows.

    Raises:
        UserError: when ρ ≥ 1 (or is not a number) and ``allow_supercritical`` is not set.
    """
    if allow_supercritical or rho < 1:
        return
    raise UserError(
        f"network: the spectral radius is {rho:.3g}, expected below 1 (couplings this strong make a "
        "flipped spike "
        "spread, and fixed-point sampling needs as many sweeps as bins); weaken or thin the couplings, or "
        "set "
        "allow_supercritical"
    )


def tune_bias_to_rate(
    network: Network,
    rate_hz: float,
    bin_rate: float,
    generator: np.random.Generator,
    tolerance: float = 0.05,
) -> Network:
    """Shift all biases by one number so that the simulated mean rate over cells is ``rate_hz``.

    The differences between cells stay as they are. The shift starts where uncoupled cells would have the
    wanted rate (mean-field) and is then bisected on hard simulations that share their noise; the result is
    checked on fresh noise.

    Args:
        rate_hz: wanted mean rate in Hz, below ``bin_rate``.
        tolerance: largest relative error of the rate that is accepted on fresh noise.

    Returns:
        The network with its new biases.

    Raises:
        UserError: for an impossible rate, or when no shift gives it, as in a network that jumps from near
            silence to a storm.
    """
    source = "tune_bias_to_rate"
    target = rate_per_bin(rate_hz, bin_rate, source)
    measured = float("nan")
    for spikes_wanted in (60_000, 240_000):
        seed = int(generator.integers(2**63))
        shift = _bisect(network, target, spikes_wanted, seed)
        tuned = network.with_bias(network.bias + shift)
        measured = _mean_rate(tuned, target, 2 * spikes_wanted, generator)
        # Half the tolerance here leaves room for the sampling error of a later, shorter simulation.
        if abs(measured / target - 1) <= 0.5 * tolerance:
            return tuned
    raise UserError(
        f"{source}: the closest mean rate found is {measured * bin_rate:.3g} Hz, expected within "
        f"{tolerance:.0%} of "
        f"{rate_hz} Hz; the couplings are too strong for a steady rate there"
    )


def _mean_rate(network: Network, target: float, spikes_wanted: int, generator: np.random.Generator) -> float:
    """Spikes a bin and cell, over as many as should hold ``spikes_wanted`` at the rate ``target``."""
    cell_bins = spikes_wanted / target
    trials = int(np.clip(cell_bins / (network.cells * 400), 8, 512))
    bins = max(100, int(np.ceil(cell_bins / (network.cells * trials))))
    skip = default_burn_in(network)
    total = 0
    for t, (_, spikes) in enumerate(_bins(network, skip + bins, trials, generator)):
        if t >= skip:
            total += int(np.count_nonzero(spikes))
    return total / (bins * trials * network.cells)


def _bisect(network: Network, target: float, spikes_wanted: int, seed: int) -> float:
    """The shift of the biases that comes nearest to the wanted rate, by simulations that share one noise."""
    low, high = -60.0, 60.0
    for _ in range(50):
        shift = 0.5 * (low + high)
        low, high = (shift, high) if expit(network.bias + shift).mean() < target else (low, shift)
    # From the mean-field value, walk in growing steps until the rate is between two shifts, then halve.
    below = above = None
    step = 0.25
    for _ in range(30):
        shifted = network.with_bias(network.bias + shift)
        error = _mean_rate(shifted, target, spikes_wanted, np.random.default_rng(seed)) / target - 1
        if abs(error) <= 0.005:
            break
        if error < 0:
            below = shift
        else:
            above = shift
        if above is None:
            shift, step = shift + step, 1.6 * step
        elif below is None:
            shift, step = shift - step, 1.6 * step
        else:
            shift = 0.5 * (below + above)
    return shift
