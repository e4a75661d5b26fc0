"""Causal terms: what the past adds to a logit.

Each term has a parallel form, ``term(z) -> (S, B, T, N)``, and an incremental one,
``term.step(window, t) -> (S, B, N)``. They must agree:
``term(z)[:, :, t] == term.step(z[:, :, t−memory:t], t)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from dfp.core.errors import UserError
from dfp.core.filters import causal_filter
from dfp.samplers.base import Effort
from dfp.samplers.recursion import Hidden


@dataclass
class Parts:
    """What terms bring to a ``Recursion`` of N cells."""

    own: list[Tensor] = field(default_factory=list)
    coupling: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)


def _shaped(name: str, found: Tensor, *expected: int | str) -> None:
    """Refuse a tensor of another shape; names stand for any size."""
    fits = found.dim() == len(expected) and all(
        isinstance(size, str) or have == size for have, size in zip(found.shape, expected, strict=True)
    )
    if not fits:
        raise UserError(
            f"{name}: found shape {tuple(found.shape)}, expected ({', '.join(map(str, expected))})"
        )


class CausalTerm(ABC):
    """A contribution to the logits at bin t from values before t.

    Example:
        >>> class Silent(dfp.CausalTerm):  # no spike right after another
        ...     memory = 1
        ...     def __call__(self, z):
        ...         return -99.0 * torch.nn.functional.pad(z, (0, 0, 1, 0))[:, :, :-1]
        ...     def step(self, window, t):
        ...         return -99.0 * window[:, :, -1]
        >>> q = dfp.CausalBernoulli(torch.zeros(1, 200, 1), (Silent(),))
        >>> z = q.draw(q.noise(1, dfp.generator(0)), dfp.FixedPoint(), dfp.Hard()).z
        >>> bool((z[:, :, 1:] * z[:, :, :-1]).any())
        False
    """

    #: whether cell i's contribution may depend on another cell's past
    couples_cells: bool = False

    @property
    @abstractmethod
    def memory(self) -> int:
        """Bins looked back."""

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """Contributions at every bin, ``(S, B, T, N)``, from values ``(S, B, T, N)``."""

    @property
    def effort(self) -> Effort:
        """What the term costs, for choosing a sampler; by default what a small filter costs."""
        return Effort(4, self.memory)

    @abstractmethod
    def step(self, window: Tensor, t: int) -> Tensor:
        """Contributions at bin ``t``, ``(S, B, N)``.

        ``(S, B, memory, N)`` are the values of the last ``memory`` bins, most recent last.
        """

    def times(self, factor: Tensor) -> CausalTerm:
        """This term times ``factor``, ``(N,)``, one for each cell's logits, or ``(1,)``.

        Raises:
            UserError: for a kind of term that does not know how.
        """
        raise UserError(f"found the term {type(self).__name__}, expected one that can be multiplied")

    def check(self, cells: int) -> None:
        """Raise ``UserError`` where the term's numbers are not those of ``cells`` cells.

        By default nothing is checked.
        """
        return None

    def lower(self, cells: int, parts: Parts) -> bool:
        """Add this term's numbers to ``parts``; False where ``parts`` cannot hold them."""
        return False


def check_term(term: CausalTerm, cells: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
    """Refuse a term that is not causal; for a term of one's own, before it is sampled.

    Two sets of 0/1 values, S = 1, B = 1, T = 2 ``memory`` + 3, differ in one bin: contributions at that bin
    and before may not change, nor any more than ``memory`` bins later; and ``step`` has to say what the term
    says of all bins at once.

    Args:
        cells: N of the values tried.
        seed, dtype: of those values; ``dtype`` has to be that of the term's own numbers.

    Raises:
        UserError: naming what the term looks at.

    Example:
        >>> dfp.check_term(dfp.OwnHistory(torch.tensor([[-2.0, -1.0]])), cells=1)
    """
    name, memory = type(term).__name__, term.memory
    rng = torch.Generator().manual_seed(seed)
    bins, at = 2 * memory + 3, memory + 1
    values = torch.bernoulli(torch.full((1, 1, bins, cells), 0.5, dtype=dtype), generator=rng)
    changed = values.clone()
    changed[:, :, at] = 1 - changed[:, :, at]
    with torch.no_grad():
        one, other = term(values), term(changed)
        moved = (one - other).abs().amax(dim=(0, 1, 3)) > 1e-5 * (1 + one.abs().amax())
        window = pad(values, (0, 0, memory, 0))
        steps = torch.stack([term.step(window[:, :, t : t + memory], t) for t in range(bins)], 2)
    if moved[: at + 1].any():
        which = "its own bin" if moved[at] else "bins to come"
        raise UserError(f"term {name}: found that it depends on {which}, expected on bins before only")
    if moved[at + memory + 1 :].any():
        raise UserError(f"term {name}: found more bins looked back than its memory of {memory}")
    if not torch.allclose(one, steps.expand_as(one), rtol=1e-4, atol=1e-4):
        raise UserError(f"term {name}: found that its step differs from all bins at once, expected the same")


@dataclass(frozen=True)
class OwnHistory(CausalTerm):
    """``Σ_τ h[n, τ] z[t − τ, n]``, τ = 1..L.

    Args:
        taps: ``(N, L)``, or ``(1, L)`` for all cells alike; ``taps[:, 0]`` is lag 1. In logits per spike.

    Example:
        >>> term = dfp.OwnHistory(torch.tensor([[-2.0, -1.0]]))
        >>> term(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 4, 1)).flatten()
        tensor([ 0., -2., -1.,  0.])
    """

    taps: Tensor

    def check(self, cells: int) -> None:
        alike = self.taps.dim() == 2 and self.taps.shape[0] == 1
        _shaped("taps of the own history", self.taps, 1 if alike else cells, "L")

    @property
    def memory(self) -> int:
        return int(self.taps.shape[1])

    @property
    def effort(self) -> Effort:
        return Effort(1, self.memory)

    def __call__(self, z: Tensor) -> Tensor:
        return causal_filter(z, self.taps, offset=1)

    def step(self, window: Tensor, t: int) -> Tensor:
        return torch.einsum("sbln,ln->sbn", window, self.taps.flip(1).t().expand(-1, window.shape[-1]))

    def times(self, factor: Tensor) -> OwnHistory:
        return replace(self, taps=self.taps * factor[:, None])

    def lower(self, cells: int, parts: Parts) -> bool:
        parts.own.append(self.taps.expand(cells, -1))
        return True


@dataclass(frozen=True)
class Coupling(CausalTerm):
    """``Σ_r Σ_j W[r, i, j] (φ_r * z_j)[t]`` with strictly causal φ_r: lag 1 is ``basis[:, 0]``.

    Args:
        weights: ``(R, N, N)``; ``[r, i, j]`` acts from cell j onto cell i. In logits.
        basis: ``(R, L)``.

    Example:
        >>> weights = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])  # cell 0 excites cell 1
        >>> z = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])[None, None]
        >>> dfp.Coupling(weights, torch.ones(1, 1))(z)[0, 0]
        tensor([[0., 0.],
                [0., 2.],
                [0., 0.]])
    """

    weights: Tensor
    basis: Tensor
    couples_cells = True

    def check(self, cells: int) -> None:
        _shaped("basis of the coupling", self.basis, "R", "L")
        _shaped("weights of the coupling", self.weights, self.basis.shape[0], cells, cells)

    @property
    def memory(self) -> int:
        return int(self.basis.shape[1])

    @property
    def effort(self) -> Effort:
        functions, cells = self.weights.shape[:2]
        return Effort(2 * functions, functions * (self.memory + cells))

    def __call__(self, z: Tensor) -> Tensor:
        total = torch.zeros_like(z)
        for weight, taps in zip(self.weights, self.basis, strict=True):
            total = total + causal_filter(z, taps[None], offset=1) @ weight.t()
        return total

    def step(self, window: Tensor, t: int) -> Tensor:
        features = torch.einsum("sblj,rl->rsbj", window, self.basis.flip(1))
        return torch.einsum("rsbj,rij->sbi", features, self.weights)

    def times(self, factor: Tensor) -> Coupling:
        return replace(self, weights=self.weights * factor[:, None])

    def lower(self, cells: int, parts: Parts) -> bool:
        parts.coupling.append((self.weights, self.basis))
        return True


@dataclass(frozen=True)
class LowRankCoupling(CausalTerm):
    """``Σ_r Σ_k U[r, i, k] Σ_j V[r, k, j] (φ_r * z_j)[t]``: a ``Coupling`` with W_r = U_r V_r of rank K.

    Cells speak through K channels; all bins at once then cost K · N in place of N² a bin and function.
    Compiled samplers take W itself, so that its sums stay exact.

    Args:
        left: U, ``(R, N, K)``, in logits.
        right: V, ``(R, K, N)``.
        basis: ``(R, L)``; lag 1 is ``basis[:, 0]``.

    Example:
        >>> left, right = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.5, 0.25]]])
        >>> dfp.LowRankCoupling(left, right, torch.ones(1, 1)).full.weights
        tensor([[[0.5000, 0.2500],
                 [1.0000, 0.5000]]])
    """

    left: Tensor
    right: Tensor
    basis: Tensor
    couples_cells = True

    def check(self, cells: int) -> None:
        _shaped("basis of the coupling", self.basis, "R", "L")
        _shaped("left of the coupling", self.left, self.basis.shape[0], cells, "K")
        _shaped("right of the coupling", self.right, self.basis.shape[0], self.left.shape[2], cells)

    @property
    def memory(self) -> int:
        return int(self.basis.shape[1])

    @property
    def full(self) -> Coupling:
        """The same with all weights written out."""
        return Coupling(self.left @ self.right, self.basis)

    @property
    def effort(self) -> Effort:
        functions, channels = self.right.shape[:2]
        return Effort(3 * functions, functions * (self.memory + 2 * channels))

    def __call__(self, z: Tensor) -> Tensor:
        total = torch.zeros_like(z)
        for left, right, taps in zip(self.left, self.right, self.basis, strict=True):
            total = total + causal_filter(z, taps[None], offset=1) @ right.t() @ left.t()
        return total

    def step(self, window: Tensor, t: int) -> Tensor:
        features = torch.einsum("sblj,rl->rsbj", window, self.basis.flip(1))
        return torch.einsum("rsbj,rkj,rik->sbi", features, self.right, self.left)

    def times(self, factor: Tensor) -> LowRankCoupling:
        return replace(self, left=self.left * factor[:, None])

    def lower(self, cells: int, parts: Parts) -> bool:
        return self.full.lower(cells, parts)


@dataclass(frozen=True)
class NonlinearHistory(CausalTerm):
    """``w · tanh(context[t] + Σ_τ A[τ] z[t − τ])``: a small network of trace and own last spikes.

    The exact conditional of a spike given the past asks how much of the recent fluorescence the sampled
    spikes already explain, which is not linear in them; the hidden layer sees both. The part that depends on
    the trace only, ``context``, is computed once.

    Args:
        inward: ``(N, L, H)`` or ``(1, L, H)``; lag 1 is ``inward[:, 0]``.
        context: ``(B, T, N, H)``.
        outward: ``(N, H)`` or ``(1, H)``.

    Example:
        >>> term = dfp.NonlinearHistory(torch.ones(1, 2, 4), torch.zeros(1, 4, 1, 4), torch.ones(1, 4))
        >>> term(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 4, 1)).flatten()
        tensor([0.0000, 3.0464, 3.0464, 0.0000])
    """

    inward: Tensor
    context: Tensor
    outward: Tensor

    @property
    def memory(self) -> int:
        return int(self.inward.shape[1])

    @property
    def effort(self) -> Effort:
        return Effort(4, (self.memory + 1) * self.outward.shape[-1])

    def __call__(self, z: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(z, (0, 0, self.memory, 0))[:, :, :-1]
        windows = padded.unfold(2, self.memory, 1)  # (S, B, T, N, L), most recent last
        return self._readout(self._hidden(windows) + self.context)

    def step(self, window: Tensor, t: int) -> Tensor:
        return self._readout(self._hidden(window.transpose(2, 3)) + self.context[:, t])

    def times(self, factor: Tensor) -> NonlinearHistory:
        return replace(self, outward=self.outward * factor[:, None])

    def lower(self, cells: int, parts: Parts) -> bool:
        parts.hidden.append(
            Hidden(self.inward.expand(cells, -1, -1), self.context, self.outward.expand(cells, -1))
        )
        return True

    def _hidden(self, windows: Tensor) -> Tensor:
        inward = self.inward.flip(1)
        if inward.shape[0] == 1:
            return windows @ inward[0]
        return (
            (windows.unsqueeze(-2) @ inward).squeeze(-2)
            if windows.dim() == 4
            else self._per_cell(windows, inward)
        )

    @staticmethod
    def _per_cell(windows: Tensor, inward: Tensor) -> Tensor:
        # one matrix product per cell instead of one per bin
        samples, trials, bins, cells, memory = windows.shape
        rows = windows.permute(3, 0, 1, 2, 4).reshape(cells, -1, memory)
        return (rows @ inward).reshape(cells, samples, trials, bins, -1).permute(1, 2, 3, 0, 4)

    def _readout(self, hidden: Tensor) -> Tensor:
        return (torch.tanh(hidden) * self.outward).sum(-1)
