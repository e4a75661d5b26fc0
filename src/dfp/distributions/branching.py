"""How many spikes a flipped spike flips: what decides whether fixed-point sweeps settle.

Flip the spike of cell j in bin t and keep the noise. In the next sweep the spike of cell i at t + τ flips
with probability |σ(u_i + δ) − σ(u_i)|, δ the change of its logit, and so on: sweeps settle in few when a flip
causes fewer than one other on average, and take as many as there are bins when it causes more. What decides
is the spectral radius ρ of

    A_ij = Σ_τ E|σ(u_i[t+τ] + δ_ij,τ) − σ(u_i[t+τ])|,  δ_ij,τ = (1 − 2 z_j[t]) w_ij,τ,

inhibition and refractoriness counted with their absolute size. Of T bins some c T flip once at first and
c T ρ^k in sweep k, so that below ρ = 1 the sweeps until still grow by ln(T' / T) / ln(1 / ρ).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import Coupling, LowRankCoupling, OwnHistory

#: bins of a draw that expectations are taken over, evenly spread, and values held at once
ROWS = 4000
_CHUNK = 4_000_000


def lag_weights(process: CausalBernoulli) -> Tensor:
    """What a spike of cell j adds to the logit of cell i τ bins later: ``(L, N, N)``, ``[τ − 1, i, j]``.

    Raises:
        UserError: for terms other than own history and coupling, whose effect is not one number a pair.
    """
    cells = process.drive.shape[-1]
    total = process.drive.new_zeros(process.memory, cells, cells)
    for term in process.terms:
        if isinstance(term, LowRankCoupling):
            term = term.full
        if isinstance(term, OwnHistory):
            own = torch.diag_embed(term.taps.detach().expand(cells, -1).t())
        elif isinstance(term, Coupling):
            own = torch.einsum("rl,rij->lij", term.basis, term.weights.detach())
        else:
            raise UserError(
                f"branching: found the term {type(term).__name__}, expected own history and coupling only"
            )
        total[: len(own)] += own
    return total


def flip_matrix(process: CausalBernoulli, z: Tensor, logits: Tensor | None = None) -> Tensor:
    """``A_ij``, the flips of cell i in the next sweep after one flip of cell j, float64 ``(N, N)``.

    Exact in expectation over the noise given the spikes before; averaged over an even selection of bins.

    Args:
        z: one draw, ``(S, B, T, N)``; relaxed values are taken as they are (a flip then is from 0 to 1).
        logits: those of z, ``process.logits(z)`` unless given.

    Raises:
        UserError: as ``lag_weights``.
    """
    with torch.no_grad():
        return _flips(lag_weights(process), z, process.logits(z) if logits is None else logits)


def _flips(weights: Tensor, z: Tensor, logits: Tensor) -> Tensor:
    lags, cells = weights.shape[:2]
    total = torch.zeros(cells, cells, dtype=torch.float64, device=z.device)
    u, past = logits.detach().flatten(0, 1), z.detach().flatten(0, 1)  # (S·B, T, N)
    for lag in range(1, min(lags, u.shape[1] - 1) + 1):
        to, of = weights[lag - 1].nonzero(as_tuple=True)
        now, before = _rows(u[:, lag:]), _rows(past[:, :-lag])
        step = max(1, _CHUNK // len(now))
        for k in range(0, len(to), step):
            i, j = to[k : k + step], of[k : k + step]
            w = weights[lag - 1, i, j]
            without = now[:, i] - w * before[:, j]
            flips = (torch.sigmoid(without + w) - torch.sigmoid(without)).abs()
            total.index_put_((i, j), flips.mean(0, dtype=torch.float64), accumulate=True)
    return total


def _rows(values: Tensor) -> Tensor:
    """An even selection of at most ``ROWS`` rows of ``(S·B, T, N)``, ``(M, N)``."""
    flat = values.flatten(0, 1)
    return flat[:: math.ceil(len(flat) / ROWS)]


def spectral_radius(matrix: Tensor) -> Tensor:
    """Largest |eigenvalue| of ``(N, N)``, a scalar in its precision and on its device."""
    found = torch.linalg.eigvals(matrix.cpu()).abs().max()
    return found.to(matrix.device)


def branching_ratio(process: CausalBernoulli, z: Tensor, logits: Tensor | None = None) -> float:
    """ρ, the spectral radius of ``flip_matrix``; 0 without causal terms. Below 1 a flip dies out.

    Raises:
        UserError: as ``lag_weights``.
    """
    return float(spectral_radius(flip_matrix(process, z, logits)))


def relaxed_ratio(process: CausalBernoulli, z: Tensor, temperature: float) -> float:
    """ρ of a relaxed sweep ``z ← σ((u + ℓ) / temperature)``: of ``Σ_τ |w_ij,τ| E[z_i (1 − z_i)] ÷
    temperature``, the expected size of a small change of z after a sweep ÷ before it.

    Args:
        z: relaxed values at that temperature, ``(S, B, T, N)``.

    Raises:
        UserError: as ``lag_weights``.
    """
    with torch.no_grad():
        slope = (z * (1 - z)).double().mean((0, 1, 2)) / temperature
        return float(spectral_radius(slope[:, None] * lag_weights(process).abs().double().sum(0)))


def flip_growth(process: CausalBernoulli, draw: Draw, bins: int, rng: torch.Generator) -> Tensor:
    """``H_d``, spikes that differ d bins after one flip with the noise left as it is, float64 ``(bins,)``.

    One cell, drawn at random, is flipped in every bin of the draw but the last, each in a copy of its own
    that goes on for ``bins`` bins. The slope of log H in d is the largest Lyapunov exponent (of the mean) as
    long as few spikes differ.

    Args:
        draw: one hard, converged draw, ``(1, 1, T, N)``, of a drive that is the same in all bins.
    """
    memory, cells = process.memory, draw.z.shape[-1]
    z, noise = draw.z[0, 0], draw.noise[0, 0]
    starts = torch.arange(memory - 1, len(z) - bins, device=z.device)
    window = torch.stack([z[starts + lag + 1 - memory] for lag in range(memory)], 1)[:, None]
    cell = torch.randint(cells, (len(starts),), generator=rng, device=rng.device).to(z.device)
    window[torch.arange(len(starts)), 0, -1, cell] *= -1
    window[torch.arange(len(starts)), 0, -1, cell] += 1
    found = []
    for step in range(1, bins + 1):
        u = process.step(window, 0)[:, 0]
        now = (u + noise[starts + step] > 0).to(z.dtype)
        found.append((now != z[starts + step]).sum(-1).double().mean())
        window = torch.cat([window[:, :, 1:], now[:, None, None]], 2)
    return torch.stack(found)
