"""Part of `calibration`: do the intervals of the weights of small networks hold the truth?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from dfp.config.build import make_phase, make_posterior
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.models.base import Parameters
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.posteriors.base import TraceSummary
from dfp.references.gibbs.blocks import BlockedGibbs
from dfp.references.gibbs.chains import diagnostics
from dfp.references.gibbs.law import LAW, START_BIAS
from dfp.references.gibbs.learning import weight_posterior
from dfp.results.tables import Row
from dfp.training.loop import Trainer

from .data import check_data, of_seed
from .panel import LEVELS, drawn
from .weight_uncertainty import Laplace, Prior, laplace, laplace_of_samples

Array = np.ndarray


@dataclass(frozen=True)
class Weights:
    """Small networks whose weights are drawn from the prior that the posteriors assume.

    Attributes:
        data: every ordered pair of cells connected by N(0, weight_sd²) at lag 1, the prior; supercritical
            draws are kept, since leaving them out would change it. A network for each seed.
        sweeps, burn_in: of the Gibbs sampler of spikes and weights.
        newton_steps, newton_samples: of Laplace's approximation (rasters a step).
        posterior, training: of the variational posterior, as in a run; it learns the law too.
        posterior_samples: hard samples of it.
    """

    data: SimulationSpec
    sweeps: int
    burn_in: int
    newton_steps: int
    newton_samples: int
    posterior: dict[str, Any]
    training: dict[str, Any]
    posterior_samples: int

    def __post_init__(self) -> None:
        check_data(self.data, "data", "sparse_random")
        network = self.data.network
        if network.get("density") != 1.0 or not self.data.allow_supercritical or "weight_mean" in network:
            raise UserError(
                "data: found another law of the weights, expected density 1.0, no weight_mean and "
                "allow_supercritical: true, so that the weights are drawn from the prior"
            )
        lowest = {"sweeps": 4, "burn_in": 0, "newton_steps": 2, "newton_samples": 2, "posterior_samples": 2}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least {least}")
        _ = self.prior  # a wrong one is refused here
        phase = make_phase(self.training, "training")
        tiny = TraceSummary(2, torch.zeros(2), torch.ones(2))
        phase.check(make_posterior(self.posterior, tiny, generator(0), "posterior"))

    @property
    def prior(self) -> Prior:
        """The generating one."""
        return Prior(float(self.data.network.get("weight_sd", 1.0)))


def weight_rows(settings: Weights, device: torch.device) -> Iterator[Row]:
    """Every row of the networks."""
    for seed in settings.data.seeds:
        data, prior = of_seed(settings.data, seed), settings.prior
        apart = ~np.eye(data.start.cells, dtype=bool)
        truth = data.start.coupling[:, apart]
        gibbs = weight_posterior(
            data, settings.sweeps, settings.burn_in, seed, prior.weight_sd, prior.other_sd
        )
        draws = gibbs.coupling[:, :, apart]
        labels = {"dataset": "network", "seed": seed}
        run = labels | {"run": "gibbs", "posterior": "exact", "sampler": "gibbs"}
        rhat, size = diagnostics(draws[None])
        for level in LEVELS:
            low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
            value = float(((truth > low) & (truth < high)).mean())
            yield run | {"metric": f"weight_coverage_{100 * level:g}", "value": value}
        yield run | {"metric": "weight_rhat", "value": float(rhat.max())}
        yield run | {"metric": "weight_effective_least", "value": float(size.min())}
        yield run | {"metric": "weight_effective", "value": float(np.median(size))}
        yield run | {"metric": "weight_sd", "value": float(draws.std(0).mean())}

        start = blind(data.start)
        chain = BlockedGibbs(start, data.bin_rate, data.kernel_bins, data.x, seed)
        assert isinstance(start, CalciumParameters)  # the sampler refuses others
        found = laplace(chain, start, prior, settings.newton_steps, settings.newton_samples)
        exact = labels | {"posterior": "exact", "sampler": "gibbs"}
        yield from _laplace(exact | {"run": "laplace"}, found, found.sd, truth, draws)
        yield from _laplace(exact | {"run": "laplace_naive"}, found, found.naive_sd, truth, draws)
        q, z, learned = variational(settings, data, seed, device)
        found = laplace_of_samples(z, learned, prior, louis=False)
        yield from _laplace(labels | q | {"run": "fixed_point_naive"}, found, found.naive_sd, truth, draws)


def blind(start: Parameters) -> Parameters:
    """The calcium constants with a law that knows nothing: a bias of −3, the rest 0."""
    law = {name: np.zeros(getattr(start, name).shape) for name in LAW}
    law["bias"] += START_BIAS
    return replace(start, **law)


def variational(
    settings: Weights, data: Dataset, seed: int, device: torch.device
) -> tuple[Row, Array, CalciumParameters]:
    """Train the variational posterior and the law together: what it is, its hard samples, the law learned."""
    model = CalciumNetwork(blind(data.start), data.bin_rate, LAW, data.kernel_bins).to(device)
    x = torch.as_tensor(data.x).to(device)
    posterior = make_posterior(settings.posterior, TraceSummary.of(x), generator(seed), "posterior").to(
        device
    )
    phase = make_phase(settings.training, "training")
    for _ in Trainer(model, posterior, x, [phase], seed).run():
        pass
    z, _ = drawn(posterior, x.double(), settings.posterior_samples, generator(seed, device))
    labels = {"posterior": posterior.name, "objective": phase.objective.name, "sampler": phase.sampler.name}
    return labels, z.cpu().numpy(), model.parameters_now()


def _laplace(labels: Row, found: Laplace, sds: Array, truth: Array, draws: Array) -> Iterator[Row]:
    """Normal intervals against the truth ``(R, pairs)`` and against Gibbs draws ``(S, R, pairs)``."""
    apart = ~np.eye(sds.shape[1], dtype=bool)
    mode, sd = found.weights[:, apart], sds[:, apart]
    for level in LEVELS:
        half = norm.ppf(0.5 + level / 2) * sd
        name = f"{100 * level:g}"
        inside = float((np.abs(truth - mode) < half).mean())
        yield labels | {"metric": f"weight_coverage_{name}", "value": inside}
        mass = float((np.abs(draws - mode) < half).mean())
        yield labels | {"metric": f"weight_gibbs_mass_{name}", "value": mass}
    spread = draws.std(0)
    yield labels | {"metric": "weight_sd_ratio", "value": float(np.exp(np.log(sd / spread).mean()))}
    shift = np.sqrt((((mode - draws.mean(0)) / spread) ** 2).mean())
    yield labels | {"metric": "weight_shift", "value": float(shift)}
    slope = np.polyfit(truth.ravel(), mode.ravel(), 1)[0]
    yield labels | {"metric": "weight_slope", "value": float(slope)}
