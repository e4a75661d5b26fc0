"""Flow densities fitted to the test energies, all energies and seeds side by side, and how far off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from scipy.stats import norm
from torch import Tensor
from torch.quasirandom import SobolEngine

from dfp.core.errors import NumericalError
from dfp.core.noise import generator
from dfp.flows.chain import Chain, FlowDensity
from dfp.training.optimiser import Adam
from dfp.training.schedules import Schedule

from .energies import ENERGIES, HALF, inside, log_normaliser, walls

#: the last step's share of the learning rate (our choice)
LAST = 0.05
#: half the side of the square on which the normaliser with walls is taken: e⁻⁵⁰ is left beyond
BEYOND = HALF + 1.0
#: points that are evaluated at once
CHUNK = 4_096


@dataclass(frozen=True)
class Fit:
    """How one chain is trained; see ``Flows`` for the settings."""

    kind: str
    constraint: str
    length: int
    rate: float
    steps: int
    samples: int
    anneal: float


@dataclass(frozen=True)
class Scores:
    """What is measured of each density, ``(E, R)`` of E energies and R seeds.

    Attributes:
        kl: ``KL(q_B ‖ p)`` to the boxed target p, q_B being q given that it is in the box:
            ``E_{q_B}[log q + U] + log Z − log q(B)``. The divergence of q itself is infinite, since no chain
            keeps all of its mass in the box; what it leaves outside is ``outside``.
        kl_walls: ``KL(q ‖ p_w)`` to the target with walls, on the whole plane: what training brings down.
        outside: ``1 − q(B)``.
    """

    kl: Tensor
    kl_walls: Tensor
    outside: Tensor


def energies(names: Sequence[str], z: Tensor) -> Tensor:
    """U of points ``(S, E, R, 2)``, each energy of its own column: ``(S, E, R)``."""
    return torch.stack([ENERGIES[name](z[:, index]) for index, name in enumerate(names)], 1)


def temperature(step: int, steps: int, anneal: float) -> float:
    """β of a step: ``min(1, 0.01 + t/T)``, as in the source.

    T is a share ``anneal`` of all steps, in place of 10,000 of the source's 500,000.
    """
    return min(1.0, 0.01 + step / (anneal * steps)) if anneal else 1.0


def fit(names: Sequence[str], seeds: Sequence[int], how: Fit, device: torch.device) -> FlowDensity:
    """Densities of every energy and seed, ``(E, R)``, trained on ``E[log q(z) + β (U(z) + walls(z))]``.

    Each is a problem of its own (own parameters, own noise from its seed's generator, Adam by coordinate):
    a seed's densities do not depend on which others are trained beside it.

    Raises:
        NumericalError: when a free energy is not finite.
    """
    streams = [generator(seed, device) for seed in seeds]
    density = FlowDensity(_initial(names, streams, how))
    optimiser = Adam([(density.parameters(), 1.0)])
    rate = Schedule(how.rate, LAST * how.rate, "cosine")
    for step in range(how.steps):
        size = (how.samples, len(names), 2)
        noise = torch.stack([torch.randn(size, generator=one, device=device) for one in streams], 2)
        z, log_q = density.draw(noise)
        beta = temperature(step, how.steps, how.anneal)
        free = (log_q + beta * (energies(names, z) + walls(z))).mean(0)
        optimiser.zero_grad()
        free.sum().backward()
        optimiser.step(rate.at(step, how.steps))
    if not bool(free.isfinite().all()):
        raise NumericalError(f"{how.kind} flow, K = {how.length}: the free energy is not finite")
    return density


def _initial(names: Sequence[str], streams: Sequence[torch.Generator], how: Fit) -> Chain:
    """One chain for all energies and seeds, a seed's parameters drawn from its own generator."""
    own = [
        Chain(how.kind, 2, how.length, rng, how.constraint, batch=(len(names),)).own.detach()
        for rng in streams
    ]
    chain = Chain(
        how.kind, 2, how.length, generator(0, own[0].device), how.constraint, batch=(len(names), len(streams))
    )
    chain.own.data = torch.stack(own, 2)
    return chain


@torch.no_grad()
def score(names: Sequence[str], density: FlowDensity, points: int) -> Scores:
    """Divergences in nats by quasi-random samples (Sobol points through the normal quantile), in float64."""
    density = density.double()
    log_z = torch.tensor([log_normaliser(ENERGIES[name]) for name in names], dtype=torch.float64)
    log_z_walls = torch.tensor([_log_normaliser_with_walls(name) for name in names], dtype=torch.float64)
    within, free, whole = [], [], []
    for noise in normal_points(points).split(CHUNK):
        z, log_q = density.draw(noise[:, None, None].to(density.mean.device))
        cost = log_q + energies(names, z)
        held = inside(z)
        within.append(held.double().sum(0).cpu())
        free.append(torch.where(held, cost, 0.0).sum(0).cpu())
        whole.append((cost + walls(z)).sum(0).cpu())
    count = torch.stack(within).sum(0)
    mean = torch.stack(free).sum(0) / count
    return Scores(
        kl=mean + log_z[:, None] - torch.log(count / points),
        kl_walls=torch.stack(whole).sum(0) / points + log_z_walls[:, None],
        outside=1 - count / points,
    )


def normal_points(count: int) -> Tensor:
    """``(count, 2)`` standard normal points that fill the plane evenly; always the same."""
    uniform = SobolEngine(2, scramble=True, seed=0).draw(count, dtype=torch.float64)
    edge = 2.0**-33  # Sobol points have 30 bits, and one of them may be 0
    return torch.as_tensor(norm.ppf(uniform.clamp(edge, 1 - edge).numpy()))


@cache
def _log_normaliser_with_walls(name: str) -> float:
    return log_normaliser(lambda z: ENERGIES[name](z) + walls(z), BEYOND, 1_000)


def grid(cells: int) -> tuple[Tensor, Tensor]:
    """Middles ``(cells,)`` of a row of cells over the box, and all their pairs ``(cells², 2)``."""
    axis = -HALF + 2 * HALF / cells * (torch.arange(cells, dtype=torch.float64) + 0.5)
    return axis, torch.cartesian_prod(axis, axis)


@torch.no_grad()
def densities(density: FlowDensity, seed: int, points: Tensor) -> Tensor:
    """``q`` at points ``(n, 2)`` by the inverse, for every energy, of the seed at a place: ``(n, E)``."""
    chain = density.chain
    alone = Chain(
        chain.kind, 2, chain.length, generator(0, points.device), chain.constraint, batch=chain.batch[:1]
    )
    alone.own.data = chain.own[:, :, seed].double()
    one = FlowDensity(alone)
    one.mean.data, one.log_sd.data = density.mean[:, seed].double(), density.log_sd[:, seed].double()
    return one.log_prob(points[:, None]).exp()
