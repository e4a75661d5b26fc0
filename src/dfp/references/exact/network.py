"""The exact posterior over the spikes of a few coupled cells, by forward-backward over their last L bins."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dfp.core.errors import UserError
from dfp.models.base import ObservationModel
from dfp.references.exact.network_steps import NetworkParameters, NetworkSteps
from dfp.references.exact.one_cell import cell_parameters

__all__ = ["ExactNetworkPosterior", "NetworkParameters", "log_evidence"]

#: bytes of step results held at once, unless a caller says otherwise
_BUDGET = 500_000_000


class ExactNetworkPosterior:
    """``p(z | x)``, exactly, for N cells that influence each other.

    ``z[t, i] ~ Bernoulli(σ(u[t, i]))``, with the logits

        ``u[t, i] = bias[i] + Σ_r Σ_{j≠i} coupling[r, i, j] Σ_{τ=1..Lb} basis[r, τ−1] z[t−τ, j]
        + Σ_{τ=1..Lh} history[i, τ−1] z[t−τ, i]``

    and no spikes before t = 0. The frames are
    ``x[t, i] = baseline[i] + amplitude[i] Σ_{k<Lk} kernel[i, k] z[t−k, i] + noise[i] · ε``.

    The state s after bin t holds z[t−k, i] as bit k·N + i of an integer, k = 0..L−1, where L is the longest
    of Lk, Lh and Lb, and N·L ≤ 16. A step shifts the bits by N and drops the oldest bin. Backward,
    ``β_t(s) = log p(x[t+1..] | s)``, gives the exact law of the spikes of a bin given the state before it:

        ``P(z | s, x) = P(z | s) g_t(s') / Σ_z P(z | s) g_t(s')``,  ``g_t = exp(e_t + β_t)``,

    where s' is the state that z leads to, e_t the log-likelihood of the frames, and P(z | s) a product over
    cells. With it the posterior is a Markov chain, which is run forward in probabilities for marginals and
    pairs, or sampled. (Backward filtering and forward sampling as in ``ExactPosterior``, which this is for
    one cell; Rabiner 1989.)

    Errors: rounding alone. Logits so large that the spikes of a bin may have a probability below e^-600 are
    refused.

    Cost O(B · T · 2^(N(L+1))), or O(B · T · 2^(NL)) when the spikes depend on fewer than L bins. Memory: the
    steps take some 24 · T · 2^(NL) bytes a trial (100 MB for N = 3, L = 4, T = 1,000). As many trials as fit
    into the budget are worked off together; when not even one does, a β is kept every √T bins and the steps
    between are done twice (for NL = 16, T = 1,000: 65 MB instead of 1.6 GB). They are not kept, so that
    ``sample`` goes through the backward pass once more. Besides: tables of up to 100 MB for NL = 16 and
    N ≤ 8 (800 MB for N = 16), and 8 · B · T · N² · L bytes of results.

    Args:
        parameters: of the cells; their device is where everything is computed.
        x: ``(B, T, N)`` traces; a frame that is not finite is not observed.
        budget: bytes of step results held at once.

    Attributes:
        memory: L, bins.
        log_evidence: ``(B,)`` log p(x) of all cells together, nats.
        marginals: ``(B, T, N)`` P(z[t, i] = 1 | x).

    Raises:
        UserError: when N·L exceeds 16, the logits are too large, or the traces do not fit the parameters.

    Example:
        >>> network = dfp.from_edges([(0, 1)], [2.0], 2, np.random.default_rng(0))
        >>> data = dfp.simulate(network, [0], bin_rate=30, bins=60, kernel_bins=6)
        >>> model = dfp.CalciumNetwork(data.start, 30, kernel_bins=6)
        >>> exact = dfp.ExactNetworkPosterior.of(model, torch.as_tensor(data.x))
        >>> exact.log_evidence.shape, exact.marginals.shape
        (torch.Size([1]), torch.Size([1, 60, 2]))
        >>> exact.sample(5, dfp.generator(0)).shape
        torch.Size([5, 1, 60, 2])
    """

    @torch.no_grad()
    def __init__(self, parameters: NetworkParameters, x: Tensor, budget: int = _BUDGET) -> None:
        self._steps = NetworkSteps(parameters)
        self._x = _checked(parameters, x)
        self._parameters, self._budget = parameters, budget
        self.memory = parameters.memory
        trials, bins, cells = self._x.shape
        self.log_evidence = self._x.new_empty(trials)
        # P(z[t, i] = 1, z[t − k, j] = 1) at [b, t, i, k, j]
        self._pairs = self._x.new_empty(trials, bins, cells, self.memory, cells)
        # sums over trials and bins: masses of the states before a bin; P(z[t, i] = 1, z[t − L, j] = 1)
        self._visits = self._x.new_zeros(self._steps.rest, self._steps.oldest)
        self._farthest = self._x.new_zeros(cells, cells)
        for chunk in self._chunks():
            self._forward(chunk)
        self.marginals = self._pairs[:, :, :, 0].diagonal(dim1=2, dim2=3).contiguous()

    @classmethod
    def of(cls, model: ObservationModel, x: Tensor) -> ExactNetworkPosterior:
        """The exact posterior under a model, for traces ``(B, T, N)``; the kernel has to be cut.

        Raises:
            UserError: for a kind of observation model that is not served, see ``cell_parameters``.
        """
        own = vars(cell_parameters(model, x.shape[1]))
        coupling, basis = model.value("coupling").detach().double(), model.basis.double()
        return cls(NetworkParameters(coupling=coupling, basis=basis, **own), x.double())

    def pairwise(self, lag: int = 1) -> Tensor:
        """``P(z[t + lag, i] = 1, z[t, j] = 1 | x)`` at ``[b, t, i, j]``, ``(B, T − lag, N, N)``.

        0 ≤ lag < L.

        The row is the later cell, as in ``coupling[r, i, j]``; at lag 0 the diagonal holds the marginals.

        Raises:
            UserError: for a lag that the state does not hold.
        """
        if not 0 <= lag < self.memory:
            raise UserError(f"pairwise lag: found {lag} bins, expected 0 to {self.memory - 1}")
        return self._pairs[:, lag:, :, lag]

    @torch.no_grad()
    def sample(self, samples: int, rng: torch.Generator) -> Tensor:
        """Independent exact samples, ``(S, B, T, N)`` int8. The generator lives on the parameters' device."""
        drawn = torch.cat([self._draw(chunk, samples, rng) for chunk in self._chunks()], 1)
        cells = torch.arange(self._steps.cells, device=drawn.device)
        return ((drawn.permute(2, 1, 0)[..., None] >> cells) & 1).to(torch.int8)

    @torch.no_grad()
    def gradient(self) -> dict[str, Tensor]:
        """``∇ log p(x)`` summed over trials, by the name and in the shape of each parameter but the basis.

        Fisher's identity, ``∇ log p(x) = E[∇ log p(x, z) | x]``: with ``r = x − mean`` of an observed frame,
        sums over bins of ``E[(z[t, i] − σ(u[t, i])) ∂u[t, i]]``, ``E[r ∂mean] / noise²`` and
        ``E[r²] / noise³ − 1 / noise``. The diagonal of ``coupling`` is 0.

        Errors: rounding; for the noise, of a difference of squares of traces, relative to noise².
        """
        p, steps = self._parameters, self._steps
        cells, lags = steps.cells, steps.lags
        # Σ_t E[(z[t, i] − σ(u[t, i])) z[t − τ, j]], (N, K, N)
        together = self._pairs.sum((0, 1))[:, 1:]
        if lags == self.memory:
            together = torch.cat([together, self._farthest[:, None]], 1)
        expected = self._visits.t().reshape(-1, 1) * torch.sigmoid(steps.logits)
        surplus = together[:, :lags] - (expected.t() @ steps.before).reshape(cells, lags, cells)
        coupling = torch.einsum("ikj,rk->rij", surplus[:, : p.basis.shape[1]], p.basis[:, :lags])
        own = surplus.diagonal(dim1=0, dim2=2).t()
        return {
            "bias": self.marginals.sum((0, 1)) - expected.sum(0),
            "history": own[:, : p.history.shape[1]].contiguous(),
            "coupling": coupling * (1 - torch.eye(cells, dtype=coupling.dtype, device=coupling.device)),
            **self._frame_gradient(),
        }

    def _frame_gradient(self) -> dict[str, Tensor]:
        """The gradient in kernel, amplitude, baseline and noise, from the pairs of every cell with itself."""
        p, bins = self._parameters, self._x.shape[1]
        length = p.kernel.shape[1]
        observed = torch.isfinite(self._x)
        seen = observed.double()
        above = torch.where(observed, self._x - p.baseline, torch.zeros_like(self._x))
        own = self._pairs.diagonal(dim1=2, dim2=4)  # P(z[t, i] = 1, z[t − k, i] = 1), (B, T, L, N)
        # expected sums over observed frames of z[t−k], of (x[t] − baseline) z[t−k], and of z[t−k] z[t−l]
        spikes, product = p.kernel.new_zeros(2, *p.kernel.shape)
        square = p.kernel.new_zeros(*p.kernel.shape, length)
        for k in range(min(length, bins)):
            before = own[:, : bins - k]
            spikes[:, k] = (seen[:, k:] * before[:, :, 0]).sum((0, 1))
            product[:, k] = (above[:, k:] * before[:, :, 0]).sum((0, 1))
            for other in range(k, length):
                both = (seen[:, k:] * before[:, :, other - k]).sum((0, 1))
                square[:, k, other] = square[:, other, k] = both
        calcium = (square @ p.kernel[..., None])[..., 0]  # of c[t] z[t−k]
        residual = product - p.amplitude[:, None] * calcium
        cross, own_square = (p.kernel * product).sum(1), (p.kernel * calcium).sum(1)
        error = (above**2).sum((0, 1)) - 2 * p.amplitude * cross + p.amplitude**2 * own_square
        return {
            "kernel": (p.amplitude / p.noise**2)[:, None] * residual,
            "amplitude": (p.kernel * residual).sum(1) / p.noise**2,
            "baseline": (above.sum((0, 1)) - p.amplitude * (p.kernel * spikes).sum(1)) / p.noise**2,
            "noise": error / p.noise**3 - seen.sum((0, 1)) / p.noise,
        }

    def _plan(self) -> tuple[int, int]:
        """Trials worked off together, and bins whose steps are held at once."""
        trials, bins, cells = self._x.shape
        root = math.isqrt(bins - 1) + 1
        # numbers held a bin: tilt, its mean, a β kept; the frames by own state with what they are made of
        each = 3 * self._steps.size + 5 * cells * 2 ** self._parameters.kernel.shape[1]
        work = (16 + 3 * cells) * self._steps.size
        whole, parts = (8 * (each * held + work) for held in (bins, root))
        if whole <= self._budget:
            return min(trials, self._budget // whole), bins
        return max(1, min(trials, self._budget // parts)), root

    def _chunks(self) -> Iterator[slice]:
        """Trials that are worked off together."""
        trials, size = len(self._x), self._plan()[0]
        for first in range(0, trials, size):
            yield slice(first, min(first + size, trials))

    def _blocks(self, chunk: slice) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Blocks of bins in their order, with what the backward pass found for them.

        Of each: which bins, their tilts and the means of these (see ``NetworkSteps.back``), and the
        log-evidence of the bins from there on if no spikes came before.
        """
        x, steps, length = self._x[chunk], self._steps, self._plan()[1]
        blocks = [slice(first, first + length) for first in range(0, x.shape[1], length)]
        ends, levels = [x.new_zeros(len(x), steps.size)], [x.new_zeros(len(x))]
        for block in reversed(blocks[1:]):
            beta, level = steps.backward(x[:, block], ends[-1])
            ends.append(beta)
            levels.append(levels[-1] + level)
        for block in blocks:
            held = x[:, block]
            tilts = x.new_empty(held.shape[1], len(x), steps.size)
            totals = x.new_empty(held.shape[1], steps.rest, len(x), steps.oldest)
            _, level = steps.backward(held, ends.pop(), tilts, totals)
            yield block, tilts, totals, levels.pop() + level

    def _forward(self, chunk: slice) -> None:
        """Run the chain of some trials; fill in their evidence and pairs, add to the sums."""
        steps, cells = self._steps, self._steps.cells
        trials = chunk.stop - chunk.start
        weight = self._x.new_zeros(trials, steps.size)
        weight[:, 0] = 1.0
        both = (steps.bits[:, :cells, None] * steps.bits[:, None]).flatten(1)
        spikes = steps.bits[: steps.patterns, :cells]  # of one bin, (2^N, N)
        marks = torch.cat([torch.ones_like(spikes[:, :1]), spikes], 1).t()
        for block, tilts, totals, evidence in self._blocks(chunk):
            if block.start == 0:
                self.log_evidence[chunk] = evidence
            for tilt, total in zip(tilts, totals, strict=True):
                mass = steps.gather(weight)
                self._visits += mass.sum(1)
                mass = mass / total
                if steps.oldest > 1:
                    # along with all of the mass, the part with a spike of cell j in the bin that falls out
                    marked = (mass[:, :, None] * marks).flatten(1, 2)
                    after = steps.propagate(marked).unflatten(0, (trials, cells + 1))
                    weight, parts = after[:, 0] * tilt, after[:, 1:] * tilt[:, None]
                    parts = parts.reshape(trials, cells, steps.rest, steps.patterns).sum((0, 2))
                    self._farthest += (parts @ spikes).t()
                else:
                    weight = steps.propagate(mass) * tilt
                # rounding alone moves the sum from 1, but over thousands of bins it adds up
                weight = weight / weight.sum(1, keepdim=True)
                tilt.copy_(weight)  # in the place of what is not needed again
            pairs = (tilts @ both).clamp_(0, 1).reshape(-1, trials, cells, self.memory, cells)
            self._pairs[chunk, block] = pairs.transpose(0, 1)

    def _draw(self, chunk: slice, samples: int, rng: torch.Generator) -> Tensor:
        """Spikes of every bin as an integer, cell i at bit i, ``(T, B, S)``, for some trials."""
        steps = self._steps
        trials, bins = chunk.stop - chunk.start, self._x.shape[1]
        state = torch.zeros(trials, samples, dtype=torch.long, device=self._x.device)
        z = torch.empty(bins, trials, samples, dtype=torch.long, device=self._x.device)
        size = max(1, self._budget // (40 * steps.patterns * trials))
        for block, tilts, _, _ in self._blocks(chunk):
            for t, tilt in enumerate(tilts, start=block.start):
                uniform = torch.rand(state.shape, generator=rng, dtype=torch.float64, device=state.device)
                by_rest = tilt.reshape(trials, steps.rest, steps.patterns)
                for first in range(0, samples, size):
                    part = slice(first, first + size)
                    z[t, :, part] = self._spikes(state[:, part], by_rest, uniform[:, part])
                state = ((state << steps.cells) | z[t]) & (steps.size - 1)
        return z

    def _spikes(self, state: Tensor, tilt: Tensor, uniform: Tensor) -> Tensor:
        """Draw the spikes of a bin in the states before it ``(B, S)``, by inversion of their exact law."""
        steps = self._steps
        rest = state % steps.rest
        oldest = state // steps.rest if steps.oldest > 1 else torch.zeros_like(state)
        probability = steps.lower[rest, oldest]
        if steps.upper is not None:
            upper = steps.upper[:, rest, oldest].movedim(0, -1)
            probability = (upper[..., None] * probability[..., None, :]).flatten(-2)
        trial = torch.arange(len(state), device=state.device)[:, None]
        cumulative = (probability * tilt[trial, rest]).cumsum(-1)
        # the last pattern takes what rounding leaves
        return (cumulative[..., :-1] <= uniform[..., None] * cumulative[..., -1:]).sum(-1)


def log_evidence(parameters: NetworkParameters, x: Tensor) -> Tensor:
    """``log p(x)``, ``(B,)`` nats, of traces ``(B, T, N)``, differentiable in every parameter by autograd.

    The backward recursion of ``ExactNetworkPosterior``, with its errors and refusals. Meant as a check: with
    gradients every step is kept, some 100 · B · T · 2^(NL) bytes.
    """
    steps = NetworkSteps(parameters)
    x = _checked(parameters, x)
    return steps.backward(x, x.new_zeros(len(x), steps.size))[1]


def _checked(parameters: NetworkParameters, x: Tensor) -> Tensor:
    """The traces as float64 on the parameters' device."""
    cells = len(parameters.bias)
    if x.dim() != 3 or x.shape[2] != cells or not x.numel():
        raise UserError(
            f"exact network posterior: found traces of shape {tuple(x.shape)}, "
            f"expected (trials, bins, {cells} cells), none of them 0"
        )
    return x.to(parameters.bias)
