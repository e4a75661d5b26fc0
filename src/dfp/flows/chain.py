"""Chains of planar or radial flows, conditional on features or not, and densities made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfp.core.errors import UserError
from dfp.flows.planar import constrained, log_slope, planar_inverse
from dfp.flows.radial import log_volume, move, polar, radial_inverse
from dfp.flows.stable import affine, check_constraint, softplus

KINDS = ("planar", "radial")
#: standard deviation of the initial w, u and z₀ (our choice: a chain begins close to the identity)
INITIAL = 0.1
#: standard deviation of a head's initial weights; the head's sum is divided by √F, so that a step of Adam
#: moves a flow's parameters no further for many features than for few (both our choice)
HEAD = 0.1


def parameter_count(kind: str, dims: int) -> int:
    """Parameters of one flow: w, u, b of a planar one, z₀, raw α, raw β of a radial one."""
    return 2 * dims + 1 if kind == "planar" else dims + 2


class Chain(nn.Module):
    """K flows one after the other, ``f = f_K ∘ … ∘ f_1``.

    Points are ``(..., *batch, D)``: ``batch`` holds problems side by side, each with parameters of its own.
    With ``features`` the parameters are a linear function of features ``(*batch, F)``, which are given with
    the points (a conditional, amortised flow); without, they are parameters of their own.

    Args:
        kind: ``planar`` or ``radial``.
        dims: D.
        length: K; 0 is the identity.
        rng: of the initial parameters.
        constraint: of planar flows, see ``planar``.
        features: F, or 0 for parameters that depend on nothing.
        batch: the shape of the problems side by side.

    Raises:
        UserError: for an unknown kind or constraint, or a length below 0.
    """

    def __init__(
        self,
        kind: str,
        dims: int,
        length: int,
        rng: torch.Generator,
        constraint: str = "safe",
        features: int = 0,
        batch: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"kind: found {kind!r}, expected planar or radial")
        if length < 0 or dims < 1:
            raise UserError(f"length, dims: found {length}, {dims}, expected at least 0 and at least 1")
        check_constraint(constraint)
        self.kind, self.dims, self.length, self.constraint = kind, dims, length, constraint
        self.batch = tuple(batch)
        count = parameter_count(kind, dims)
        start = _initial(kind, dims, (length, *self.batch), rng)
        self.own = nn.Parameter(start)
        self.head = None
        if features:
            drawn = torch.randn((length, *self.batch, features, count), generator=rng, device=rng.device)
            self.head = nn.Parameter(HEAD * drawn)

    def parameters_of(self, features: Tensor | None = None) -> Tensor:
        """``(K, *batch, P)``, or ``(K, *batch, B, P)`` of features ``(*batch, B, F)``."""
        if self.head is None:
            return self.own
        if features is None:
            raise UserError("features: found none, expected those that the flow's parameters depend on")
        return self.own.unsqueeze(-2) + features @ self.head / math.sqrt(features.shape[-1])

    def forward(self, z: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``f(z)`` and ``log |det ∂f/∂z|`` of points ``(..., *batch, D)``.

        With features ``(*batch, B, F)`` the points are ``(..., *batch, B, D)``.
        """
        if not self.length:
            return z, torch.zeros_like(z[..., 0])
        given = self.parameters_of(features)
        return (self._planar if self.kind == "planar" else self._radial)(z, given)

    def inverse(self, y: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``z`` with ``f(z) = y`` and ``log |det ∂z/∂y|``; shapes as in ``forward``."""
        total = torch.zeros_like(y[..., 0])
        for one in reversed(self.parameters_of(features)):
            if self.kind == "planar":
                w, u, b = _split_planar(one, self.dims)
                y, log_det = planar_inverse(y, w, u, b, self.constraint)
            else:
                y, log_det = radial_inverse(y, *_split_radial(one, self.dims))
            total = total + log_det
        return y, total

    def _planar(self, z: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        w, u, b = _split_planar(given, self.dims)
        bound, log_s = constrained(w, u, self.constraint)
        places = []
        for k in range(self.length):
            places.append(affine(w[k], z, b[k]))
            z = z + bound[k] * torch.tanh(places[-1]).unsqueeze(-1)
        return z, log_slope(torch.stack(places), _over(log_s, z)).sum(0)

    def _radial(self, z: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        centre, alpha, beta = _split_radial(given, self.dims)
        width = softplus(alpha)
        shift = softplus(beta) - width
        radii = []
        for k in range(self.length):
            radius, unit = polar(z - centre[k])
            z = move(z, radius, unit, width[k], shift[k])
            radii.append(radius)
        return z, log_volume(torch.stack(radii), _over(alpha, z), _over(beta, z), self.dims).sum(0)


class FlowDensity(nn.Module):
    """``z = f(μ + σ ε)``, ε standard normal: a diagonal Gaussian with learned μ and σ, through a chain.

    Densities of ``batch`` problems side by side, points ``(S, *batch, D)``.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain
        like = chain.own
        self.mean = nn.Parameter(like.new_zeros((*chain.batch, chain.dims)))
        self.log_sd = nn.Parameter(like.new_zeros((*chain.batch, chain.dims)))

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of standard normal noise ``(S, *batch, D)``, and ``log q`` of them ``(S, *batch)``."""
        z, log_det = self.chain(self.mean + self.log_sd.exp() * noise)
        return z, log_normal(noise) - self.log_sd.sum(-1) - log_det

    def log_prob(self, y: Tensor) -> Tensor:
        """``log q(y)`` of points ``(S, *batch, D)``, through the inverse."""
        z, log_det = self.chain.inverse(y)
        return log_normal((z - self.mean) / self.log_sd.exp()) - self.log_sd.sum(-1) + log_det


def log_normal(x: Tensor) -> Tensor:
    """``log N(x; 0, I)`` over the last dimension."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)


def _initial(kind: str, dims: int, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Small random w, u and z₀; b, raw α and raw β 0, for which a radial flow is the identity."""
    free = 2 * dims if kind == "planar" else dims
    drawn = INITIAL * torch.randn((*shape, free), generator=rng, device=rng.device)
    rest = torch.zeros((*shape, parameter_count(kind, dims) - free), device=rng.device)
    return torch.cat((drawn, rest), -1)


def _split_planar(given: Tensor, dims: int) -> tuple[Tensor, Tensor, Tensor]:
    return given[..., :dims], given[..., dims : 2 * dims], given[..., -1]


def _split_radial(given: Tensor, dims: int) -> tuple[Tensor, Tensor, Tensor]:
    return given[..., :dims], given[..., -2], given[..., -1]


def _over(value: Tensor, z: Tensor) -> Tensor:
    """``(K, *batch)`` as ``(K, 1, …, *batch)``, beside ``(K, *z.shape[:-1])``."""
    missing = z.dim() - value.dim()
    return value.reshape(value.shape[0], *[1] * missing, *value.shape[1:])
