"""Small random cells whose exact gradients are known, and many copies of each, for ``estimators``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import OwnHistory
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.objectives.base import Problem
from dfp.references.exact.enumerated import enumerated_elbo
from dfp.references.exact.one_cell import ExactPosterior, cell_parameters
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential
from dfp.training.phase import Phase

from .gradients import Estimate, Moments, independent_copies

BIN_RATE = 30.0
LAGS = 2
#: the model's parameters whose gradients are looked at
LEARNED = ("bias", "history")
#: drives of the point ``near`` are cut here (probabilities of 5% and 95%): where q is certain, gradients hang
#: on events too rare for their mean to be normal after 100,000 draws, and a z-test would mean nothing
_LARGEST_LOGIT = 3.0


@dataclass(frozen=True)
class Ranges:
    """Uniform ranges ``[low, high]`` that instances are drawn from.

    Attributes:
        spike_probability: of a bin without spikes before it; its logit is the model's bias.
        history_1, history_2: own history at lags 1 and 2, logits per spike.
        decay: of the fluorescence from one bin to the next.
    """

    spike_probability: tuple[float, ...] = (0.1, 0.4)
    history_1: tuple[float, ...] = (-2.0, -0.5)
    history_2: tuple[float, ...] = (-1.0, 0.5)
    decay: tuple[float, ...] = (0.6, 0.9)


@dataclass(frozen=True)
class Panel:
    """I cells: traces of one trial, a model and a posterior for each, all float64.

    Attributes:
        parameters: of the I cells.
        kernel_bins: cut of the calcium response.
        x: ``(1, T, I)``.
        drive: ``(1, T, I)`` logits of q.
        taps: ``(I, 2)`` own history of an autoregressive q; ``(I, 0)`` for a factorised one.
    """

    parameters: CalciumParameters
    kernel_bins: int
    x: Tensor
    drive: Tensor
    taps: Tensor

    @property
    def sizes(self) -> dict[str, int]:
        """Coordinates of the gradient: of q (``phi``) first, then of the model (``theta``)."""
        return {"phi": self.x.shape[1] + self.taps.shape[1], "theta": 1 + LAGS}

    @cached_property
    def exact(self) -> Tensor:
        """``∇ELBO``, nats, ``(I, D)``, by enumeration of all paths."""
        side = Copies(self, 1)
        found = torch.autograd.grad(enumerated_elbo(side.problem, side.q).sum(), side.unknowns)
        return side.rows(found)[0]


class Copies:
    """Every cell of a panel several times side by side, each copy with leaf parameters of its own.

    Since independent cells share nothing, the gradient of one loss holds an independent draw for every copy.
    """

    def __init__(self, panel: Panel, copies: int) -> None:
        self.panel, self.copies = panel, copies
        device = panel.x.device
        network = _network(_repeated(panel.parameters, copies), panel.kernel_bins).to(device)
        x = panel.x.repeat(1, 1, copies)
        self.problem = Problem(network, x, torch.ones_like(x[..., :1]), independent=True)
        drive = independent_copies(panel.drive, copies)
        taps = independent_copies(panel.taps.t(), copies)
        self.q = CausalBernoulli(drive, (OwnHistory(taps.t()),) if taps.shape[0] else ())
        learned = [network.get_parameter(f"raw_{name}") for name in LEARNED]
        self.unknowns: list[Tensor] = [drive, *([taps] if taps.shape[0] else []), *learned]

    def estimate(self, phase: Phase, draws: int, rng: torch.Generator) -> tuple[Estimate, float]:
        """At least ``draws`` independent gradients of the phase's objective, and the seconds of each.

        The seconds are those of the fastest batch.

        Args:
            rng: on the panel's device.
        """
        moments, x = Moments(), self.problem.x
        relaxation = phase.relaxation_at(0)
        fastest = float("inf")
        while moments.draws < draws:
            start = _clock(x.device)
            loss = phase.objective.loss(self.problem, self.q, phase.sampler, relaxation, rng)
            # the loss is minus the ELBO per bin
            found = torch.autograd.grad(loss.total * -x.shape[1], self.unknowns)
            fastest = min(fastest, _clock(x.device) - start)
            moments.add(self.rows(found))
        return moments.against(self.panel.exact), fastest / x.shape[2]

    def rows(self, found: Sequence[Tensor]) -> Tensor:
        """Gradients of the unknowns as ``(copies, I, D)``."""
        *posterior, bias, history = found
        parts = [part.reshape(-1, part.shape[-1]).t() for part in posterior]
        whole = torch.cat([*parts, bias[:, None], history], 1)
        return whole.reshape(self.copies, -1, whole.shape[1])


def make_panel(
    seeds: Sequence[int],
    noise: Sequence[float],
    bins: int,
    longest: int,
    kernel_bins: int,
    ranges: Ranges,
    point: str,
    perturbation: float,
    factorised: bool,
    device: torch.device,
) -> Panel:
    """Cells for every noise level and seed, the seeds of one level next to each other.

    A seed gives parameters, spikes, measurement noise up to its scale, and perturbation; so levels, lengths
    and posteriors are compared on the same instances. Traces are the first ``bins`` of a simulated trial of
    ``longest``.

    Args:
        point: where the gradient is taken. ``near``: the drive is the logit of the exact marginals, own
            history the model's, both plus N(0, perturbation²), the drive cut at ±3. ``prior``: drive and
            history are the model's.
    """
    cells = [_instance(seed, longest, ranges) for seed in seeds]
    parameters = _tiled(cells, noise)
    network = _network(parameters, kernel_bins)
    spikes = torch.stack([cell.noise for cell in cells], 1)[None, None].repeat(1, 1, 1, len(noise))
    shocks = torch.stack([cell.shocks for cell in cells], 1)[None].repeat(1, 1, len(noise))
    with torch.no_grad():
        z = network.prior(1, longest).draw(spikes, Sequential(), Hard()).z
        x = (network.fluorescence(z)[0] + network.value("noise") * shocks)[:, :bins]
        drive = network.value("bias").expand(1, bins, -1).clone()
        taps = network.value("history").clone()
        if point == "near":
            exact = ExactPosterior(cell_parameters(network, bins), x)
            moved = torch.stack([cell.moved for cell in cells], 1).repeat(1, len(noise)) * perturbation
            drive = (exact.marginals.logit() + moved[LAGS:][:bins]).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
            taps = taps + moved[:LAGS].t()
    if factorised:
        taps = taps[:, :0]
    return Panel(parameters, kernel_bins, x.to(device), drive.to(device), taps.to(device))


@dataclass(frozen=True)
class _Instance:
    bias: float
    history: tuple[float, float]
    decay: float
    noise: Tensor  # (T,) logistic
    shocks: Tensor  # (T,) standard normal
    moved: Tensor  # (2 + T,) standard normal


def _instance(seed: int, longest: int, ranges: Ranges) -> _Instance:
    rng = np.random.default_rng([seed, 11])
    probability, first, second, decay = (
        float(rng.uniform(limits[0], limits[1]))
        for limits in (ranges.spike_probability, ranges.history_1, ranges.history_2, ranges.decay)
    )
    draws = generator(seed)
    return _Instance(
        float(np.log(probability / (1 - probability))),
        (first, second),
        decay,
        logistic_noise((longest,), draws, torch.float64),
        torch.randn(longest, generator=draws, dtype=torch.float64),
        torch.randn(LAGS + longest, generator=draws, dtype=torch.float64),
    )


def _tiled(cells: Sequence[_Instance], noise: Sequence[float]) -> CalciumParameters:
    """Parameters of all cells at every noise level."""
    size = len(cells)
    one = CalciumParameters(
        bias=np.array([cell.bias for cell in cells]),
        history=np.array([cell.history for cell in cells]),
        coupling=np.zeros((0, size, size)),
        basis=np.zeros((0, 1)),
        rise=np.zeros(size),
        decay=np.array([-1.0 / (BIN_RATE * np.log(cell.decay)) for cell in cells]),
        amplitude=np.ones(size),
        baseline=np.zeros(size),
        noise=np.ones(size),
    )
    return replace(_repeated(one, len(noise)), noise=np.repeat(np.asarray(noise, dtype=float), size))


def _repeated(parameters: CalciumParameters, times: int) -> CalciumParameters:
    """All cells ``times`` times side by side."""
    size = parameters.cells * times
    tiled = {
        name: np.tile(getattr(parameters, name), (times, *[1] * (getattr(parameters, name).ndim - 1)))
        for name in ("bias", "history", "rise", "decay", "amplitude", "baseline", "noise")
    }
    return CalciumParameters(coupling=np.zeros((0, size, size)), basis=parameters.basis, **tiled)


def _network(parameters: CalciumParameters, kernel_bins: int) -> CalciumNetwork:
    return CalciumNetwork(parameters, BIN_RATE, LEARNED, kernel_bins).double()


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
