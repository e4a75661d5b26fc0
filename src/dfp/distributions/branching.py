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
from torch.nn.functional import pad

from dfp.core.draw import Draw
from dfp.core.errors import UserError
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.samplers.recursion import Hidden, Recursion

#: bins of a draw that expectations are taken over, evenly spread, and values held at once
ROWS = 4000
_CHUNK = 4_000_000


def lag_weights(process: CausalBernoulli) -> Tensor:
    """What a spike of cell j adds to the logit of cell i τ bins later: ``(L, N, N)``, ``[τ − 1, i, j]``.

    Raises:
        UserError: for a law that is no ``Recursion``, or one with hidden units, where a spike's effect
            depends on the other spikes.
    """
    recursion = _numbers(process)
    if recursion.hidden is not None:
        raise UserError(
            "branching: found a nonlinear history, whose effect on a logit is not one weight, expected own "
            "history and coupling only"
        )
    return _linear(recursion)


def _numbers(process: CausalBernoulli) -> Recursion:
    found = process.recursion()
    if found is None:
        named = ", ".join(type(term).__name__ for term in process.terms)
        raise UserError(
            f"branching: found the terms {named}, expected own histories, couplings and at most one "
            "nonlinear history"
        )
    return found


def _linear(recursion: Recursion) -> Tensor:
    """``(L, N, N)``, own history on the diagonal; without what hidden units add."""
    own, across = recursion.own.detach(), recursion.coupling_taps().detach().transpose(1, 2)
    cells = own.shape[0]
    total = own.new_zeros(max(own.shape[1], len(across)), cells, cells)
    total[: len(across)] = across
    total.diagonal(dim1=1, dim2=2)[: own.shape[1]] += own.t()
    return total


def flip_matrix(process: CausalBernoulli, z: Tensor, logits: Tensor | None = None) -> Tensor:
    """``A_ij``, the flips of cell i in the next sweep after one flip of cell j, float64 ``(N, N)``.

    Exact in expectation over the noise given the spikes before; averaged over an even selection of bins. Of
    a nonlinear history the hidden units are computed again with the spike and without it.

    Args:
        z: one draw, ``(S, B, T, N)``; relaxed values are taken as they are (a flip then is from 0 to 1).
        logits: those of z, ``process.logits(z)`` unless given.

    Raises:
        UserError: for a law that is no ``Recursion``.
    """
    with torch.no_grad():
        return _flips(_numbers(process), z, process.logits(z) if logits is None else logits)


def _flips(recursion: Recursion, z: Tensor, logits: Tensor) -> Tensor:
    weights, hidden = _linear(recursion), recursion.hidden
    cells = weights.shape[1]
    total = torch.zeros(cells, cells, dtype=torch.float64, device=z.device)
    u, past = logits.detach().flatten(0, 1), z.detach().flatten(0, 1)  # (S·B, T, N)
    lags = len(weights) if hidden is None else max(len(weights), hidden.inward.shape[1])
    for lag in range(1, min(lags, u.shape[1] - 1) + 1):
        rows = _rows(u.shape[0], u.shape[1], lag, z.device)
        now, before = u[rows[0], rows[1]], past[rows[0], rows[1] - lag]
        across = weights[lag - 1] if lag <= len(weights) else weights.new_zeros(cells, cells)
        if hidden is not None:  # of a cell's own flips the hidden units hear too
            total.diagonal().add_(_own_flips(across.diagonal(), hidden, lag, past, rows, now))
            across = across - across.diagonal().diag()
        to, of = across.nonzero(as_tuple=True)
        step = max(1, _CHUNK // len(now))
        for k in range(0, len(to), step):
            i, j = to[k : k + step], of[k : k + step]
            w = across[i, j]
            without = now[:, i] - w * before[:, j]
            flips = (torch.sigmoid(without + w) - torch.sigmoid(without)).abs()
            total.index_put_((i, j), flips.mean(0, dtype=torch.float64), accumulate=True)
    return total


def _own_flips(
    own: Tensor, hidden: Hidden, lag: int, past: Tensor, rows: tuple[Tensor, Tensor], now: Tensor
) -> Tensor:
    """Flips of each cell by one of its own ``lag`` bins before, through own history and hidden units.

    Args:
        own: ``(N,)``, the own history's weight at that lag.
        past: ``(S·B, T, N)``.
        rows: chain and bin of the M rows that are looked at.
        now: their logits, ``(M, N)``.

    Returns:
        Float64 ``(N,)``.
    """
    chain, t = rows
    reach, units = hidden.inward.shape[1:]
    at = t[:, None] + reach - torch.arange(1, reach + 1, device=past.device)
    found = []
    for cells in torch.arange(past.shape[2], device=past.device).split(max(1, _CHUNK // (len(t) * units))):
        inward, outward = hidden.inward.detach()[cells], hidden.outward.detach()[cells]
        context = hidden.context.detach()[chain % len(hidden.context), t][:, cells]
        windows = pad(past[..., cells], (0, 0, reach, 0))[chain[:, None], at]  # (M, L, cells)
        inside = context + torch.einsum("mln,nlh->mnh", windows, inward)
        heard = inward[:, lag - 1] if lag <= reach else torch.zeros_like(outward)
        before = past[chain, t - lag][:, cells]
        spiking = []
        for value in (0.0, 1.0):
            moved = torch.tanh(inside + heard * (value - before)[..., None]) - torch.tanh(inside)
            u = now[:, cells] + own[cells] * (value - before) + (moved * outward).sum(-1)
            spiking.append(torch.sigmoid(u))
        found.append((spiking[1] - spiking[0]).abs().mean(0, dtype=torch.float64))
    return torch.cat(found)


def _rows(chains: int, bins: int, lag: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Chain and bin of at most ``ROWS`` evenly spread bins that have a past of ``lag`` bins."""
    each = bins - lag
    chosen = torch.arange(0, chains * each, math.ceil(chains * each / ROWS), device=device)
    return chosen // each, lag + chosen % each


def spectral_radius(matrix: Tensor) -> Tensor:
    """Largest |eigenvalue| of ``(N, N)``, a scalar in its precision and on its device."""
    found = torch.linalg.eigvals(matrix.cpu()).abs().max()
    return found.to(matrix.device)


def branching_ratio(process: CausalBernoulli, z: Tensor, logits: Tensor | None = None) -> float:
    """ρ, the spectral radius of ``flip_matrix``; 0 without causal terms. Below 1 a flip dies out.

    Raises:
        UserError: as ``flip_matrix``.
    """
    return float(spectral_radius(flip_matrix(process, z, logits)))


def relaxed_ratio(process: CausalBernoulli, z: Tensor, temperature: float) -> float:
    """The branching ratio ρ of a relaxed sweep ``z ← σ((u + ℓ) / temperature)``.

    It is that of ``Σ_τ |w_ij,τ| E[z_i (1 − z_i)] ÷ temperature``: the expected size of a small change of z
    after a sweep ÷ that before it.

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
