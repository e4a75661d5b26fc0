"""The one training loop: a generator of metrics, so that logging, saving and showing stay outside."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfp.core.errors import NumericalError
from dfp.core.noise import generator
from dfp.models.base import ObservationModel
from dfp.objectives.base import Loss, Problem
from dfp.posteriors.base import Posterior
from dfp.training.average import Average
from dfp.training.optimiser import Adam
from dfp.training.phase import Phase
from dfp.training.step import training_loss
from dfp.training.windows import Windows


class Trainer:
    """Trains a posterior, and what a model learns, through a list of phases.

    ``for metrics in trainer.run(): …`` makes one step per item. ``state()`` between two steps holds
    everything that the rest depends on: a trainer that loads it goes on to the same result, bit for bit on
    the CPU.

    Args:
        model, posterior: modules on the same device.
        x: training traces ``(B, T, N)`` on that device.
        phases: in order.
        seed: of the windows and of the noise.

    Example:
        >>> data = dfp.simulate(dfp.sparse_random(2, np.random.default_rng(0)), [0], bin_rate=30, bins=60)
        >>> model, x = dfp.CalciumNetwork(data.start, 30), torch.as_tensor(data.x)
        >>> posterior = dfp.Factorised(dfp.FactorisedConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> phase = dfp.Phase(dfp.RelaxedPmf(), dfp.Auto(), steps=3)
        >>> trainer = dfp.Trainer(model, posterior, x, [phase], seed=0)
        >>> [metrics["step"] for metrics in trainer.run()]
        [1, 2, 3]
    """

    def __init__(
        self, model: ObservationModel, posterior: Posterior, x: Tensor, phases: Sequence[Phase], seed: int
    ) -> None:
        for phase in phases:
            phase.check(posterior)
        self.model, self.posterior, self.x, self.phases = model, posterior, x, list(phases)
        self.independent = posterior.per_cell and not model.couples_cells
        self.step = 0
        self._noise = generator(seed, x.device)
        self._cuts = generator(seed + 1)
        self._optimiser: Adam | None = None
        self._average = Average([p for p in model.parameters() if p.requires_grad])
        self._seconds = 0.0

    @property
    def steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Seconds that the steps so far took, whatever happened between them."""
        return self._seconds

    def run(self) -> Iterator[dict[str, Any]]:
        """Make the steps that are left; yield the metrics of each.

        Keys: step (1 when the first is done), phase, objective, loss (nats per bin, mean over cells),
        loss_per_cell, log_likelihood, log_prior, entropy, sweeps, residual, converged, gradient_norm,
        temperature, learning_rate, seconds (of all steps so far); with a guard rho and guard_scale (see
        ``Guard``).

        Raises:
            NumericalError: at the first loss or gradient that is not finite, with its step.
        """
        first = 0
        for number, phase in enumerate(self.phases):
            for local in range(max(0, self.step - first), phase.steps):
                if self._optimiser is None or local == 0:
                    self._optimiser = self._fresh_optimiser(phase)
                yield self._advance(number, phase, local)
            first += phase.steps

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, copied: later steps leave it as it is."""
        return {
            "step": self.step,
            "seconds": self._seconds,
            "model": copy.deepcopy(self.model.state_dict()),
            "posterior": copy.deepcopy(self.posterior.state_dict()),
            "optimiser": None if self._optimiser is None else self._optimiser.state_dict(),
            "average": self._average.state_dict(),
            "noise": self._noise.get_state(),
            "cuts": self._cuts.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.step, self._seconds = int(state["step"]), float(state["seconds"])
        self.model.load_state_dict(state["model"])
        self.posterior.load_state_dict(state["posterior"])
        self._average.load_state_dict(state["average"])
        self._noise.set_state(state["noise"])
        self._cuts.set_state(state["cuts"])
        if state["optimiser"] is not None:
            self._optimiser = self._fresh_optimiser(self._phase_of(self.step - 1))
            self._optimiser.load_state_dict(state["optimiser"])

    def _phase_of(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]

    def _fresh_optimiser(self, phase: Phase) -> Adam:
        groups: list[tuple[list[Tensor], float]] = [(list(self.posterior.parameters()), 1.0)]
        learned = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        apart: set[str] = set()
        if phase.constants_learning_rate is not None:
            apart = learned.keys() & {f"raw_{name}" for name in self.model.Record.constants}
        for names, scale in (
            (learned.keys() - apart, phase.model_learning_rate),
            (apart, phase.constants_learning_rate or 1.0),
        ):
            if names and phase.learn_model:
                groups.append(([p for name, p in learned.items() if name in names], scale))
        return Adam(groups)

    def _advance(self, number: int, phase: Phase, local: int) -> dict[str, Any]:
        assert self._optimiser is not None
        started = time.perf_counter()
        phase.prepare(self.posterior, local)
        relaxation = phase.relaxation_at(local)
        rate = phase.learning_rate.at(local, phase.steps)
        windows = Windows(self.x, phase.batch, phase.window, phase.burn_in)
        x, weights = windows.cut(self._cuts)
        problem = Problem(self.model, x, weights, self.independent)
        loss = training_loss(problem, self.posterior, phase.objective, phase.sampler, relaxation, self._noise)
        self._check_loss(loss, number, phase)
        self._optimiser.zero_grad()
        loss.total.backward()
        moved = [p for p in self._optimiser.parameters if p.grad is not None]
        norm = clip_gradients(moved, phase.clip, self.independent)
        if not math.isfinite(norm):
            raise NumericalError(
                f"step {self.step + 1} (phase {number + 1}, {phase.objective.name}): the gradient is {norm}"
            )
        self._optimiser.step(rate)
        guarded: dict[str, float] = {}
        if phase.guard is not None:
            guarded = phase.guard.project(self.model, self.posterior, x, loss.draw, phase.learn_model)
        if phase.learn_model and local >= phase.averaged_from:
            self._average.add()
        if local == phase.steps - 1:
            self._average.settle()
        self.step += 1
        self._seconds += time.perf_counter() - started
        return {
            "step": self.step,
            "phase": number + 1,
            "objective": phase.objective.name,
            "loss": float(loss.per_cell.mean()),
            "loss_per_cell": loss.per_cell.tolist(),
            **loss.terms,
            "sweeps": loss.draw.sweeps,
            "residual": loss.draw.residual,
            "converged": loss.draw.converged,
            "gradient_norm": norm,
            "temperature": phase.temperature.at(local, phase.steps)
            if phase.relaxation == "concrete"
            else math.nan,
            "learning_rate": rate,
            **guarded,
            "seconds": self._seconds,
        }

    def _check_loss(self, loss: Loss, number: int, phase: Phase) -> None:
        if bool(torch.isfinite(loss.total)):
            return
        cells = [index for index, value in enumerate(loss.per_cell.tolist()) if not math.isfinite(value)]
        raise NumericalError(
            f"step {self.step + 1} (phase {number + 1}, {phase.objective.name}): the loss is "
            f"{float(loss.total.detach())} "
            f"(cells {cells}); lower the learning rate or raise the temperature"
        )


def clip_gradients(parameters: Sequence[Tensor], largest: float, per_cell: bool) -> float:
    """Scale gradients so that their norm is at most ``largest`` (0: leave them); return the norm before.

    With ``per_cell`` every parameter has a leading cell dimension and each cell is clipped by its own norm,
    as if it were trained alone; the largest of the cells' norms is returned.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    if not per_cell:
        return float(nn.utils.clip_grad_norm_(parameters, largest if largest else math.inf))
    squares = torch.stack([g.reshape(g.shape[0], -1).square().sum(1) for g in gradients]).sum(0)
    norms = squares.sqrt()
    if largest:
        factors = (largest / norms.clamp_min(1e-12)).clamp_max(1.0)
        for g in gradients:
            g.mul_(factors.reshape(-1, *([1] * (g.dim() - 1))))
    return float(norms.max())
