"""Networks of spiking cells: who acts on whom, how strongly and for how long.

The law (Bernoulli spikes with a causal logit, as in a point-process generalised linear model):

    z[t, i] ~ Bernoulli(σ(u[t, i])),
    u[t, i] = bias[i] + Σ_r Σ_j coupling[r, i, j] (φ_r * z_j)[t] + Σ_τ history[i, τ] z[t − τ, i]

``coupling[r, i, j]`` is the weight *from* sending cell j *onto* receiving cell i. All arrays are NumPy, all
randomness comes from a ``numpy.random.Generator`` that the caller passes in. How fast a network's activity
spreads, and how its mean rate is set, is in ``dfp.data.stability``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp.core.errors import UserError
from dfp.data.bases import exponential_basis, lag_basis, raised_cosine_basis

__all__ = [
    "PANEL_HISTORY",
    "PEER_BINS",
    "PEER_BIN_RATE",
    "PEER_DECAY_SECONDS",
    "Network",
    "exponential_basis",
    "from_edges",
    "independent",
    "lag_basis",
    "peer_setting",
    "raised_cosine_basis",
    "sparse_random",
]

Array = NDArray[np.float64]

#: The rest of the setting in which the peers were scored: its length, its bins a second, and a calcium decay
#: of 15 bins.
PEER_BINS = 20_000
PEER_BIN_RATE = 30.0
PEER_DECAY_SECONDS = 0.5

#: own history of a panel's cells unless a configuration says otherwise: refractory for two bins
PANEL_HISTORY = (-2.0, -1.0)


@dataclass(frozen=True, eq=False)
class Network:
    """The parameters of the spiking law above.

    Attributes:
        bias: ``(N,)`` logits.
        history: ``(N, Lh)`` own-history weights at lags 1..Lh; Lh may be 0.
        coupling: ``(R, N, N)``, ``[r, i, j]`` from j onto i, with a zero diagonal (own effects belong in
            ``history``).
        basis: ``(R, L)`` filters at lags 1..L.
        names: N cell names.

    Raises:
        UserError: when shapes disagree, a value is not finite, or a cell couples to itself.
    """

    bias: Array
    history: Array
    coupling: Array
    basis: Array
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        cells = self.bias.shape[0] if self.bias.ndim == 1 else -1
        functions = self.basis.shape[0] if self.basis.ndim == 2 else -1
        if cells < 1 or functions < 1:
            raise UserError(
                f"network: bias has shape {self.bias.shape} and basis {self.basis.shape}, expected (N,) and "
                "(R, L)"
            )
        expected = {"coupling": (functions, cells, cells), "history": (cells, self.history.shape[-1])}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise UserError(f"network: {name} has shape {getattr(self, name).shape}, expected {shape}")
        if len(self.names) != cells:
            raise UserError(f"network: {len(self.names)} names for {cells} cells, expected one a cell")
        for name in ("bias", "history", "coupling", "basis"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise UserError(f"network: {name} holds a value that is not finite, expected numbers")
        if np.any(np.diagonal(self.coupling, axis1=1, axis2=2)):
            raise UserError(
                "network: coupling has a weight from a cell onto itself, expected it in 'history' and a "
                "zero diagonal"
            )

    @property
    def cells(self) -> int:
        """The number of cells, N."""
        return int(self.bias.shape[0])

    @property
    def memory(self) -> int:
        """The longest lag, in bins, at which a past spike still counts: max(L, Lh)."""
        return int(max(self.basis.shape[1], self.history.shape[1]))

    def lag_weights(self) -> Array:
        """Every effect lag by lag, ``(memory, N, N)``, own history on the diagonal.

        ``[τ − 1, i, j]`` is the change of u_i that a spike of j causes τ bins later.
        """
        weights = np.zeros((self.memory, self.cells, self.cells))
        weights[: self.basis.shape[1]] = np.einsum("rl,rij->lij", self.basis, self.coupling)
        diagonal = np.arange(self.cells)
        weights[: self.history.shape[1], diagonal, diagonal] += self.history.T
        return weights

    def with_bias(self, bias: Array) -> Network:
        """The same network with other biases ``(N,)``."""
        return replace(self, bias=np.asarray(bias, dtype=float))

    def arrays(self) -> dict[str, Array]:
        """``truth_bias``, ``truth_history``, ``truth_coupling`` and ``truth_basis`` for a data set file."""
        return {f"truth_{name}": getattr(self, name) for name in ("bias", "history", "coupling", "basis")}


def rate_per_bin(rate_hz: float, bin_rate: float, source: str) -> float:
    """The spike probability of one bin, ``rate_hz / bin_rate``; a ``UserError`` unless in (0, 1)."""
    if not bin_rate > 0 or not 0 < rate_hz < bin_rate:
        raise UserError(
            f"{source}: rate {rate_hz} Hz at {bin_rate} bins a second, expected a rate above 0 and below "
            "that, since a bin holds at most one spike"
        )
    return rate_hz / bin_rate


def _bias(
    cells: int, rate_hz: float, bin_rate: float, bias_sd: float, generator: np.random.Generator, source: str
) -> Array:
    if cells < 1:
        raise UserError(f"{source}: cells is {cells}, expected at least 1")
    if bias_sd < 0:
        raise UserError(f"{source}: bias_sd is {bias_sd}, expected a number of at least 0")
    probability = rate_per_bin(rate_hz, bin_rate, source)
    return np.log(probability / (1 - probability)) + bias_sd * generator.standard_normal(cells)


def _network(
    bias: Array, coupling: Array, basis: Array, history: ArrayLike, names: Sequence[str] | None
) -> Network:
    cells = bias.shape[0]
    own = np.asarray(history, dtype=float)
    if own.ndim == 1:
        own = np.tile(own, (cells, 1))
    labels = (
        tuple(f"cell{n:03d}" for n in range(cells)) if names is None else tuple(str(name) for name in names)
    )
    return Network(bias=bias, history=own, coupling=coupling, basis=basis, names=labels)


def sparse_random(
    cells: int,
    generator: np.random.Generator,
    *,
    density: float = 0.1,
    weight_sd: float = 1.0,
    weight_mean: float = 0.0,
    excitatory_fraction: float | None = None,
    rate_hz: float = 2.0,
    bin_rate: float = 30.0,
    bias_sd: float = 0.3,
    history: ArrayLike = (-2.0,),
    basis: Array | None = None,
) -> Network:
    """A random directed network: each ordered pair of different cells is joined with probability ``density``.

    Weights are N(weight_mean, weight_sd²), independent for each basis function. With ``excitatory_fraction``
    given, Dale's law holds: that fraction of the cells (rounded, drawn at random) excites and the others
    inhibit all they reach, and the weights are ±|N(weight_mean, weight_sd²)| with the sign of the sending
    cell. Biases are logit(rate_hz / bin_rate) + N(0, bias_sd²).

    Args:
        cells: N.
        history: own-history weights at lags 1, 2, …, ``(Lh,)`` shared or ``(N, Lh)``.
        basis: ``(R, L)``; by default lag 1 alone.

    Raises:
        UserError: for a probability outside [0, 1], a negative sd, or a rate that no bin can hold.

    Example:
        >>> network = dfp.sparse_random(20, np.random.default_rng(0), density=0.1)
        >>> network.cells, network.coupling.shape
        (20, (1, 20, 20))
    """
    source = "sparse_random"
    if not 0 <= density <= 1:
        raise UserError(f"{source}: density is {density}, expected a probability from 0 to 1")
    if weight_sd < 0:
        raise UserError(f"{source}: weight_sd is {weight_sd}, expected a number of at least 0")
    if excitatory_fraction is not None and not 0 <= excitatory_fraction <= 1:
        raise UserError(
            f"{source}: excitatory_fraction is {excitatory_fraction}, expected a number from 0 to 1"
        )
    filters = lag_basis(1) if basis is None else np.asarray(basis, dtype=float)
    bias = _bias(cells, rate_hz, bin_rate, bias_sd, generator, source)
    joined = generator.random((cells, cells)) < density
    np.fill_diagonal(joined, False)
    weights = weight_mean + weight_sd * generator.standard_normal((filters.shape[0], cells, cells))
    if excitatory_fraction is not None:
        sign = np.full(cells, -1.0)
        sign[generator.permutation(cells)[: round(excitatory_fraction * cells)]] = 1.0
        weights = np.abs(weights) * sign[None, None, :]
    return _network(bias, np.where(joined, weights, 0.0), filters, history, None)


def peer_setting(generator: np.random.Generator, cells: int = 40) -> Network:
    """The setting in which the peers (OASIS, a generalised linear model) were scored; about 3 Hz a cell.

    Edges with probability 0.1; 80% of the cells excitatory; weights ±|N(1.2, 0.4²)| at lag 1 with the sign of
    the sending cell; own weight −2 at lag 1; bias logit(2/30) + N(0, 0.3²) at 30 Hz. With it go ``PEER_BINS``
    bins, a calcium decay of ``PEER_DECAY_SECONDS`` (a factor exp(−1/15) a bin), unit amplitude, instant rise
    and an uncut kernel.
    """
    return sparse_random(
        cells,
        generator,
        density=0.1,
        weight_mean=1.2,
        weight_sd=0.4,
        excitatory_fraction=0.8,
        rate_hz=2.0,
        bin_rate=PEER_BIN_RATE,
        bias_sd=0.3,
        history=(-2.0,),
    )


def independent(
    cells: int,
    generator: np.random.Generator,
    *,
    rate_hz: float = 2.0,
    bin_rate: float = 30.0,
    bias_sd: float = 0.3,
    history: ArrayLike = PANEL_HISTORY,
) -> Network:
    """A panel of N uncoupled cells: bias logit(rate_hz / bin_rate) + N(0, bias_sd²), own history.

    Inhibitory own history makes the simulated rate lower than ``rate_hz``; ``stability.tune_bias_to_rate``
    corrects for it.
    """
    bias = _bias(cells, rate_hz, bin_rate, bias_sd, generator, "independent")
    return _network(bias, np.zeros((1, cells, cells)), lag_basis(1), history, None)


def from_edges(
    edges: ArrayLike,
    weights: ArrayLike,
    cells: int,
    generator: np.random.Generator,
    *,
    rate_hz: float = 2.0,
    bin_rate: float = 30.0,
    bias_sd: float = 0.3,
    history: ArrayLike = (-2.0,),
    basis: Array | None = None,
    names: Sequence[str] | None = None,
) -> Network:
    """A network from a list of edges.

    Args:
        edges: ``(E, 2)`` whole numbers, sending cell then receiving cell, counted from 0.
        weights: ``(E,)``, used for every basis function, or ``(E, R)``.
        cells: N.

    Raises:
        UserError: for an edge that names no cell, joins a cell to itself or appears twice, or weights that do
            not match.

    Example:
        >>> chain = dfp.from_edges([(0, 1), (1, 2)], [1.5, -0.5], 3, np.random.default_rng(0))
        >>> chain.coupling[0]  # from the column's cell onto the row's
        array([[ 0. ,  0. ,  0. ],
               [ 1.5,  0. ,  0. ],
               [ 0. , -0.5,  0. ]])
    """
    source = "from_edges"
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    values = np.asarray(weights, dtype=float)
    filters = lag_basis(1) if basis is None else np.asarray(basis, dtype=float)
    if values.ndim == 1:
        values = np.repeat(values[:, None], filters.shape[0], axis=1)
    if values.shape != (len(pairs), filters.shape[0]):
        raise UserError(
            f"{source}: weights of shape {np.shape(weights)} for {len(pairs)} edges and {filters.shape[0]} "
            "basis "
            f"functions, expected ({len(pairs)},) or ({len(pairs)}, {filters.shape[0]})"
        )
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= cells):
        raise UserError(
            f"{source}: edges name cells {pairs.min()} to {pairs.max()}, expected 0 to {cells - 1} for "
            f"{cells} cells"
        )
    if np.any(pairs[:, 0] == pairs[:, 1]):
        own = pairs[pairs[:, 0] == pairs[:, 1]][0, 0]
        raise UserError(f"{source}: an edge joins cell {own} to itself, expected own effects in 'history'")
    if len(np.unique(pairs, axis=0)) != len(pairs):
        raise UserError(
            f"{source}: the edge list names the same pair of cells twice, expected each pair once"
        )
    bias = _bias(cells, rate_hz, bin_rate, bias_sd, generator, source)
    coupling = np.zeros((filters.shape[0], cells, cells))
    coupling[:, pairs[:, 1], pairs[:, 0]] = values.T
    return _network(bias, coupling, filters, history, names)
