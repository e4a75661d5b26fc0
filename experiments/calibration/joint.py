"""Part of `calibration`: the joint test of simulator against posterior samplers, and planted errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from dfp.config.networks import simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.models.calcium import CalciumNetwork
from dfp.references.exact.one_cell import CellParameters, ExactPosterior, cell_parameters
from dfp.references.gibbs.blocks import BlockedGibbs
from dfp.results.intervals import z_threshold
from dfp.results.tables import Row

from .data import check_data, of_seed
from .geweke import Array, Draw, Joint, joint_test

#: probability that a right sampler is called wrong, over all functions and seeds
LEVEL = 0.01
#: errors planted in a sampler: which filter is one bin late
PLANTED = {"exact": ("kernel", "history"), "gibbs": ("coupling",)}


@dataclass(frozen=True)
class JointTest:
    """Settings of the joint test.

    Attributes:
        cell: independent cells; network: a data set for each of its seeds. The trials are the marginal
            simulation, the test trials are where the chains start.
        steps: turns of the chains.
    """

    cell: SimulationSpec
    network: SimulationSpec
    steps: int

    def __post_init__(self) -> None:
        check_data(self.cell, "cell", "independent")
        check_data(self.network, "network", "sparse_random")
        for where, spec in (("cell", self.cell), ("network", self.network)):
            for name, least in (("trials", 8), ("test_trials", 8), ("bins", 5)):
                if getattr(spec, name) < least:
                    raise UserError(f"{where}.{name}: found {getattr(spec, name)}, expected at least {least}")
        if self.steps < 8:
            raise UserError(f"steps: found {self.steps}, expected at least 8")


def joint_rows(settings: JointTest, device: torch.device) -> Iterator[Row]:
    """The rows of both samplers, right and with each error planted.

    Raises:
        NumericalError: where a planted error is not caught: the test would then prove nothing.
    """
    data = simulated(settings.cell, "joint.cell")
    for planted in ("", *PLANTED["exact"]):
        joint = compare(data, settings.steps, exact_sampler(data, planted, device))
        yield from _rows("exact", planted, joint, settings.cell.seeds)
    networks = [of_seed(settings.network, seed) for seed in settings.network.seeds]
    for planted in ("", *PLANTED["gibbs"]):
        found = [
            compare(one, settings.steps, gibbs_sampler(one, planted, seed))
            for one, seed in zip(networks, settings.network.seeds, strict=True)
        ]
        joint = replace(
            found[0], scores=np.stack([one.scores for one in found]), p=np.array([one.p for one in found])
        )
        yield from _rows("gibbs", planted, joint, settings.network.seeds)


def compare(data: Dataset, steps: int, draw: Draw) -> Joint:
    """The joint test of the simulator of a data set against a sampler of spikes given traces."""
    model = CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).double()
    rng = generator(int(data.seed[0]) + 1)

    def observe(z: Array) -> Array:
        with torch.no_grad():
            return np.asarray(model.observe(torch.as_tensor(z)[None], rng)[0].numpy())

    coupling = data.start.coupling
    weights = coupling.sum(0) if coupling.size else None
    assert data.z is not None and data.z_test is not None
    return joint_test((data.z, data.x), data.z_test, observe, draw, steps, weights)


def exact_sampler(data: Dataset, planted: str, device: torch.device) -> Draw:
    """Exact samples of cells without coupling; ``planted``: ``kernel`` or ``history`` one bin late."""
    model = CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).to(device)
    parameters: CellParameters = cell_parameters(model, data.x.shape[1])
    if planted:
        late = torch.nn.functional.pad(getattr(parameters, planted), (1, 0))
        parameters = replace(parameters, **{planted: late})
    rng = generator(7, device)

    def draw(x: Array, z: Array) -> Array:
        exact = ExactPosterior(parameters, torch.as_tensor(x).to(device))
        return np.asarray(exact.sample(1, rng)[0].cpu().numpy())

    return draw


def gibbs_sampler(data: Dataset, planted: str, seed: int) -> Draw:
    """One sweep of blocked Gibbs; ``planted``: ``coupling`` one bin late."""
    parameters = data.start
    if planted:
        parameters = replace(parameters, basis=np.pad(parameters.basis, ((0, 0), (1, 0))))
    seeds = np.random.default_rng([seed, 11])

    def draw(x: Array, z: Array) -> Array:
        chain = BlockedGibbs(
            parameters, data.bin_rate, data.kernel_bins, x, int(seeds.integers(2**31)), start=z
        )
        chain.sweep()
        return np.asarray(chain.z)

    return draw


def _rows(sampler: str, planted: str, joint: Joint, seeds: list[int]) -> Iterator[Row]:
    functions = len(joint.names)
    if planted and min(1.0, float(joint.p.min()) * len(seeds)) > LEVEL:
        largest = float(np.abs(joint.scores).max())
        raise NumericalError(
            f"joint test: a {planted} filter one bin late in the {sampler} sampler was not caught (largest "
            f"score {largest:.1f} standard errors); more chains, steps or trials are needed"
        )
    labels = {
        "run": f"{sampler}_{planted}_late" if planted else sampler,
        "posterior": "exact",
        "sampler": sampler,
        "dataset": "joint",
        "planted": planted,
    }
    for n, seed in enumerate(seeds):
        one = labels | {"seed": seed}
        for name, score in zip(joint.names, joint.scores[n], strict=True):
            yield one | {"metric": "joint_score", "function": name, "value": float(score)}
        yield one | {"metric": "joint_largest", "value": float(np.abs(joint.scores[n]).max())}
        yield one | {"metric": "joint_threshold", "value": z_threshold(functions * len(seeds), LEVEL)}
        yield one | {"metric": "joint_p", "value": float(joint.p[n])}
        yield one | {"metric": "joint_effective", "value": joint.effective}
