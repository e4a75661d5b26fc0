"""Coupled cells as a Markov chain of their last L bins: its parameters, and one bin forward and backward."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softplus

from dfp.core.errors import UserError

#: the most bits of a state, cells × bins of memory (65,536 states)
MOST_BITS = 16
#: the least probable pattern of spikes in a bin that is still kept apart from an impossible one, nats
_DEEPEST = 600.0
#: entries of the table of transitions, above which it is kept as two factors
_TABLE = 2**22


@dataclass(frozen=True)
class NetworkParameters:
    """Coupled cells under the calcium model, all torch float64 on one device.

    Attributes:
        bias: ``(N,)`` logits.
        history: ``(N, Lh)`` logits per spike, lag 1 first; Lh may be 0.
        coupling: ``(R, N, N)`` logits, ``[r, i, j]`` from cell j onto cell i; R may be 0. The diagonal is
            ignored.
        basis: ``(R, Lb)`` causal basis functions of the coupling, lag 1 first.
        kernel: ``(N, Lk)`` calcium response, lag 0 first; Lk ≥ 1.
        amplitude: ``(N,)`` fluorescence per unit of calcium.
        baseline: ``(N,)`` fluorescence.
        noise: ``(N,)`` standard deviation of a frame, fluorescence, > 0.

    Raises:
        UserError: when shapes disagree, or a number is not finite, not float64, or a noise not above 0.
    """

    bias: Tensor
    history: Tensor
    coupling: Tensor
    basis: Tensor
    kernel: Tensor
    amplitude: Tensor
    baseline: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        cells, functions = self.bias.numel(), len(self.basis) if self.basis.dim() else 0
        shapes: dict[str, tuple[int | str, ...]] = {
            "history": (cells, "bins"),
            "coupling": (functions, cells, cells),
            "basis": (functions, "bins"),
            "kernel": (cells, "bins"),
        }
        for name, value in vars(self).items():
            expected = shapes.get(name, (cells,))
            found = tuple(value.shape)
            if len(found) != len(expected) or any(
                wanted not in ("bins", size) for wanted, size in zip(expected, found, strict=True)
            ):
                shape = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
                raise UserError(f"network parameters, {name}: found shape {found}, expected ({shape})")
            if value.dtype != torch.float64:
                raise UserError(f"network parameters, {name}: found {value.dtype}, expected torch.float64")
            if not torch.isfinite(value).all():
                raise UserError(
                    f"network parameters, {name}: found a value that is not finite, expected numbers"
                )
        if not cells:
            raise UserError("network parameters, bias: found 0 cells, expected at least 1")
        if not self.kernel.shape[1]:
            raise UserError("network parameters, kernel: found 0 bins, expected at least 1")
        if not (self.noise > 0).all():
            lowest = float(self.noise.min())
            raise UserError(f"network parameters, noise: found {lowest:g}, expected numbers above 0")

    @property
    def lags(self) -> int:
        """Bins K before a bin that its spikes depend on."""
        return max(self.history.shape[1], self.basis.shape[1] if len(self.basis) else 0)

    @property
    def memory(self) -> int:
        """Bins L that a state has to hold: as many as a frame, or the next spikes, depend on."""
        return max(self.kernel.shape[1], self.lags)

    def weights(self) -> Tensor:
        """Logits of cell i per spike of cell j, τ bins before: ``(N, K, N)``, indices i, τ − 1, j."""
        alone = torch.eye(len(self.bias), dtype=torch.float64, device=self.bias.device)
        history = pad(self.history, (0, self.lags - self.history.shape[1]))
        weights = history[:, :, None] * alone[:, None]
        if len(self.basis):
            basis = pad(self.basis, (0, self.lags - self.basis.shape[1]))
            weights = weights + torch.einsum("rij,rk->ikj", self.coupling * (1 - alone), basis)
        return weights


class NetworkSteps:
    """One bin of the chain, forward and backward, for many trials at once.

    A state after bin t holds z[t−k, i] as bit k·N + i of an integer, k = 0..L−1. Before a bin, a state s is
    the pair (o, r) of its oldest bin and the other L − 1, ``s = o · 2^(N(L−1)) + r``; with the spikes z of
    the bin, the state after it is ``r · 2^N + z``. For each r the step is therefore a 2^N × 2^N matrix
    ``P(z | o, r)``, and a step of all trials is one product with a stack of 2^(N(L−1)) small matrices. When
    the spikes do not depend on the oldest bin (K < L), o is summed out beforehand. Within a bin the cells are
    independent given the state, so that a stack too large to keep (above 2^22 numbers, of 2^(N(L+1))) is kept
    as two factors, ``P(z_upper | o, r)`` and ``P(z_lower | o, r)``, half of the cells each.

    Shapes: masses or values of states ``(B, 2^(NL))``; a quantity by r, trial and o ``(2^(N(L−1)), B, O)``,
    with O = 2^N, or 1 when K < L.

    Args:
        parameters: of the cells; with gradients, the steps have them too.

    Raises:
        UserError: when N·L exceeds 16, or a pattern of spikes has a probability below e^-600 in some state:
            from there on products of probabilities would underflow.
    """

    def __init__(self, parameters: NetworkParameters) -> None:
        cells, memory, lags = len(parameters.bias), parameters.memory, parameters.lags
        if cells * memory > MOST_BITS:
            raise UserError(
                f"exact network posterior: found {cells} cells with a memory of {memory} bins, "
                f"expected at most {MOST_BITS} for cells times bins (cut the kernel with kernel_bins)"
            )
        self.cells, self.memory, self.lags = cells, memory, lags
        self.patterns, self.rest, self.size = 2**cells, 2 ** (cells * (memory - 1)), 2 ** (cells * memory)
        self.oldest = self.patterns if lags == memory else 1
        device = parameters.bias.device
        self.bits = _bits(cells * memory, device)  # (2^NL, L·N)

        # the states before that make a difference, and the logits of the spikes in them: (O · 2^(N(L−1)), N)
        self.before = self.bits[: self.oldest * self.rest, : lags * cells]
        self.logits = parameters.bias + self.before @ parameters.weights().flatten(1).t()
        deepest = float(softplus(self.logits.detach().abs()).sum(1).max())
        if deepest > _DEEPEST:
            raise UserError(
                f"exact network posterior: found log-probability -{deepest:.0f} for the spikes of a bin, "
                f"expected at least -{_DEEPEST:.0f} (smaller biases, history or coupling)"
            )
        upper = cells // 2 if self.oldest * self.rest * self.patterns > _TABLE else 0
        self.upper = self._table(cells - upper, cells).permute(2, 1, 0) if upper else None  # (2^u, rest, O)
        self.lower = self._table(0, cells - upper).transpose(0, 1).contiguous()  # (rest, O, 2^(N−u))

        # a frame depends on the last bins of its own cell: which of them every state holds, as an integer
        length = parameters.kernel.shape[1]
        powers = 2 ** torch.arange(length, device=device)
        self._own = [self.bits[:, i::cells][:, :length].long() @ powers for i in range(cells)]
        calcium = parameters.kernel @ _bits(length, device).t()
        self._mean = parameters.baseline[:, None] + parameters.amplitude[:, None] * calcium  # (N, 2^Lk)
        self._noise = parameters.noise[:, None]

    def _table(self, first: int, last: int) -> Tensor:
        """``P(z[first..last − 1] | o, r)``, ``(O, rest, patterns of these cells)``."""
        spikes = _bits(last - first, self.bits.device).t()
        logits = self.logits[:, first:last]
        log_probability = logsigmoid(logits) @ spikes + logsigmoid(-logits) @ (1 - spikes)
        return log_probability.exp().reshape(self.oldest, self.rest, -1)

    def frames(self, x: Tensor) -> Tensor:
        """``log N(x; mean, noise²)`` of frames ``(B, T, N)`` for every value of the cell's own last bins.

        ``(T, B, N, 2^Lk)``; 0 where a frame is not observed.
        """
        x = x.transpose(0, 1)[..., None]
        observed = torch.isfinite(x)
        residual = (torch.where(observed, x, torch.zeros_like(x)) - self._mean) / self._noise
        density = -0.5 * residual**2 - self._noise.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(observed, density, torch.zeros_like(density))

    def frame(self, frames: Tensor) -> Tensor:
        """Log-likelihood of one bin in every state: ``(B, N, 2^Lk)`` → ``(B, 2^NL)``."""
        total = frames[:, 0].index_select(1, self._own[0])
        for i in range(1, self.cells):
            total = total + frames[:, i].index_select(1, self._own[i])
        return total

    def gather(self, weight: Tensor) -> Tensor:
        """Masses of the states before a bin by r, trial and o: ``(B, 2^NL)`` → ``(rest, B, O)``."""
        by_oldest = weight.reshape(len(weight), self.patterns, self.rest)
        if self.oldest == 1:
            by_oldest = by_oldest.sum(1, keepdim=True)
        return by_oldest.permute(2, 0, 1)

    def propagate(self, mass: Tensor) -> Tensor:
        """``Σ_o mass(o, r) P(z | o, r)``: ``(rest, B, O)`` → ``(B, 2^NL)``, by state after."""
        if self.upper is None:
            after = torch.bmm(mass, self.lower)
        else:
            after = torch.cat([torch.bmm(mass * factor[:, None], self.lower) for factor in self.upper], 2)
        return after.transpose(0, 1).reshape(mass.shape[1], self.size)

    def expect(self, after: Tensor) -> Tensor:
        """``Σ_z P(z | o, r) after(r, z)``: ``(B, 2^NL)`` → ``(rest, B, O)``."""
        by_rest = after.reshape(len(after), self.rest, self.patterns).transpose(0, 1)
        if self.upper is None:
            return torch.bmm(by_rest, self.lower.transpose(1, 2))
        parts = by_rest.unflatten(2, (len(self.upper), -1)).unbind(2)
        total = after.new_zeros(self.rest, len(after), self.oldest)
        for factor, part in zip(self.upper, parts, strict=True):
            total = total + factor[:, None] * torch.bmm(part, self.lower.transpose(1, 2))
        return total

    def back(self, onwards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A bin backward, from ``onwards(s) = log p(x[t..] | s after bin t)`` ``(B, 2^NL)``.

        Returns:
            The tilt of every state after, ``exp(onwards − its largest for that r)`` ``(B, 2^NL)``; its mean
            under the prior ``(rest, B, O)``; ``log p(x[t..] | s before bin t)`` ``(B, 2^NL)``.
        """
        trials = len(onwards)
        by_rest = onwards.reshape(trials, self.rest, self.patterns)
        # only what differs between the spikes of one bin goes through exp, so that no state is lost
        top = by_rest.detach().amax(2, keepdim=True)
        tilt = (by_rest - top).exp().reshape(trials, self.size)
        total = self.expect(tilt)
        beta = total.log().permute(1, 2, 0) + top.transpose(1, 2)
        return tilt, total, beta.expand(-1, self.patterns, -1).reshape(trials, self.size)

    def backward(
        self, x: Tensor, beta: Tensor, tilts: Tensor | None = None, totals: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """All bins of ``x`` ``(B, T, N)`` backward, from β ``(B, 2^NL)`` after the last.

        ``tilts`` ``(T, B, 2^NL)`` and ``totals`` ``(T, rest, B, O)`` receive the results of ``back``.

        Returns:
            β before the first bin, less its value in the state without spikes ``(B, 2^NL)``; that value, the
            log-evidence of these bins when none came before ``(B,)``.
        """
        frames = self.frames(x)
        level = x.new_zeros(len(x))
        for t in reversed(range(x.shape[1])):
            tilt, total, beta = self.back(beta + self.frame(frames[t]))
            if tilts is not None and totals is not None:
                tilts[t], totals[t] = tilt, total
            # kept near 0, so that no digits are lost over a long trace; state 0 is where the trace begins
            level = level + beta[:, 0]
            beta = beta - beta[:, :1]
        return beta, level


def _bits(places: int, device: torch.device) -> Tensor:
    """The bits of all numbers below 2^places, lowest first, ``(2^places, places)`` float64."""
    numbers = torch.arange(2**places, device=device)[:, None]
    return ((numbers >> torch.arange(places, device=device)) & 1).double()
