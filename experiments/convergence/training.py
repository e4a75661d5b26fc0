"""The blow-up of training on too few sweeps at a low temperature, and the guard that stops it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dfp.config.build import make_phase, make_posterior
from dfp.config.networks import simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.branching import flip_matrix
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import logits_at
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.training.loop import Trainer
from dfp.training.phase import Phase

#: samples a held-out trace
SAMPLES = 4


@dataclass(frozen=True)
class Training:
    """One posterior trained in several ways on a panel of cells, a cell a seed.

    Attributes:
        data: a simulated panel, as in ``experiments/datasets.yaml``.
        posterior: its kind and settings.
        training: what all ways share, as in an experiment's ``training``.
        runs: name → what it changes of ``training``; ``sampler: {sweeps: K}`` makes K sweeps in training.
        looks: times that the training is looked at, evenly spread, the end among them.
    """

    data: SimulationSpec
    posterior: dict[str, Any]
    training: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    looks: int = 10

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("runs: found none, expected at least one way of training")
        if not self.data.test_trials:
            raise UserError("data.test_trials: found 0, expected held-out trials")
        if self.looks < 1:
            raise UserError(f"looks: found {self.looks}, expected at least 1")
        for name in self.runs:
            phase = self.phase(name)
            phase.check(self._untrained(torch.zeros(1, 1, len(self.data.seeds))))

    def phase(self, run: str) -> Phase:
        """The phase of a run."""
        return make_phase({**self.training, **self.runs[run]}, f"runs.{run}")

    def _untrained(self, x: Tensor) -> Posterior:
        return make_posterior(self.posterior, TraceSummary.of(x), generator(0), "posterior").to(x.device)

    def rows(self, device: torch.device) -> Iterator[tuple[str, int, str, list[float]]]:
        """(run, step, metric, a value a cell) of every run at every look."""
        data = simulated(self.data, "data")
        x, test = (torch.as_tensor(values, device=device) for values in (data.x, data.x_test))
        for run in self.runs:
            phase = self.phase(run)
            model = CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).to(device)
            trainer = Trainer(model, self._untrained(x), x, [phase], seed=0)
            every = max(1, phase.steps // self.looks)
            for metrics in trainer.run():
                step = int(metrics["step"])
                if step % every == 0 or step == phase.steps:
                    for metric, values in look(model, trainer.posterior, test, phase, step).items():
                        yield run, step, metric, values.tolist()


@torch.no_grad()
def look(
    model: CalciumNetwork, posterior: Posterior, x: Tensor, phase: Phase, step: int
) -> dict[str, Tensor]:
    """What a posterior of independent cells is at a step, per cell ``(N,)``, on held-out traces.

    The traces are ``(B, T, N)``.

    ``elbo_per_bin``: the bound from hard samples swept until still, nats; ``relaxed_per_bin``: what is
    maximised, with the sampler and the temperature of the step, no bound; ``residual``: mean change of a
    relaxed value in the sweep after the last that training makes; ``wrong``: share of hard spikes that these
    sweeps leave other than they are at last; ``rho``; ``weight``: largest |history weight|.
    """
    law = posterior.condition(x).pmf
    noise = law.noise(SAMPLES, generator(1, x.device))
    relaxation = phase.relaxation_at(min(step, phase.steps - 1))
    still = law.draw(noise, FixedPoint(), Hard())
    made = law.draw(noise, phase.sampler, relaxation)
    hard = law.draw(noise, phase.sampler, Hard())
    prior = model.prior(*x.shape[:2])
    bound = model.log_likelihood(x, still.z) + law.weigh(prior, still).ratio
    objective = model.log_joint(x, made.z) - law.log_prob(made.z, logits_at(law, made))
    again = relaxation(law.logits(made.z), noise)
    weights = [term.taps for term in law.terms if hasattr(term, "taps")]
    found = {
        "elbo_per_bin": bound,
        "relaxed_per_bin": objective,
        "residual": (again - made.z).abs(),
        "wrong": (hard.z != still.z).to(x.dtype),
    }
    return {name: values.mean((0, 1, 2)) for name, values in found.items()} | {
        "rho": flip_matrix(law, still.z, still.logits).diagonal(),
        "weight": torch.cat(weights, -1).abs().amax(-1),
    }
