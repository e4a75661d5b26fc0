"""How far the gradient through exactly K sweeps is from the gradient of the recursion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.data import networks
from dfp.data.simulate import simulate
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm, Coupling, OwnHistory
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Problem
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.results.study import Study
from dfp.results.tables import Row
from dfp.samplers.base import Sampler
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete

BIN_RATE = 30.0
#: q's part of the gradient (drive in every bin, history, coupling), the model's (bias, history, coupling)
PARTS = ("phi", "theta")
LEARNED = ("bias", "history", "coupling")


@dataclass(frozen=True)
class Side:
    """A problem, a posterior for it and the leaves that gradients are taken in, by part."""

    problem: Problem
    q: CausalBernoulli
    leaves: dict[str, list[Tensor]]


@dataclass(frozen=True)
class Unrolled(Study):
    """The relaxed pmf's gradient through exactly K sweeps, g_K, against that of the recursion, g.

    Both have the same noise. K sweeps change the sample and cut its derivatives, and both count.

    Relative bias is ``‖E[g_K − g]‖ / ‖E g‖``. Both squares are estimated without bias from independent draws,
    ``‖mean‖² − Σ s² / n``; the root has the sign of the square, so that it scatters around 0 where there is
    no bias. ``worst_draw`` is the largest ``‖g_K − g‖ / ‖E g‖`` of all draws: a sample that is not still can
    have derivatives far larger than the solution's.

    Attributes:
        cells: sizes of the networks; one cell has own history only.
        sweeps: K, ascending.
        temperatures: of the relaxation.
        tolerance: relative bias that counts as none, for ``sweeps_needed``.
        bins, trials: T and B.
        history: of the cells and of the posterior, logits per spike, lag 1 first.
        density, weight_sd: share of ordered pairs that are joined, at lag 1, by N(0, sd²).
        rate_hz: of the cells at rest.
        decay: of the calcium, from a bin to the next.
        noise: of the measurement, in amplitudes of a spike.
        kernel_bins: cut of the calcium response.
        perturbation: sd of what parameters are moved by, logits.
        draws, samples: independent gradients, each a mean over so many samples of every trial.
        seeds: of network, traces and noise.

    Raises:
        NumericalError: by ``rows``, where the expected gradient is too close to 0 for its draws.
    """

    cells: list[int]
    sweeps: list[int]
    temperatures: list[float]
    tolerance: float = 0.01
    bins: int = 48
    trials: int = 2
    history: list[float] = field(default_factory=lambda: [-2.0, -1.0])
    density: float = 0.15
    weight_sd: float = 1.5
    rate_hz: float = 4.0
    decay: float = 0.8
    noise: float = 0.7
    kernel_bins: int = 10
    perturbation: float = 0.5
    draws: int = 8
    samples: int = 48
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])

    def __post_init__(self) -> None:
        for key, lowest in (("cells", 1), ("sweeps", 1), ("temperatures", 0), ("seeds", 0)):
            found = getattr(self, key)
            if not found or len(set(found)) != len(found) or min(found) < lowest:
                raise UserError(
                    f"{key}: found {found}, expected different values of at least {lowest}, one or more"
                )
        if min(self.temperatures) == 0:
            raise UserError("temperatures: found 0, expected numbers above 0")
        if sorted(self.sweeps) != self.sweeps:
            raise UserError(f"sweeps: found {self.sweeps}, expected ascending numbers")
        for key, lowest in (("bins", 2), ("trials", 1), ("draws", 2), ("samples", 1), ("kernel_bins", 1)):
            if getattr(self, key) < lowest:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least {lowest}")
        if self.perturbation < 0:
            raise UserError(f"perturbation: found {self.perturbation:g}, expected at least 0")
        if not self.history:
            raise UserError("history: found no lags, expected at least one")
        if not self.tolerance > 0 or not self.noise > 0 or not 0 < self.decay < 1:
            raise UserError(
                f"tolerance, noise, decay: found {self.tolerance:g}, {self.noise:g}, {self.decay:g}, "
                "expected numbers above 0, the last below 1"
            )

    def rows(self, device: torch.device) -> Iterator[Row]:
        """On the CPU whatever the device: small problems, and the compiled sampler is the reference."""
        for cells in self.cells:
            for seed in self.seeds:
                side = self.side(cells, seed)
                for temperature in self.temperatures:
                    yield from self._at(side, cells, seed, temperature)

    def side(self, cells: int, seed: int) -> Side:
        """A network's traces, and a posterior that filters them.

        The posterior has the model's own logits, to which every frame's innovation ``y[t] = x[t] − d x[t −
        1]`` adds its log-likelihood ratio of a spike against none, ``(a y − a² / 2) / (noise² (1 + d²))``,
        with amplitude a = 1 and decay d. Bias and weights of both are then moved by N(0, ``perturbation²``),
        to a point that training passes through.
        """
        rng = np.random.default_rng([seed, cells, 23])
        data = simulate(
            self._network(cells, rng), [seed], bin_rate=BIN_RATE, bins=self.bins, trials=self.trials,
            test_trials=0, rise=0.0, decay=-1.0 / (BIN_RATE * np.log(self.decay)), amplitude=1.0,
            baseline=0.0, noise=self.noise, kernel_bins=self.kernel_bins,
        )  # fmt: skip
        model = CalciumNetwork(
            data.start, BIN_RATE, LEARNED[: 2 + len(data.start.basis)], self.kernel_bins
        ).double()
        x, moved = torch.from_numpy(data.x).double(), generator(seed)
        before = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
        ratio = (x - self.decay * before - 0.5) / (self.noise**2 * (1 + self.decay**2))
        drive = self._moved(model.value("bias") + ratio, moved)
        weights, terms = self._weights(model, moved)
        learned: list[Tensor] = [model.get_parameter(f"raw_{name}") for name in model.learned]
        with torch.no_grad():
            for raw in learned:
                raw.copy_(self._moved(raw, moved))
        problem = Problem(model, x, torch.ones_like(x[..., :1]), independent=cells == 1)
        leaves = {"phi": [drive, *weights], "theta": learned}
        return Side(problem, CausalBernoulli(drive, terms), leaves)

    def _network(self, cells: int, rng: np.random.Generator) -> networks.Network:
        if cells == 1:
            return networks.independent(1, rng, rate_hz=self.rate_hz, bin_rate=BIN_RATE, history=self.history)
        return networks.sparse_random(
            cells, rng, density=self.density, weight_sd=self.weight_sd, rate_hz=self.rate_hz,
            bin_rate=BIN_RATE, history=self.history,
        )  # fmt: skip

    def _weights(
        self, model: CalciumNetwork, rng: torch.Generator
    ) -> tuple[list[Tensor], tuple[CausalTerm, ...]]:
        taps = self._moved(model.value("history"), rng)
        if not model.couples_cells:
            return [taps], (OwnHistory(taps),)
        coupling = self._moved(model.value("coupling"), rng)
        return [taps, coupling], (OwnHistory(taps), Coupling(coupling, model.basis))

    def _moved(self, values: Tensor, rng: torch.Generator) -> Tensor:
        """A leaf; weights that are not there stay away."""
        shift = self.perturbation * torch.randn(values.shape, generator=rng, dtype=values.dtype)
        return (values + shift * (values != 0)).detach().requires_grad_()

    def _at(self, side: Side, cells: int, seed: int, temperature: float) -> Iterator[Row]:
        """Rows of one network at one temperature."""
        common = {"seed": seed, "cells": cells, "temperature": temperature}
        every: list[Sampler] = [Compiled(), *(FixedPoint(sweeps=sweeps) for sweeps in self.sweeps)]
        drawn: dict[str, list[Tensor]] = {part: [] for part in PARTS}
        for draw in range(self.draws):
            found = [self.gradient(side, sampler, temperature, seed, draw) for sampler in every]
            for part in PARTS:
                drawn[part].append(torch.stack([gradient[part] for gradient in found]))
        still = [self._still(side, temperature, seed, draw) for draw in range(self.draws)]
        yield self._row(common, "sweeps_until_still", float(np.mean(still)))
        for part, rows in drawn.items():
            stacked = torch.stack(rows)  # (draws, 1 + sweeps, D)
            yield from self._part(common, part, stacked[:, 0], stacked[:, 1:] - stacked[:, :1])

    def _part(self, common: dict[str, Any], part: str, exact: Tensor, errors: Tensor) -> Iterator[Row]:
        """Of draws of g, ``(n, D)``, and of g_K − g, ``(n, K, D)``."""
        size = _squared(exact)
        if not size > 0:
            where = ", ".join(f"{key} {value:g}" for key, value in common.items())
            raise NumericalError(
                f"unrolled: ∇{part} is lost in the noise of its draws ({where}), "
                f"expected more draws than {self.draws} of {self.samples} samples"
            )
        bias = {}
        for column, sweeps in enumerate(self.sweeps):
            own, ratio = errors[:, column], _squared(errors[:, column]) / size
            bias[sweeps] = math.copysign(abs(ratio) ** 0.5, ratio)
            worst = float(own.norm(dim=1).max()) / size**0.5
            yield self._row(common, "relative_bias", bias[sweeps], part=part, sweeps=sweeps)
            yield self._row(common, "worst_draw", worst, part=part, sweeps=sweeps)
        yield self._row(common, "sweeps_needed", float(self.needed(bias)), part=part)

    def needed(self, bias: dict[int, float]) -> int:
        """The least K from which on the bias stays within the tolerance; T, which is exact, if none does."""
        large = [sweeps for sweeps, value in bias.items() if not value <= self.tolerance]
        return min((sweeps for sweeps in bias if sweeps > max(large, default=0)), default=self.bins)

    def gradient(
        self, side: Side, sampler: Sampler, temperature: float, seed: int, draw: int
    ) -> dict[str, Tensor]:
        """One draw of the relaxed pmf's gradient, by part, each ``(D,)``; the same noise for all samplers."""
        rng = generator(100_000 * seed + draw)
        loss = RelaxedPmf(self.samples).loss(side.problem, side.q, sampler, Concrete(temperature), rng)
        every = [leaf for leaves in side.leaves.values() for leaf in leaves]
        found = iter(torch.autograd.grad(loss.total, every))
        return {
            part: torch.cat([next(found).flatten() for _ in leaves]) for part, leaves in side.leaves.items()
        }

    def _still(self, side: Side, temperature: float, seed: int, draw: int) -> int:
        noise = side.q.noise(self.samples, generator(100_000 * seed + draw))
        with torch.no_grad():
            return side.q.draw(noise, FixedPoint(), Concrete(temperature)).sweeps

    def _row(self, common: dict[str, Any], metric: str, value: float, **labels: Any) -> dict[str, Any]:
        own = {"part": "", "sweeps": 0} | labels
        run = f"unrolled_{own['sweeps']}" if own["sweeps"] else "unrolled"
        return {
            "run": run, "dataset": f"N{common['cells']}", "posterior": "autoregressive",
            "objective": RelaxedPmf.name, "sampler": FixedPoint.name, **common, **own,
            "metric": metric, "value": value,
        }  # fmt: skip


def _squared(draws: Tensor) -> float:
    """``‖mean‖² − Σ s² / n`` of draws ``(n, D)``: unbiased for the squared norm of what they estimate."""
    return float(draws.mean(0).square().sum() - draws.var(0).sum() / len(draws))
